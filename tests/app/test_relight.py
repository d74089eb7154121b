"""The command ``clearpane relight``: files, films, going on, and what is said of bad input."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clearpane.app import relight as command
from clearpane.app.cli import main
from clearpane.errors import ClearpaneError
from clearpane.geometry.mesh import Mesh
from clearpane.images.picture import Picture
from clearpane.images.reading import read_picture
from clearpane.images.writing import write_picture
from clearpane.optics.color import linear_to_srgb, srgb_to_linear
from clearpane.reconstruction.asset.asset import Asset, save_asset

pytest.importorskip("trimesh")
SIDE = 24


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a tetrahedron, duck.glb, and a map that is brighter above, sky.hdr."""
    monkeypatch.chdir(tmp_path)
    vertices = np.asarray([[1.0, 1, 1], [-1, -1, 1], [-1, 1, -1], [1, -1, -1]])
    corners = vertices[[[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]]
    normals = corners.mean(1) * math.sqrt(3)
    flat = np.zeros((4, 4, 3))
    flat[..., 2] = 1
    asset = Asset(
        Mesh(corners.reshape(-1, 3), np.arange(12).reshape(-1, 3)),
        np.full((12, 2), 0.5),
        normals.repeat(3, axis=0),
        np.full((4, 4, 3), 0.5),
        np.zeros((4, 4)),
        np.ones((4, 4)),
        flat,
        np.ones((4, 4)),
    )
    save_asset(asset, tmp_path / "duck.glb")
    sky = np.linspace(2, 0.2, 16)[:, None, None] * np.ones((16, 32, 3))
    write_picture(tmp_path / "sky.hdr", Picture(linear_to_srgb(sky).astype(np.float32), "hdr", "float"))
    return tmp_path


def relight(*options: str, environment: str = "sky.hdr", output: str = "out") -> int:
    return main(
        [
            "relight",
            "duck.glb",
            "--environment",
            environment,
            "--output",
            output,
            "--size",
            str(SIDE),
            *options,
        ]
    )


def names(folder: str = "out") -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


def test_pictures_all_round_and_a_film_of_them(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    av = pytest.importorskip("av")
    assert relight("--preview", "--views", "5", "--turntable", "--rate", "10") == 0
    pictures = [f"duck_sky_{view:03d}.png" for view in range(5)]
    assert names() == sorted([*pictures, "duck_sky.json", "duck_sky.mp4"])
    captured = capsys.readouterr()
    assert captured.out.count("view ") == 5 and "view 5 of 5 -> out/duck_sky_004.png" in captured.out
    assert "5 done; video out/duck_sky.mp4" in captured.err
    first = np.asarray(Image.open("out/duck_sky_000.png"))
    assert first.shape == (SIDE, SIDE, 4) and first[0, 0, 3] == 0 and first[SIDE // 2, SIDE // 2, 3] == 255
    with av.open("out/duck_sky.mp4") as film:
        stream = film.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.average_rate == 10
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(stream)]
    assert len(frames) == 5 and frames[0].shape == (SIDE, SIDE, 3)
    assert frames[0][0, 0].min() > 245  # what is transparent is white
    middle = first[SIDE // 2, SIDE // 2, :3].astype(int)
    assert np.abs(frames[0][SIDE // 2, SIDE // 2] - middle).max() < 20


def test_path_traced_pictures_are_the_same_each_time_and_linear_in_exr(here: Path) -> None:
    pytest.importorskip("mitsuba")
    options = ["--samples", "8", "--exposure", "3", "--azimuth", "30"]
    assert relight(*options, "--format", "exr") == 0
    assert relight(*options, "--format", "exr", output="again") == 0
    assert relight(*options, output="png") == 0
    picture = read_picture("out/duck_sky_000.exr")
    other = read_picture("again/duck_sky_000.exr")
    np.testing.assert_array_equal(picture.pixels, other.pixels)
    assert picture.alpha is not None and 0.1 < picture.alpha.mean() < 0.9
    shown = read_picture("png/duck_sky_000.png")
    inside = picture.alpha == 1
    assert srgb_to_linear(picture.pixels[inside]).max() > 2
    np.testing.assert_allclose(
        shown.pixels[inside], np.clip(picture.pixels[inside], 0, 1), atol=0.5 / 255 + 1e-3
    )


def test_backgrounds_are_opaque(here: Path) -> None:
    for background in ("white", "environment"):
        assert relight("--preview", "--background", background, output=background) == 0
        assert read_picture(f"{background}/duck_sky_000.png").alpha is None
    assert read_picture("white/duck_sky_000.png").pixels[0, 0].tolist() == [1, 1, 1]


def test_the_light_goes_round_instead(here: Path) -> None:
    sky = np.full((16, 32, 3), 0.05, np.float32)
    sky[6:10, 14:18] = 5
    write_picture("lamp.hdr", Picture(np.asarray(linear_to_srgb(sky), np.float32), "hdr", "float"))
    assert relight("--preview", "--views", "2", "--turn", "light", environment="lamp.hdr") == 0
    front, back = (read_picture(f"out/duck_lamp_00{view}.png") for view in range(2))
    np.testing.assert_array_equal(front.alpha, back.alpha)
    assert front.pixels.mean() > 1.5 * back.pixels.mean()


def test_goes_on_where_it_stopped(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--preview", "--views", "3"]
    assert relight(*options) == 0
    before = {name: (Path("out") / name).read_bytes() for name in names()}
    (here / "out" / "duck_sky_001.png").unlink()
    capsys.readouterr()
    assert relight(*options, "--json") == 0
    facts = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [fact["status"] for fact in facts] == ["skipped", "skipped", "done"]
    assert facts[2]["outputs"] == {"picture": "out/duck_sky_001.png"}
    assert {name: (Path("out") / name).read_bytes() for name in names()} == before


def test_an_interruption_keeps_finished_pictures(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(path, picture, options):
        if path.name.endswith("_001.png"):
            raise KeyboardInterrupt
        return write_picture(path, picture, options)

    monkeypatch.setattr(command, "write_picture", interrupted)
    assert relight("--preview", "--views", "3", "--turntable") == 130
    assert names() == ["duck_sky.json", "duck_sky_000.png"]
    assert "interrupted: 1 of 3 done; run the same command again" in capsys.readouterr().err


def test_a_full_disk_is_said_and_keeps_finished_pictures(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path, picture, options):
        if path.name.endswith("_001.png"):
            raise ClearpaneError(f"{path}: writing failed (No space left on device); free some space")
        return write_picture(path, picture, options)

    monkeypatch.setattr(command, "write_picture", full)
    assert relight("--preview", "--views", "3") == 1
    error = capsys.readouterr().err
    assert "error: out/duck_sky_001.png: writing failed" in error and "stopped: 1 of 3 done" in error
    assert names() == ["duck_sky.json", "duck_sky_000.png"]


def test_pictures_of_other_settings_are_neither_kept_nor_mixed_in(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert relight("--preview", "--views", "2") == 0
    before = (here / "out" / "duck_sky_000.png").read_bytes()
    assert relight("--preview", "--views", "2", "--exposure", "1") == 1
    assert "made with other exposure" in capsys.readouterr().err
    assert (here / "out" / "duck_sky_000.png").read_bytes() == before
    assert relight("--preview", "--views", "2", "--exposure", "1", "--overwrite") == 0
    assert (here / "out" / "duck_sky_000.png").read_bytes() != before
    (here / "out" / "duck_sky.json").unlink()
    assert relight("--preview", "--views", "2", "--exposure", "1") == 1
    assert "settings that are not known" in capsys.readouterr().err


def test_each_format_and_the_film_remember_what_they_were_made_with(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("av")
    assert relight("--preview") == 0
    before = (here / "out" / "duck_sky_000.png").read_bytes()
    assert relight("--preview", "--format", "exr", "--exposure", "1") == 0
    capsys.readouterr()
    assert relight("--preview", "--exposure", "1") == 1
    assert "out/duck_sky_000.png: exists already, made with other exposure;" in capsys.readouterr().err
    assert relight("--preview", "--format", "exr") == 1
    assert "out/duck_sky_000.exr: exists already, made with other exposure;" in capsys.readouterr().err
    assert relight("--preview") == 0 and relight("--preview", "--format", "exr", "--exposure", "1") == 0
    assert (here / "out" / "duck_sky_000.png").read_bytes() == before
    film = ["--preview", "--views", "2", "--turntable"]
    assert relight(*film, output="film") == 0
    assert relight(*film, "--format", "exr", output="film") == 0  # the same film
    Path("film/duck_sky_000.png").unlink()
    Path("film/duck_sky_001.png").unlink()
    capsys.readouterr()
    assert relight(*film, "--exposure", "1", output="film") == 1
    assert "film/duck_sky.mp4: exists already, made with other exposure;" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--views", "0"], 2, "--views 0"),
        (["--size", "25", "--views", "2", "--turntable"], 2, "even size"),
        (["--turntable", "--views", "1"], 2, "--views 2 or more"),
        (["--turn", "light"], 2, "--views 2 or more"),
        (["--elevation", "90"], 2, "--elevation 90"),
        (["--exposure", "nan"], 2, "--exposure"),
        (["--preview", "--denoise"], 2, "no noise"),
        (["--output", "duck.glb"], 2, "is a file"),
        (["--environment", "missing.hdr"], 1, "missing.hdr: no such file"),
        (["--environment", "duck.glb"], 1, "duck.glb: is not a picture"),
        (["--environment", "black.exr"], 1, "black.exr: is black everywhere"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    here: Path, capsys: pytest.CaptureFixture[str], options: list[str], code: int, said: str
) -> None:
    write_picture("black.exr", Picture(np.zeros((8, 16, 3), np.float32), "exr", "half"))
    assert relight(*options) == code
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert captured.err.startswith("error: ") and said in captured.err
    assert not (here / "out").exists()
