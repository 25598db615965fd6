// Codes: an image as a few numbers, what becomes of it when they change, and the way between two images.

import { ask, can } from "./api.js";
import { $, calm, card, el, number, Task } from "./dom.js";
import { decode, heat } from "./picture.js";
const STEPS = 33;
const SLIDERS = 16;
const shows = (title, node) => el("figure", {}, node, el("figcaption", {}, title));

export default function codes(panel, app) {
  const task = new Task(panel);
  const results = $(".results", panel);
  const needs = ["encode", "decode", "reconstruct", "interpolate"];
  const chooser = app.chooser(panel, (model) => needs.every((name) => can(model, name)));
  const ends = [null, null];
  let [active, first, place] = [0, 0, 50];

  const refresh = calm(async () => {
    const model = chooser.current();
    const picture = model && app.picture(model.image);
    if (!picture) return;
    ends[active] = picture;
    const other = ends[1 - active];
    const others = app.sources.offered().filter(([, own]) => `${own.data}` !== `${picture.data}`);
    if (!other || !app.sameSize(other.size, model.image)) ends[1 - active] = others[0][1];
    await task.run(async (signal, progress) => {
      const body = { images: ends.map((end) => end.body().images[0]) };
      const [{ results: [again] }, { results: [encoded] }, { images: way }] = await Promise.all([
        ask(model, "reconstruct", { map: true }, picture.body(), signal),
        ask(model, "encode", {}, picture.body(), signal),
        ask(model, "interpolate", { steps: STEPS }, body, signal)]);
      progress(0.8);
      const [own, ...pictures] = await Promise.all([again.image, ...way].map((image) => decode(image, model.image)));
      const focused = document.activeElement.id;
      results.replaceChildren(walk(pictures), reconstruction(picture, own, again), perturbation(model, encoded));
      if (focused.startsWith("end-")) $(`#${focused}`).focus();
    });
  }, 60);

  /** From one image to another through the codes between. */
  function walk(pictures) {
    const middle = el("div", { className: "stage" });
    const show = (value) => {
      place = value;
      middle.replaceChildren(pictures[Math.round((place / 100) * (STEPS - 1))].element(`${place} % of the way`));
    };
    const end = (i, name) => {
      const button = app.tile(ends[i], name, () => {
        active = i;
        app.choose(ends[i].paint(), `the ${name.toLowerCase()}`);
      });
      Object.assign(button, { ariaPressed: active === i, id: `end-${i}` });
      return shows(name, button);
    };
    const oninput = ({ target }) => show(Number(target.value));
    const slider = el("input", { type: "range", id: "way", min: 0, max: 100, value: place, oninput });
    show(place);
    return card("A walk between two images", el("p", { className: "soft" }, "Choose an end, then an image for it."),
      el("div", { className: "three" }, end(0, "Start"), shows("On the way", middle), end(1, "End")),
      el("label", { className: "wide" }, "Way ", slider));
  }

  const reconstruction = (picture, again, { mean_squared_error: error, squared_error_map: map }) =>
    card("What the code keeps", el("div", { className: "three" }, shows("Image", picture.element("The image")),
      shows("From its code", app.tile(again, "the reconstruction")),
      shows("Squared error", heat(map, { ariaLabel: "Where the reconstruction differs" }))),
    el("p", { className: "soft" }, `Mean squared error ${number(error, 5)}, in units of level / (levels − 1).`));
  /** One slider a number of the code. */
  function perturbation(model, { code, log_variance: spread }) {
    const own = [...code];
    const [stage, bank, side] = ["stage", "bank", ""].map((className) => el("div", { className }));
    const change = new Task(side);
    const show = calm(() => change.run(async (signal) => {
      const { results: [{ image }] } = await ask(model, "decode", {}, { latents: [own] }, signal);
      stage.replaceChildren((await decode(image, model.image)).element("The image of the changed code"));
    }), 15);
    // The codes of a VAE are about a standard normal; others are as large as they are.
    const reach = Math.max(spread ? 3 : 1, ...code.map(Math.abs)) * 1.3;
    const set = (i) => ({ target }) => {
      own[i] = Number(target.value);
      show();
    };
    const range = { type: "range", min: -reach, max: reach, step: reach / 100 };
    const slider = (value, i) =>
      el("label", {}, `${first + i + 1} `, el("input", { ...range, value, oninput: set(first + i) }));
    const fill = () => bank.replaceChildren(...own.slice(first, first + SLIDERS).map(slider));
    const starts = Array.from({ length: Math.ceil(own.length / SLIDERS) }, (_, page) => page * SLIDERS);
    const option = (start) => new Option(`${start + 1} to ${Math.min(own.length, start + SLIDERS)}`, start);
    const pages = el("select", { onchange: () => {
      first = Number(pages.value);
      fill();
    } }, starts.map(option));
    const reset = el("button", { type: "button", className: "quiet", onclick: () => {
      own.splice(0, own.length, ...code);
      fill();
      show();
    } }, "As it was");
    pages.value = first = first < own.length ? first : 0;
    fill();
    show();
    side.prepend(starts.length > 1 ? el("label", {}, "Numbers ", pages) : "", bank, reset);
    return card(`Its ${own.length} numbers, one by one`, el("div", { className: "split" }, stage, side));
  }

  const leave = () => app.sources.leave();
  return { wantsImage: true, size: () => chooser.current()?.image, enter: chooser.enter, leave, refresh };
}
