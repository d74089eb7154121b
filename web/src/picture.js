/** Decoding and encoding of pictures. Pixels are RGBA, 8 bits a channel or 16 where a PNG has them. */

import { decode, encode } from "fast-png";

/**
 * @typedef {object} Picture
 * @property {number} width
 * @property {number} height
 * @property {Uint8ClampedArray | Uint16Array} data RGBA
 * @property {"srgb" | "display-p3"} colorSpace
 */

/** The largest picture, in pixels: the layers of a larger one do not fit into a page's 4 GB. */
export const LARGEST = 24e6;
const SMALLEST_SIDE = 16;
const PNG = [0x89, 0x50, 0x4e, 0x47];
const DEPTH_AT = 24;

/** A problem that its one sentence explains to the person who chose the picture. */
export class PictureError extends Error {}

/**
 * Decode a picture, upright, in its own gamut if that is sRGB or Display P3.
 *
 * @param {Blob} blob
 * @returns {Promise<Picture>}
 */
export async function read(blob) {
  const head = new Uint8Array(await blob.slice(0, DEPTH_AT + 2).arrayBuffer());
  const isPng = PNG.every((value, i) => head[i] === value);
  const bitmap = await createImageBitmap(blob, { imageOrientation: "from-image", premultiplyAlpha: "none" }).catch(() => {
    throw new PictureError("This file is not a picture that the browser can read; choose a JPEG, PNG or WebP file.");
  });
  const { width, height } = bitmap;
  if (width * height > LARGEST) {
    bitmap.close();
    const size = (width * height / 1e6).toFixed(0);
    throw new PictureError(
      `This picture has ${size} megapixels and the page can hold ${LARGEST / 1e6}; make it smaller, or use the program.`,
    );
  }
  if (Math.min(width, height) < SMALLEST_SIDE) {
    bitmap.close();
    throw new PictureError(`This picture has ${width} x ${height} pixels; choose one of at least ${SMALLEST_SIDE} x ${SMALLEST_SIDE}.`);
  }
  if (isPng && head[DEPTH_AT] === 16) {
    bitmap.close();
    const png = decode(await blob.arrayBuffer());
    if (!png.iccEmbeddedProfile) return { width, height, data: toRgba(png), colorSpace: "srgb" };
    throw new PictureError("This 16-bit PNG has a colour profile, which the page cannot convert; save it as sRGB.");
  }
  const colorSpace = (await isWide(blob, isPng)) ? "display-p3" : "srgb";
  const context = canvasContext(width, height, colorSpace);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { data } = context.getImageData(0, 0, width, height, { colorSpace });
  return { width, height, data, colorSpace };
}

/**
 * Encode pixels as a file.
 *
 * @param {Picture} picture
 * @param {string} format "image/jpeg", "image/png" or "image/png;depth=16"
 * @returns {Promise<Blob>}
 */
export async function write(picture, format) {
  const { width, height, data, colorSpace } = picture;
  if (format === "image/png;depth=16") {
    const deep = data instanceof Uint16Array ? data : Uint16Array.from(data, (value) => value * 257);
    const file = encode({ width, height, data: deep, depth: 16, channels: 4 });
    return new Blob([/** @type {Uint8Array<ArrayBuffer>} */ (file)], { type: "image/png" });
  }
  const context = canvasContext(width, height, colorSpace);
  context.putImageData(new ImageData(toBytes(data), width, height, { colorSpace }), 0, 0);
  return context.canvas.convertToBlob({ type: format, quality: 0.95 });
}

/**
 * Shrink a picture to at most `pixels`, 8 bits a channel, to be shown.
 *
 * @param {Picture} picture
 * @param {number} pixels
 * @returns {Picture}
 */
export function preview(picture, pixels) {
  const scale = Math.min(1, Math.sqrt(pixels / (picture.width * picture.height)));
  const bytes = toBytes(picture.data);
  if (scale === 1) return { ...picture, data: bytes };
  const { colorSpace } = picture;
  const whole = canvasContext(picture.width, picture.height, colorSpace);
  whole.putImageData(new ImageData(bytes, picture.width, picture.height, { colorSpace }), 0, 0);
  const [width, height] = [Math.round(picture.width * scale), Math.round(picture.height * scale)];
  const small = canvasContext(width, height, colorSpace);
  small.imageSmoothingQuality = "high";
  small.drawImage(whole.canvas, 0, 0, width, height);
  return { width, height, data: small.getImageData(0, 0, width, height, { colorSpace }).data, colorSpace };
}

/** @param {Uint8ClampedArray | Uint16Array} data */
function toBytes(data) {
  const bytes = data instanceof Uint16Array ? Uint8ClampedArray.from(data, (value) => value / 257) : data;
  return /** @type {Uint8ClampedArray<ArrayBuffer>} */ (bytes);
}

/** @param {number} width @param {number} height @param {"srgb" | "display-p3"} colorSpace */
function canvasContext(width, height, colorSpace) {
  const context = new OffscreenCanvas(width, height).getContext("2d", { colorSpace, willReadFrequently: true });
  if (!context) throw new PictureError("The browser has no memory left for this picture; close other pages.");
  return context;
}

/** @param {import("fast-png").DecodedPng} png 16 bits a channel */
function toRgba(png) {
  const { width, height, channels } = png;
  const data = /** @type {Uint16Array} */ (png.data);
  const result = new Uint16Array(width * height * 4).fill(65535);
  for (let i = 0; i < width * height; i += 1) {
    for (let c = 0; c < 3; c += 1) result[4 * i + c] = data[channels * i + (channels > 2 ? c : 0)];
    if (channels % 2 === 0) result[4 * i + 3] = data[channels * i + channels - 1];
  }
  return result;
}

/** Tell whether a file carries a profile that is described as Display P3. @param {Blob} blob @param {boolean} isPng */
async function isWide(blob, isPng) {
  const head = await blob.slice(0, 1 << 17).arrayBuffer();
  const text = new TextDecoder("latin1").decode(isPng ? await profileOfPng(head) : head).replaceAll("\0", "");
  return text.includes("Display P3");
}

/** Return the colour profile of a PNG, which is compressed; nothing if there is none. @param {ArrayBuffer} head */
async function profileOfPng(head) {
  const bytes = new Uint8Array(head);
  const view = new DataView(head);
  for (let at = 8; at + 12 < bytes.length; at += 12 + view.getUint32(at)) {
    const end = at + 8 + view.getUint32(at);
    const name = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    if (name === "iCCP" && end <= bytes.length) {
      const start = bytes.indexOf(0, at + 8) + 2; // after the profile's name and the method
      const packed = new Blob([bytes.slice(start, end)]).stream();
      return new Response(packed.pipeThrough(new DecompressionStream("deflate"))).arrayBuffer().catch(() => new ArrayBuffer(0));
    }
    if (name === "IDAT") break;
  }
  return new ArrayBuffer(0);
}
