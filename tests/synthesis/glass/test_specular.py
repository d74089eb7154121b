import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from clearpane.optics import polarization, slab
from clearpane.optics.fresnel import dielectric_reflectance, refract_cosine
from clearpane.synthesis.glass.geometry import pane_axes
from clearpane.synthesis.glass.scene import Pane
from clearpane.synthesis.glass.specular import camera_fields, specular_paths, stacked_surfaces

CLEAR = (0.0, 0.0, 0.0)
PANES = {
    "flat": Pane(yaw=25, pitch=-8),
    "wedged": Pane("wedged", wedge_angle=0.4, wedge_direction=30, yaw=-20),
    "double": Pane("double", yaw=30, pitch=5),
    "bent": Pane("bent", front_curvature=0.8, yaw=15, pitch=10),
    "hollow": Pane("bent", front_curvature=-0.6, yaw=-25),
    "meniscus": Pane("lens", distance=0.3, front_curvature=2.0, back_curvature=2.5, yaw=10),
    "biconvex": Pane("lens", distance=0.1, front_curvature=5.0, back_curvature=-5.0, thickness=0.02),
    "biconcave": Pane("lens", distance=0.9, front_curvature=-0.5, back_curvature=0.4, pitch=-12),
}


def rays(count=60, half_angle=12, kind=torch.float64):
    """Directions about the axis: [1, count, 3]."""
    generator = torch.Generator().manual_seed(0)
    reach = math.tan(math.radians(half_angle))
    across = (2 * torch.rand(1, count, 2, generator=generator, dtype=torch.float64) - 1) * reach
    direction = torch.cat([across, torch.ones_like(across[..., :1])], dim=-1)
    return torch.nn.functional.normalize(direction, dim=-1).to(kind)


def at_angle(degrees):
    angle = math.radians(degrees)
    return torch.tensor([[[math.sin(angle), 0, math.cos(angle)]]], dtype=torch.float64)


def enumerate_paths(pane, direction, max_reflections, polarized=True, polarizer=None):
    fields = camera_fields(direction, [polarizer]) if polarized else None
    surfaces = stacked_surfaces([pane], direction)
    return {
        path.reflected_at: path
        for path in specular_paths(surfaces, torch.zeros_like(direction), direction, fields, max_reflections)
    }


def totals(paths):
    """All of R and all of T: [..., 3] each."""
    return [sum(p.weight for p in paths.values() if p.in_front == front) for front in (True, False)]


# --- flat panes: the series of optics/slab.py ---


@pytest.mark.parametrize("polarized", [True, False])
def test_flat_pane_is_the_slabs_series(polarized):
    pane = Pane(yaw=30, pitch=10, ior=1.5, thickness=0.01, absorption=(40.0, 5.0, 0.0))
    direction = rays()
    paths = enumerate_paths(pane, direction, 4, polarized)
    assert list(map(len, sorted(paths, key=len))) == [0, 1, 1, 2, 3, 4]

    inwards = torch.from_numpy(pane_axes(pane)[2])
    cosine = direction @ inwards
    cos_t = refract_cosine(cosine, pane.ior)
    absorption = torch.tensor(pane.absorption, dtype=torch.float64)
    passed = slab.crossing_attenuation(cos_t[..., None], pane.thickness, absorption)
    if polarized:
        faces = dielectric_reflectance(cosine, pane.ior)
    else:
        faces = [slab.averaging_reflectance(cosine, pane.ior)]
    reflections, transmissions = zip(
        *(slab.slab_orders(face[..., None], passed, 3) for face in faces), strict=True
    )
    entry = direction * (pane.distance * inwards[2] / cosine)[..., None]
    tangential = direction - cosine[..., None] * inwards
    crossing = slab.crossing_shift(tangential, cos_t[..., None], pane.ior, pane.thickness)
    for order, sequence in enumerate([(0,), (1,), (1, 0, 1)]):
        path = paths[sequence]
        expected = sum(weights[order] for weights in reflections) / len(faces)
        torch.testing.assert_close(path.weight, expected.expand_as(path.weight))
        torch.testing.assert_close(path.origin, entry + 2 * order * crossing)
        torch.testing.assert_close(path.direction, direction - 2 * cosine[..., None] * inwards)
    for order, sequence in enumerate([(), (1, 0), (1, 0, 1, 0)]):
        path = paths[sequence]
        expected = sum(weights[order] for weights in transmissions) / len(faces)
        torch.testing.assert_close(path.weight, expected)
        torch.testing.assert_close(path.origin, entry + (2 * order + 1) * crossing + pane.thickness * inwards)
        torch.testing.assert_close(path.direction, direction)


