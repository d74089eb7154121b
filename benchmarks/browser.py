"""The page in a real browser: seconds, first load, memory, and agreement with the program.

    python -m benchmarks.browser PAGE [--data DATA]

PAGE is the built page (`make page` writes web/dist). Chromium opens it with threads (its service worker runs)
and without, and separates pictures of three sizes; `clearpane remove` does the same, whole command, in the
same run. With DATA (a folder with real_pairs/val and real_pairs_rooms/val) the results of 20 photographs are
compared with the program's. It prints its table and writes docs/figures/browser.md, the numbers behind it to
browser.json. Needs Playwright and Chromium.
"""

import functools
import io
import json
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import psutil
import tyro
from PIL import Image
from tyro.conf import Positional

from benchmarks.common.markdown import table
from benchmarks.common.measuring import ROOT, Machine, describe_machine, measure
from benchmarks.common.pages import write_page
from clearpane.errors import ClearpaneError
from clearpane.evaluation.tables import write_text
from clearpane.images.picture import to_8bit
from clearpane.separation.compact.runtime import CompactSeparator

FIGURES = ROOT / "docs" / "figures"
EXAMPLE = ROOT / "examples" / "shop_input.jpg"
SIZES = {"512 x 512": (512, 512, 5), "1 MP": (1182, 887, 5), "12 MP": (4000, 3000, 3)}
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")
PHOTOGRAPHS = 20


@dataclass(frozen=True)
class Measure:
    """Measure the page in a browser."""

    page: Positional[Path]
    """Folder of the built page."""
    data: Annotated[Path | None, tyro.conf.arg(metavar="DATA")] = None
    """Folder with real_pairs/val and real_pairs_rooms/val, for the agreement on 20 photographs."""
    chromium: str = "chromium"
    """Program to start."""


class QuietHandler(SimpleHTTPRequestHandler):
    """Python's own server without its log."""

    def log_message(self, format: str, *arguments: object) -> None:
        """Write nothing."""


@dataclass
class Memory:
    """The largest resident memory of all processes below this one, sampled ten times a second."""

    peak: int = 0

    def __post_init__(self) -> None:
        """Start to sample."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def _sample(self) -> None:
        while not self._stop.wait(0.1):
            total = 0
            for process in psutil.Process().children(recursive=True):
                try:
                    # Pages that processes share count once for each of those that use them.
                    total += process.memory_full_info().pss if "chrom" in process.name() else 0
                except (psutil.Error, OSError):
                    continue
            self.peak = max(self.peak, total)

    def stop(self) -> int:
        """Stop, and return the peak in bytes."""
        self._stop.set()
        self._thread.join()
        return self.peak


def separate_in(page: Any, photo: Path) -> dict[str, Any]:
    """Separate a file in the page; return what the element reports."""
    page.evaluate(
        "window.outcome = new Promise((resolve, reject) => {"
        "  const pane = document.querySelector('clear-pane');"
        "  pane.addEventListener('clearpane-result', (event) => resolve(event.detail), { once: true });"
        "  pane.addEventListener('clearpane-error', (event) => reject(event.detail), { once: true });"
        "}); 0"
    )
    page.set_input_files("#file", photo)
    detail: dict[str, Any] = page.evaluate("window.outcome")
    return detail


def downloaded(page: Any) -> np.ndarray:
    """Return the transmission as the page saves it, uint8."""
    page.select_option("#format", "image/png")
    with page.expect_download() as download:
        page.click("#save")
    return np.asarray(Image.open(io.BytesIO(Path(download.value.path()).read_bytes())).convert("RGB"))


def measure_page(
    launch: Callable[[], Any], address: str, photos: dict[str, Path], threads: bool
) -> dict[str, Any]:
    """Measure first load, seconds and memory in a fresh profile."""
    memory, browser = Memory(), launch()
    context = browser.new_context(service_workers="allow" if threads else "block")
    page = context.new_page()
    page.set_default_timeout(600_000)
    page.goto(address)
    if threads:
        page.evaluate("navigator.serviceWorker.ready.then(() => true)")
        page.wait_for_function("self.crossOriginIsolated")
    rows = {}
    for name, (_, _, repeats) in SIZES.items():
        details = [separate_in(page, photos[name]) for _ in range(repeats + 1)][1:]
        rows[name] = {
            "seconds": float(np.median([d["seconds"] for d in details])),
            "backend": details[0]["backend"],
        }
    browser.close()
    return {"rows": rows, "peak_bytes": memory.stop()}


def first_load(page: Path) -> int:
    """Return the bytes of what a first visit without a GPU fetches."""
    return sum(file.stat().st_size for file in page.iterdir() if ".asyncify." not in file.name)


def agreement(page: Any, data: Path, folder: Path) -> list[float]:
    """Return the largest difference to the program's transmission, in 255ths, for each photograph."""
    files = sorted((data / "real_pairs" / "val").glob("*_input.jpg"))
    files += sorted((data / "real_pairs_rooms" / "val").glob("*_input.jpg"))
    separator, differences = CompactSeparator(), []
    for file in files[:PHOTOGRAPHS]:
        image = np.asarray(Image.open(file).convert("RGB"))
        copy = folder / f"{file.stem}.png"  # lossless: JPEG decoders differ by a bit
        Image.fromarray(image).save(copy)
        expected = to_8bit(separator.separate(image.astype(np.float32) / 255).transmission)
        separate_in(page, copy)
        differences.append(float(np.abs(downloaded(page).astype(int) - expected).max()))
    if len(differences) < PHOTOGRAPHS:
        raise ClearpaneError(f"{data}: {len(differences)} photographs, {PHOTOGRAPHS} are needed")
    return differences


