"""Rendered pictures made ready for files and films, and the record of what they were made with."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clearpane.errors import ClearpaneError
from clearpane.images.picture import Picture
from clearpane.optics.color import linear_to_srgb, srgb_to_linear
from clearpane.reconstruction.relighting.relight import RelightSettings
from clearpane.reconstruction.relighting.relit_pictures import RelitFolder, Turntable, as_picture, on_white


def test_a_file_has_colours_of_their_own_and_the_share_as_alpha() -> None:
    colour = np.asarray([[0.5, 0.25, 3.0], [0.1, 0.2, 0.3]])
    share = np.asarray([0.5, 0.0])
    rendered = np.concatenate([colour * share[:, None], share[:, None]], axis=-1)[None].astype(np.float32)
    picture = as_picture(rendered, "exr")
    np.testing.assert_allclose(srgb_to_linear(picture.pixels[0, 0]), colour[0], rtol=1e-5)
    assert picture.pixels[0, 1].tolist() == [0, 0, 0] and picture.sample_type == "half"
    assert picture.alpha is not None and picture.alpha.tolist() == [[0.5, 0]]
    rendered[..., 3] = 1
    assert as_picture(rendered, "png").alpha is None


def test_a_film_shows_white_behind_what_is_transparent() -> None:
    linear = np.full((1, 3, 3), 0.2)
    pixels = np.asarray(linear_to_srgb(linear), np.float32)
    alpha = np.asarray([[0.0, 0.25, 1.0]], np.float32)
    shown = srgb_to_linear(on_white(Picture(pixels, "png", "uint8", alpha=alpha)))
    np.testing.assert_allclose(shown[0, :, 0], [1, 0.25 * 0.2 + 0.75, 0.2], atol=1e-5)
    np.testing.assert_array_equal(on_white(Picture(5 * pixels, "exr", "half")), 1)


def test_what_pictures_depend_on_is_known_by_name(tmp_path: Path) -> None:
    asset, light = tmp_path / "a.glb", tmp_path / "a.hdr"
    asset.write_bytes(b"one")
    light.write_bytes(b"light")
    turntable = Turntable(3)
    before = turntable.made_with(asset, light)
    assert turntable.made_with(asset, light) == before == json.loads(json.dumps(before))
    asset.write_bytes(b"two")
    other = replace(turntable, exposure=1.0, rendering=RelightSettings(samples=7))
    after = other.made_with(asset, light)
    assert {name for name in before if before[name] != after[name]} == {"asset", "exposure", "samples"}
    previews = [
        replace(turntable, rendering=RelightSettings(samples=n, seed=n, preview=True)) for n in (1, 2)
    ]
    assert previews[0].made_with(asset, light) == previews[1].made_with(asset, light)


def test_a_folder_keeps_what_was_made_with_the_same_and_refuses_the_rest(tmp_path: Path) -> None:
    folder = RelitFolder(tmp_path / "out", "duck")
    folder.prepare({"views": 2, "size": 8}, "png")
    paths = [folder.picture(view, "png") for view in range(2)]
    for path in paths:
        path.touch()
    folder.film.touch()
    folder.prepare({"views": 2, "size": 8}, "png")
    assert all(path.exists() for path in paths)
    with pytest.raises(ClearpaneError, match=r"duck_000\.png: .* made with other size and seed;"):
        folder.prepare({"views": 2, "size": 9, "seed": 1}, "png")
    with pytest.raises(ClearpaneError, match=r"duck\.mp4: .* settings that are not known"):
        folder.prepare({"views": 2, "size": 8}, "png", film=True)
    folder.prepare({"views": 1, "size": 9}, "png", overwrite=True)
    assert not paths[0].exists() and paths[1].exists() and not folder.film.exists()
    with pytest.raises(ClearpaneError, match="other views"):  # the second is of the old size
        folder.prepare({"views": 2, "size": 9}, "png")
    (tmp_path / "file").touch()
    with pytest.raises(ClearpaneError, match="cannot write there"):
        RelitFolder(tmp_path / "file" / "out", "duck").prepare({"views": 1}, "png")
