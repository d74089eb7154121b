"""Accumulate what the pixels show of each point in space: the visual hull, its distance, and colours.

A network as small as `lirm-small` cannot learn from a few thousand objects how rays meet, so it is given the
result: a grid over the cube accumulates, for each voxel centre and over the views, whether the masks allow
it, the colours in the views that the hull does not block, and how these colours change with direction. Its
size is the same after ten rounds of views as after one, and the order of views within a round does not
matter. LIRM at the paper's size does without it.
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
"""Distance to the hull, its edge, mean mask, mean colour (3), its deviation, visibility, hull normal (3)."""

COLOUR_CHANNELS = slice(3, 6)
"""Channels of the mean colour."""

# Depth behind the hull's front, in voxels, up to which a colour belongs to the voxel.
_DEPTH_MARGIN = 1.5
# Metres at which distances to the hull are clamped; a surface is never moved by more than 0.3.
_REACH = 0.4
# Smallest hull value of a voxel that may be occupied, and the number of voxels around it that get colours.
_POSSIBLE, _DILATION = 0.1, 2
_BLOCKED_WEIGHT = 0.01
# Weight of the ridge that limits the slopes of colours over directions, in views spread all around.
_RIDGE = 1.0
# Longer side, in pixels, of the pictures in which the hull's depth is computed.
_DEPTH_SIDE = 96


@dataclass(frozen=True, eq=False)
class Evidence:
    """Hold sums over views on a grid over the cube, ordered (z, y, x).

    Attributes:
        hull: Smallest mask value over the views that show the voxel [G, G, G].
        distance: Distance to the hull [G, G, G], metres, below 0 inside: the largest distance, over the
            views, from the cone of rays through the mask. Exact next to a face of the hull and hardly too
            large elsewhere; without steps, and the same for every G.
        masks: Sum of the masks, and number of views that show the voxel [2, G, G, G].
        colours: Weighted sums over views, blocked ones counting little: weights, colours (3), mean squared
            colours [5, G, G, G].
        directions: Sums with the same weights: directions to the cameras (3), products of their components
            (9), and products of colours and directions (3 x 3, a row for each colour) [21, G, G, G].
    """

    hull: Tensor
    distance: Tensor
    masks: Tensor
    colours: Tensor
    directions: Tensor

    @classmethod
    def empty(cls, side: int, like: Tensor) -> "Evidence":
        """Return the sums before the first view."""
        grid = (side, side, side)
        return cls(
            like.new_ones(grid),
            like.new_full(grid, -_REACH),
            like.new_zeros(2, *grid),
            like.new_zeros(5, *grid),
            like.new_zeros(21, *grid),
        )


def voxel_centres(side: int, like: Tensor) -> Tensor:
    """Return the voxel centres (x, y, z) [G, G, G, 3], ordered (z, y, x)."""
    axis = ((torch.arange(side, dtype=like.dtype, device=like.device) + 0.5) / side * 2 - 1) * HALF_SIZE
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    return torch.stack([x, y, z], dim=-1)


@dataclass(frozen=True, eq=False)
class Sight:
    """Describe what the hull hides from each view.

    Attributes:
        hull: Values of the hull [G, G, G].
        depths: Distance along each pixel's ray to the hull's front [V, h, w]; 0 where the ray misses it.
        cameras: Cameras of V views, of any picture size.
    """

    hull: Tensor
    depths: Tensor
    cameras: Cameras

    @classmethod
    @torch.no_grad()
    def of(cls, hull: Tensor, cameras: Cameras) -> "Sight":
        """Compute the hull's depth for some cameras."""
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
        """Project points into one view, and compute how far the hull blocks them.

        Returns:
            Positions [P, 2], in [-1, 1]; True for those in the picture, [P] bool; depth behind the hull's
            front less 1.5 voxels, metres [P]: 0 or less where the view sees the point.
        """
        place, within = picture_places(self.cameras[view], points)
        first = look_up(self.depths[view : view + 1], place, "nearest")[0]
        distance = (points - self.cameras.centres[view]).norm(dim=-1)
        voxel = 2 * HALF_SIZE / self.hull.shape[-1]
        return place, within, torch.where(first <= 0, 0.0, distance - first - _DEPTH_MARGIN * voxel)


def add_views(
    evidence: Evidence, pictures: Tensor, masks: Tensor, cameras: Cameras, weights: Tensor | None = None
) -> Evidence:
    """Return the evidence with these views added: `add_masks`, then `add_colours`."""
    carved = add_masks(evidence, masks, cameras)
    return add_colours(carved, pictures, masks, Sight.of(carved.hull, cameras), weights)


