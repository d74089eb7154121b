"""Folders of pictures: what is found, how it is read and kept, and what is said when it cannot be."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from clearpane.errors import ClearpaneError
from clearpane.synthesis.dataset.sources import ENVIRONMENT_SUFFIXES, PICTURE_SUFFIXES, Pictures, Sources
from clearpane.synthesis.glass.scene import Background, GlassScene, ReflectedWorld
from clearpane.synthesis.glass.textures import load_texture


def save(path: Path, height: int = 20, width: int = 30, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def save_map(path: Path, value: float = 5.0) -> None:
    """An HDR map of one value, in linear light."""
    path.parent.mkdir(parents=True, exist_ok=True)
    import OpenImageIO as oiio

    output = oiio.ImageOutput.create(str(path))
    output.open(str(path), oiio.ImageSpec(16, 8, 3, "float"))
    output.write_image(np.full((8, 16, 3), value, np.float32))
    output.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index, name in enumerate(
        ("b.png", "B.PNG", "sub/deep/a.webp", "sub/c.jpg", ".hidden/x.png", "._b.png")
    ):
        save(tmp_path / "pictures" / name, seed=index)
    (tmp_path / "pictures" / "notes.txt").write_text("no picture")
    return tmp_path / "pictures"


def cached(pictures: Pictures) -> list[str]:
    return list(pictures._cache)


def test_names_are_relative_and_sorted(folder: Path) -> None:
    assert Pictures(folder, PICTURE_SUFFIXES).names == ("B.PNG", "b.png", "sub/c.jpg", "sub/deep/a.webp")


def test_names_that_are_left_out_are_as_if_they_were_not_there(folder: Path) -> None:
    pictures = Pictures(folder, PICTURE_SUFFIXES, leave_out={"b.png", "sub/c.jpg", "nowhere.png"})
    assert pictures.names == ("B.PNG", "sub/deep/a.webp")
    with pytest.raises(ClearpaneError, match="no picture"):
        pictures.load("b.png")
    with pytest.raises(ClearpaneError, match="no pictures in it"):
        Pictures(folder / "sub" / "deep", PICTURE_SUFFIXES, leave_out=["a.webp"])


def test_eight_bit_pictures_come_back_exactly(folder: Path) -> None:
    pictures = Pictures(folder, PICTURE_SUFFIXES)
    for name in pictures.names:
        for _ in ("read", "from the cache"):
            torch.testing.assert_close(pictures.load(name), load_texture(folder / name), atol=1e-6, rtol=1e-5)


def test_large_pictures_are_shrunk(folder: Path) -> None:
    save(folder / "large.png", 40, 200)
    assert Pictures(folder, PICTURE_SUFFIXES, longest=100).load("large.png").shape == (3, 20, 100)


def test_the_cache_drops_what_was_used_least_recently(folder: Path) -> None:
    one = 3 * 20 * 30
    pictures = Pictures(folder, PICTURE_SUFFIXES, cache_bytes=2 * one)
    first = pictures.load("B.PNG")
    pictures.load("b.png")
    pictures.load("B.PNG")
    pictures.load("sub/c.jpg")
    assert cached(pictures) == ["B.PNG", "sub/c.jpg"]
    assert torch.equal(first, pictures.load("B.PNG"))


def test_a_picture_larger_than_the_cache_is_not_kept(folder: Path) -> None:
    pictures = Pictures(folder, PICTURE_SUFFIXES, cache_bytes=10)
    assert torch.equal(pictures.load("b.png"), pictures.load("b.png"))
    assert cached(pictures) == []


def test_preloaded_pictures_are_not_read_again(folder: Path) -> None:
    pictures = Pictures(folder, PICTURE_SUFFIXES)
    pictures.preload()
    expected = [load_texture(folder / name) for name in pictures.names]
    for name in pictures.names:
        (folder / name).unlink()
    for name, picture in zip(pictures.names, expected, strict=True):
        torch.testing.assert_close(pictures.load(name), picture, atol=1e-6, rtol=1e-5)


def test_preloading_stops_when_the_cache_is_full(folder: Path) -> None:
    pictures = Pictures(folder, PICTURE_SUFFIXES, cache_bytes=3 * 3 * 20 * 30)
    pictures.preload()
    assert cached(pictures) == list(pictures.names[:3])


def test_pickled_without_the_cache(folder: Path) -> None:
    pictures = Pictures(folder, PICTURE_SUFFIXES)
    picture = pictures.load("b.png")
    copy = pickle.loads(pickle.dumps(pictures))
    assert cached(copy) == [] and cached(pictures) == ["b.png"]
    assert torch.equal(copy.load("b.png"), picture)


def test_high_dynamic_range_is_kept(tmp_path: Path) -> None:
    save_map(tmp_path / "sky.exr", 40.0)
    save_map(tmp_path / "night.hdr", 0.25)
    environments = Pictures(tmp_path, ENVIRONMENT_SUFFIXES)
    for _ in ("read", "from the cache"):
        assert torch.allclose(environments.load("sky.exr"), torch.tensor(40.0), rtol=1e-3)
        assert torch.allclose(environments.load("night.hdr"), torch.tensor(0.25), rtol=1e-2)


def one_line(error: pytest.ExceptionInfo[ClearpaneError], *parts: object) -> None:
    assert "\n" not in str(error.value)
    assert all(str(part) in str(error.value) for part in parts)


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(ClearpaneError) as error:
        Sources.open(tmp_path / "nowhere")
    one_line(error, tmp_path / "nowhere")


def test_no_pictures(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ClearpaneError) as error:
        Sources.open(tmp_path / "empty")
    one_line(error, tmp_path / "empty", ".jpg")
    with pytest.raises(ClearpaneError) as error:
        Sources.open(folder, folder)
    one_line(error, folder, ".hdr")


def test_unreadable_map(tmp_path: Path) -> None:
    save_map(tmp_path / "sky.hdr")
    data = (tmp_path / "sky.hdr").read_bytes()
    (tmp_path / "sky.hdr").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.hdr").write_text("this is no map at all")
    environments = Pictures(tmp_path, ENVIRONMENT_SUFFIXES)
    for name in environments.names:
        with pytest.raises(ClearpaneError) as error:
            environments.load(name)
        one_line(error, tmp_path / name)


def test_infinite_values_become_large_ones(tmp_path: Path) -> None:
    """The sun in many a map is."""
    save_map(tmp_path / "sun.exr", float("inf"))
    sun = Pictures(tmp_path, ENVIRONMENT_SUFFIXES).load("sun.exr")
    assert torch.isfinite(sun).all() and sun.min() > 6e4


def test_names_lead_out_of_the_folder_never(folder: Path) -> None:
    save(folder.parent / "secret.png")
    with pytest.raises(ClearpaneError) as error:
        Pictures(folder, PICTURE_SUFFIXES).load("../secret.png")
    one_line(error, "../secret.png")


def screen_scene(world: ReflectedWorld) -> GlassScene:
    return GlassScene(Background("b.png"), world)


def test_screens_take_pictures_and_domes_environments(tmp_path: Path, folder: Path) -> None:
    save_map(tmp_path / "maps/sky.hdr")
    sources = Sources.open(folder, tmp_path / "maps")
    assert sources.names.environments == ("sky.hdr",)
    screen = sources.textures(screen_scene(ReflectedWorld("sub/c.jpg")), 24, 32)
    dome = sources.textures(screen_scene(ReflectedWorld("sky.hdr", "dome", distance=3.0)), 24, 32)
    assert screen.background.shape == screen.world.shape == (3, 384, 512)
    assert dome.world.shape == (3, 8, 16)


def test_domes_need_environments(folder: Path) -> None:
    scene = screen_scene(ReflectedWorld("sky.hdr", "dome", distance=3.0))
    with pytest.raises(ClearpaneError) as error:
        Sources.open(folder).textures(scene, 24, 32)
    one_line(error, "sky.hdr", "environments")
