// Models: what is loaded and what it proved, and how the server is doing.

import { getJson, getText, pathOf, Problem } from "./api.js";
import { curve } from "./charts.js";
import { $, card, el, fact, number, table, Task, words } from "./dom.js";
const EVERY_MILLISECONDS = 2000;

/** Samples of the Prometheus text format: name, labels, value. */
const parse = (text) => [...text.matchAll(/^density_(\w+)(?:\{(.*)\})? (\S+)$/gm)].map(([, name, labels, value]) => {
  const pairs = [...(labels ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)];
  return { name, value: Number(value), labels: Object.fromEntries(pairs.map(([, key, own]) => [key, own])) };
});

/** The time below which a share of what a histogram counted lies, as its buckets tell. */
function quantile(buckets, part) {
  const all = buckets.at(-1)?.value;
  const found = all ? buckets.findIndex(({ value }) => value >= part * all) : -1;
  if (found < 0) return "—";
  const [low, high] = [found - 1, found].map((i) => Number(buckets[i]?.labels.le ?? 0));
  const before = buckets[found - 1]?.value ?? 0;
  const within = (part * all - before) / (buckets[found].value - before || 1);
  const seconds = Number.isFinite(high) ? low + (high - low) * within : low;
  return `${number(1000 * seconds, seconds < 0.01 ? 2 : 0)} ms`;
}

export default function health(panel, app) {
  const task = new Task(panel);
  const [now, drifts, models] = ["card", "drifts", "models"].map((className) => el("div", { className }));
  $(".results", panel).append(now, drifts, models);
  let timer;
  async function tick() {
    const watched = app.ready.filter((model) => model.watches_drift);
    await task.run((signal) => Promise.all([glance(signal), ...watched.map((model) => drift(model, signal))]));
    clearTimeout(timer);
    if (app.tab === "health") timer = setTimeout(tick, EVERY_MILLISECONDS);
  }

  async function glance(signal) {
    const samples = parse(await getText("metrics", { signal }).catch((error) => {
      if (!(error instanceof Problem)) throw error;
      throw new Problem("Metrics are not served here; the operator has them at an address of their own.");
    }));
    const of = (name) => samples.filter((sample) => sample.name === name);
    const sum = (name) => number(of(name).reduce((all, { value }) => all + value, 0), 0);
    const row = ({ labels: { model, operation } }) => {
      const own = (name) => of(name).filter(({ labels }) => labels.model === model && labels.operation === operation);
      const [waits, runs] = [own("queue_wait_seconds_bucket"), own("inference_duration_seconds_bucket")];
      const images = own("images_total")[0]?.value ?? 0;
      return [`${model} ${operation}`, images, quantile(waits, 0.5), quantile(runs, 0.5), quantile(runs, 0.99)];
    };
    const busy = of("inference_duration_seconds_count").filter(({ value }) => value > 0);
    const rows = busy.map(row).sort((a, b) => b[1] - a[1]).slice(0, 12);
    const names = ["model and operation", "images", "wait", "run", "run, p99"];
    now.replaceChildren(el("h2", {}, "Now"), el("dl", { className: "facts" },
      fact("in flight", sum("http_requests_in_flight"), "requests"), fact("waiting", sum("queue_items"), "items"),
      fact("answered", sum("http_requests_total"), "requests"),
      fact("refused", sum("rejected_requests_total"), "before any work"), fact("workers", sum("workers"), "threads")),
    rows.length ? table(names, rows.map((cells) => cells.map((cell) => cell.toLocaleString("en")))) : "");
  }

  async function drift(model, signal) {
    const { curve: values, curve_step: step, images, ...report } = await getJson(`${pathOf(model)}/drift`, { signal });
    const limit = Math.log(1 / report.alarm_rate);
    const label = `Log-capital over ${images} images: now ${number(values.at(-1), 2)}, alarm at ${number(limit)}`;
    const id = `drift-${model.name}-${model.version}`;
    const calmly = `No alarm after ${number(images, 0)} images. Bets on a change win only if there is one.`;
    const alarm = "Alarm: the images are no longer like those that calibrated it.";
    const own = card(`Drift of ${model.name}`,
      el("p", { className: report.alarm ? "said" : "soft" }, report.alarm ? alarm : calmly),
      curve({ label, values, step, limit, xName: "images judged", yName: "log of the capital" }));
    own.id = id;
    const old = document.getElementById(id);
    old ? old.replaceWith(own) : drifts.append(own);
  }

  models.append(el("h2", {}, "What is loaded"), ...app.models.map((model) => {
    const state = { ready: "Ready", failed: "Refused" }[model.state] ?? words(model.state);
    const { provenance: from, checks = [] } = model;
    return el("details", { className: "card" },
      el("summary", {}, el("b", {}, model.name), ` ${model.version} `, el("b", { className: model.state }, state),
        el("span", { className: "soft" }, model.family ? ` ${words(model.family)}, ${app.sizeName(model)}` : "")),
      model.reason ? el("p", { className: "said" }, model.reason) : null, el("p", {}, model.description ?? ""),
      el("p", { className: "soft" }, from ? `${number(from.parameters, 0)} weights; ${from.data}; ${from.licence}` : ""),
      checks.length ? el("h3", {}, "What it proved before it served") : null, el("dl", { className: "answers" },
        checks.flatMap(({ name, finding }) => [el("dt", {}, name), el("dd", {}, finding)])));
  }));

  return { enter: tick, leave: () => clearTimeout(timer) };
}
