// Charts as SVG. Colours are classes of the page's style; whoever cannot see a chart is told what it shows.

import { el, number, words } from "./dom.js";

const [WIDTH, LEFT, RIGHT, TOP, BOTTOM] = [480, 44, 468, 26, 36];
function svg(name, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children.flat(Infinity));
  return node;
}

const text = (content, x, y, anchor = "middle", name = "") =>
  svg("text", { x, y, "text-anchor": anchor, class: name }, content);
const path = (name, d) => svg("path", { class: name, d });
const plain = (value) => String(Number(value.toPrecision(3))).replace("-", "−");

/** Some four round numbers between two. */
function ticks([low, high]) {
  const power = 10 ** Math.floor(Math.log10((high - low) / 5));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= (high - low) / 5);
  const first = Math.ceil(low / step);
  const count = step > 0 && Number.isFinite(first) ? Math.max(0, Math.floor(high / step) - first + 1) : 0;
  return Array.from({ length: count }, (_, i) => (first + i) * step);
}

/** Axes with numbers, and what `draw` puts between them. */
function frame({ label, height, x, y, xName, yName, at = ticks(x), mark = plain }, draw) {
  const clip = (value, [low, high]) => Math.max(0, Math.min(1, (value - low) / (high - low || 1)));
  const bottom = height - BOTTOM;
  const across = (value) => LEFT + (RIGHT - LEFT) * clip(value, x);
  const down = (value) => bottom - (bottom - TOP) * clip(value, y);
  return svg("svg", { viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": label },
    ticks(y).map((value) => [
      path("grid", `M${LEFT} ${down(value)}H${RIGHT}`), text(plain(value), LEFT - 6, down(value) + 4, "end")]),
    at.map((value) => text(mark(value), across(value), height - 18)),
    text(xName, (LEFT + RIGHT) / 2, height - 3), text(yName, 4, 12, "start"),
    path("axis", `M${LEFT} ${bottom}H${RIGHT}`), draw(across, down, bottom));
}

/** Where a value lies among calibration scores, and which are rejected: those with p-values up to `threshold`. */
export function place({ scores, two_sided: isTwoSided, statistic }, value, threshold) {
  const n = scores.length;
  // Strangeness spreads over powers of ten: what is ordinary would be one bar.
  const isWide = !isTwoSided && scores[0] >= 0;
  const [scale, back] = isWide ? [(own) => Math.log1p(Math.max(0, own)), Math.expm1] : [(own) => own, (own) => own];
  const [low, high] = [scale(scores[0]), scale(scores[n - 1])];
  const width = high - low || 1;
  const seen = Number.isFinite(value) ? scale(value) : isTwoSided ? -Infinity : Infinity;
  // A value far outside is shown at the edge, so that the bars keep their width.
  const x = [Math.max(Math.min(low, seen), low - 0.6 * width), Math.min(Math.max(high, seen), high + 0.6 * width)];
  const counts = new Array(Math.min(48, Math.max(12, Math.round(Math.sqrt(n) * 2)))).fill(0);
  const bar = (score) => Math.min(counts.length - 1, Math.floor(((scale(score) - low) / width) * counts.length));
  for (const score of scores) counts[bar(score)] += 1;
  // p ≤ t where at most t (n + 1) − 1 scores lie at least as far out; half of t on each side if both sides are strange.
  const out = Math.floor((threshold * (n + 1)) / (isTwoSided ? 2 : 1) + 1e-9) - 1;
  const edges = out < 0 ? [] : [...(isTwoSided ? [scores[out]] : []), scores[n - 1 - out]];
  const beyond = edges.map((edge) => number(edge, 1)).join(" and ");
  return frame({
    label: `${n} calibration scores; this image: ${number(value, 1)}; rejected beyond ${beyond}`, height: 240, x,
    y: [0, Math.max(...counts)], xName: words(statistic) + (isTwoSided ? ", nats" : ""), yName: "calibration images",
    at: isWide ? [0, 1, 10, 100, 1e3, 1e4, 1e5].map(Math.log1p).filter((at) => at <= x[1]) : ticks(x),
    mark: (at) => plain(back(at)),
  }, (across, down, bottom) => {
    const rect = (name, from, to, top) =>
      svg("rect", { class: name, x: from, y: top, width: Math.max(0.5, to - from), height: bottom - top });
    const shades = edges.map((edge, i) => (isTwoSided && i === 0 ? [x[0], scale(edge)] : [scale(edge), x[1]]));
    const side = (i) => across(low + (width * i) / counts.length);
    const here = across(seen);
    return [shades.map(([from, to]) => rect("rejected", across(from), across(to), TOP)),
      counts.map((count, i) => rect("bar", side(i), side(i + 1) - 1, down(count))),
      edges.map((edge) => path("threshold", `M${across(scale(edge))} ${TOP}V${bottom}`)),
      path("here", `M${here} ${TOP - 4}V${bottom}`), svg("circle", { class: "here", cx: here, cy: TOP - 4, r: 4 }),
      text("this image", here + (here > 300 ? -8 : 8), TOP - 2, here > 300 ? "end" : "start", "strong")];
  });
}

/** Values one after another, with a level that they should not reach. */
export function curve({ values, step, limit, ...names }) {
  const x = [0, Math.max(1, (values.length - 1) * step)];
  const y = [Math.min(0, ...values), Math.max(limit * 1.15, ...values)];
  return frame({ height: 220, x, y, ...names }, (across, down) => [
    path("threshold", `M${LEFT} ${down(limit)}H${RIGHT}`), text("alarm", RIGHT, down(limit) - 5, "end"),
    path("curve", `M${values.map((value, i) => `${across(i * step)} ${down(value)}`).join("L")}`)]);
}

/** Probabilities by name as bars, the greatest first. */
export const bars = (entries) => el("ul", { className: "bars" },
  [...entries].sort((a, b) => b[1] - a[1]).slice(0, 10).map(([name, value]) => {
    const bar = el("span");
    bar.style.width = `${100 * value}%`;
    return el("li", {}, bar, `${name} `, el("b", {}, `${number(100 * value, 1)} %`));
  }));
