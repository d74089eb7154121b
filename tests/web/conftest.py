"""A page that is served in a thread, and pictures for it."""

import json
import threading
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clearpane.separation.registry import make_options
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


@pytest.fixture
def ball_views(tmp_path) -> Path:
    """A folder of eight pictures of a ball of radius 1 on a transparent ground, with poses."""
    side, folder = 64, tmp_path / "ball"
    folder.mkdir()
    frames = []
    row, column = np.mgrid[:side, :side] + 0.5
    rays = np.stack([column - side / 2, side / 2 - row, np.full((side, side), -float(side))], axis=-1)
    for view in range(8):
        angle, height = 2.4 * view, (view - 3.5) / 4
        level = np.sqrt(1 - height**2)
        away = np.asarray([level * np.cos(angle), level * np.sin(angle), height])
        right = np.cross([0, 0, 1], away) / level
        pose = np.eye(4)
        pose[:3] = np.stack([right, np.cross(away, right), away, 4 * away], axis=-1)
        directions = rays @ pose[:3, :3].T
        directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
        along = -4 * directions @ away
        root = along**2 - 15
        normal = 4 * away + (along - np.sqrt(np.maximum(root, 0)))[..., None] * directions
        pixels = np.concatenate([normal / 2 + 0.5, (root > 0)[..., None]], axis=-1)
        Image.fromarray((255 * pixels.clip(0, 1)).astype(np.uint8)).save(folder / f"{view}.png")
        frames.append({"file_path": f"{view}.png", "transform_matrix": pose.tolist()})
    lens = {"fl_x": side, "fl_y": side, "cx": side / 2, "cy": side / 2, "w": side, "h": side}
    (folder / "transforms.json").write_text(json.dumps({**lens, "frames": frames}))
    return folder


@pytest.fixture
def coarse(monkeypatch):
    """Coarse objects and small pictures of them, for speed."""
    from functools import partial

    pytest.importorskip("trimesh", reason="the extra [3d] is not installed")
    from clearpane.reconstruction.asset.baking import AssetSettings
    from clearpane.reconstruction.fitting import starting
    from clearpane.reconstruction.fitting.schedule import STEPS
    from clearpane.reconstruction.reconstruct import ReconstructSettings
    from clearpane.web import object_tab, objects

    if not object_tab.has_objects():
        pytest.skip("the extra [3d] is not installed")
    monkeypatch.setattr(starting, "EVIDENCE_SIDE", 40)
    monkeypatch.setitem(STEPS, "draft", 10)
    monkeypatch.setattr(objects, "ReconstructSettings", partial(ReconstructSettings, 48))
    monkeypatch.setattr(objects, "AssetSettings", partial(AssetSettings, 32, 600, 64))
    for name, value in {"_SHEET_SIDE": 48, "_PICTURE_SIDE": 48, "_FILM_SIDE": 32, "_FILM_VIEWS": 3}.items():
        monkeypatch.setattr(objects, name, value)


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
    limits = Limits(file_bytes=2_000_000, upload_bytes=6_000_000, pixels=1_000_000, files=12, waiting=64)
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
