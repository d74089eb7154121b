"""A real browser, and the page built and served for it."""

import functools
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

WEB = Path(__file__).parents[2] / "web"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


class QuietHandler(SimpleHTTPRequestHandler):
    """Python's own server without its log."""

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture(scope="session")
def page_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the page."""
    pytest.importorskip("onnx")
    if not (WEB / "node_modules" / "esbuild").is_dir() or not shutil.which("node"):
        pytest.skip("web/node_modules is missing: run `npm ci` in web/ (make test does where there is npm)")
    from clearpane.separation.compact.full_graph import export_full_graph

    folder = tmp_path_factory.mktemp("page")
    model = export_full_graph(folder / "model.onnx")
    subprocess.run(["node", "build.mjs", str(model), str(folder / "dist")], cwd=WEB, check=True)
    return folder / "dist"


@pytest.fixture(scope="session")
def page_address(page_folder: Path) -> Iterator[str]:
    """Serve the page as `python -m http.server` does; localhost counts as secure, so workers are allowed."""
    handler = functools.partial(QuietHandler, directory=str(page_folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    """Start Debian's Chromium."""
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield chromium
        chromium.close()
