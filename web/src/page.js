/** The page around `<clear-pane>`: choosing, tuning and saving a photograph. */

import "./clear-pane.js";

/** @template {HTMLElement} T @param {string} id @returns {T} */
const byId = (id) => /** @type {T} */ (document.getElementById(id));
const pane = /** @type {import("../clear-pane.js").ClearPane} */ (byId("pane"));
const status = byId("status");
const progress = /** @type {HTMLProgressElement} */ (byId("progress"));
const strength = /** @type {HTMLInputElement} */ (byId("strength"));
const format = /** @type {HTMLSelectElement} */ (byId("format"));
const tools = /** @type {HTMLFieldSetElement} */ (byId("tools"));
let name = "photograph";
let opened = false;

/** @param {string} text @param {boolean} [failed] */
function tell(text, failed = false) {
  status.textContent = text;
  status.classList.toggle("error", failed);
  progress.hidden = true;
}

/** @param {Blob | null | undefined} picture @param {string} [title] */
async function open(picture, title) {
  if (!picture) return;
  opened = true;
  name = (title ?? "photograph").replace(/\.[^.]*$/, "");
  tools.disabled = true;
  tell("Taking the glass away …");
  progress.hidden = false;
  progress.removeAttribute("value");
  await pane.load(picture);
}

pane.addEventListener("clearpane-progress", (event) => {
  const loading = /** @type {CustomEvent} */ (event).detail;
  if (loading) {
    status.textContent = "Loading the model, once …";
    progress.value = loading.loaded / loading.total;
  } else {
    status.textContent = "Taking the glass away …";
    progress.removeAttribute("value");
  }
});
pane.addEventListener("clearpane-result", (event) => {
  const { width, height, seconds, backend } = /** @type {CustomEvent} */ (event).detail;
  tell(`${width} x ${height} pixels in ${seconds.toFixed(1)} s (${backend}). Nothing was uploaded.`);
  tools.disabled = false;
  byId("drop").classList.add("small");
  const deep = /** @type {HTMLOptionElement} */ (format.querySelector('[value="image/png;depth=16"]'));
  deep.hidden = deep.disabled = !pane.deep;
  format.value = pane.deep ? "image/png;depth=16" : "image/jpeg";
});
pane.addEventListener("clearpane-error", (event) => tell(/** @type {CustomEvent} */ (event).detail, true));

for (const id of ["file", "camera"]) {
  const input = /** @type {HTMLInputElement} */ (byId(id));
  input.addEventListener("change", () => {
    const file = input.files?.[0];
    void open(file, file?.name);
    input.value = ""; // the same file may be chosen again
  });
}
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  const file = event.dataTransfer?.files[0];
  void open(file, file?.name);
});
document.addEventListener("paste", (event) => {
  const file = event.clipboardData?.files[0];
  void open(file, file?.name);
});
strength.addEventListener("input", () => {
  pane.strength = Number(strength.value);
  byId("percent").textContent = `${Math.round(100 * Number(strength.value))} %`;
});
byId("views").addEventListener("change", (event) => {
  pane.view = /** @type {import("../clear-pane.js").View} */ (/** @type {HTMLInputElement} */ (event.target).value);
});
byId("save").addEventListener("click", async () => {
  const suffix = pane.view === "compare" ? "transmission" : pane.view;
  const link = document.createElement("a");
  try {
    const file = await pane.download(/** @type {import("../clear-pane.js").FileFormat} */ (format.value));
    link.href = URL.createObjectURL(file);
    link.download = `${name}_${suffix}.${format.value === "image/jpeg" ? "jpg" : "png"}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  } catch (error) {
    tell(error instanceof Error ? error.message : String(error), true);
  }
});

async function register() {
  if (!("serviceWorker" in navigator)) return;
  const known = navigator.serviceWorker.controller;
  await navigator.serviceWorker.register("service-worker.js");
  await navigator.serviceWorker.ready;
  // The worker adds the headers that allow threads; they count from the next load on.
  if (!known && !self.crossOriginIsolated && !opened && !sessionStorage.getItem("reloaded")) {
    sessionStorage.setItem("reloaded", "once");
    location.reload();
  }
}
void register().catch(() => undefined); // the page works without: no threads, and not offline
