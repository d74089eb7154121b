/** Mixing layers in linear light, as `clearpane.separation.strength` does. */

/** @param {number} v sRGB in [0, 1] */
const toLinear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
/** @param {number} v linear light in [0, 1] */
const toSrgb = (v) => (v <= 0.0031308 ? v * 12.92 : 1.055 * v ** (1 / 2.4) - 0.055);

// Fine enough that 8 bits come out exact in the dark, where the curve is steepest.
const STEPS = 1 << 14;
/** @type {Map<number, {linear: Float32Array, encoded: Uint16Array}>} */
const tables = new Map();

/** Return the tables for values up to `top` (255 or 65535). @param {number} top */
function tablesFor(top) {
  let found = tables.get(top);
  if (!found) {
    const linear = Float32Array.from({ length: top + 1 }, (_, i) => toLinear(i / top));
    const encoded = Uint16Array.from({ length: STEPS + 1 }, (_, i) => Math.round(top * toSrgb(i / STEPS)));
    found = { linear, encoded };
    tables.set(top, found);
  }
  return found;
}

/**
 * Mix a photograph with one of its layers in linear light, `I + |s| (layer - I)`: T for s >= 0, R below.
 *
 * @template {Uint8ClampedArray | Uint16Array} P
 * @param {P} photo RGBA
 * @param {P} transmission RGBA
 * @param {P} reflection RGBA
 * @param {number} strength -1 to 1
 * @returns {P}
 */
export function mix(photo, transmission, reflection, strength) {
  const layer = strength >= 0 ? transmission : reflection;
  const share = Math.abs(strength);
  if (share === 0) return photo;
  if (share === 1) return layer;
  const top = photo instanceof Uint16Array ? 65535 : 255;
  const { linear, encoded } = tablesFor(top);
  const result = /** @type {P} */ (photo.slice());
  for (let i = 0; i < photo.length; i += 1) {
    if ((i & 3) === 3) continue; // transparency stays
    const before = linear[photo[i]];
    const light = before + share * (linear[layer[i]] - before);
    result[i] = top === 255 ? encoded[Math.round(light * STEPS)] : Math.round(top * toSrgb(light));
  }
  return result;
}
