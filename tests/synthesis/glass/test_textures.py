"""Pictures as textures."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from clearpane.errors import ClearpaneError
from clearpane.images.picture import Picture
from clearpane.images.writing import write_picture
from clearpane.optics.color import srgb_to_linear
from clearpane.synthesis.glass.scene import Background, GlassScene, Light, ReflectedWorld
from clearpane.synthesis.glass.textures import fitted, load_texture, scene_textures, texture_size

SCENE = GlassScene(Background("a"), ReflectedWorld("b"))
PICTURE = torch.rand(3, 30, 50, generator=torch.Generator().manual_seed(0))


def test_pictures_are_decoded_to_linear_light(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 6, 3), 188, np.uint8)).save(tmp_path / "grey.png")
    texture = load_texture(tmp_path / "grey.png")
    assert texture.shape == (3, 4, 6) and texture.dtype == torch.float32
    assert texture[0, 0, 0].item() == pytest.approx(float(srgb_to_linear(np.float64(188 / 255))), abs=1e-5)


def test_hdr_maps_keep_their_light(tmp_path: Path) -> None:
    pixels = np.full((4, 8, 3), 1.0, np.float32)
    pixels[1, 2] = 5.0  # along the extended sRGB curve
    write_picture(tmp_path / "sky.exr", Picture(pixels, "exr", "float"))
    assert load_texture(tmp_path / "sky.exr").amax() == pytest.approx(
        float(srgb_to_linear(np.float64(5))), rel=1e-3
    )


def test_what_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "sky.hdr").write_bytes(b"#?RADIANCE\nnothing")
    with pytest.raises(ClearpaneError, match=r"sky\.hdr") as caught:
        load_texture(tmp_path / "sky.hdr")
    assert "\n" not in str(caught.value)


def test_fitted_takes_the_middle_in_the_form_asked_for() -> None:
    assert fitted(PICTURE, 20, 20).shape == (3, 20, 20)
    torch.testing.assert_close(fitted(PICTURE, 30, 30), PICTURE[:, :, 10:40])
    constant = fitted(torch.full((3, 17, 40), 0.25), 64, 48)
    torch.testing.assert_close(constant, torch.full((3, 64, 48), 0.25))


def test_background_is_mirrored_deepened_and_scaled() -> None:
    background = Background("a", radiance=0.5, contrast=2.0, mirrored=True)
    found = scene_textures(replace(SCENE, background=background), PICTURE, PICTURE, 30, 50).background
    torch.testing.assert_close(found, 0.5 * PICTURE.flip(-1) ** 2)


def test_world_is_brought_to_its_radiance_whatever_the_maps_scale() -> None:
    scene = replace(SCENE, world=ReflectedWorld("b", radiance=3.0))
    one, other = (scene_textures(scene, PICTURE, k * PICTURE, 30, 50).world for k in (1, 100))
    torch.testing.assert_close(one, other)
    assert torch.quantile(one.mean(dim=0), 0.95).item() == pytest.approx(3.0, rel=0.05)


def test_highlights_grow_beyond_the_rest() -> None:
    plain, grown = (
        scene_textures(
            replace(SCENE, world=ReflectedWorld("b", highlight_gain=g)), PICTURE, PICTURE, 30, 50
        ).world
        for g in (0.0, 6.0)
    )
    assert grown.amax() / grown.median() > 1.5 * plain.amax() / plain.median()


@pytest.mark.parametrize(("shape", "share"), [("disc", np.pi / 4), ("rectangle", 1.0)])
def test_lights_are_painted_where_they_are(shape: str, share: float) -> None:
    light = Light(shape, 0.25, 0.5, 0.2, 0.4, (8.0, 4.0, 2.0))
    dark = torch.full((3, 100, 200), 1e-3)
    world = replace(SCENE.world, radiance=2.0, lights=(light,))
    found = scene_textures(replace(SCENE, world=world), dark, dark, 100, 200).world
    assert found[:, 50, 50].tolist() == pytest.approx([16.0, 8.0, 4.0])
    added = (found[0] - found[0, 0, 0]).sum().item() / (16.0 - 2.0)
    assert added == pytest.approx(share * 0.2 * 0.4 * 100 * 200, rel=0.02)
    assert found[0, 50, 150].item() == pytest.approx(2.0)


def test_texture_size_keeps_the_form() -> None:
    assert texture_size(192, 256) == (384, 512)
    assert texture_size(256, 128, 300) == (300, 150)


def test_a_screen_is_deepened_and_tinted_under_its_lights() -> None:
    look = ReflectedWorld("b", contrast=2.0, tint=(0.5, 1.0, 2.0))
    found = scene_textures(replace(SCENE, world=look), PICTURE, PICTURE, 30, 50).world
    expected = PICTURE**2 * torch.tensor([0.5, 1.0, 2.0])[:, None, None]
    ratio = found / expected
    torch.testing.assert_close(ratio, torch.full_like(ratio, ratio[0, 0, 0].item()))