@pytest.mark.parametrize(("polarized", "expected"), [(True, 0.1519), (False, 0.1638)])
def test_reflectance_at_60_degrees(polarized, expected):
    reflected, _ = totals(enumerate_paths(Pane(ior=1.5, absorption=CLEAR), at_angle(60), 13, polarized))
    assert reflected[0, 0].tolist() == pytest.approx([expected] * 3, abs=5e-5)


# In the biconcave lens light is reflected totally again and again, on its way to the rim.
@pytest.mark.parametrize("name", [name for name in PANES if name != "biconcave"])
@pytest.mark.parametrize("polarized", [True, False])
def test_no_energy_is_lost(name, polarized):
    pane = replace(PANES[name], absorption=CLEAR)
    short, long = (
        sum(totals(enumerate_paths(pane, rays(), reflections, polarized))) for reflections in (1, 6)
    )
    assert (short < long).all() and (long <= 1 + 1e-12).all()
    assert long.min() > 1 - 1e-5 and short.min() < 1 - 1e-3


# --- other shapes ---


def test_wedge_turns_the_ghost():
    pane = Pane("wedged", ior=1.5, wedge_angle=0.2, wedge_direction=90)
    wedge = math.radians(0.2)
    paths = enumerate_paths(pane, at_angle(0), 2)
    # The back face's normal leans towards the thin side: the ghost leaves towards the thick one.
    ghost = [0, 1.5 * math.sin(2 * wedge)]
    assert paths[1,].direction[0, 0, :2].tolist() == pytest.approx(ghost, abs=1e-12)
    assert paths[0,].direction[0, 0].tolist() == [0, 0, -1]
    # The straight light leaves where a prism sends it: (ior - 1) wedge towards the thick side.
    assert float(paths[()].direction[0, 0, 1]) == pytest.approx(0.5 * wedge, rel=1e-4)


def test_double_glazing():
    pane = Pane("double", ior=1.5, thickness=0.004, gap=0.012, absorption=CLEAR)
    angle = math.radians(35)
    paths = enumerate_paths(pane, at_angle(35), 1)
    assert set(paths) == {(), (0,), (1,), (2,), (3,)}
    in_glass = 0.004 * math.tan(math.asin(math.sin(angle) / 1.5))
    in_air = 0.012 * math.tan(angle)
    faces = torch.stack(dielectric_reflectance(torch.tensor(math.cos(angle), dtype=torch.float64), 1.5))
    steps = [0, in_glass, in_glass + in_air, 2 * in_glass + in_air]
    for index, step in enumerate(steps):
        path = paths[index,]
        assert float(path.origin[0, 0, 0]) == pytest.approx(math.tan(angle) + 2 * step, abs=1e-12)
        assert path.direction[0, 0].tolist() == pytest.approx([math.sin(angle), 0, -math.cos(angle)])
        assert float(path.weight[0, 0, 0]) == pytest.approx(
            float((faces * (1 - faces) ** (2 * index)).mean())
        )


