"""Random objects: their distances, materials and pictures, in closed form and against Mitsuba."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from clearpane.errors import ClearpaneError
from clearpane.geometry.cameras import (
    HALF_SIZE,
    OBJECT_HALF_SIZE,
    Cameras,
    look_at,
    picture_rays,
    pinhole_intrinsics,
)
from clearpane.optics.color import linear_to_srgb, srgb_to_linear
from clearpane.synthesis.objects.materials import Material, load_materials, material_values
from clearpane.synthesis.objects.rendering import (
    DistanceGrid,
    ObjectRenderOptions,
    light_visibility,
    render_object,
    trace,
)
from clearpane.synthesis.objects.samples import (
    ObjectDataset,
    ObjectSources,
    ObjectStream,
    draw_environment,
    draw_object_sample,
    in_all_masks,
    load_object_sample,
    mean_radiance,
    object_seed,
    random_sky,
)
from clearpane.synthesis.objects.solids import (
    KINDS,
    Kind,
    Operation,
    Primitive,
    SolidObject,
    draw_object,
    primitive_distance,
    smooth_minimum,
)

SMALL = ObjectStream(views=2, side=24, options=ObjectRenderOptions(1, 16, 4))


def plain(albedo: float = 0.5, metallic: float = 0.0, roughness: float = 0.5) -> Material:
    texture = torch.tensor([albedo, albedo, albedo, metallic, roughness, 0.5])[:, None, None].expand(6, 8, 8)
    return Material((texture.clone(),), 1.0, torch.zeros(2))


def solid(kind: Kind, size: tuple[float, float, float], material: Material | None = None) -> Primitive:
    return Primitive(
        kind, torch.tensor(size), torch.eye(3), torch.zeros(3), "union", 0.05, 0.0, material or plain()
    )


def front(side: int = 48, distance: float = 2.0, field_of_view: float = 30) -> Cameras:
    pose = look_at(torch.tensor([[0.0, 0.0, distance]]), torch.zeros(3))
    return Cameras(pose, pinhole_intrinsics(field_of_view, side, side)[None], side, side)


def random_points(count: int = 4000, reach: float = 0.6) -> Tensor:
    return reach * (2 * torch.rand(count, 3, generator=torch.Generator().manual_seed(0)) - 1)


@pytest.mark.parametrize("kind", KINDS)
def test_distances_are_true_bounds(kind: Kind) -> None:
    part = solid(kind, (0.3, 0.2, 0.25))
    points = random_points()
    distance = primitive_distance(part, points)
    # No step of that length, any way, passes the surface: distances never change faster than points move.
    moved = points + 0.05 * torch.nn.functional.normalize(
        torch.randn(len(points), 3, generator=torch.Generator().manual_seed(1)), dim=-1
    )
    slope = (primitive_distance(part, moved) - distance).abs() / 0.05
    assert slope.max() < (1.35 if kind == "ellipsoid" else 1 + 1e-3)  # exact only at an ellipsoid's surface
    assert (distance[(points.abs() > torch.tensor([0.3, 0.2, 0.25])).any(-1)] > 0).all()
    assert (distance < 0).any()


def test_a_ball_and_a_box_have_their_distances() -> None:
    points = random_points()
    ball = primitive_distance(solid("ellipsoid", (0.3, 0.3, 0.3)), points)
    assert torch.allclose(ball, points.norm(dim=-1) - 0.3, atol=1e-4)
    box = primitive_distance(solid("box", (0.3, 0.3, 0.3)), torch.tensor([[0.5, 0.0, 0.0], [0.0, 0.1, 0.0]]))
    assert torch.allclose(box, torch.tensor([0.2, -0.2]), atol=1e-6)


def test_operations_join_cut_and_blend() -> None:
    def combined(operation: Operation) -> SolidObject:
        other = replace(
            solid("ellipsoid", (0.2, 0.2, 0.2)), centre=torch.tensor([0.25, 0, 0]), operation=operation
        )
        return SolidObject((solid("ellipsoid", (0.3, 0.3, 0.3)), other))

    points = random_points()
    a = points.norm(dim=-1) - 0.3
    b = (points - torch.tensor([0.25, 0, 0])).norm(dim=-1) - 0.2
    assert torch.allclose(combined("union").signed_distance(points), torch.minimum(a, b), atol=1e-4)
    assert torch.allclose(combined("cut").signed_distance(points), torch.maximum(a, -b), atol=1e-4)
    blend = combined("blend").signed_distance(points)
    assert torch.allclose(blend, smooth_minimum(a, b, 0.05), atol=1e-4)
    assert (blend <= torch.minimum(a, b) + 1e-5).all() and (torch.minimum(a, b) - blend).max() <= 0.0126


def test_the_same_seed_gives_the_same_object_and_it_fills_its_box() -> None:
    points = random_points()
    for seed in range(6):
        there, again = draw_object(seed), draw_object(seed)
        assert torch.equal(there.signed_distance(points), again.signed_distance(points))
        assert 1 <= len(there.primitives) <= 9
        assert there.primitives[0].operation == "union"
        axis = torch.linspace(-0.6, 0.6, 61)
        grid = torch.cartesian_prod(axis, axis, axis)
        inside = grid[there.signed_distance(grid) < 0]
        assert inside.abs().max() < OBJECT_HALF_SIZE + 0.02
        assert (inside.amax(0) - inside.amin(0)).max() > 2 * OBJECT_HALF_SIZE - 0.08
    assert not torch.equal(draw_object(0).signed_distance(points), draw_object(1).signed_distance(points))


def test_a_ball_is_traced_to_its_surface() -> None:
    ball = SolidObject((solid("ellipsoid", (0.4, 0.4, 0.4)),))
    origins, directions = (x.reshape(-1, 3) for x in picture_rays(front()))
    surface = trace(ball, DistanceGrid(ball, torch.device("cpu")), origins, directions)
    along = (origins * directions).sum(-1)
    root = along**2 - (origins**2).sum(-1) + 0.16
    hits = root > 0
    assert abs(len(surface.ray) - int(hits.sum())) <= 4
    both = hits[surface.ray]
    true = -along[surface.ray][both] - root[surface.ray][both].sqrt()
    steep = root[surface.ray][both] > 0.02
    assert (surface.distance[both] - true)[steep].abs().max() < 3e-3
    assert torch.allclose(ball.normals(surface.points)[both], surface.points[both] / 0.4, atol=2e-2)


def test_a_plate_above_throws_a_shadow() -> None:
    floor = replace(solid("box", (0.5, 0.05, 0.5)), centre=torch.tensor([0.0, -0.4, 0.0]))
    plate = replace(solid("box", (0.2, 0.03, 0.2)), centre=torch.tensor([0.0, 0.2, 0.0]))
    grid = DistanceGrid(SolidObject((floor, plate)), torch.device("cpu"))
    points = torch.tensor([[0.0, -0.35, 0.0], [0.4, -0.35, 0.0]])
    normals = torch.tensor([[0.0, 1.0, 0.0]]).expand(2, 3)
    slant = math.sqrt(0.5)
    lights = torch.tensor([[0.0, 1.0, 0.0], [-slant, slant, 0.0], [0.0, -1.0, 0.0]])
    # Straight up the first is under the plate; at a slant the second is; what is below is not asked.
    assert light_visibility(grid, points, normals, lights).tolist() == [[0, 1, 1], [1, 0, 1]]


def test_a_white_matt_ball_in_even_light_is_white() -> None:
    ball = SolidObject((solid("ellipsoid", (0.4, 0.4, 0.4), plain(0.8, 0.0, 1.0)),))
    views = render_object(ball, torch.full((16, 32, 3), 0.5), front(), ObjectRenderOptions(1))
    middle = views.colour[0, :, 24, 24]
    # 0.96 (1 - grazing) 0.8 + specular, of light 0.5: between the diffuse part alone and the albedo's sum.
    assert torch.allclose(srgb_to_linear(middle), torch.full((3,), 0.5 * 0.80), atol=0.03)
    assert views.mask[0, 0, 24, 24] == 1 and views.mask[0, 0, 0, 0] == 0
    assert torch.equal(views.colour[0, :, 0, 0], torch.ones(3))
    assert float(views.depth[0, 0, 24, 24]) == pytest.approx(1.6, abs=5e-3)
    assert torch.allclose(views.normal[0, :, 24, 24], torch.tensor([0.0, 0.0, 1.0]), atol=0.03)
    assert torch.allclose(views.albedo[0, :, 24, 24], torch.full((3,), 0.8), atol=1e-5)
    assert float(views.roughness[0, 0, 24, 24]) == pytest.approx(1.0)
    assert torch.allclose(views.background, linear_to_srgb(torch.tensor(0.5)), atol=1e-5)


def test_supersampling_softens_the_edge() -> None:
    ball = SolidObject((solid("ellipsoid", (0.4, 0.4, 0.4)),))
    one, four = (
        render_object(ball, torch.ones(16, 32, 3), front(24), ObjectRenderOptions(s)).mask for s in (1, 4)
    )
    assert set(one.unique().tolist()) == {0.0, 1.0}
    assert len(four.unique()) > 6
    assert torch.allclose(one.mean(), four.mean(), atol=0.02)


def test_materials_repeat_and_are_averaged_from_afar() -> None:
    checks = ((torch.arange(256)[:, None] // 16 + torch.arange(256) // 16) % 2).float().expand(6, 256, 256)
    levels = [checks]
    while levels[-1].shape[-1] > 4:
        levels.append(torch.nn.functional.avg_pool2d(levels[-1], 2))
    material = Material(tuple(levels), 0.5, torch.zeros(2))
    points = random_points(100, 0.3)
    along_z = torch.tensor([[0.0, 0.0, 1.0]]).expand(100, 3)
    near = material_values(material, points, along_z, 1e-4)
    assert torch.allclose(
        near, material_values(material, points + torch.tensor([0.5, -0.5, 0.7]), along_z, 1e-4), atol=1e-3
    )
    assert near.std() > 0.3
    assert torch.allclose(material_values(material, points, along_z, 0.2), torch.full((100, 5), 0.5))


def test_material_sets_are_read_from_a_folder(tmp_path: Path) -> None:
    (tmp_path / "brass").mkdir()
    for name, value in (("albedo", 0.5), ("metallic", 1.0), ("roughness", 0.25)):
        picture = np.full((8, 8, 3), round(255 * value), np.uint8)
        Image.fromarray(picture).save(tmp_path / "brass" / f"{name}.png")
    (texture,) = load_materials(tmp_path)
    assert texture.shape == (6, 256, 256)
    assert float(texture[0, 0, 0]) == pytest.approx(float(srgb_to_linear(torch.tensor(0.5))), abs=0.01)
    assert float(texture[3, 0, 0]) == 1.0
    assert float(texture[4, 0, 0]) == pytest.approx(0.25, abs=0.01)
    (tmp_path / "brass" / "roughness.png").unlink()
    with pytest.raises(ClearpaneError, match="brass: no roughness map"):
        load_materials(tmp_path)
    with pytest.raises(ClearpaneError, match="no such folder"):
        load_materials(tmp_path / "nowhere")


def test_samples_depend_on_their_number_alone_and_survive_their_file(tmp_path: Path) -> None:
    sources = ObjectSources()
    fresh = draw_object_sample(3, sources, SMALL)
    kept = ObjectDataset(sources, SMALL, tmp_path)
    first, again = kept[3], kept[3]
    for name, value in fresh.views._asdict().items():
        stored = getattr(first.views, name)
        assert torch.equal(stored, getattr(again.views, name))
        assert (stored - value).abs().max() < 5e-3
    assert torch.equal(first.cameras.camera_to_world, fresh.cameras.camera_to_world)
    assert fresh.views.mask.mean() > 0.05
    assert torch.equal(ObjectDataset(sources, SMALL)[3].views.colour, fresh.views.colour)
    (path,) = tmp_path.glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ClearpaneError, match="cannot be read"):
        load_object_sample(path)


def test_skies_are_as_bright_as_asked() -> None:
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        assert 0.49 < float(mean_radiance(draw_environment(ObjectSources(), generator))) < 1.11


def test_pictures_are_those_of_mitsuba(tmp_path: Path) -> None:
    """Two metals as meshes in Mitsuba, whose ``principled`` is the same for them."""
    mitsuba = pytest.importorskip("mitsuba")
    measure = pytest.importorskip("skimage.measure")
    mitsuba.set_variant("scalar_rgb")
    side, count = 32, 80
    parts = (
        replace(
            solid("ellipsoid", (0.3, 0.3, 0.3), plain(0.9, 1.0, 0.6)), centre=torch.tensor([-0.1, 0.1, 0.0])
        ),
        replace(solid("box", (0.2, 0.3, 0.2), plain(0.5, 1.0, 0.45)), centre=torch.tensor([0.25, -0.1, 0.1])),
    )
    environment = random_sky(torch.Generator().manual_seed(2))
    environment = environment / mean_radiance(environment)
    axis = torch.linspace(-0.6, 0.6, count)
    points = torch.cartesian_prod(axis, axis, axis)
    scene = {
        "type": "scene",
        "integrator": {"type": "path", "max_depth": 2, "hide_emitters": True},
        "light": {"type": "envmap", "bitmap": mitsuba.Bitmap(environment.numpy())},
        "sensor": {
            "type": "perspective",
            "fov": 30,
            "to_world": mitsuba.ScalarTransform4f().look_at([0, 0, 2], [0, 0, 0], [0, 1, 0]),
            "film": {
                "type": "hdrfilm",
                "width": side,
                "height": side,
                "rfilter": {"type": "box"},
                "pixel_format": "rgba",
            },
            "sampler": {"type": "independent", "sample_count": 128},
        },
    }
    for index, part in enumerate(parts):
        distance = primitive_distance(part, points).reshape(count, count, count).numpy()
        vertices, faces, _, _ = measure.marching_cubes(distance, 0.0)
        mesh = mitsuba.Mesh("part", len(vertices), len(faces))
        parameters = mitsuba.traverse(mesh)
        parameters["vertex_positions"] = (vertices * 1.2 / (count - 1) - 0.6).astype(np.float32).ravel()
        parameters["faces"] = faces[:, ::-1].astype(np.uint32).ravel()
        parameters.update()
        mesh.write_ply(str(tmp_path / f"{index}.ply"))
        value, _, _, metallic, roughness = (float(x[0, 0]) for x in part.material.levels[0][:5])
        scene[f"part{index}"] = {
            "type": "ply",
            "filename": str(tmp_path / f"{index}.ply"),
            "bsdf": {
                "type": "twosided",
                "surface": {
                    "type": "principled",
                    "base_color": {"type": "rgb", "value": value},
                    "metallic": metallic,
                    "roughness": roughness,
                },
            },
        }
    reference = torch.from_numpy(np.asarray(mitsuba.render(mitsuba.load_dict(scene)))).permute(2, 0, 1)
    views = render_object(
        SolidObject(parts), environment, front(side), ObjectRenderOptions(4, lights=256, facets=32)
    )
    assert (views.mask[0] - reference[3]).abs().mean() < 0.01
    expected = linear_to_srgb(reference[:3].clamp(0, 1)) * reference[3] + 1 - reference[3]
    error = (views.colour[0] - expected) * (reference[3] > 0.999)
    share = float((reference[3] > 0.999).float().mean())
    psnr = -10 * math.log10(float(error.square().mean()) / share)
    assert psnr > 30


def test_a_third_of_the_points_is_near_the_surface_and_some_are_where_pictures_say_nothing() -> None:
    stream = ObjectStream(views=6, side=24, points=600, options=ObjectRenderOptions(1, 8, 2))
    sample = draw_object_sample(3, ObjectSources(), stream)
    assert sample.points.shape == (600, 3) and sample.points.abs().max() <= HALF_SIZE
    assert len(sample.points.unique(dim=0)) == 600
    distance = sample.distances[:, 0]
    assert (distance.abs() < 0.1).float().mean() > 0.33
    phantom = in_all_masks(sample.points, sample.views.mask, sample.cameras) & (distance > 0)
    anywhere = HALF_SIZE * (2 * torch.rand(2000, 3, generator=torch.Generator().manual_seed(0)) - 1)
    solid = draw_object(object_seed(stream.seed, 3), ())
    by_chance = in_all_masks(anywhere, sample.views.mask, sample.cameras) & (
        solid.signed_distance(anywhere) > 0
    )
    assert phantom.float().mean() > 2 * by_chance.float().mean() > 0
    # Deeper in the object than half a pixel is wide, 5 cm there, every mask says so.
    inside = sample.points[distance < -0.06]
    assert len(inside) > 10 and in_all_masks(inside, sample.views.mask, sample.cameras).all()
