/** The worker that holds a photograph and its layers, so that the page stays responsive. */

import { mix } from "./light.js";
import { load } from "./network.js";
import { PictureError, preview, read, write } from "./picture.js";

/** @typedef {import("./picture.js").Picture} Picture */
/** @typedef {Record<"photo" | "transmission" | "reflection", Picture> & {confidence?: Picture}} Held */

const PREVIEW_PIXELS = 1 << 21;
const scope = /** @type {DedicatedWorkerGlobalScope} */ (/** @type {unknown} */ (self));
/** @type {ReturnType<typeof load> | undefined} */
let network;
/** @type {Held | undefined} */
let whole;
/** @type {Held | undefined} */
let shown;

/** @param {Blob} blob */
async function separate(blob) {
  const photo = await read(blob);
  network ??= load((loaded, total) => scope.postMessage({ progress: { loaded, total } }));
  const { run, backend } = await network.catch((error) => {
    network = undefined; // the next picture tries again
    throw new PictureError(`The model could not be loaded (${error.message}); check the connection and reload the page.`);
  });
  scope.postMessage({ progress: null });
  const { width, height } = photo;
  const start = performance.now();
  const layers = await run(toPlanes(photo), width, height, false);
  whole = {
    photo,
    transmission: fromPlanes(layers.transmission, photo),
    reflection: fromPlanes(layers.reflection, photo),
  };
  const seconds = (performance.now() - start) / 1000;
  shown = /** @type {Held} */ (
    Object.fromEntries(Object.entries(whole).map(([name, picture]) => [name, preview(picture, PREVIEW_PIXELS)]))
  );
  return { width, height, seconds, backend, deep: photo.data instanceof Uint16Array, before: await write(shown.photo, "image/png") };
}

/** Estimate the confidence map of the present photograph; it costs two passes, so it waits until somebody asks for it. */
async function estimateConfidence() {
  if (!whole || !shown || !network || whole.confidence) return;
  const { photo } = whole;
  const { confidence } = await (await network).run(toPlanes(photo), photo.width, photo.height, true);
  whole.confidence = fromMap(confidence, photo);
  shown.confidence = preview(whole.confidence, PREVIEW_PIXELS);
}

/** @param {"whole" | "shown"} size @param {string} view @param {number} strength @returns {Promise<Picture>} */
async function chosen(size, view, strength) {
  if (view === "confidence") await estimateConfidence();
  const held = size === "whole" ? whole : shown;
  if (!held) throw new PictureError("Choose a photograph first.");
  if (view === "reflection") return held.reflection;
  if (view === "confidence" && held.confidence) return held.confidence;
  return { ...held.photo, data: mix(held.photo.data, held.transmission.data, held.reflection.data, strength) };
}

/** @param {Picture} photo @returns {Float32Array} [3, H, W] */
function toPlanes({ width, height, data }) {
  const [count, top] = [width * height, data instanceof Uint16Array ? 65535 : 255];
  const planes = new Float32Array(3 * count);
  for (let c = 0; c < 3; c += 1) for (let i = 0; i < count; i += 1) planes[c * count + i] = data[4 * i + c] / top;
  return planes;
}

/** @param {Float32Array} planes [3, H, W] @param {Picture} photo @returns {Picture} */
function fromPlanes(planes, photo) {
  const count = photo.width * photo.height;
  const top = photo.data instanceof Uint16Array ? 65535 : 255;
  const data = photo.data.slice();
  for (let c = 0; c < 3; c += 1) for (let i = 0; i < count; i += 1) data[4 * i + c] = top * planes[c * count + i] + 0.5;
  return { ...photo, data };
}

/** @param {Float32Array} map [H, W] @param {Picture} photo @returns {Picture} */
function fromMap(map, photo) {
  const data = new Uint8ClampedArray(4 * map.length);
  for (let i = 0; i < map.length; i += 1) data.fill(255 * map[i], 4 * i, 4 * i + 3).fill(255, 4 * i + 3, 4 * i + 4);
  return { ...photo, data };
}

/** @type {Record<string, (request: any) => Promise<unknown>>} */
const tasks = {
  separate: ({ blob }) => separate(blob),
  show: async ({ view, strength }) => write(await chosen("shown", view, strength), "image/png"),
  save: async ({ view, strength, format }) => write(await chosen("whole", view, strength), format),
};

// Each task ends before the next begins: two pictures at once would not fit.
let queue = Promise.resolve();
scope.onmessage = ({ data: { id, task, ...request } }) => {
  queue = queue.then(async () => {
    try {
      scope.postMessage({ id, result: await tasks[task](request) });
    } catch (error) {
      const memory = error instanceof RangeError || /memory|allocat/i.test(String(error));
      const known = error instanceof PictureError;
      const reason = memory ? "There is not enough memory for this picture; make it smaller." : `This picture could not be separated (${error}).`;
      scope.postMessage({ id, error: known ? error.message : reason });
    }
  });
};
