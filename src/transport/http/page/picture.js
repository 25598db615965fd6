// Images as a model has them: whole levels, row by row, channels together. Conversions are those of the server, digit
// for digit, so that what is shown is what is judged.

/** A canvas of a size, and what draws on it. */
export function canvasOf(width, height) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  return [canvas, canvas.getContext("2d", { willReadFrequently: true })];
}

export class Picture {
  /** `size` is what a model says of its images; `data` has channels · width · height levels, interleaved. */
  constructor(size, data) {
    Object.assign(this, { size, data });
  }
  /** As a body has it: rows of columns, or rows of columns of channels. */
  body() {
    const { channels, width, height } = this.size;
    const all = (at) => [...this.data.subarray(at * channels, (at + 1) * channels)];
    const pixel = (at) => (channels === 1 ? this.data[at] : all(at));
    const row = (y) => Array.from({ length: width }, (_, x) => pixel(y * width + x));
    return { images: [{ pixels: Array.from({ length: height }, (_, y) => row(y)) }] };
  }
  /** Drawn pixel by pixel onto a canvas, or a new one. */
  paint(canvas = canvasOf(1, 1)[0]) {
    const { channels, width, height, levels } = this.size;
    Object.assign(canvas, { width, height });
    const image = new ImageData(width, height);
    for (let at = 0; at < width * height; at++) {
      const value = (channel) => Math.round((this.data[at * channels + channel] * 255) / (levels - 1));
      const colour = (channels < 3 ? [0, 0, 0] : [0, 1, 2]).map(value);
      image.data.set([...colour, channels % 2 ? 255 : value(channels - 1)], at * 4);
    }
    canvas.getContext("2d").putImageData(image, 0, 0);
    return canvas;
  }
  /** An element that shows it, and says so. */
  element(ariaLabel) {
    const canvas = Object.assign(this.paint(), { ariaLabel, className: "pixels" });
    canvas.setAttribute("role", "img");
    return canvas;
  }
  /** Offers it as a PNG file. */
  save(download = "image.png") {
    const href = this.paint().toDataURL("image/png");
    Object.assign(document.createElement("a"), { href, download }).click();
  }
}

/** From what a browser can draw to a model's size: `how` is crop, pad or stretch. */
export function fit(source, size, { how = "crop", invert = false } = {}) {
  const { channels, width, height, levels } = size;
  const [, context] = canvasOf(width, height);
  const hasAlpha = channels % 2 === 0;
  if (!hasAlpha) context.fillRect(0, 0, width, height);
  context.imageSmoothingEnabled = source.width !== width || source.height !== height;
  context.imageSmoothingQuality = "high";
  const ratios = [width / source.width, height / source.height];
  const one = how === "crop" ? Math.max(...ratios) : Math.min(...ratios);
  const [w, h] = how === "stretch" ? [width, height] : [source.width * one, source.height * one];
  context.drawImage(source, (width - w) / 2, (height - h) / 2, w, h);
  const pixels = context.getImageData(0, 0, width, height).data;
  const data = new Uint8Array(width * height * channels);
  for (let at = 0; at < width * height; at++) {
    const [red, green, blue, alpha] = pixels.subarray(at * 4, at * 4 + 4);
    const grey = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;
    const turned = (channels < 3 ? [grey] : [red, green, blue]).map((value) => (invert ? 255 - value : value));
    const values = hasAlpha ? [...turned, alpha] : turned;
    data.set(values.map((value) => Math.floor((value * levels) / 256)), at * channels);
  }
  return new Picture(size, data);
}
/** A file as something to draw, its values as they stand in it. */
export const bitmap = (file) => createImageBitmap(file, { colorSpaceConversion: "none" });

/** The image of an answer. */
export async function decode({ media_type: type, base64 }, size) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  return fit(await bitmap(new Blob([bytes], { type })), size);
}

/** Images that any size has, by name: what a model should find strange. */
export function synthetic(size) {
  const { channels, width, height, levels } = size;
  const make = (value) => new Picture(size, Uint8Array.from({ length: width * height * channels }, (_, at) => {
    const pixel = Math.floor(at / channels);
    return Math.min(levels - 1, value(pixel % width, Math.floor(pixel / width)) * levels);
  }));
  const stripe = (x) => (Math.floor((x * Math.min(8, width)) / width) % 2 ? 0.9 : 0.1);
  return [["noise", make(() => Math.random())], ["stripes", make(stripe)],
    ["a slope", make((x, y) => (x + y) / (width + height))], ["nothing", make(() => 0)]];
}

/** Colours of heat: of an amount from dark to bright, or from blue for over nothing to red against. */
const SCALES = {
  amount: [[12, 7, 40], [88, 20, 110], [187, 55, 84], [249, 142, 8], [252, 255, 164]],
  sides: [[33, 102, 220], [90, 150, 230], [128, 128, 128], [235, 110, 80], [220, 20, 40]],
};

/** A map of an answer (rows of columns, or channels of these) as colours, channels summed; `sign` turns it. */
export function heat(map, { scale = "amount", sign = 1, ariaLabel = "Heat map" } = {}) {
  const planes = Array.isArray(map[0][0]) ? map : [map];
  const values = planes[0].flatMap((row, y) => row.map((_, x) => planes.reduce((sum, p) => sum + sign * p[y][x], 0)));
  const sorted = values.map((value) => (scale === "sides" ? Math.abs(value) : value)).sort((a, b) => a - b);
  // One pixel alone does not decide how bright the others are.
  const top = sorted[Math.floor(0.995 * (sorted.length - 1))] || 1e-9;
  const bottom = scale === "sides" ? -top : Math.min(0, sorted[0]);
  const [canvas, context] = canvasOf(planes[0][0].length, planes[0].length);
  const image = new ImageData(canvas.width, canvas.height);
  values.forEach((value, place) => {
    const at = Math.max(0, Math.min(1, (value - bottom) / (top - bottom))) * 4;
    const [from, to] = [SCALES[scale][Math.floor(at)], SCALES[scale][Math.ceil(at)]];
    const colour = from.map((start, i) => start + (to[i] - start) * (at % 1));
    const weight = scale === "sides" ? Math.min(1, Math.abs(value) / top) : 1;
    image.data.set([...colour, 255 * weight], place * 4);
  });
  context.putImageData(image, 0, 0);
  canvas.setAttribute("role", "img");
  return Object.assign(canvas, { ariaLabel, className: "pixels" });
}
