// Puts the page together: which tab is open, which models there are, which image is looked at.

import { can, loadModels, Problem, useKey } from "./api.js";
import { el, $, onSubmit, words } from "./dom.js";
import { fit } from "./picture.js";
import { sources } from "./source.js";
import judge from "./judge.js";
import draw from "./draw.js";
import complete from "./complete.js";
import codes from "./codes.js";
import compare from "./compare.js";
import health from "./health.js";

const TABS = { judge, draw, complete, codes, compare, health };
const tabs = [...document.querySelectorAll("[role=tab]")];
const nameOf = (tab) => tab.getAttribute("aria-controls");
const keyOf = (model) => `${model.name}/${model.version}`;
const COLOURS = ["grey", "grey with alpha", "colour", "colour with alpha"];

const app = {
  /** All that are known, and those that serve; the one that was chosen last, and the size that was looked at last. */
  models: [], ready: [], preferred: null, size: null,
  /** What the user chose: something to draw, and its name; the tabs by name, and the name of the open one. */
  image: null, open: {}, tab: null,

  sameSize: (a, b) => ["channels", "height", "width", "levels"].every((name) => a[name] === b[name]),
  sizeName: ({ image: { channels, height, width, levels } }) =>
    `${height} × ${width}, ${COLOURS[channels - 1]}${levels === 256 ? "" : `, ${levels} levels`}`,
  /** Models by the name of the size of their images. */
  bySize(models) {
    const groups = new Map(models.map((model) => [this.sizeName(model), []]));
    for (const model of models) groups.get(this.sizeName(model)).push(model);
    return [...groups];
  },
  /** The chosen image as a model of that size sees it. */
  picture: (size) => app.image && fit(app.image.source, size, { how: $("#fit").value, invert: $("#invert").checked }),

  choose(source, name) {
    this.image = { source, name };
    this.refresh();
  },
  /** Whatever depends on the image or the model is done anew. */
  refresh() {
    const tab = this.open[this.tab];
    this.size = tab.size?.() ?? this.size;
    const hasSource = Boolean(this.size && tab.wantsImage);
    $("#source").hidden = !hasSource;
    document.body.classList.toggle("with-source", hasSource);
    if (hasSource) this.sources.show(this.size);
    tab.refresh?.();
  },

  go(name) {
    if (!(name in TABS)) name = "judge";
    this.open[this.tab]?.leave?.();
    this.tab = name;
    for (const tab of tabs) {
      tab.ariaSelected = nameOf(tab) === name;
      tab.tabIndex = nameOf(tab) === name ? 0 : -1;
      $(`#${nameOf(tab)}`).hidden = nameOf(tab) !== name;
    }
    history.replaceState(null, "", `#${name}`);
    this.open[name].enter?.();
    this.refresh();
  },
  /** Fills the choice of models of a panel with those that can do what it needs; `changed` hears of another one. */
  chooser(panel, filter, changed) {
    const select = $(".model", panel);
    const models = this.ready.filter(filter);
    const option = (model) => new Option(model.newest ? model.name : keyOf(model), keyOf(model));
    select.append(...this.bySize(models).map(([label, own]) => el("optgroup", { label }, own.map(option))));
    const current = () => models.find((model) => keyOf(model) === select.value);
    const show = () => {
      const model = current();
      $(".about", panel).textContent = model ? `${model.description}. Family: ${words(model.family)}.` : "";
      for (const label of panel.querySelectorAll("[data-for=label]")) {
        label.hidden = !model?.conditional || !model.labels?.length;
        const labels = label.hidden ? [] : model.labels;
        $("select", label).replaceChildren(new Option("any", ""), ...labels.map((name) => new Option(name, name)));
      }
      changed?.();
    };
    select.addEventListener("change", () => {
      this.preferred = current();
      show();
      this.refresh();
    });
    /** The model that was chosen last, if it can do this; else one for images of the same size. */
    const enter = () => {
      const fits = (model) => !this.size || this.sameSize(model.image, this.size);
      const wanted = models.find((model) => model === this.preferred);
      const model = [wanted, current(), ...models].find((own) => own && fits(own)) ?? wanted ?? current();
      if (model) select.value = keyOf(model);
      show();
      if (!model) $(".about", panel).textContent = "None of the loaded models can do this.";
    };
    return { current, enter };
  },
  /** Shows one image in large, with what can be done with it. */
  look(picture, title) {
    const dialog = $("#chosen");
    $("#chosen-title").textContent = title;
    $(".stage", dialog).replaceChildren(picture.element(title));
    for (const button of dialog.querySelectorAll("[data-go]")) {
      button.onclick = () => {
        dialog.close();
        this.size = picture.size;
        this.image = { source: picture.paint(), name: title };
        $("#invert").checked = false;
        this.go(button.dataset.go);
      };
    }
    $("[data-save]", dialog).onclick = () => picture.save(`${title.replaceAll(/\W+/g, "-")}.png`);
    dialog.showModal();
  },
  /** An image as a button that does something, by itself shows it in large. */
  tile: (picture, title, onclick = () => app.look(picture, title)) =>
    el("button", { type: "button", className: "tile", title, onclick }, picture.element(title)),
};

for (const tab of tabs) {
  tab.addEventListener("click", () => app.go(nameOf(tab)));
  tab.addEventListener("keydown", ({ key }) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
    if (!step) return;
    const next = tabs.at((tabs.indexOf(tab) + step) % tabs.length);
    next.focus();
    next.click();
  });
}
for (const slider of document.querySelectorAll("[name=temperature]")) {
  slider.addEventListener("input", () => (slider.form.elements.degrees.value = Number(slider.value).toFixed(2)));
}
addEventListener("key-wanted", () => ($("#key").hidden = false));
onSubmit($("#key"), () => {
  useKey($("#key").elements.key.value.trim());
  location.reload();
});
addEventListener("hashchange", () => app.go(location.hash.slice(1)));

try {
  app.models = await loadModels();
  // First those that say most of an image.
  const rank = (model) => (can(model, "detect") ? (can(model, "score") ? 0 : 1) : 2);
  app.ready = app.models.filter((model) => model.state === "ready").sort((a, b) => rank(a) - rank(b));
  app.sources = sources(app);
  for (const [name, tab] of Object.entries(TABS)) app.open[name] = tab($(`#${name}`), app);
  app.go(location.hash.slice(1));
  document.body.dataset.ready = "yes";
} catch (error) {
  $("main").prepend(el("p", { className: "said", role: "alert" }, error.message));
  if (!(error instanceof Problem)) throw error;
}
