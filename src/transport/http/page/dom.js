// Small things that every tab needs: elements, numbers as text, work that can be cancelled.

import { Problem } from "./api.js";

/** An element with properties and children. Text stays text: nothing here reads HTML. */
export function el(name, properties = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.includes("-") || key === "for" || key === "role") node.setAttribute(key, value);
    else node[key] = value;
  }
  node.append(...children.flat().filter((child) => child !== undefined && child !== null));
  return node;
}

export const $ = (selector, within = document) => within.querySelector(selector);

/** A number with a fixed count of digits after the point, a real minus, and thousands apart. */
export function number(value, digits = 1) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "−∞";
  const options = { minimumFractionDigits: digits, maximumFractionDigits: digits };
  return value.toLocaleString("en", options).replace("-", "−");
}
/** A probability: short, and never rounded to nothing. */
export const share = (value) =>
  value === 0 || value >= 1e-4 ? number(value, value >= 0.1 ? 2 : 4) : value.toExponential(1).replace("-", "−");
export const percent = (value) => `${number(100 * value, value < 0.001 ? 2 : value < 0.1 ? 1 : 0)} %`;
export const words = (name) => name.replaceAll("_", " ").replace(":", " of ");
/** A part of a panel with a title. */
export const card = (title, ...content) => el("section", { className: "card" }, el("h2", {}, title), ...content);
/** A value with its name. */
export const fact = (name, value, note) =>
  el("div", { className: "fact" }, el("dt", {}, name), el("dd", {}, value, note ? el("small", {}, note) : null));
/** Has a form do something without leaving the page. */
export const onSubmit = (form, work) => form.addEventListener("submit", (event) => {
  event.preventDefault();
  work();
});
/** Places for images of a size that are still to come. */
export const places = (count, { width, height }) => Array.from({ length: count }, () => {
  const place = el("div", { className: "tile empty" });
  place.style.aspectRatio = `${width} / ${height}`;
  return place;
});
/** A table; a row is cells, the first of which is its head. */
export const table = (names, rows) => el("table", {},
  el("thead", {}, el("tr", {}, names.map((name) => el("th", { scope: "col" }, name)))),
  el("tbody", {}, rows.map(([head, ...cells]) => el("tr", {}, el("th", { scope: "row" }, head),
    cells.map((cell) => el("td", {}, cell))))));

/** A function that runs when it has not been called for a moment. */
export function calm(work, milliseconds = 120) {
  let timer;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...given), milliseconds);
  };
}

/** The work of one panel: one thing at a time, with progress, a way to stop it, and what went wrong as a sentence. */
export class Task {
  constructor(panel) {
    this.bar = el("progress", { max: 1, "aria-label": "Progress" });
    const stop = el("button", { type: "button", className: "quiet", onclick: this.cancel }, "Cancel");
    this.working = el("div", { className: "working", hidden: true }, this.bar, stop);
    this.said = el("p", { className: "said", role: "alert", hidden: true });
    ($(".task", panel) ?? panel).append(this.working, this.said);
  }

  cancel = () => this.controller?.abort();

  say = (textContent = "") => Object.assign(this.said, { textContent, hidden: !textContent });
  /** Ends what runs and begins `work`, which gets a signal to end by and a function to tell how far it is (0 to 1). */
  async run(work) {
    this.cancel();
    const controller = (this.controller = new AbortController());
    const isCurrent = () => this.controller === controller;
    this.say();
    this.bar.removeAttribute("value");
    // What is done at once need not flicker.
    const shown = setTimeout(() => (this.working.hidden = !isCurrent()), 200);
    try {
      await work(controller.signal, (part) => isCurrent() && (this.bar.value = part));
    } catch (error) {
      if (isCurrent()) this.say(error.name === "AbortError" ? "Cancelled." : error.message);
      if (error.name !== "AbortError" && !(error instanceof Problem)) throw error;
    } finally {
      clearTimeout(shown);
      if (isCurrent()) this.working.hidden = true;
    }
  }
}
