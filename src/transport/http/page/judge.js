// Judge: how likely an image is, where it is strange, and what would be rejected.

import { ask, can, capability, curl, getJson, pathOf } from "./api.js";
import { bars, place } from "./charts.js";
import { $, calm, card, el, fact, number, percent, share, table, Task, words } from "./dom.js";
import { heat } from "./picture.js";
const RATES = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9];
const QUESTIONS = ["detect", "score", "classify"];
const BOUNDS = { exact: "exact", exact_as_far_as_tried: "exact, as far as causality was tried" };
const VERDICTS = { none_of_these: "None of these", ambiguous: "Between labels" };

const facts = (...own) => el("dl", { className: "facts" }, own);

export default function judge(panel, app) {
  const task = new Task(panel);
  const results = $(".results", panel);
  const [rate, certify, label] = ["#rate", "#certify", "#judge-label"].map((id) => $(id));
  const calibrations = new Map();
  let [rates, opacity] = [RATES, 75];
  const chooser = app.chooser(panel, (model) => QUESTIONS.some((name) => can(model, name)), changed);

  const showRate = () => ($("#rate-value").textContent = rate.ariaValueText = percent(rates[rate.value]));
  /** The slider has the rates that the calibration supports. */
  async function changed() {
    const model = chooser.current();
    if (!model) return;
    $("[data-for=detect]", panel).hidden = !model.calibration;
    $("[data-for=certify]", panel).hidden = true;
    rates = RATES.filter((own) => own >= (model.calibration?.smallest_false_alarm_rate ?? 0));
    rate.max = rates.length - 1;
    rate.value = Math.max(0, rates.indexOf(0.01));
    showRate();
    const report = await calibration(model);
    if (model === chooser.current()) $("[data-for=certify]", panel).hidden = !report || report.two_sided;
  }
  /** The calibration scores of a model that judges; they do not change. */
  async function calibration(model) {
    if (!can(model, "detect")) return null;
    if (!calibrations.has(model)) calibrations.set(model, getJson(`${pathOf(model)}/calibration`));
    return calibrations.get(model);
  }

  const refresh = calm(async () => {
    const model = chooser.current();
    const picture = model && app.picture(model.image);
    if (!picture) return;
    await task.run(async (signal, progress) => {
      const report = await calibration(model);
      const rated = { false_alarm_rate: model.calibration && rates[rate.value] };
      const isCertified = report && !report.two_sided && certify.checked;
      const map = capability(model, "detect").formats?.includes("image/png");
      const options = {
        detect: { ...rated, confidence: isCertified ? 0.95 : "", map },
        score: { map: true, label: label.value },
        classify: can(model, "detect") ? {} : rated,
      };
      const asked = QUESTIONS.filter((name) => can(model, name));
      const answers = {};
      await Promise.all(asked.map(async (name) => {
        const answer = await ask(model, name, options[name], picture.body(), signal);
        answers[name] = { ...answer, ...answer.results[0] };
        progress(Object.keys(answers).length / asked.length);
      }));
      const { detect, score, classify } = answers;
      results.replaceChildren(...[detect && decision(detect, report), score && likelihood(score),
        overlay(picture, answers), classify && labels(classify), detect && statistics(detect)].filter(Boolean));
      $(".command", panel).hidden = false;
      $(".commands", panel).replaceChildren(...asked.map((name) => command(curl(model, name, options[name]))));
    });
  }, 60);
  for (const input of [rate, certify, label]) input.addEventListener("input", refresh);
  rate.addEventListener("input", showRate);
  /** What is strange, laid over the image. */
  function overlay(picture, { detect, score }) {
    const evidence = detect?.map;
    if (!evidence && !score?.log_probability_map) return null;
    const hasSides = evidence?.unit === "nats";
    const layer = evidence ? heat(evidence.values, { scale: hasSides ? "sides" : "amount" })
      : heat(score.log_probability_map, { sign: -1 });
    const say = evidence
      ? `Red speaks against the image${hasSides ? ", blue for it" : ""}: ${words(evidence.statistic)}, ${evidence.unit}.`
      : "Dark was expected, bright surprised the model: −log p of each pixel, given those before it.";
    const show = (value) => (layer.style.opacity = (opacity = value) / 100);
    const oninput = ({ target }) => show(target.value);
    const slider = el("input", { type: "range", min: 0, max: 100, value: opacity, oninput });
    show(opacity);
    return card("Where it is strange", el("div", { className: "stage overlay" }, picture.element("The image"), layer),
      el("label", { className: "wide" }, "Opacity ", slider), el("p", { className: "soft" }, say));
  }

  const leave = () => app.sources.leave();
  return { wantsImage: true, size: () => chooser.current()?.image, enter: chooser.enter, leave, refresh };
}

/** The verdict, and where it comes from. */
function decision(detect, report) {
  const rejects = detect.decision === "reject";
  const own = detect.statistics[report.statistic]?.value ?? detect.strangeness;
  const note = detect.confidence ? "certified with 95 % confidence" : "the false-alarm rate";
  const verdict = card(rejects ? "Rejected" : "Accepted",
    el("p", {}, `This is ${rejects ? "not like" : "like"} the images that the model knows. `,
      el("span", { className: "soft" }, `Promised: ${detect.guarantee}.`)),
    facts(fact("p-value", share(detect.p_value), "the share of ordinary images at least as strange"),
      fact("rejected up to", share(detect.threshold), note)),
    el("figure", {}, place(report, own, detect.threshold), el("figcaption", {},
      `This image among ${number(report.size, 0)} held-out ordinary ones (${report.description}). Shaded: rejected.`)));
  verdict.classList.add("verdict", rejects ? "bad" : "good");
  return verdict;
}

const likelihood = (score) => card("Likelihood", facts(
  fact("log-likelihood", `${number(score.log_likelihood)} nats`,
    BOUNDS[score.bound] ?? `${score.bound}: a lower bound, ${score.k} samples`),
  fact("bits/dim", number(score.bits_per_dim, 3), "for each channel of each pixel"),
  score.perplexity ? fact("perplexity", number(score.perplexity, 2), "levels that the model hesitates between") : "",
  score.likelihood_of ? fact("of", score.likelihood_of, score.label) : ""));

function labels(answer) {
  const note = (name) => (answer[name].reject ? "p-value: rejected" : "p-value");
  const doubt = (name) => fact(name, share(answer[name].p_value), note(name));
  return card(VERDICTS[answer.decision] ?? `Label: ${answer.label}`,
    answer.ambiguity ? facts(doubt("ambiguity"), doubt("novelty")) : "", bars(Object.entries(answer.probabilities)));
}

function statistics({ statistics: all, threshold }) {
  const entries = Object.entries(all);
  const own = table(["statistic", "value", "p-value"], entries.map(([name, { value, p_value: p }]) =>
    [words(name), number(value, Math.abs(value) < 10 ? 3 : 1), share(p)]));
  entries.forEach(([, { p_value: p }], i) => own.tBodies[0].rows[i].classList.toggle("strange", p <= threshold));
  return entries.length > 1 ? card("Every statistic's own", own) : null;
}

/** A command to copy. */
export function command(text) {
  const onclick = async ({ target }) => {
    // Pages that come over the network without TLS have no clipboard.
    await navigator.clipboard?.writeText(text);
    target.textContent = navigator.clipboard ? "Copied" : "Select and copy it";
  };
  return el("div", { className: "curl" }, el("code", { tabIndex: 0 }, text),
    el("button", { type: "button", className: "quiet", onclick }, "Copy"));
}