@pytest.mark.parametrize("shape", ["bent", "lens"])
@pytest.mark.parametrize("kind", [torch.float64, torch.float32])
def test_hardly_curved_is_flat(shape, kind):
    curved = Pane(shape, yaw=20, front_curvature=1e-7, back_curvature=1e-7)
    paths = enumerate_paths(curved, rays(kind=kind), 3)
    flat = enumerate_paths(replace(curved, shape="flat"), rays(), 3)
    assert paths.keys() == flat.keys()
    for sequence, path in paths.items():
        for name in ("origin", "direction", "weight"):
            torch.testing.assert_close(
                getattr(path, name).double(), getattr(flat[sequence], name), atol=3e-6, rtol=0
            )


def test_bent_pane_mirrors_as_a_cylinder():
    radius, angle = 0.5, math.radians(10)
    paths = enumerate_paths(Pane("bent", front_curvature=1 / radius), at_angle(10), 1)
    # Sine rule in the triangle of camera, axis and point: the incidence, and the normal's angle with z.
    incidence = math.asin((1 + radius) / radius * math.sin(angle))
    turn = 2 * incidence - angle
    assert paths[0,].direction[0, 0].tolist() == pytest.approx([math.sin(turn), 0, -math.cos(turn)])
    # In the plane of the axis and z it is flat.
    upwards = at_angle(10)[..., [1, 0, 2]]
    flat = enumerate_paths(Pane(), upwards, 1)[0,].direction
    torch.testing.assert_close(
        enumerate_paths(Pane("bent", front_curvature=2), upwards, 1)[0,].direction, flat
    )


@pytest.mark.parametrize(("front", "back"), [(4.0, -6.0), (4.0, 6.0), (-3.0, 1.0)])
def test_lens_has_the_focal_length_of_its_maker(front, back):
    pane = Pane("lens", distance=1e-6, front_curvature=front, back_curvature=back, thickness=1e-6, ior=1.5)
    # The camera is in the lens's plane, so send parallel rays by hand beside the axis.
    origin = torch.tensor([[[1e-3, 0, -1], [0, 1e-3, -1]]], dtype=torch.float64)
    direction = torch.tensor([0, 0, 1.0], dtype=torch.float64).expand_as(origin)
    surfaces = stacked_surfaces([replace(pane, thickness=5e-5)], direction)
    paths = {p.reflected_at: p for p in specular_paths(surfaces, origin, direction, None, 1)}
    power = 0.5 * (front - back)
    slope = paths[()].direction / paths[()].direction[..., 2:]
    height = torch.tensor([1e-3, 1e-3], dtype=torch.float64)
    torch.testing.assert_close(slope[0, [0, 1], [0, 1]], -power * height, rtol=2e-4, atol=0)
    # As a mirror the front has half its radius for focal length, and a convex one spreads.
    mirrored = paths[0,].direction / -paths[0,].direction[..., 2:]
    torch.testing.assert_close(mirrored[0, [0, 1], [0, 1]], 2 * front * height, rtol=1e-4, atol=0)


def test_no_light_past_the_rim():
    pane = Pane("lens", distance=0.2, front_curvature=5.0, back_curvature=-5.0)
    rim = math.sqrt(
        0.2**2 - (0.2 - 0.003) ** 2
    )  # where two spheres of radius 0.2 meet, 3 mm behind the front
    edge = math.degrees(math.atan(rim / 0.203))
    inside, outside = (enumerate_paths(pane, at_angle(edge + step), 3) for step in (-0.01, 0.01))
    assert all(path.exists.all() for path in (inside[0,], inside[()]))
    assert not any(path.exists.any() or path.weight.any() for path in outside.values())


def test_ghost_is_trapped_where_a_lens_grows_thicker():
    pane = Pane("lens", distance=0.3, front_curvature=-2.0, back_curvature=2.0, ior=1.5, absorption=CLEAR)
    near, far = (enumerate_paths(pane, at_angle(degrees), 7) for degrees in (10, 16))
    assert near[1,].exists.all() and far[0,].exists.all() and not far[1,].exists.any()
    # All that the back face reflects is lost there: (1 - R) R, a little more than at normal incidence.
    lost = 1 - sum(totals(far))
    assert 0.04 * 0.96 < float(lost.min()) <= float(lost.max()) < 0.045