def page_table(result: dict[str, Any]) -> str:
    """Return the table of seconds."""
    rows = []
    for name in SIZES:
        command = result["remove"][name]
        threads, plain = (result[kind]["rows"][name]["seconds"] for kind in ("threads", "plain"))
        rows.append(
            [
                name,
                f"{command:.2f}",
                f"{threads:.2f}",
                f"{threads / command:.1f}",
                f"{plain:.2f}",
                f"{plain / command:.1f}",
            ]
        )
    return table(["picture", "`remove`, s", "page, s", "ratio", "page without threads, s", "ratio"], rows)


def report(result: dict[str, Any]) -> str:
    """Return the page of figures."""
    lines = [
        "# In the browser",
        "`python -m benchmarks.browser PAGE --data DATA`, " + f"{Machine(**result['machine'])}.",
        "Medians. `remove` is the whole command on a JPEG file; the page's seconds run from decoded "
        "pixels to both layers.",
        page_table(result),
        f"First load: {result['first_load_bytes'] / 1e6:.1f} MB. Peak memory of all of Chromium's processes: "
        f"{result['threads']['peak_bytes'] / 1e9:.1f} GB with threads, "
        f"{result['plain']['peak_bytes'] / 1e9:.1f} GB without.",
    ]
    if "agreement" in result:
        worst = max(result["agreement"])
        lines.append(
            f"Largest difference to the program's result on {PHOTOGRAPHS} photographs: {worst:.0f} / 255."
        )
    return "\n\n".join(lines) + "\n"


def main() -> int:
    """Measure, print and write."""
    from playwright.sync_api import sync_playwright

    options = tyro.cli(Measure, description=__doc__)
    program = shutil.which(options.chromium)
    if program is None or not (options.page / "index.html").is_file():
        print(f"{options.page}: no built page, or no program {options.chromium}", file=sys.stderr)
        return 1
    handler = functools.partial(QuietHandler, directory=str(options.page))
    with (
        tempfile.TemporaryDirectory() as name,
        ThreadingHTTPServer(("127.0.0.1", 0), handler) as server,
        sync_playwright() as playwright,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        folder, address = Path(name), f"http://localhost:{server.server_port}/"

        def launch() -> Any:
            return playwright.chromium.launch(executable_path=program, args=list(FLAGS))

        photos, commands = {}, {}
        for size, (width, height, repeats) in SIZES.items():
            photos[size] = folder / f"{width}.jpg"
            Image.open(EXAMPLE).resize((width, height), Image.Resampling.BICUBIC).save(
                photos[size], quality=90
            )
            command = [
                sys.executable,
                "-m",
                "clearpane",
                "remove",
                photos[size],
                "--output",
                folder / "out",
                "--overwrite",
            ]
            commands[size] = float(np.median([measure(command).seconds for _ in range(repeats + 1)][1:]))
        result = {
            "machine": describe_machine(),
            "remove": commands,
            "first_load_bytes": first_load(options.page),
            "threads": measure_page(launch, address, photos, True),
            "plain": measure_page(launch, address, photos, False),
        }
        if options.data:
            browser = launch()
            page = browser.new_page()
            page.set_default_timeout(600_000)
            page.goto(address)
            page.evaluate("navigator.serviceWorker.ready.then(() => true)")
            page.wait_for_function("self.crossOriginIsolated")
            result["agreement"] = agreement(page, options.data, folder)
            browser.close()
        server.shutdown()
    text = report(result)
    print(text)
    write_page(FIGURES / "browser.md", text, __spec__.name)
    write_text(FIGURES / "browser.json", json.dumps(result, indent=1) + "\n", overwrite=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
