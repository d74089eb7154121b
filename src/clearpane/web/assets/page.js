"use strict";
const clearpane = {
  // The browser saves a file as soon as it is written.
  save(file) {
    if (!file?.url) return;
    const link = document.createElement("a");
    link.href = file.url;
    link.download = file.orig_name ?? "";
    document.body.append(link);
    link.click();
    link.remove();
  },
  // A picture from the clipboard goes where a dropped one would.
  paste(event) {
    const file = [...(event.clipboardData?.files ?? [])].find(one => one.type.startsWith("image/"));
    const input = document.querySelector("#photo input[type=file]");
    if (!file || !input || event.target.closest?.("#editor, textarea")) return;
    const transfer = new DataTransfer();
    transfer.items.add(file);
    input.files = transfer.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
    event.preventDefault();
  },
  // Gradio's upload areas and sliders have buttons and handles without names.
  name() {
    document.querySelectorAll("[id] > .block, .block[id]").forEach(block => {
      const label = block.querySelector("label[data-testid='block-label'], [data-testid='block-info']");
      const text = label?.textContent.trim();
      if (!text) return;
      block.querySelectorAll("button, input, [role=slider]").forEach(part => {
        if (!part.textContent.trim() && !part.getAttribute("aria-label") && !part.labels?.length) {
          part.setAttribute("aria-label", text);
        }
      });
    });
  },
};
window.clearpane = clearpane;
document.documentElement.lang = navigator.language.startsWith("de") ? "de" : "en";
document.addEventListener("paste", event => clearpane.paste(event));
new MutationObserver(() => {
  clearTimeout(clearpane.timer);
  clearpane.timer = setTimeout(clearpane.name, 200);
}).observe(document.documentElement, { childList: true, subtree: true });
