// Where images come from: a file, what is dropped or pasted, the camera, a pad, the models themselves.

import { ask, can, Problem } from "./api.js";
import { brush } from "./brush.js";
import { $ } from "./dom.js";
import { bitmap, canvasOf, decode, synthetic } from "./picture.js";
/** Multiplications that a page may cause by being opened; more is drawn only when it is asked for. */
const LITTLE_WORK = 5e9;
const SAMPLES = 6;
export function sources(app) {
  const [seen, note, pad, camera, tools] = ["#seen", "#seen-note", "#pad", "#camera", "#pad-tools"].map((id) => $(id));
  const on = (id, event, work) => $(id).addEventListener(event, work);
  let [shown, offered, stream, seed] = [null, [], null, 1];

  async function take([file]) {
    if (!file) return;
    try {
      const source = await bitmap(file);
      leave();
      app.choose(source, file.name || "the pasted image");
    } catch {
      note.textContent = `${file.name || "This"} is not an image that this browser can read.`;
    }
  }
  on("#file", "change", ({ target }) => take(target.files));
  document.addEventListener("paste", ({ clipboardData }) => take(clipboardData.files));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    take(event.dataTransfer.files);
  });
  for (const id of ["#fit", "#invert"]) on(id, "change", () => app.refresh());
  on("#save-seen", "click", () => app.picture(app.size)?.save());
  on("#use-random", "click", () => offer(app.size, true));
  /** Puts camera and pad away. */
  function leave() {
    for (const track of stream?.getTracks() ?? []) track.stop();
    stream = null;
    camera.hidden = pad.hidden = tools.hidden = true;
    seen.hidden = false;
    $("#use-camera").textContent = "Camera";
    $("#use-pad").ariaPressed = "false";
  }

  on("#use-camera", "click", async () => {
    if (stream) {
      const [canvas, context] = canvasOf(camera.videoWidth, camera.videoHeight);
      context.drawImage(camera, 0, 0);
      leave();
      return app.choose(canvas, "the photograph");
    }
    leave();
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
      camera.srcObject = stream;
      await camera.play();
      [seen.hidden, camera.hidden] = [true, false];
      $("#use-camera").textContent = "Take the picture";
    } catch {
      // A browser has no camera for pages that come over the network without TLS; a telephone's file dialog has.
      leave();
      note.textContent = "There is no camera that this page may use. On a telephone, Open can take a photograph.";
    }
  });

  const drawn = () => app.choose(pad, "what you drew");
  function clear() {
    [pad.width, pad.height] = [336, Math.round((336 * app.size.height) / app.size.width)];
    pad.getContext("2d").fillRect(0, 0, pad.width, pad.height);
    drawn();
  }
  function line(from, to, lineWidth) {
    const ink = pad.getContext("2d");
    Object.assign(ink, { lineWidth, lineCap: "round", strokeStyle: $("#pad-colour").value });
    ink.beginPath();
    ink.moveTo(...from);
    ink.lineTo(...to);
    ink.stroke();
  }
  brush(pad, { width: () => (pad.width * $("#pad-width").value) / 100, line, done: drawn });
  on("#pad-clear", "click", clear);
  on("#use-pad", "click", () => {
    const opens = pad.hidden;
    leave();
    if (!opens) return;
    [pad.hidden, tools.hidden, seen.hidden] = [false, false, true];
    $("#use-pad").ariaPressed = "true";
    clear();
    pad.focus();
  });

  function put(all) {
    offered = all;
    const choose = (picture, title) => () => {
      leave();
      app.choose(picture.paint(), title);
    };
    $("#samples").replaceChildren(...all.map(([title, own]) => app.tile(own, title, choose(own, title))));
  }
  /** Samples to pick from: of a model that draws such images, and some that no model expects. */
  async function offer(size, isAsked) {
    shown = size;
    const strange = synthetic(size);
    put(strange);
    const makers = app.ready.filter((model) => can(model, "sample") && app.sameSize(model.image, size));
    const work = ({ sampler }) => (sampler ? (sampler.multiply_adds ?? Infinity) * SAMPLES : 0);
    makers.sort((a, b) => a.conditional - b.conditional);
    const maker = makers.find((own) => isAsked || work(own) <= LITTLE_WORK);
    $("#use-random").hidden = !makers.length;
    try {
      const { images } = maker ? await ask(maker, "sample", { n: SAMPLES, seed: seed++ }) : { images: [] };
      const pictures = await Promise.all(images.map((image) => decode(image, size)));
      if (shown !== size) return;
      put([...pictures.map((picture, i) => [`sample ${i + 1} of ${maker.name}`, picture]), ...strange]);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      note.textContent = error.message;
    }
    if (!app.image || isAsked) app.choose(offered[0][1].paint(), offered[0][0]);
  }

  return {
    leave,
    offered: () => offered,
    /** Shows the chosen image as a model of that size sees it. */
    show(size) {
      if (!shown || !app.sameSize(shown, size)) offer(size);
      const picture = app.picture(size);
      if (!picture) return;
      picture.paint(seen);
      const { width, height } = app.image.source;
      const fits = width === size.width && height === size.height;
      const changes = fits ? "" : `, which this page made of ${width} × ${height}`;
      note.textContent = `${app.image.name}, as the model sees it: ${size.width} × ${size.height}${changes}`;
    },
  };
}