# --- polarisation ---


def test_filter_at_brewsters_angle():
    pane = Pane(ior=1.5, absorption=CLEAR)
    brewster = at_angle(math.degrees(math.atan(1.5)))
    # The plane of incidence is horizontal, and so is p: a filter along x passes p alone.
    p_only, _ = totals(enumerate_paths(pane, brewster, 3, polarizer=0))
    s_only, _ = totals(enumerate_paths(pane, brewster, 3, polarizer=90))
    without, _ = totals(enumerate_paths(pane, brewster, 3))
    assert p_only.max() < 1e-12 and s_only.min() > 0.25
    torch.testing.assert_close(s_only, 2 * without)


def test_filter_is_that_of_the_closed_form():
    pane = Pane(yaw=50, pitch=12, ior=1.5, absorption=CLEAR)
    direction, normal = rays(), torch.from_numpy(pane_axes(pane)[2])
    reflectances = dielectric_reflectance(direction @ normal, pane.ior)
    weights = [slab.slab_orders(face, 1.0, 2)[0] for face in reflectances]
    angle = math.radians(35)
    axis = torch.tensor([math.cos(angle), math.sin(angle), 0], dtype=torch.float64)
    cos2 = polarization.filter_alignment(direction, normal.expand_as(direction), axis.expand_as(direction))
    paths = enumerate_paths(pane, direction, 1, polarizer=35)
    for order, sequence in enumerate([(0,), (1,)]):
        expected = polarization.filtered_weight(weights[0][order], weights[1][order], cos2)
        torch.testing.assert_close(paths[sequence].weight[..., 0], expected)


@pytest.mark.parametrize("name", ["double", "meniscus"])
def test_turned_scene_looks_the_same(name):
    # Turn the rays and the faces about the optical axis, and the filter with them.
    turn = math.radians(37)
    rotation = torch.tensor(
        [[math.cos(turn), -math.sin(turn), 0], [math.sin(turn), math.cos(turn), 0], [0, 0, 1]],
        dtype=torch.float64,
    )
    direction = rays()
    surfaces = stacked_surfaces([PANES[name]], direction)
    turned = [
        replace(s, vertex=s.vertex @ rotation.T, normal=s.normal @ rotation.T, axis=s.axis @ rotation.T)
        for s in surfaces
    ]
    origin = torch.zeros_like(direction)
    for polarizer in (None, 20.0):
        turned_polarizer = None if polarizer is None else polarizer + 37
        before = specular_paths(surfaces, origin, direction, camera_fields(direction, [polarizer]), 3)
        direction_turned = direction @ rotation.T
        fields = camera_fields(direction_turned, [turned_polarizer])
        after = specular_paths(turned, origin, direction_turned, fields, 3)
        for one, other in zip(before, after, strict=True):
            torch.testing.assert_close(one.weight, other.weight)
            torch.testing.assert_close(one.direction @ rotation.T, other.direction)


def test_all_turns_of_the_filter_make_unpolarised_light():
    pane, direction = PANES["biconcave"], rays()
    without = enumerate_paths(pane, direction, 3)
    across, along = (enumerate_paths(pane, direction, 3, polarizer=a) for a in (10.0, 100.0))
    for sequence, path in without.items():
        # Axes at right angles are not quite so once projected across a slanted ray.
        mean = (across[sequence].weight + along[sequence].weight) / 2
        torch.testing.assert_close(path.weight, mean, rtol=2e-2, atol=1e-7)
    steepest = camera_fields(direction, [10.0])
    assert float((steepest[0] * direction).sum(-1).abs().max()) < 1e-15


# --- batches, kinds of numbers, gradients ---


