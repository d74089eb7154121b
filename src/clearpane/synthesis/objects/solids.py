"""An endless supply of random solid objects: primitives with height fields, joined, blended and cut.

In the spirit of LRM-Zero (arXiv 2406.09371): networks that reconstruct real objects can learn from
meaningless shapes and materials, as long as these are varied enough.

An object lies in the world of `clearpane.geometry.cameras`: y up, within half a metre of the origin
along each axis. Its signed distance is a bound: exact next to a lone primitive, a lower bound elsewhere.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from clearpane.geometry.cameras import OBJECT_HALF_SIZE
from clearpane.synthesis.draws import uniform
from clearpane.synthesis.objects.materials import Material, draw_material, material_values

Kind = Literal["ellipsoid", "box", "cylinder", "cone", "torus", "capsule"]
Operation = Literal["union", "blend", "cut"]
KINDS: tuple[Kind, ...] = ("ellipsoid", "box", "cylinder", "cone", "torus", "capsule")
MOST_PRIMITIVES = 9

_TRIES = 50
_RELIEF_DETAIL = 4.0
# A height field makes distances grow faster than 1 per metre; steps along a ray are shortened by this factor.
STEP_SHARE = 0.7


@dataclass(frozen=True, eq=False)
class Primitive:
    """A solid and the way it is combined with those before it.

    Attributes:
        kind: Shape.
        size: Half extents along its own axes, metres [3].
        rotation: Rotation from its own axes to the world's [3, 3].
        centre: Centre [3], metres.
        operation: Operation: added, added with a fillet, or subtracted.
        fillet: Width of the fillet, metres.
        relief: Amplitude of its height field, metres; 0 for a plain surface.
        material: Material of its surface, and of the surface that it cuts.
    """

    kind: Kind
    size: Tensor
    rotation: Tensor
    centre: Tensor
    operation: Operation
    fillet: float
    relief: float
    material: Material


@dataclass(frozen=True, eq=False)
class SolidObject:
    """Primitives in order; the first is never a cut.

    Attributes:
        primitives: Primitives, 1 to 9.
    """

    primitives: tuple[Primitive, ...]

    def to(self, device: torch.device | str) -> "SolidObject":
        """Return a copy on another device."""
        return SolidObject(
            tuple(
                replace(
                    part,
                    size=part.size.to(device),
                    rotation=part.rotation.to(device),
                    centre=part.centre.to(device),
                    material=part.material.to(device),
                )
                for part in self.primitives
            )
        )

    def signed_distance(self, points: Tensor) -> Tensor:
        """Compute signed distances [P] of points [P, 3], metres, negative inside."""
        return self._combined(points)[0]

    def owners(self, points: Tensor) -> Tensor:
        """Find the primitive with the nearest surface, [P] int64, for points [P, 3]."""
        return self._combined(points)[1]

    def surface(self, points: Tensor, owners: Tensor, footprint: float) -> tuple[Tensor, Tensor, Tensor]:
        """Sample materials at surface points: linear albedo [P, 3], metallic [P, 1], roughness [P, 1].

        Args:
            points: Points on the surface [P, 3].
            owners: Primitive of each point [P], from `owners`.
            footprint: Size of a pixel there, metres; finer detail is averaged.
        """
        values = points.new_zeros(len(points), 5)
        for index, primitive in enumerate(self.primitives):
            own = (owners == index).nonzero()[:, 0]
            local, weights = _face_weights(primitive, points[own])
            values[own] = material_values(primitive.material, local, weights, footprint)
        return values[:, :3], values[:, 3:4], values[:, 4:]

    def normals(self, points: Tensor, step: float = 1e-3) -> Tensor:
        """Compute outward unit normals [P, 3] by finite differences over ``step`` metres.

        Four evaluations at a tetrahedron's corners, whose second-order errors cancel.
        """
        corners = points.new_tensor([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]])
        gradient = sum(c * self.signed_distance(points + step * c)[:, None] for c in corners)
        return F.normalize(gradient, dim=-1)

    def _combined(self, points: Tensor) -> tuple[Tensor, Tensor]:
        distance = points.new_full((len(points),), math.inf)
        nearest = distance.clone()
        owner = torch.zeros(len(points), dtype=torch.int64, device=points.device)
        for index, primitive in enumerate(self.primitives):
            own = primitive_distance(primitive, points)
            closer = own.abs() < nearest
            nearest, owner = torch.where(closer, own.abs(), nearest), torch.where(closer, index, owner)
            if primitive.operation == "cut":
                distance = torch.maximum(distance, -own)
            elif primitive.operation == "blend" and index:
                distance = smooth_minimum(distance, own, primitive.fillet)
            else:
                distance = torch.minimum(distance, own)
        return distance, owner


def smooth_minimum(a: Tensor, b: Tensor, width: float) -> Tensor:
    """Compute a filleted minimum, up to ``width / 4`` lower where values differ by less than ``width``."""
    near = (width - (a - b).abs()).clamp(min=0) / width
    return torch.minimum(a, b) - near**2 * width / 4


def primitive_distance(primitive: Primitive, points: Tensor) -> Tensor:
    """Compute a lower bound [P] on the signed distance of points [P, 3] to a primitive with its relief."""
    local = (points - primitive.centre) @ primitive.rotation
    distance = _SHAPES[primitive.kind](local, primitive.size)
    if primitive.relief:
        # Far away the relief does not matter: it is sampled only next to the surface.
        near = (distance.abs() < 4 * primitive.relief).nonzero()[:, 0]
        local_near, weights = _face_weights(primitive, points[near])
        # Detail is limited so that slopes stay gentle enough for ray tracing.
        detail = _RELIEF_DETAIL * primitive.relief
        height = material_values(primitive.material, local_near, weights, detail, height=True)[:, 0]
        lowered = distance[near] - primitive.relief * (height - 0.5)
        distance = distance.index_copy(0, near, lowered)
    return distance


def _face_weights(primitive: Primitive, points: Tensor) -> tuple[Tensor, Tensor]:
    """Return points in a primitive's axes, and weights of its three projections, [P, 3] each."""
    local = (points - primitive.centre) @ primitive.rotation
    weights = (local / primitive.size).abs() ** 8
    return local, weights / weights.sum(-1, keepdim=True).clamp(min=1e-12)


