// Draw: new images, row by row while the model makes them.

import { can, capability, curl, watch } from "./api.js";
import { $, el, onSubmit, places, Task } from "./dom.js";
import { command } from "./judge.js";
import { decode } from "./picture.js";

export default function draw(panel, app) {
  const task = new Task(panel);
  const [results, form] = [$(".results", panel), $("form", panel)];
  const { n, seed, temperature, label } = form.elements;
  const chooser = app.chooser(panel, (model) => can(model, "sample"));

  async function run() {
    const model = chooser.current();
    if (!model) return;
    const options = { n: n.value, seed: seed.value, temperature: temperature.value, label: label.value };
    const accept = capability(model, "sample").formats.find((format) => format === "text/event-stream");
    $(".command", panel).hidden = false;
    $(".commands", panel).replaceChildren(command(curl(model, "sample", options, { image: false, accept })));
    // The server may well refuse to draw more.
    const own = places(Math.min(n.value, 256), model.image);
    results.replaceChildren(...own);
    await task.run(async (signal, progress) => {
      let [rows, done] = [new Array(own.length).fill(0), false];
      const show = async ({ index, rows: settled, height, image }) => {
        rows[index] = settled;
        progress(rows.reduce((all, count) => all + count, 0) / (height * rows.length));
        const picture = await decode(image, model.image);
        // Pictures are unpacked side by side: an older one must not hide a newer one.
        if (done || rows[index] !== settled || !own[index]) return;
        own[index].replaceChildren(picture.element(`Image ${index + 1}, ${settled} of ${height} rows`));
      };
      const answer = await watch(model, "sample", options, show, signal);
      const pictures = await Promise.all(answer.images.map((image) => decode(image, model.image)));
      done = true;
      results.replaceChildren(...pictures.map((picture, i) => el("figure", {},
        app.tile(picture, `image ${i + 1} of ${model.name}, seed ${answer.seed}`),
        answer.labels?.[i] ? el("figcaption", {}, answer.labels[i]) : null)),
      el("p", { className: "soft whole" }, `Drawn with the seed ${answer.seed}.`));
    });
    for (const place of own) place.classList.remove("empty");
  }
  onSubmit(form, run);

  return { size: () => chooser.current()?.image, enter: chooser.enter, leave: task.cancel };
}
