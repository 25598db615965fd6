// Complete: a part of an image is rubbed out, and filled in eight ways.

import { ask, can } from "./api.js";
import { brush } from "./brush.js";
import { $, el, onSubmit, places, Task, words } from "./dom.js";
import { decode } from "./picture.js";
const WAYS = 8;
const METHODS = {
  exact: "Exact: drawn from p(missing | given).",
  ancestral: "Approximate: drawn in the model's order, so that given pixels do not inform missing ones before them.",
  pseudo_gibbs: "Approximate: by encoding and decoding in turns.",
};

export default function complete(panel, app) {
  const task = new Task(panel);
  const [results, form, canvas] = [$(".results", panel), $("form", panel), $("#mask")];
  const { rows, kept, width, temperature, label, seed } = form.elements;
  const chooser = app.chooser(panel, (model) => can(model, "complete"));
  let [known, size] = [null, null];
  function keep(count) {
    known = Uint8Array.from({ length: size.width * size.height }, (_, place) => (place < count * size.width ? 1 : 0));
    kept.value = `${count} of ${size.height}`;
    paint();
  }

  function paint() {
    const picture = app.picture(size);
    if (!picture) return;
    const context = picture.paint(canvas).getContext("2d");
    known.forEach((isKnown, place) => {
      const [x, y] = [place % size.width, Math.floor(place / size.width)];
      context.fillStyle = (x + y) % 2 ? "#7a69ee" : "#6857e0";
      if (!isKnown) context.fillRect(x, y, 1, 1);
    });
  }
  /** Pixels whose middle is near the line are missing. */
  function rub([x0, y0], [x1, y1], thick) {
    const [across, down] = [x1 - x0, y1 - y0];
    known.forEach((_, place) => {
      const [x, y] = [(place % size.width) + 0.5 - x0, Math.floor(place / size.width) + 0.5 - y0];
      const along = Math.max(0, Math.min(1, (x * across + y * down) / (across ** 2 + down ** 2 || 1)));
      if (Math.hypot(x - along * across, y - along * down) <= thick / 2) known[place] = 0;
    });
    kept.value = "drawn";
    paint();
  }
  brush(canvas, { width: () => Math.max(1, (canvas.width * width.value) / 100), line: rub, done() {} });
  rows.addEventListener("input", () => keep(Number(rows.value)));
  $("#unmask").addEventListener("click", () => keep((rows.value = size.height)));
  onSubmit(form, run);

  async function run() {
    const model = chooser.current();
    const picture = model && app.picture(model.image);
    if (!picture) return;
    if (known.every(Boolean)) return task.say("Nothing is missing: rub something out first.");
    const row = (_, y) => [...known.subarray(y * size.width, (y + 1) * size.width)];
    const mask = Array.from({ length: size.height }, row);
    const options = { n: WAYS, temperature: temperature.value, label: label.value, seed: seed.value };
    const waiting = places(WAYS, size);
    results.replaceChildren(...waiting);
    await task.run(async (signal) => {
      const answer = await ask(model, "complete", options, { ...picture.body(), mask }, signal);
      const { images, labels } = answer.results[0];
      const pictures = await Promise.all(images.map((image) => decode(image, size)));
      results.replaceChildren(...pictures.map((own, i) => el("figure", {},
        app.tile(own, `completion ${i + 1}, seed ${answer.seed}`), labels ? el("figcaption", {}, labels[i]) : null)),
      el("p", { className: "soft whole" }, METHODS[answer.method] ?? words(answer.method)));
    });
    for (const place of waiting) place.remove();
  }

  function refresh() {
    const model = chooser.current();
    if (!model) return;
    if (!size || !app.sameSize(size, model.image)) {
      size = model.image;
      rows.max = size.height;
      rows.value = Math.ceil(size.height / 2);
      results.replaceChildren();
      keep(Number(rows.value));
    }
    paint();
  }

  return { wantsImage: true, size: () => chooser.current()?.image, enter: chooser.enter, leave: task.cancel, refresh };
}