@torch.no_grad()
def add_masks(evidence: Evidence, masks: Tensor, cameras: Cameras) -> Evidence:
    """Return the evidence with the hull also cut by these views' masks.

    A view whose mask does not touch the frame shows the whole object: there is nothing outside the frame.

    Args:
        masks: Masks [V, 1, H, W] of the views.
        cameras: Cameras of the V views.
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
        # Beyond the frame: the distance at the frame, plus the distance to it.
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
def add_colours(
    evidence: Evidence, pictures: Tensor, masks: Tensor, sight: Sight, weights: Tensor | None = None
) -> Evidence:
    """Return the evidence with these views' colours added, in the hull and next to it, where they are used.

    The colours are those of the object alone, with the white background removed: ``c m = p - (1 - m)``.

    Args:
        pictures: Pictures on white [V, 3, H, W], sRGB in [0, 1].
        masks: Masks [V, 1, H, W].
        sight: Visibility from the V views.
        weights: Trust in the pixels' colours [V, 1, H, W]; None for 1 everywhere.
    """
    side = evidence.hull.shape[-1]
    index = sight.voxels(side)
    points = voxel_centres(side, evidence.hull).reshape(-1, 3)[index]
    colours, directions = (x.flatten(1).clone() for x in (evidence.colours, evidence.directions))
    for view in range(len(masks)):
        place, within, behind = sight.of_points(view, points)
        # Where every view is blocked, blocked colours are the best guess there is (docs/lirm.md).
        weight = within * torch.where(behind <= 0, 1.0, _BLOCKED_WEIGHT)
        if weights is not None:
            weight = weight * look_up(weights[view], place)[0]
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


def picture_places(camera: Cameras, points: Tensor) -> tuple[Tensor, Tensor]:
    """Project points into one picture: positions [P, 2], in [-1, 1], and True for those within it."""
    return _in_picture(camera, *project(camera, points))


def _in_picture(camera: Cameras, pixels: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
    """Convert projected points to the result of `_places`."""
    place = 2 * pixels / pixels.new_tensor([camera.width, camera.height]) - 1
    return place, (place.abs() <= 1).all(-1) & (depth > 0)


def look_up(picture: Tensor, place: Tensor, mode: str = "bilinear", padding: str = "zeros") -> Tensor:
    """Sample a picture [C, H, W] at positions [P, 2], in [-1, 1]: [C, P]."""
    found = F.grid_sample(
        picture[None], place[None, None].to(picture), mode=mode, padding_mode=padding, align_corners=False
    )
    return found[0, :, 0]


@torch.no_grad()
def evidence_features(evidence: Evidence) -> Tensor:
    """Return the evidence as a volume to sample, [1, 11, G, G, G]; the first channel is in metres.

    The memory layout is the one that `sample_volume` needs.
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
    """Fit how the colour of a voxel changes with the direction to the viewer.

    The fit is the ridge regression ``c(v) = a + B v`` over the views' colours c and directions d, both
    centred for B: ``B = sum w c d^T (sum w d d^T + 1)^-1``, ``a = c_mean - B d_mean``. A single view gives
    its colour; views from all around give the best plane through their colours.

    Returns:
        Coefficients a, then the rows of B, [1, 12, G, G, G]; 0 where there are no colours. The memory layout
        is the one that `sample_volume` needs.
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
    """Sample a volume trilinearly: [1, C, G, G, G], [P, 3] -> [P, C]; points outside take the edge's value.

    The result is that of PyTorch's ``grid_sample``. Volumes in ``torch.channels_last_3d``, where all channels
    of a voxel lie side by side in memory, are sampled several times faster on a CPU, and more so in the
    backward pass. Other volumes are copied.
    """
    side = volume.shape[-1]
    # Not [0], whose gradient would fill a second volume with zeros.
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
    """Compute the unit gradient of a distance [G, G, G], 0 where it is constant: [3, G, G, G].

    The distance is first averaged over 3 voxels: the hull has edges that the object does not have.
    """
    smooth = F.avg_pool3d(F.pad(distance[None, None], (1,) * 6, mode="replicate"), 3, 1)[0, 0]
    along_z, along_y, along_x = torch.gradient(smooth)
    return F.normalize(torch.stack([along_x, along_y, along_z]), dim=0)


def _small(cameras: Cameras) -> Cameras:
    """Return the cameras of the pictures in which the hull's depth is computed."""
    scale = _DEPTH_SIDE / max(cameras.height, cameras.width)
    return cameras.resized(round(cameras.height * scale), round(cameras.width * scale))


def hull_depth(hull: Tensor, cameras: Cameras) -> Tensor:
    """Compute the distance along each pixel's ray to the hull: [V, H, W]; 0 where the ray misses it."""
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
