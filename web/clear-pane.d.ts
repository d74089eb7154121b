/** What a finished separation tells; the detail of the event `clearpane-result`. */
export interface ClearPaneResult {
  width: number;
  height: number;
  /** Seconds that the separation took, without loading. */
  seconds: number;
  /** What computed it: "wasm", "wasm with 4 threads" or "webgpu". */
  backend: string;
}

export type View = "compare" | "transmission" | "reflection" | "confidence";
export type FileFormat = "image/jpeg" | "image/png" | "image/png;depth=16";

/**
 * `<clear-pane src="photo.jpg" strength="1">` shows a photograph before and after the glass is taken away.
 *
 * Events: `clearpane-result` (a CustomEvent of a {@link ClearPaneResult}) and `clearpane-error` (a CustomEvent of
 * one sentence).
 */
export class ClearPane extends HTMLElement {
  /** Address of the photograph. */
  src: string;
  /** -1 (the reflection alone) to 1 (no reflection); 0 is the photograph. */
  strength: number;
  /** What is shown. */
  view: View;
  /** True if the photograph had 16 bits a channel. */
  readonly deep: boolean;
  /** Separate a picture from memory. */
  load(picture: Blob): Promise<void>;
  /** Encode the result at the photograph's own size, with the present strength or view. */
  download(format: FileFormat): Promise<Blob>;
}

declare global {
  interface HTMLElementTagNameMap {
    "clear-pane": ClearPane;
  }
}
