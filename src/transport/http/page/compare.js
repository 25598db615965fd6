// Compare: one image, asked of every model of its size; whoever cannot answer says why.

import { ask, can, capability, Problem } from "./api.js";
import { $, calm, card, el, number, share, Task, words } from "./dom.js";
const QUESTIONS = {
  score: ["Likelihood", ({ bound }, { log_likelihood: nats, bits_per_dim: bits }) =>
    [`${number(bits, 3)} bits/dim`, `${number(nats)} nats, ${words(bound)}`]],
  detect: ["At 1 % false alarms", (_, { decision, p_value: p }) => [`${decision}s it`, `p = ${share(p)}`]],
  classify: ["Label", (_, { label, decision, probability }) =>
    [label ?? words(decision), label === null ? "no label is given" : `with probability ${number(probability, 3)}`]],
};
export default function compare(panel, app) {
  const task = new Task(panel);
  const [results, sizes] = [$(".results", panel), $("#sizes")];
  const groups = app.bySize(app.ready).map(([, models]) => models);
  sizes.append(...groups.map((models, i) => new Option(`${app.sizeName(models[0])} (${models.length} models)`, i)));
  sizes.addEventListener("change", () => app.refresh());
  const size = () => groups[sizes.value]?.[0].image;

  const refresh = calm(async () => {
    const models = groups[sizes.value] ?? [];
    const picture = models.length && app.picture(size());
    if (!picture) return;
    const lists = models.map(() => el("dl", { className: "answers" }));
    const family = (model) => el("p", { className: "soft" }, words(model.family));
    results.replaceChildren(...models.map((model, i) => card(model.name, family(model), lists[i])));
    await task.run(async (signal, progress) => {
      const questions = Object.entries(QUESTIONS);
      const all = models.flatMap((model, i) => questions.map((question) => [model, lists[i], ...question]));
      for (const [done, [model, list, name, [title, say]]] of all.entries()) {
        const line = el("dd");
        list.append(el("dt", {}, title), line);
        try {
          if (!can(model, name)) throw new Problem(`— ${capability(model, name).reason}`);
          const answer = await ask(model, name, {}, picture.body(), signal);
          const [strong, rest] = say(answer, answer.results[0]);
          line.append(el("b", {}, strong), ` ${rest}`);
        } catch (error) {
          if (!(error instanceof Problem)) throw error;
          line.append(el("small", {}, error.message));
        }
        progress((done + 1) / all.length);
      }
    });
  }, 60);
  /** The models of the size that was looked at last. */
  function enter() {
    const same = groups.findIndex(([model]) => app.size && app.sameSize(model.image, app.size));
    if (same >= 0) sizes.value = same;
  }

  return { wantsImage: true, size, enter, leave: task.cancel, refresh };
}
