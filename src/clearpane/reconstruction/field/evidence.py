"""What the pixels say of each point in space before any network: the visual hull, its distance, its colours.

A network as small as `lirm-small` cannot learn from a few thousand objects how rays meet. So it is told: a
grid over the cube accumulates over the views, of each voxel's middle, whether the masks allow it, the colours
of the views that are not blocked by the hull, and how these change with direction. It is as large after ten
rounds of views as after one, and does not depend on their order within a round. LIRM at the paper's size does
without it.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from clearpane.geometry.cameras import HALF_SIZE, Cameras, cube_interval, picture_rays, project, reaches_frame
from clearpane.reconstruction.field.outline import outline_distance

VOLUME_CHANNELS = 16
"""Channels of the volume that LIRM's evidence network makes of the evidence."""

EVIDENCE_CHANNELS = 11
"""Distance to the hull, its edge, mean of the masks, mean colour (3), its deviation, how much is seen, the
hull's normal (3)."""

# Of the hull's depth, in voxels: a colour is a voxel's own if it is no farther behind.
_DEPTH_MARGIN = 1.5
# Metres beyond which distances to the hull are all alike; a surface is never changed by more than 0.3.
_REACH = 0.4
# The least hull value at which there may be something, and how many voxels around it get colours.
_POSSIBLE, _DILATION = 0.1, 2
_BLOCKED_WEIGHT = 0.01
# How many views' worth of directions all around hold back the slopes of colours over directions.
_RIDGE = 1.0
# Texels of the pictures in which the hull's depth is found, along the longer side.
_DEPTH_SIDE = 96


@dataclass(frozen=True, eq=False)
class Evidence:
    """Sums over views, on a grid over the cube, (z, y, x).

    Attributes:
        hull: the least mask value over the views that can tell, [G, G, G].
        distance: to the hull, metres, below 0 inside, [G, G, G]: the largest over the views of how far a
            point is from the cone of rays through the mask. True next to a face of the hull, hardly more
            than true elsewhere; without steps, and the same whatever G is.
        masks: the sum of masks, and how many views can tell: [2, G, G, G].
        colours: sums over views, the blocked ones counting little: of weights, of colours (3), of colours'
            mean squares: [5, G, G, G].
        directions: with the same weights, of directions to the cameras (3), of their products (9), and of
            their products with colours (3 x 3, a row a colour): [21, G, G, G].
    """

    hull: Tensor
    distance: Tensor
    masks: Tensor
    colours: Tensor
    directions: Tensor

    @classmethod
    def empty(cls, side: int, like: Tensor) -> "Evidence":
        """Before the first view."""
        grid = (side, side, side)
        return cls(
            like.new_ones(grid),
            like.new_full(grid, -_REACH),
            like.new_zeros(2, *grid),
            like.new_zeros(5, *grid),
            like.new_zeros(21, *grid),
        )


def voxel_centres(side: int, like: Tensor) -> Tensor:
    """[G, G, G, 3], ordered (z, y, x), holding (x, y, z)."""
    axis = ((torch.arange(side, dtype=like.dtype, device=like.device) + 0.5) / side * 2 - 1) * HALF_SIZE
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    return torch.stack([x, y, z], dim=-1)


