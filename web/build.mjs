/** Build the page: `node build.mjs MODEL.onnx [FOLDER]` writes everything that is served into FOLDER (dist). */

import { createHash } from "node:crypto";
import { copyFile, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const HERE = dirname(fileURLToPath(import.meta.url));
const [model, folder = join(HERE, "dist")] = process.argv.slice(2);
if (!model) {
  console.error("usage: node build.mjs MODEL.onnx [FOLDER]; `make page` at the top of the repository does it all");
  process.exit(2);
}
const RUNTIME = join(HERE, "node_modules/onnxruntime-web/dist");
const RUNTIME_FILES = ["ort-wasm-simd-threaded", "ort-wasm-simd-threaded.asyncify"].flatMap((name) => [`${name}.mjs`, `${name}.wasm`]);
const BUNDLED = ["onnxruntime-web", "onnxruntime-common", "img-comparison-slider", "fast-png", "iobuffer", "fflate"];

await rm(folder, { recursive: true, force: true });
await mkdir(folder, { recursive: true });
await build({
  entryPoints: ["page.js", "clear-pane.js", "separator.worker.js"].map((name) => join(HERE, "src", name)),
  outdir: folder,
  bundle: true,
  format: "esm",
  splitting: true,
  chunkNames: "chunk-[hash]",
  minify: true,
  target: "es2022",
  conditions: ["onnxruntime-web-use-extern-wasm"],
  loader: { ".css": "text" },
  legalComments: "none",
});
for (const name of ["index.html", "style.css", "icon.svg"]) await copyFile(join(HERE, "src", name), join(folder, name));
for (const name of RUNTIME_FILES) await copyFile(join(RUNTIME, name), join(folder, name));
await copyFile(model, join(folder, "compact-full.onnx"));
await writeFile(join(folder, "licences.txt"), await licences());

const files = (await readdir(folder)).sort();
const digest = createHash("sha256");
for (const name of files) digest.update(await readFile(join(folder, name)));
// WebGPU's runtime is large and few machines use it: it is kept when it is first loaded, not before.
const kept = ["./", ...files.filter((name) => !name.includes(".asyncify."))];
await build({
  entryPoints: [join(HERE, "src", "service-worker.js")],
  outfile: join(folder, "service-worker.js"),
  bundle: true,
  format: "iife",
  minify: true,
  target: "es2022",
  define: {
    "self.CLEARPANE_FILES": JSON.stringify(kept),
    "self.CLEARPANE_VERSION": JSON.stringify(digest.digest("hex").slice(0, 12)),
  },
});
console.log(`${folder}: ${files.length + 1} files, serve them with any web server`);

/** Collect the licences of what is bundled. */
async function licences() {
  const parts = ["This page is part of Clearpane, Apache-2.0. It contains:\n"];
  for (const name of BUNDLED) {
    const home = join(HERE, "node_modules", name);
    const { version, license } = JSON.parse(await readFile(join(home, "package.json"), "utf8"));
    const text = (await readdir(home)).find((file) => /^licen[cs]e/i.test(basename(file)));
    parts.push(`${name} ${version} (${license})\n${text ? await readFile(join(home, text), "utf8") : ""}`);
  }
  parts.push("EfficientNet-Lite0's weights, inside the model: Apache-2.0 (Tan and Le, 2019)\n");
  return parts.join(`\n${"-".repeat(72)}\n\n`);
}