def _ellipsoid(p: Tensor, size: Tensor) -> Tensor:
    scaled, steep = (p / size).norm(dim=-1), (p / size**2).norm(dim=-1)
    # Exact to first order at the surface (Quilez); minus the shortest half axis at the centre.
    return torch.where(steep > 1e-6, scaled * (scaled - 1) / steep.clamp(min=1e-6), -size.min())


def _box(p: Tensor, size: Tensor) -> Tensor:
    rounding = 0.15 * size.min()
    q = p.abs() - size + rounding
    distance: Tensor = q.clamp(min=0).norm(dim=-1) + q.amax(-1).clamp(max=0) - rounding
    return distance


def _cylinder(p: Tensor, size: Tensor) -> Tensor:
    radius = torch.minimum(size[0], size[2])
    q = torch.stack([p[:, [0, 2]].norm(dim=-1) - radius, p[:, 1].abs() - size[1]], dim=-1)
    distance: Tensor = q.clamp(min=0).norm(dim=-1) + q.amax(-1).clamp(max=0)
    return distance


def _cone(p: Tensor, size: Tensor) -> Tensor:
    """Compute distances to a cone truncated at a third of its width."""
    radius, height = torch.minimum(size[0], size[2]), size[1]
    tip = radius / 3
    q = torch.stack([p[:, [0, 2]].norm(dim=-1), p[:, 1]], dim=-1)
    cap_radius = torch.where(q[:, 1] < 0, radius, tip)
    cap = torch.stack([q[:, 0] - torch.minimum(q[:, 0], cap_radius), q[:, 1].abs() - height], dim=-1)
    slant = torch.stack([tip - radius, 2 * height])
    to_tip = torch.stack([tip - q[:, 0], height - q[:, 1]], dim=-1)
    share = ((to_tip @ slant) / (slant @ slant)).clamp(0, 1)
    side = torch.stack([q[:, 0] - tip, q[:, 1] - height], dim=-1) + share[:, None] * slant
    inside = (side[:, 0] < 0) & (cap[:, 1] < 0)
    nearest = torch.minimum((cap**2).sum(-1), (side**2).sum(-1)).sqrt()
    return torch.where(inside, -nearest, nearest)


def _torus(p: Tensor, size: Tensor) -> Tensor:
    tube = 0.35 * size.min()
    ring = torch.minimum(size[0], size[2]) - tube
    distance: Tensor = torch.stack([p[:, [0, 2]].norm(dim=-1) - ring, p[:, 1]], dim=-1).norm(dim=-1) - tube
    return distance


