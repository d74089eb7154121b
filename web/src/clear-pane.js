/** The custom element `<clear-pane src strength>`; see clear-pane.d.ts. */

import "img-comparison-slider";
import sliderStyle from "img-comparison-slider/dist/styles.css";

const BASE = new URL("./", import.meta.url);
const STYLE = `${sliderStyle}
:host { display: block; }
img-comparison-slider, img { width: 100%; height: auto; display: block; }
img-comparison-slider:not(:defined) { visibility: hidden; }
img-comparison-slider { --divider-width: 3px; --default-handle-opacity: 0.9; }
[hidden] { display: none; }
`;

/** @type {Record<string, string>} */
const DESCRIPTIONS = { transmission: "The result", reflection: "The reflection", confidence: "The confidence map" };

export class ClearPane extends HTMLElement {
  static observedAttributes = ["src", "strength"];
  /** @type {Worker | undefined} */
  #worker;
  /** @type {Map<number, {resolve: (value: any) => void, reject: (reason: any) => void}>} */
  #waiting = new Map();
  #last = 0;
  #view = /** @type {import("../clear-pane.js").View} */ ("compare");
  #ready = false;
  #showing = false;
  #again = false;
  deep = false;

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open" });
    root.innerHTML = `<style>${STYLE}</style>
      <img-comparison-slider hidden>
        <img slot="first" alt="The photograph"><img slot="second" alt="The result">
      </img-comparison-slider>
      <img class="single" alt="" hidden>`;
  }

  get src() {
    return this.getAttribute("src") ?? "";
  }
  set src(address) {
    this.setAttribute("src", address);
  }
  get strength() {
    const value = Number(this.getAttribute("strength") ?? 1);
    return Number.isFinite(value) ? Math.max(-1, Math.min(1, value)) : 1;
  }
  set strength(value) {
    this.setAttribute("strength", String(value));
  }
  get view() {
    return this.#view;
  }
  set view(view) {
    this.#view = view;
    void this.#show();
  }

  /** @param {string} name @param {string | null} _old @param {string | null} value */
  attributeChangedCallback(name, _old, value) {
    if (name === "strength") void this.#show();
    else if (value) void this.#fetch(value);
  }

  disconnectedCallback() {
    this.#worker?.terminate();
    this.#worker = undefined;
    for (const { reject } of this.#waiting.values()) reject(new Error("The element was removed."));
    this.#waiting.clear();
    this.#ready = false;
  }

  /** @param {Blob} picture */
  async load(picture) {
    this.#ready = false;
    try {
      const result = await this.#ask("separate", { blob: picture });
      this.deep = result.deep;
      this.#put(this.#image('[slot="first"]'), result.before);
      this.#ready = true;
      await this.#show();
      const { width, height, seconds, backend } = result;
      this.dispatchEvent(new CustomEvent("clearpane-result", { detail: { width, height, seconds, backend } }));
    } catch (error) {
      this.#fail(error);
    }
  }

  /** @param {string} format @returns {Promise<Blob>} */
  download(format) {
    return this.#ask("save", { view: this.#view, strength: this.strength, format });
  }

  /** @param {string} address */
  async #fetch(address) {
    try {
      const response = await fetch(new URL(address, document.baseURI));
      if (!response.ok) throw new Error(`The photograph could not be loaded (${response.status}).`);
      await this.load(await response.blob());
    } catch (error) {
      this.#fail(error);
    }
  }

  /** @param {unknown} error */
  #fail(error) {
    const detail = error instanceof Error ? error.message : String(error);
    this.dispatchEvent(new CustomEvent("clearpane-error", { detail }));
  }

  /** Draw the view; while one is drawn, only the last of those asked for since is drawn next. */
  async #show() {
    if (!this.#ready) return;
    if (this.#showing) {
      this.#again = true;
      return;
    }
    this.#showing = true;
    do {
      this.#again = false;
      const compared = this.#view === "compare";
      const picture = await this.#ask("show", { view: this.#view, strength: this.strength });
      this.#put(this.#image(compared ? '[slot="second"]' : ".single"), picture);
      /** @type {HTMLElement} */ (this.shadowRoot?.querySelector("img-comparison-slider")).hidden = !compared;
      const single = this.#image(".single");
      single.hidden = compared;
      single.alt = compared ? "" : DESCRIPTIONS[this.#view] ?? "";
    } while (this.#again);
    this.#showing = false;
  }

  /** @param {string} selector */
  #image(selector) {
    return /** @type {HTMLImageElement} */ (this.shadowRoot?.querySelector(selector));
  }

  /** @param {HTMLImageElement} image @param {Blob} picture */
  #put(image, picture) {
    if (image.src) URL.revokeObjectURL(image.src);
    image.src = URL.createObjectURL(picture);
  }

  /** @param {string} task @param {object} request @returns {Promise<any>} */
  #ask(task, request) {
    this.#worker ??= this.#start();
    this.#last += 1;
    const id = this.#last;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#worker?.postMessage({ id, task, ...request });
    });
  }

  #start() {
    const worker = new Worker(new URL("separator.worker.js", BASE), { type: "module" });
    worker.onmessage = ({ data }) => {
      if ("progress" in data) {
        this.dispatchEvent(new CustomEvent("clearpane-progress", { detail: data.progress }));
        return;
      }
      const { resolve, reject } = this.#waiting.get(data.id) ?? {};
      this.#waiting.delete(data.id);
      if ("error" in data) reject?.(new Error(data.error));
      else resolve?.(data.result);
    };
    worker.onerror = () => {
      for (const { reject } of this.#waiting.values()) reject(new Error("The model could not be started; reload the page."));
      this.#waiting.clear();
    };
    return worker;
  }
}

if (!customElements.get("clear-pane")) customElements.define("clear-pane", ClearPane);
