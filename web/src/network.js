/** The separator's graph in ONNX Runtime Web: on WebGPU where that is faster, else on the processor. */

/**
 * @typedef {object} Layers
 * @property {Float32Array} transmission [3, H, W], sRGB in [0, 1]
 * @property {Float32Array} reflection [3, H, W]
 * @property {Float32Array} confidence [H, W]; empty if it was not asked for
 */

const MODEL = "compact-full.onnx";
const NAMES = ["transmission", "reflection", "confidence"];
const TRIAL_SIDE = 384;

/** @typedef {(image: Float32Array, width: number, height: number, withConfidence: boolean) => Promise<Layers>} Run */

/**
 * Load the model and choose what computes it.
 *
 * @param {(loaded: number, total: number) => void} onProgress bytes of the model
 * @returns {Promise<{run: Run, backend: string}>}
 */
export async function load(onProgress) {
  const model = await download(new URL(MODEL, self.location.href), onProgress);
  const cpu = await open(await import("onnxruntime-web/wasm"), model, "wasm");
  const threads = self.crossOriginIsolated ? navigator.hardwareConcurrency : 1;
  const name = threads > 1 ? `wasm with ${threads} threads` : "wasm";
  const gpu = await openWebgpu(model);
  if (gpu && (await seconds(gpu)) < (await seconds(cpu))) return { run: gpu, backend: "webgpu" };
  return { run: cpu, backend: name };
}

/** @param {Uint8Array} model @returns {Promise<Run | null>} null where there is no usable GPU */
async function openWebgpu(model) {
  try {
    const gpu = /** @type {any} */ (navigator).gpu;
    if (!gpu || !(await gpu.requestAdapter())) return null;
    return await open(await import("onnxruntime-web/webgpu"), model, "webgpu");
  } catch {
    return null; // a driver that fails is no reason not to use the processor
  }
}

/**
 * @param {typeof import("onnxruntime-web")} ort
 * @param {Uint8Array} model
 * @param {"wasm" | "webgpu"} provider
 * @returns {Promise<Run>}
 */
async function open(ort, model, provider) {
  ort.env.wasm.numThreads = self.crossOriginIsolated ? navigator.hardwareConcurrency : 1;
  ort.env.wasm.wasmPaths = new URL("./", self.location.href).href;
  const session = await ort.InferenceSession.create(model, { executionProviders: [provider], logSeverityLevel: 3 });
  const strength = new ort.Tensor("float32", new Float32Array([1]), [1]);
  return async (image, width, height, withConfidence) => {
    const photograph = new ort.Tensor("float32", image, [1, 3, height, width]);
    const asked = new ort.Tensor("bool", [withConfidence], []);
    const outputs = await session.run({ photograph, strength, with_confidence: asked }, NAMES);
    const [transmission, reflection, confidence] = NAMES.map((name) => /** @type {Float32Array} */ (outputs[name].data));
    return { transmission, reflection, confidence };
  };
}

/** Measure one pass after a first one, which compiles. @param {Run} run */
async function seconds(run) {
  const image = new Float32Array(3 * TRIAL_SIDE ** 2).fill(0.5);
  await run(image, TRIAL_SIDE, TRIAL_SIDE, false);
  const start = performance.now();
  await run(image, TRIAL_SIDE, TRIAL_SIDE, false);
  return (performance.now() - start) / 1000;
}

/** @param {URL} address @param {(loaded: number, total: number) => void} onProgress */
async function download(address, onProgress) {
  const response = await fetch(address);
  if (!response.ok || !response.body) throw new Error(`${MODEL}: ${response.status}`);
  const total = Number(response.headers.get("content-length") ?? 0);
  const chunks = [];
  let loaded = 0;
  for await (const chunk of /** @type {any} */ (response.body)) {
    chunks.push(chunk);
    loaded += chunk.length;
    onProgress(loaded, Math.max(loaded, total));
  }
  return new Uint8Array(await new Blob(chunks).arrayBuffer());
}
