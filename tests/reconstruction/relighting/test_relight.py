"""Assets under light: cases whose answer is known, and the path tracer against the preview."""

import io
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from clearpane.errors import ClearpaneError, MissingExtraError
from clearpane.geometry.cameras import Cameras, look_at, pinhole_intrinsics, project
from clearpane.geometry.mesh import Mesh
from clearpane.images.picture import Picture
from clearpane.images.writing import write_picture
from clearpane.optics.color import linear_to_srgb
from clearpane.optics.environment import texel_directions
from clearpane.reconstruction.asset.asset import Asset
from clearpane.reconstruction.relighting.lighting import Environment, load_environment
from clearpane.reconstruction.relighting.relight import RelightSettings, relight
from clearpane.reconstruction.relighting.surface_view import SurfaceViews
from clearpane.reconstruction.relighting.turntable import turntable_cameras

PREVIEW = RelightSettings(preview=True)
FRONT = look_at(torch.tensor([[0.0, 0, 3]]), torch.zeros(3))


def material(mesh: Mesh, coordinates: np.ndarray, normals: np.ndarray, **maps: np.ndarray) -> Asset:
    """An asset of 8 x 8 textures: a rough grey dielectric as far as nothing else is said."""
    even = np.ones((8, 8))
    flat = np.zeros((8, 8, 3))
    flat[..., 2] = 1
    values = {
        "albedo": np.full((8, 8, 3), 0.5),
        "metallic": 0 * even,
        "roughness": even,
        "normal_map": flat,
        "occlusion": even,
    } | maps
    return Asset(mesh, coordinates, normals, **values)