def test_scenes_in_a_batch_are_apart():
    panes = [PANES[name] for name in ("flat", "bent", "meniscus", "wedged")]
    polarizers = [None, 30.0, None, 80.0]
    direction = rays().expand(4, -1, -1)
    surfaces = stacked_surfaces(panes, direction)
    fields = camera_fields(direction, polarizers)
    paths = list(specular_paths(surfaces, torch.zeros_like(direction), direction, fields, 3))
    for index, (pane, polarizer) in enumerate(zip(panes, polarizers, strict=True)):
        alone = enumerate_paths(pane, rays(), 3, polarizer=polarizer)
        for path in paths:
            torch.testing.assert_close(path.weight[index : index + 1], alone[path.reflected_at].weight)
            torch.testing.assert_close(path.origin[index : index + 1], alone[path.reflected_at].origin)


@pytest.mark.parametrize("name", PANES)
def test_single_precision(name):
    double = enumerate_paths(PANES[name], rays(), 3)
    for sequence, path in enumerate_paths(PANES[name], rays(kind=torch.float32), 3).items():
        assert path.weight.dtype == path.origin.dtype == torch.float32
        for part in ("weight", "direction", "origin"):
            expected = getattr(double[sequence], part)
            torch.testing.assert_close(getattr(path, part).double(), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", PANES)
@pytest.mark.parametrize("polarized", [True, False])
def test_gradients(name, polarized):
    # Wide enough that some rays miss the small lenses; the middle ray meets others at normal incidence.
    direction = torch.cat([rays(5, half_angle=20), at_angle(0)], dim=1)
    surfaces = stacked_surfaces([PANES[name]], direction)
    fields = camera_fields(direction, [None]) if polarized else None
    names = ("vertex", "normal", "curvature", "ior_behind", "absorption_behind")

    def outcome(*numbers):
        given = [
            replace(surface, **dict(zip(names, numbers[5 * i : 5 * i + 5], strict=True)))
            for i, surface in enumerate(surfaces)
        ]
        paths = specular_paths(
            given, torch.zeros_like(direction), direction, fields, 2 if len(surfaces) == 2 else 1
        )
        return tuple(torch.cat([p.weight, p.origin, p.direction], -1) * p.exists[..., None] for p in paths)

    numbers = tuple(getattr(s, n).clone().requires_grad_() for s in surfaces for n in names)
    assert torch.autograd.gradcheck(outcome, numbers, atol=1e-5, fast_mode=True)


def test_misses_and_total_reflection_have_finite_gradients():
    pane = Pane("wedged", distance=0.01, wedge_angle=25)
    direction = rays(400, half_angle=60, kind=torch.float32).requires_grad_()
    paths = enumerate_paths(pane, direction, 3)
    straight, front = paths[()], paths[0,]
    # Rays that pass the pane, that miss it, and that its back reflects totally.
    assert straight.exists.any() and not front.exists.all() and (front.exists & ~straight.exists).any()
    sum((p.weight * p.direction).sum() + p.origin.sum() for p in paths.values()).backward()
    assert torch.isfinite(direction.grad).all() and direction.grad.any()


# --- a slow, plain twin ---


class Twin:
    """The same for one ray, one number at a time: centres and radii, angles, Fresnel's sines and tangents."""

    def __init__(self, pane):
        self.pane = pane
        right, down, inwards = pane_axes(pane)
        front = np.array([0, 0, pane.distance])
        depths = [0, pane.thickness]
        if pane.shape == "double":
            depths += [pane.thickness + pane.gap, 2 * pane.thickness + pane.gap]
        self.vertices = [front + depth * inwards for depth in depths]
        self.normals = [inwards] * len(depths)
        self.centres = [None] * len(depths)
        self.keep = np.eye(3)
        if pane.shape == "wedged":
            tilt, way = math.radians(pane.wedge_angle), math.radians(pane.wedge_direction)
            in_plane = [-math.sin(way) * right + math.cos(way) * down]  # along the back face, level
            in_plane += [
                math.cos(tilt) * (math.cos(way) * right + math.sin(way) * down) + math.sin(tilt) * inwards
            ]
            self.normals[1] = np.cross(in_plane[1], in_plane[0])
        if pane.shape == "bent":
            self.keep = np.eye(3) - np.outer(down, down)
            self.centres = [front + inwards / pane.front_curvature] * 2
        if pane.shape == "lens":
            curvatures = pane.front_curvature, pane.back_curvature
            self.centres = [v + inwards / c for v, c in zip(self.vertices, curvatures, strict=True)]

    def crossing(self, index, point, ray):
        """Distance to the face and its normal on the far side, or None."""
        vertex, normal, centre = self.vertices[index], self.normals[index], self.centres[index]
        if centre is None:
            distance = normal @ (vertex - point) / (normal @ ray)
            return (distance, normal * np.sign(normal @ ray)) if distance > 0 else None
        start, step, arm = self.keep @ (point - centre), self.keep @ ray, self.keep @ (vertex - centre)
        candidates = []
        for root in np.roots([step @ step, 2 * start @ step, start @ start - arm @ arm]):
            if np.isreal(root) and root.real > 1e-9:
                place = start + root.real * step
                if place @ arm > 0:  # the cap about the vertex
                    unit = place / np.linalg.norm(place)
                    candidates.append((root.real, unit * np.sign(unit @ ray)))
        return min(candidates, key=lambda c: c[0], default=None)

    def follow(self, index, way, point, ray, field, transmittance, left, sequence=()):
        if not 0 <= index < len(self.vertices):
            return {sequence: (point, ray, field @ field * transmittance)}
        found = self.crossing(index, point, ray)
        if found is None:
            return {}
        distance, normal = found
        enters_glass = (index % 2 == 0) == (way > 0)
        n1, n2 = (1, self.pane.ior) if enters_glass else (self.pane.ior, 1)
        if not enters_glass:
            transmittance = transmittance * np.exp(-np.array(self.pane.absorption) * distance)
        theta_i = math.acos(min(1, ray @ normal))
        s = np.cross(ray, normal) / np.linalg.norm(np.cross(ray, normal))
        tangent = np.cross(normal, s)
        field_s, field_p = field @ s, field @ np.cross(ray, s)
        point = point + distance * ray
        paths = {}
        r_s = r_p = 1
        if n1 / n2 * math.sin(theta_i) < 1:
            theta_t = math.asin(n1 / n2 * math.sin(theta_i))
            plus, minus = theta_i + theta_t, theta_i - theta_t
            r_s, r_p = -math.sin(minus) / math.sin(plus), math.tan(minus) / math.tan(plus)
            onward = math.sin(theta_t) * tangent + math.cos(theta_t) * normal
            parts = math.sqrt(1 - r_s**2) * field_s, math.sqrt(1 - r_p**2) * field_p
            through = parts[0] * s + parts[1] * np.cross(onward, s)
            paths |= self.follow(index + way, way, point, onward, through, transmittance, left, sequence)
        if left:
            turned = math.sin(theta_i) * tangent - math.cos(theta_i) * normal
            back = r_s * field_s * s + r_p * field_p * np.cross(turned, s)
            sequence = (*sequence, index)
            paths |= self.follow(index - way, -way, point, turned, back, transmittance, left - 1, sequence)
        return paths


@pytest.mark.parametrize("name", PANES)
def test_plain_twin(name):
    direction = rays(3)
    fast = enumerate_paths(PANES[name], direction, 3, polarizer=65)
    fields = camera_fields(direction, [65])
    for i in range(3):
        slow = Twin(PANES[name]).follow(
            0, 1, np.zeros(3), direction[0, i].numpy(), fields[0, 0, i].numpy(), np.ones(3), 3
        )
        assert slow.keys() == {sequence for sequence, path in fast.items() if path.exists[0, i]}
        for sequence, (point, ray, weight) in slow.items():
            path = fast[sequence]
            np.testing.assert_allclose(path.weight[0, i], weight, rtol=1e-9, atol=1e-15)
            np.testing.assert_allclose(path.origin[0, i], point, atol=1e-9)
            np.testing.assert_allclose(path.direction[0, i], ray, atol=1e-9)
