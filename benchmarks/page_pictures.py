"""Take the pictures of the page that stand in docs/page.md.

    python -m benchmarks.page_pictures [--output FOLDER]

It starts `clearpane serve` and drives Chromium: the photograph tab, the tab for many photographs with a file
that is no picture, and a phone in German in the dark. Needs the extra `web`, Playwright and Chromium.
"""

import io
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from PIL import Image

from benchmarks.common.measuring import ROOT
from clearpane.errors import ClearpaneError

EXAMPLES = ROOT / "examples"
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")


@dataclass(frozen=True)
class Options:
    """Take the pictures."""

    output: Path = ROOT / "docs" / "figures"
    """Folder of page_photograph.jpg, page_batch.jpg and page_phone.jpg."""
    chromium: str = "chromium"
    """Program to start."""


def save(tab: Any, path: Path) -> None:
    """Store the whole page, 1100 pixels wide for a desktop and 270 for a phone."""
    tab.wait_for_timeout(1500)  # pictures fade in
    picture = Image.open(io.BytesIO(tab.screenshot(full_page=True))).convert("RGB")
    width = 270 if picture.width < 800 else 1100
    height = round(picture.height * width / picture.width)
    picture.resize((width, height), Image.Resampling.LANCZOS).save(path, quality=88, optimize=True)


def photograph(tab: Any, path: Path) -> None:
    """Open a photograph in the first tab."""
    tab.set_input_files("#photo input[type=file]", str(path))
    tab.wait_for_selector("#facts strong")


def batch(tab: Any, files: list[Path]) -> None:
    """Do many photographs."""
    tab.get_by_role("tab", name="Many photographs").click()
    tab.set_input_files("#batch-files input[type=file]", [str(path) for path in files])
    tab.wait_for_selector(f"#batch-files >> text={files[-1].stem}")
    tab.click("#batch-start")
    tab.wait_for_selector("#batch-download")


def wait_for(url: str) -> None:
    """Wait until the page answers."""
    for _ in range(600):
        try:
            urllib.request.urlopen(f"{url}/health", timeout=5)
            return
        except OSError:
            time.sleep(0.2)
    raise ClearpaneError(f"{url}: no answer")


def main(options: Options) -> int:
    """Serve the page, take the pictures and end it."""
    from playwright.sync_api import sync_playwright

    program = shutil.which(options.chromium)
    if program is None:
        raise ClearpaneError(f"there is no program {options.chromium}")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    server = subprocess.Popen([sys.executable, "-m", "clearpane", "serve", "--port", url.rsplit(":")[-1]])
    try:
        wait_for(url)
        with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
            bad = Path(name) / "notes.jpg"
            bad.write_bytes(b"no picture")
            browser = playwright.chromium.launch(executable_path=program, args=list(FLAGS))

            def visit(width: int, height: int, **settings: Any) -> Any:
                tab = browser.new_page(viewport={"width": width, "height": height}, **settings)
                tab.set_default_timeout(300_000)
                tab.goto(url)
                tab.wait_for_selector("#photo input[type=file]", state="attached")
                return tab

            tab = visit(1280, 900, locale="en")
            photograph(tab, EXAMPLES / "shop_input.jpg")  # the first one loads the model
            tab = visit(1280, 900, locale="en")
            photograph(tab, EXAMPLES / "window_input.jpg")
            save(tab, options.output / "page_photograph.jpg")
            inputs = sorted(EXAMPLES.glob("*_input.jpg"))
            batch(tab, [*inputs[:3], bad])
            save(tab, options.output / "page_batch.jpg")
            tab = visit(390, 844, locale="de-DE", color_scheme="dark", device_scale_factor=2)
            photograph(tab, EXAMPLES / "shop_input.jpg")
            save(tab, options.output / "page_phone.jpg")
            browser.close()
    finally:
        server.terminate()
        server.wait(60)
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
