"""A page that is served in a thread, and pictures for it."""

import threading
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clearpane.separation.base import make_options
from clearpane.web.settings import Limits, OfferedModel, PageSettings

MODELS = (
    OfferedModel("compact", make_options("compact", {}), "needs no GPU"),
    OfferedModel("panel", None, "needs trained weights"),
)


@dataclass
class Page:
    """A page that is being served."""

    url: str
    root: Path


def drawn(path: Path, size: tuple[int, int] = (96, 64), seed: int = 0, **options: object) -> Path:
    """A smooth picture with a bright patch, as a reflection might be."""
    width, height = size
    coarse = np.random.default_rng(seed).integers(30, 200, (4, 6, 3), np.uint8)
    image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    image.paste((240, 240, 230), (width // 2, height // 4, width // 2 + width // 5, height // 2))
    image.save(path, **options)
    return path


@pytest.fixture(scope="session")
def draw():
    return drawn


@pytest.fixture(scope="session")
def models():
    return MODELS


@pytest.fixture(scope="session")
def page():
    import socket

    import uvicorn

    from clearpane.web.server import PageServer, make_app
    from clearpane.web.studio import Studio

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    limits = Limits(file_bytes=2_000_000, upload_bytes=6_000_000, pixels=1_000_000, files=6, waiting=64)
    studio = Studio(PageSettings(port=port, limits=limits, models=MODELS))
    config = uvicorn.Config(
        make_app(studio), "127.0.0.1", port, log_level="warning", timeout_graceful_shutdown=1
    )
    server = PageServer(config, studio)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{port}"
    for _ in range(300):
        try:
            urllib.request.urlopen(f"{url}/health", timeout=5)
            break
        except OSError:
            time.sleep(0.1)
    yield Page(url, studio.visits.root)
    server.should_exit = True
    thread.join(10)
    studio.visits.close()
    assert not studio.visits.root.exists()