def square(**maps: np.ndarray) -> Asset:
    """From -1 to 1, facing +z; the texture upright."""
    vertices = np.asarray([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    coordinates = np.asarray([[0.0, 1], [1, 1], [1, 0], [0, 0]])
    faces = np.asarray([[0, 1, 2], [0, 2, 3]])
    return material(Mesh(vertices, faces), coordinates, np.repeat([[0.0, 0, 1]], 4, axis=0), **maps)


def ball(rows: int = 24, **maps: np.ndarray) -> Asset:
    """Of radius 1, by latitude and longitude."""
    polar, around = np.meshgrid(
        np.linspace(0, math.pi, rows + 1), np.linspace(0, 2 * math.pi, 2 * rows + 1), indexing="ij"
    )
    points = np.stack(
        [np.sin(polar) * np.sin(around), np.cos(polar), np.sin(polar) * np.cos(around)], axis=-1
    ).reshape(-1, 3)
    corner = (np.arange(rows)[:, None] * (2 * rows + 1) + np.arange(2 * rows)).reshape(-1, 1)
    under = 2 * rows + 1
    steps = np.asarray([[0, under, under + 1], [0, under + 1, 1]])
    faces = np.concatenate([corner + step for step in steps])
    coordinates = np.stack([around / (2 * math.pi), polar / math.pi], axis=-1).reshape(-1, 2)
    return material(Mesh(points, faces), coordinates, points, **maps)


def camera(side: int = 24, pose: torch.Tensor = FRONT) -> Cameras:
    return Cameras(pose, pinhole_intrinsics(50, side, side)[None], side, side)


def constant(radiance: float = 1.0) -> Environment:
    return Environment(np.full((8, 16, 3), radiance, np.float32))


def smooth() -> Environment:
    """Brighter above and on the right, with a hint of colour."""
    directions = texel_directions(32, 64)
    level = np.exp(2 * (directions @ [0.6, 0.7, 0.4] - 0.3))
    return Environment((level[..., None] * [1.0, 0.9, 0.8]).astype(np.float32))


def from_side(direction: tuple[float, float, float]) -> Environment:
    """Light from about one direction only."""
    return Environment(
        np.repeat(texel_directions(16, 32) @ direction > 0.9, 3).reshape(16, 32, 3).astype(np.float32)
    )


def shot(asset: Asset, environment: Environment, cameras: Cameras, settings: RelightSettings) -> np.ndarray:
    if not settings.preview:
        pytest.importorskip("mitsuba")
    return next(relight(asset, environment, cameras, settings))


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Of sRGB values."""
    shown = (linear_to_srgb(np.clip(x[..., :3].astype(np.float64), 0, 1)) for x in (a, b))
    return -10 * math.log10(float(np.square(np.subtract(*shown)).mean()))


both = pytest.mark.parametrize(
    "settings", [RelightSettings(samples=64), PREVIEW], ids=["path-traced", "preview"]
)


@both
def test_a_ball_in_even_light_is_as_bright_as_its_albedo(settings: RelightSettings) -> None:
    picture = shot(ball(), constant(2.0), camera(), settings)
    inner = picture[6:18, 6:18, :3].mean((0, 1))
    # Of Mitsuba's principled material the diffuse part is a little brighter than glTF's.
    np.testing.assert_allclose(inner, 1.0 if settings.preview else 1.07, rtol=0.03)
    assert picture[0, 0].tolist() == [0, 0, 0, 0]
    assert picture[12, 12, 3] == 1


@both
def test_a_texture_is_seen_where_its_coordinates_say(settings: RelightSettings) -> None:
    albedo = np.full((8, 8, 3), 0.2)
    albedo[:4, :4] = [0.9, 0.02, 0.02]
    picture = shot(square(albedo=albedo), constant(), camera(), settings)
    side = len(picture)
    quarters = [picture[r : r + 4, c : c + 4].mean((0, 1)) for r in (6, side - 10) for c in (6, side - 10)]
    redness = [quarter[0] - quarter[1] for quarter in quarters]
    assert redness[0] > 0.5 and max(redness[1:]) < 0.05


@both
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize(
    ("slope", "towards", "away"),
    [((1, 0), (0.8, 0, 0.6), (-0.8, 0, 0.6)), ((0, 1), (0, 0.8, 0.6), (0, -0.8, 0.6))],
    ids=["x", "y"],
)
def test_a_normal_map_leans_to_the_textures_right_and_top(
    settings: RelightSettings, mirrored: bool, slope: tuple, towards: tuple, away: tuple
) -> None:
    lean = np.zeros((8, 8, 3)) + np.asarray([0.5 * slope[0], 0.5 * slope[1], math.sqrt(0.75)])
    asset = square(normal_map=lean)
    if mirrored:  # the texture runs from right to left, and with it its x
        asset = replace(asset, coordinates=asset.coordinates * [-1, 1] + [1, 0])
        towards, away = (-towards[0], *towards[1:]), (-away[0], *away[1:])
    lit, unlit, flat = (
        shot(a, from_side(d), camera(8), settings)[3:5, 3:5, :3].mean()
        for a, d in ((asset, towards), (asset, away), (square(), towards))
    )
    assert lit > 1.15 * flat and unlit < 0.75 * flat


def test_the_path_tracer_and_the_preview_agree_on_a_rough_ball() -> None:
    asset = ball(albedo=np.full((8, 8, 3), 0.4), roughness=np.full((8, 8), 0.6))
    traced = shot(asset, smooth(), camera(32), RelightSettings(samples=256))
    shaded = shot(asset, smooth(), camera(32), PREVIEW)
    assert psnr(traced, shaded) > 28
    gain = float((traced * shaded)[..., :3].sum() / (traced**2)[..., :3].sum())  # of the two diffuse parts
    assert 0.88 < gain < 1.0 and psnr(traced * gain, shaded) > 30
    assert np.abs(traced[..., 3] - shaded[..., 3]).mean() < 0.01


def test_rasterised_and_traced_views_agree_for_any_camera() -> None:
    pose = look_at(torch.tensor([[1.5, 1.2, 2.0]]), torch.tensor([0.2, -0.1, 0.0]), (0.3, 1.0, 0.1))
    cameras = Cameras(pose, torch.tensor([[38.0, 38.0, 14.0, 21.0]]), 30, 40)
    asset = square()
    traced = shot(asset, constant(), cameras, RelightSettings(samples=64))
    seen = SurfaceViews(asset).see(cameras, 0)
    assert (
        np.abs(traced[..., 3] - seen.mask).max() < 0.25 and np.abs(traced[..., 3] - seen.mask).mean() < 0.01
    )
    pixels, depth = project(cameras[0], torch.zeros(1, 3))
    column, row = pixels[0].int().tolist()
    assert seen.depth[row, column] == pytest.approx(float(depth[0]), rel=0.02)
    np.testing.assert_allclose(seen.normal[row, column], [0, 0, 1], atol=1e-6)


def test_the_nearer_of_two_surfaces_is_seen_also_from_behind() -> None:
    near = square(albedo=np.full((8, 8, 3), 0.9))
    mesh = Mesh(
        np.concatenate([near.mesh.vertices * 0.5 + [0, 0, 0.5], near.mesh.vertices]),
        np.concatenate([near.mesh.faces, near.mesh.faces + 4]),
    )
    white = np.concatenate([near.coordinates * 0 + 0.1, near.coordinates * 0 + 0.9])
    albedo = np.zeros((8, 8, 3))
    albedo[:4, :4] = 1.0
    asset = replace(
        near, mesh=mesh, coordinates=white, normals=np.concatenate([near.normals] * 2), albedo=albedo
    )
    front = SurfaceViews(asset).see(camera(), 0)
    behind = SurfaceViews(asset).see(camera(pose=look_at(torch.tensor([[0.0, 0, -3]]), torch.zeros(3))), 0)
    assert front.albedo[12, 12, 0] > 0.99 and front.albedo[5, 5, 0] < 0.01
    assert behind.albedo[12, 12, 0] < 0.01
    np.testing.assert_allclose(behind.normal[12, 12], [0, 0, -1], atol=1e-6)


def test_the_same_seed_gives_the_same_picture_whichever_others_are_made() -> None:
    pytest.importorskip("mitsuba")
    cameras = turntable_cameras(ball().mesh, 3, 12)
    few = RelightSettings(samples=2)
    first = list(relight(ball(), smooth(), cameras, few))
    again = next(relight(ball(), smooth(), cameras[[1]], few))
    np.testing.assert_array_equal(first[1], again)
    other = next(relight(ball(), smooth(), cameras[[1]], replace(few, seed=1)))
    assert np.abs(other - again).max() > 0


def test_steps_are_told_and_samples_of_several_passes_are_averaged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clearpane.reconstruction.relighting.relight._PASS", 12 * 12 * 16)
    pytest.importorskip("mitsuba")
    steps: list[tuple[int, int]] = []
    picture = next(
        relight(ball(), constant(), camera(12), RelightSettings(samples=40), lambda *step: steps.append(step))
    )
    assert steps == [(0, 3), (1, 3), (2, 3)]
    np.testing.assert_allclose(picture[5:7, 5:7, :3].mean(), 0.55, rtol=0.05)


def test_denoising_comes_nearer_to_the_picture_without_noise() -> None:
    pytest.importorskip("mitsuba_oidn")
    asset = ball(roughness=np.full((8, 8), 0.3))
    few = RelightSettings(samples=4)
    truth = shot(asset, smooth(), camera(48), RelightSettings(samples=256, seed=9))
    noisy, clean = (shot(asset, smooth(), camera(48), s) for s in (few, replace(few, denoise=True)))
    assert psnr(clean, truth) > psnr(noisy, truth) + 3
    np.testing.assert_array_equal(clean[..., 3], noisy[..., 3])


@both
def test_behind_the_object_is_nothing_white_or_the_environment(settings: RelightSettings) -> None:
    light = smooth().turned(30)
    pictures = {
        kind: shot(ball(), light, camera(), replace(settings, samples=8, background=kind))
        for kind in ("transparent", "white", "environment")
    }
    plain = pictures["transparent"]
    share = plain[..., 3:]
    np.testing.assert_allclose(pictures["white"][..., :3], plain[..., :3] + 1 - share, atol=1e-5)
    ray = np.asarray([-0.5, 0.5, -1 / math.tan(math.radians(25)) * 0.5 / (11.5 / 12 * 0.5)])
    corner = light.seen(ray / np.linalg.norm(ray))
    np.testing.assert_allclose(pictures["environment"][0, 0, :3], corner, rtol=0.02)
    assert (pictures["environment"][..., 3] == 1).all()


@both
def test_the_light_turns_as_it_says(settings: RelightSettings) -> None:
    # From the front; turned by 90 degrees counter-clockwise from above, from the right.
    light = from_side((0, 0, 1)).turned(90)
    picture = shot(ball(), light, camera(), settings)
    assert picture[12, 18, 0] > 4 * picture[12, 6, 0]
    np.testing.assert_allclose(light.seen(np.asarray([1.0, 0, 0])), 1)
    np.testing.assert_allclose(constant().exposed(2).radiance, 4)


def test_turntable_cameras_see_all_of_an_object_of_any_size_and_place() -> None:
    mesh = ball().mesh
    moved = Mesh(mesh.vertices * [30.0, 5, 10] + [100, 20, -7], mesh.faces)
    cameras = turntable_cameras(moved, 4, 64, elevation=35)
    pixels, depth = project(cameras, torch.from_numpy(moved.vertices)[None])
    assert (depth > 0).all() and pixels.min() > 0 and pixels.max() < 64
    assert float((pixels.amax((0, 1)) - pixels.amin((0, 1))).max()) > 50
    offsets = cameras.centres.numpy() - [100, 20, -7]
    assert offsets[0, 2] > 0 and abs(offsets[0, 0]) < 1e-6
    assert offsets[1, 0] > 0 and abs(offsets[1, 2]) < 1e-4
    heights = offsets[:, 1] / np.linalg.norm(offsets, axis=-1)
    np.testing.assert_allclose(heights, math.sin(math.radians(35)), atol=1e-6)


def test_maps_that_are_none_are_refused(tmp_path: Path) -> None:
    def saved(name: str, pixels: np.ndarray) -> Path:
        kind = Path(name).suffix[1:]
        sample = "uint8" if kind == "png" else "float"
        return write_picture(tmp_path / name, Picture(pixels.astype(np.float32), kind, sample))

    good = load_environment(saved("good.exr", np.asarray(linear_to_srgb(smooth().radiance))))
    np.testing.assert_allclose(good.radiance, smooth().radiance, rtol=1e-3)
    for source in (data := (tmp_path / "good.exr").read_bytes(), io.BytesIO(data)):
        np.testing.assert_array_equal(load_environment(source).radiance, good.radiance)
    with pytest.raises(ClearpaneError, match=r"^the picture: truncated"):
        load_environment(data[:400])
    broken = np.ones((8, 16, 3))
    broken[2, 3] = np.nan
    cases = {
        saved("a.png", np.ones((8, 16, 3))): "is a PNG, not an HDR map",
        saved("b.exr", np.zeros((8, 16, 3))): "black everywhere",
        saved("c.exr", broken): "not numbers",
        saved("d.hdr", np.ones((8, 8, 3))): "twice as wide as high",
        tmp_path / "missing.hdr": "no such file",
    }
    for path, said in cases.items():
        with pytest.raises(ClearpaneError, match=said) as caught:
            load_environment(path)
        assert path.name in str(caught.value) and "\n" not in str(caught.value)


def test_what_cannot_be_rendered_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ClearpaneError, match="black"):
        relight(ball(), constant(0.0), camera(), PREVIEW)
    with pytest.raises(ClearpaneError, match="samples"):
        relight(ball(), constant(), camera(), replace(PREVIEW, samples=0))
    oblong = Cameras(FRONT, torch.tensor([[30.0, 40, 12, 12]]), 24, 24)
    with pytest.raises(ClearpaneError, match="not square"):
        relight(ball(), constant(), oblong, PREVIEW)
    monkeypatch.setitem(sys.modules, "mitsuba", None)
    with pytest.raises(MissingExtraError, match=r"clearpane\[3d\]"):
        relight(ball(), constant(), camera())
    assert next(relight(ball(), constant(), camera(), PREVIEW)).shape == (24, 24, 4)