@dataclass(frozen=True, eq=False)
class Sight:
    """What views can see past the hull.

    Attributes:
        hull: [G, G, G].
        depths: how far along its rays it begins for each view, [V, h, w]; 0 where rays miss it.
        cameras: V, of any size of pictures.
    """

    hull: Tensor
    depths: Tensor
    cameras: Cameras

    @classmethod
    @torch.no_grad()
    def of(cls, hull: Tensor, cameras: Cameras) -> "Sight":
        """Of some cameras on a hull."""
        return cls(hull, hull_depth(hull, _small(cameras)), cameras)

    @torch.no_grad()
    def voxels(self, side: int) -> Tensor:
        """Return the indices, in a grid of ``side``^3, of voxels in the hull or next to it: [P] int64."""
        hull = self.hull[None, None]
        if side != hull.shape[-1]:
            hull = F.interpolate(hull, (side,) * 3, mode="trilinear", align_corners=False)
        near = F.max_pool3d((hull[0] > _POSSIBLE).to(hull), 2 * _DILATION + 1, 1, _DILATION) > 0
        return near.flatten().nonzero()[:, 0]

    @torch.no_grad()
    def of_points(self, view: int, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Where points are in one view, whether they are in its picture, and how far the hull blocks them.

        Returns:
            Places, [P, 2] in [-1, 1]; [P] bool; how much farther than 1.5 voxels the point lies behind the
            hull's front, metres, [P]: 0 or less where the view sees it.
        """
        place, within = _places(self.cameras[view], points)
        first = look_up(self.depths[view : view + 1], place, "nearest")[0]
        distance = (points - self.cameras.centres[view]).norm(dim=-1)
        voxel = 2 * HALF_SIZE / self.hull.shape[-1]
        return place, within, torch.where(first <= 0, 0.0, distance - first - _DEPTH_MARGIN * voxel)


def add_views(evidence: Evidence, pictures: Tensor, masks: Tensor, cameras: Cameras) -> Evidence:
    """Return the evidence with these views added: `add_masks`, then `add_colours`."""
    carved = add_masks(evidence, masks, cameras)
    return add_colours(carved, pictures, masks, Sight.of(carved.hull, cameras))


@torch.no_grad()
def add_masks(evidence: Evidence, masks: Tensor, cameras: Cameras) -> Evidence:
    """With the hull cut by these views' masks too.

    A view whose mask keeps clear of its edges shows the whole object: beyond them there is nothing.

    Args:
        masks: [V, 1, H, W], cameras: [V].
    """
    centres = voxel_centres(evidence.hull.shape[-1], evidence.hull).reshape(-1, 3)
    hull, distance, counts = evidence.hull.flatten(), evidence.distance.flatten(), evidence.masks.flatten(1)
    outlines = outline_distance(masks)
    for view in range(len(masks)):
        camera = cameras[view]
        pixels, depth = project(camera, centres)
        place, within = _in_picture(camera, pixels, depth)
        known = within | (not reaches_frame(masks[view, 0]))
        mask = look_up(masks[view], place)[0] * within
        hull = torch.minimum(hull, torch.where(known, mask, 1.0))
        counts = counts + torch.stack([mask, known.to(mask)])
        # Beyond the frame: the frame's, and how far that is.
        size = pixels.new_tensor([camera.width, camera.height])
        inside = torch.minimum(pixels.clamp(min=0), size)
        from_outline = look_up(outlines[view], 2 * inside / size - 1, padding="border")[0]
        from_cone = (from_outline + (pixels - inside).norm(dim=-1)) * depth / camera.intrinsics[:2].mean()
        distance = torch.maximum(distance, torch.where(known, from_cone.clamp(max=_REACH), -_REACH))
    return replace(
        evidence,
        hull=hull.reshape(evidence.hull.shape),
        distance=distance.reshape(evidence.distance.shape),
        masks=counts.reshape(evidence.masks.shape),
    )


@torch.no_grad()
def add_colours(evidence: Evidence, pictures: Tensor, masks: Tensor, sight: Sight) -> Evidence:
    """With the colours of these views too, next to the hull and within: elsewhere nobody asks for them.

    Colours are those of the object alone, the white behind it taken away: ``c m = p - (1 - m)``.

    Args:
        pictures: on white, [V, 3, H, W], masks: [V, 1, H, W].
    """
    side = evidence.hull.shape[-1]
    index = sight.voxels(side)
    points = voxel_centres(side, evidence.hull).reshape(-1, 3)[index]
    colours, directions = (x.flatten(1).clone() for x in (evidence.colours, evidence.directions))
    for view in range(len(masks)):
        place, within, behind = sight.of_points(view, points)
        # Where nobody looks, colours that are blocked are the best guess there is. Faded like the views'
        # features, they gained on one object and lost on another (taken once by hand, on three).
        weight = within * torch.where(behind <= 0, 1.0, _BLOCKED_WEIGHT)
        mask = look_up(masks[view], place)[0]
        of_object = (look_up(pictures[view], place) - (1 - mask)).clamp(min=0)
        square = (of_object**2).mean(0) / mask.clamp(min=1e-3)
        sums = torch.cat([mask[None], of_object, square[None]]) * weight
        colours.index_add_(1, index, sums)
        towards = F.normalize(sight.cameras.centres[view] - points, dim=-1).T
        rows = torch.cat([mask * towards, of_object])
        products = (rows[:, None] * towards).flatten(0, 1)
        directions.index_add_(1, index, torch.cat([rows[:3], products]) * weight)
    return replace(
        evidence,
        colours=colours.reshape(evidence.colours.shape),
        directions=directions.reshape(evidence.directions.shape),
    )


def _places(camera: Cameras, points: Tensor) -> tuple[Tensor, Tensor]:
    """Where points are in one camera's picture, [P, 2] in [-1, 1], and whether they are in it at all."""
    return _in_picture(camera, *project(camera, points))


def _in_picture(camera: Cameras, pixels: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
    """As `_places`, of points that are projected."""
    place = 2 * pixels / pixels.new_tensor([camera.width, camera.height]) - 1
    return place, (place.abs() <= 1).all(-1) & (depth > 0)


def look_up(picture: Tensor, place: Tensor, mode: str = "bilinear", padding: str = "zeros") -> Tensor:
    """[C, H, W] at places [P, 2]: [C, P]."""
    found = F.grid_sample(
        picture[None], place[None, None].to(picture), mode=mode, padding_mode=padding, align_corners=False
    )
    return found[0, :, 0]


@torch.no_grad()
def evidence_features(evidence: Evidence) -> Tensor:
    """Return the evidence as a volume to sample, [1, 11, G, G, G]; the first channel is in metres.

    It lies in memory as `sample_volume` wants it.
    """
    seen = evidence.masks[1:]
    weight = evidence.colours[:1]
    mean = evidence.colours[1:4] / weight.clamp(min=1e-3)
    spread = evidence.colours[4:] / weight.clamp(min=1e-3) - (mean**2).mean(0, keepdim=True)
    distance = evidence.distance
    return torch.cat(
        [
            distance[None],
            evidence.hull[None],
            evidence.masks[:1] / seen.clamp(min=1),
            mean,
            spread.clamp(min=0).sqrt(),
            weight / (1 + weight),
            hull_normals(distance),
        ]
    )[None].contiguous(memory_format=torch.channels_last_3d)


@torch.no_grad()
def directional_colours(evidence: Evidence) -> Tensor:
    """How the colours that views have of a voxel change with the direction to the viewer.

    The ridge regression ``c(v) = a + B v`` over the views' colours c and directions d, which are taken less
    their means for B: ``B = sum w c d^T (sum w d d^T + 1)^-1``, ``a = c_mean - B d_mean``. A single view
    gives its colour, views all around the best plane through theirs.

    Returns:
        a and then the rows of B, [1, 12, G, G, G]; 0 where there are no colours. It lies in memory as
        `sample_volume` wants it.
    """
    table = evidence.colours.new_zeros(12, evidence.hull.numel())
    known = (evidence.colours[0].flatten() > 1e-3).nonzero()[:, 0]
    weight, colour = evidence.colours.flatten(1)[:4, known].T.split([1, 3], dim=1)
    colour = colour / weight
    direction, squares, products = evidence.directions.flatten(1)[:, known].T.split([3, 9, 9], dim=1)
    direction = direction / weight
    weight = weight[..., None]
    spread = squares.unflatten(1, (3, 3)) - weight * direction[:, :, None] * direction[:, None]
    together = products.unflatten(1, (3, 3)) - weight * colour[:, :, None] * direction[:, None]
    slope = torch.linalg.solve(spread + _RIDGE * torch.eye(3).to(spread), together.mT).mT
    offset = colour - (slope @ direction[..., None])[..., 0]
    table[:, known] = torch.cat([offset, slope.flatten(1)], dim=1).T
    volume = table.reshape(1, 12, *evidence.hull.shape)
    return volume.contiguous(memory_format=torch.channels_last_3d)


def sample_volume(volume: Tensor, points: Tensor) -> Tensor:
    """Trilinear: [1, C, G, G, G], [P, 3] -> [P, C]; beyond the grid, as at its edge.

    As PyTorch's ``grid_sample``, but for volumes in ``torch.channels_last_3d``, where all channels of a voxel
    lie side by side in memory, several times faster on a processor, and more so backwards. Volumes that do
    not are copied.
    """
    side = volume.shape[-1]
    # Not [0]: its gradient would fill a second volume with zeros.
    table = volume.squeeze(0).permute(1, 2, 3, 0).reshape(side**3, -1)
    place = ((points / HALF_SIZE + 1) / 2 * side - 0.5).clamp(0, side - 1).to(table)
    low = place.detach().floor().clamp(max=side - 2)
    x, y, z = low.long().unbind(-1)
    first = (z * side + y) * side + x
    steps = [dz * side**2 + dy * side + dx for dz in (0, 1) for dy in (0, 1) for dx in (0, 1)]
    corners = first[:, None] + torch.tensor(steps, device=first.device)
    far = place - low
    along_x, along_y, along_z = (torch.stack([1 - f, f], dim=-1) for f in far.unbind(-1))
    weights = along_z[:, :, None, None] * along_y[:, None, :, None] * along_x[:, None, None, :]
    return F.embedding_bag(corners, table, per_sample_weights=weights.flatten(1), mode="sum")


def hull_normals(distance: Tensor) -> Tensor:
    """Where a distance [G, G, G] grows, of length 1 or, where it does not, 0: [3, G, G, G].

    Of a mean over 3 voxels: the hull has edges that the object has not.
    """
    smooth = F.avg_pool3d(F.pad(distance[None, None], (1,) * 6, mode="replicate"), 3, 1)[0, 0]
    along_z, along_y, along_x = torch.gradient(smooth)
    return F.normalize(torch.stack([along_x, along_y, along_z]), dim=0)


def _small(cameras: Cameras) -> Cameras:
    """Return the cameras of the pictures in which the hull's depth is found."""
    scale = _DEPTH_SIDE / max(cameras.height, cameras.width)
    return cameras.resized(round(cameras.height * scale), round(cameras.width * scale))


def hull_depth(hull: Tensor, cameras: Cameras) -> Tensor:
    """How far along each pixel's ray the hull begins: [V, H, W]; 0 where the ray misses it."""
    origins, directions = (x.reshape(-1, 3) for x in picture_rays(cameras))
    near, far = cube_interval(origins, directions)
    side = hull.shape[-1]
    inside = hull > 0.5
    found = torch.zeros_like(near[:, 0])
    waiting = (far[:, 0] > near[:, 0]).nonzero()[:, 0]
    step = 2 * HALF_SIZE / side
    for index in range(int(2 * 3**0.5 * side / 2) + 1):
        distance = near[waiting] + (index + 0.5) * step
        points = origins[waiting] + distance * directions[waiting]
        cell = ((points / HALF_SIZE + 1) / 2 * side).long().clamp(0, side - 1)
        hit = inside[cell[:, 2], cell[:, 1], cell[:, 0]] & (distance < far[waiting])[:, 0]
        found[waiting[hit]] = distance[hit, 0]
        waiting = waiting[~hit & (distance < far[waiting])[:, 0]]
        if not len(waiting):
            break
    return found.reshape(len(cameras.centres), cameras.height, cameras.width)