def _capsule(p: Tensor, size: Tensor) -> Tensor:
    radius = torch.minimum(size[0], size[2]).clamp(max=float(size[1]))
    half = size[1] - radius
    along = p[:, 1].clamp(-float(half), float(half))
    nearest = torch.stack([torch.zeros_like(along), along, torch.zeros_like(along)], dim=-1)
    distance: Tensor = (p - nearest).norm(dim=-1) - radius
    return distance


_SHAPES: dict[Kind, Callable[[Tensor, Tensor], Tensor]] = {
    "ellipsoid": _ellipsoid,
    "box": _box,
    "cylinder": _cylinder,
    "cone": _cone,
    "torus": _torus,
    "capsule": _capsule,
}


def draw_object(seed: int, textures: tuple[Tensor, ...] = ()) -> SolidObject:
    """Draw an object; the same seed and textures give the same one.

    Args:
        seed: Random seed.
        textures: Material sets from `load_materials`, used besides the procedural ones.
    """
    generator = Generator().manual_seed(seed)
    for _ in range(_TRIES):
        count = int(torch.randint(1, MOST_PRIMITIVES + 1, (), generator=generator))
        parts: list[Primitive] = []
        for _ in range(count):
            parts.append(_draw_primitive(parts, generator, textures))
        fitted: SolidObject | None = SolidObject(tuple(parts))
        for reach in (1.3, 0.7):  # roughly, then finely
            fitted = _fit(fitted, reach) if fitted else None
        if fitted:
            return fitted
    raise RuntimeError(f"no object in {_TRIES} tries from seed {seed}")


def _draw_primitive(before: list[Primitive], generator: Generator, textures: tuple[Tensor, ...]) -> Primitive:
    """Draw a primitive: the first at the centre, later ones at the surface of a previous one."""
    kind = KINDS[int(torch.randint(len(KINDS), (), generator=generator))]
    chance = uniform(0, 1, generator)
    operation: Operation = "union" if chance < 0.55 else "blend" if chance < 0.75 else "cut"
    scale = uniform(0.15, 0.45, generator)
    size = torch.tensor([scale * uniform(0.4, 1.0, generator) for _ in range(3)])
    centre = torch.zeros(3)
    if before:
        other = before[int(torch.randint(len(before), (), generator=generator))]
        direction = F.normalize(torch.randn(3, generator=generator), dim=0)
        centre = other.centre + 0.9 * other.rotation @ (direction * other.size)
    relief = uniform(0.005, 0.03, generator) if uniform(0, 1, generator) < 0.35 else 0.0
    return Primitive(
        kind,
        size,
        _draw_rotation(generator),
        centre,
        operation if before else "union",
        uniform(0.03, 0.12, generator),
        min(relief, 0.15 * float(size.min())),
        draw_material(generator, textures),
    )


def _draw_rotation(generator: Generator) -> Tensor:
    """Draw a rotation: none, about y, or arbitrary, with probability 1/3 each."""
    chance = uniform(0, 1, generator)
    if chance < 1 / 3:
        return torch.eye(3)
    if chance < 2 / 3:
        angle = uniform(0, 2 * math.pi, generator)
        c, s = math.cos(angle), math.sin(angle)
        return torch.tensor([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    w, x, y, z = F.normalize(torch.randn(4, generator=generator), dim=0).tolist()
    return torch.tensor(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def _fit(solid: SolidObject, reach: float) -> SolidObject | None:
    """Centre the object's box and scale its longest side to 1 metre; None if hardly anything is left."""
    cells = 48
    axis = (torch.arange(cells) + 0.5) / cells * 2 * reach - reach
    points = torch.cartesian_prod(axis, axis, axis)
    inside = points[solid.signed_distance(points) < 0]
    if len(inside) < 60:
        return None
    cell = 2 * reach / cells
    low, high = inside.amin(0) - cell / 2, inside.amax(0) + cell / 2
    centre, scale = (low + high) / 2, 2 * OBJECT_HALF_SIZE / float((high - low).max())
    parts = tuple(
        replace(
            part,
            size=part.size * scale,
            centre=(part.centre - centre) * scale,
            fillet=part.fillet * scale,
            relief=part.relief * scale,
        )
        for part in solid.primitives
    )
    return SolidObject(parts)
