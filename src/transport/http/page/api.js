// Asks the server. Knows paths, bodies, events and problems, and nothing of what is shown.
// Addresses are relative, so that the page works behind any prefix.

/** What went wrong, as a sentence for people. */
export class Problem extends Error {}

/** Makes a sentence of what a problem document says. */
const sentence = (problem, status) => {
  const text = (problem.detail || problem.title || `The server answered with the status ${status}`).trim();
  const again = problem.retry_after ? ` Try again in ${problem.retry_after} s.` : "";
  return text[0].toUpperCase() + text.slice(1).replace(/[.!?]?$/, ".") + again;
};

/** Keeps the key that a server with `--keys` wants until the window is closed, and no longer. */
export const useKey = (key) => sessionStorage.setItem("key", key);
const withKey = (headers, key = sessionStorage.getItem("key")) =>
  key ? { ...headers, authorization: `Bearer ${key}` } : headers;

/** An answer, or a `Problem`; the event `key-wanted` if another key may help. Aborting stays an `AbortError`. */
async function request(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { ...options, headers: withKey(options.headers) });
  } catch (error) {
    if (error.name === "AbortError" || error.name === "TimeoutError") throw error;
    throw new Problem("The server cannot be reached.");
  }
  if (answer.ok) return answer;
  if ([401, 403].includes(answer.status)) dispatchEvent(new Event("key-wanted"));
  const problem = await answer.json().catch(() => ({}));
  throw new Problem(sentence(problem, answer.status));
}

export const getJson = async (path, options) => (await request(path, options)).json();
export const getText = async (path, options) => (await request(path, options)).text();

/** Every version that is loaded or was refused; `newest` marks those that a path without a version means. */
export async function loadModels() {
  const { models } = await getJson("v1/models");
  const newest = new Map();
  for (const model of models) {
    const other = newest.get(model.name);
    if (model.state === "ready" && !(other?.version > model.version)) newest.set(model.name, model);
  }
  for (const model of models) model.newest = newest.get(model.name) === model;
  return models;
}

export const pathOf = ({ name, version, newest }) =>
  `v1/models/${encodeURIComponent(name)}${newest ? "" : `/versions/${version}`}`;
/** What a model says of one operation: whether it can, why not, and in which formats it answers. */
export const capability = (model, operation) =>
  model.capabilities?.find(({ name }) => name === operation) ?? { available: false, reason: "it is not loaded" };
export const can = (model, operation) => capability(model, operation).available;

const queryOf = (options) => {
  const given = Object.entries(options).filter(([, value]) => value !== undefined && value !== "" && value !== false);
  return given.length ? `?${new URLSearchParams(given)}` : "";
};

/** Has a model do an operation; `body` is what goes in as JSON. The answer of one image is its result, or a problem. */
export async function ask(model, operation, options, body, signal) {
  const headers = body ? { "content-type": "application/json" } : {};
  const init = { method: "POST", signal, headers, body: body && JSON.stringify(body) };
  const answer = await (await request(`${pathOf(model)}/${operation}${queryOf(options)}`, init)).json();
  const failed = answer.results?.find((result) => result.error);
  if (failed) throw new Problem(sentence(failed.error));
  return answer;
}

/** The same in events: calls `progress` with each, and gives the answer. */
export async function watch(model, operation, options, progress, signal) {
  const init = { method: "POST", signal, headers: { accept: "text/event-stream" } };
  const answer = await request(`${pathOf(model)}/${operation}${queryOf(options)}`, init);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    const events = (rest + part.value).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const field = (name) => event.match(new RegExp(`^${name}: ?(.*)$`, "m"))?.[1];
      if (!field("data")) continue;
      const data = JSON.parse(field("data"));
      if (field("event") === "error") throw new Problem(sentence(data));
      if (field("event") === "done") return data;
      progress(data);
    }
  }
  throw new Problem("The server ended the answer before it was whole.");
}

/** The command that asks the same, for an image saved as `image.png` or without one. */
export function curl(model, operation, options, { image = true, accept } = {}) {
  const url = new URL(`${pathOf(model)}/${operation}${queryOf(options)}`, document.baseURI);
  if (image) url.searchParams.set("convert", "true");
  const parts = ["curl", image ? "-F image=@image.png" : "-X POST", accept && `-N -H "accept: ${accept}"`,
    sessionStorage.getItem("key") && '-H "authorization: Bearer $KEY"', `"${url}"`];
  return parts.filter(Boolean).join(" ");
}
