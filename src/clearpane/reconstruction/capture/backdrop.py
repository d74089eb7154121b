"""Cut an object out of a photograph with a plain backdrop, without a neural network."""

import numpy as np
import torch
from torch.nn import functional as F

from clearpane.errors import ClearpaneError, MissingExtraError

# Longer side, in pixels, to which the picture is shrunk for the search.
_SIDE = 1536
# Width of the border that shows the backdrop, as a fraction of the shorter side.
_BORDER = 0.03
# Number of backdrop colours: two, and the mixtures where one shades into the other.
_COLOURS = 4
_ROUNDS = 15
# Number of border pixels that are enough to find the colours.
_SAMPLES = 4000
# A colour with less than this fraction of the border belongs to an object that crosses the picture's edge.
_RARE = 0.1
# Largest root mean square difference of CIELAB colours in a plain border. With four colours, about one in
# ten ordinary photographs stays below it, mostly of something in front of a plain backdrop.
_PLAIN = 4.0
# Smallest noise of a colour in CIELAB, assumed even for a clean picture.
_NOISE = 1.5
# Distances from the backdrop, in deviations, that are never and always the object: Otsu's threshold alone
# would lose the bright half of a black and light grey object in front of white.
_LEAST_DEVIATIONS, _MOST_DEVIATIONS = 3.0, 8.0
# Smallest piece, relative to the largest piece; largest hole that is filled, relative to the whole.
_PIECE, _HOLE = 0.05, 0.01
# A large hole shows the backdrop if its median is at most this many deviations farther than the border.
_EXACT = 0.5
# Pixels on either side of an edge in which the object's colour blends into the backdrop's.
_EDGE = 2
# Smallest and largest coverage of the picture; an object that covers more is a picture in a frame.
_LEAST, _MOST = 0.001, 0.8

INSTEAD = "give masks, pictures with alpha, or a program that makes masks"
"""Advice for messages when the object is not found."""


def backdrop_segmenter(pixels: np.ndarray) -> np.ndarray:
    """Cut out the object in front of a plain backdrop.

    The picture's border shows the backdrop: its colours in CIELAB are fitted with four normal distributions;
    those that cover hardly any of the border are dropped. A pixel's distance from the backdrop is its
    distance from the nearest of them,

        d^2 = min_k (c - m_k)^T (S_k + s^2 I)^-1 (c - m_k),

    and it belongs to the object if ``log(1 + d)`` exceeds Otsu's threshold (at most 8 deviations) and the
    distances of the border. Small pieces are dropped and holes filled, except large ones that show the
    backdrop itself, as in a handle. Shadows darker than the whole border count as object.

    Args:
        pixels: Photograph [H, W, 3], sRGB in [0, 1].

    Returns:
        Mask [H, W], in [0, 1], soft by one pixel at the edge.

    Raises:
        ClearpaneError: The border is not plain, or nothing or nearly everything stands out from it.
        MissingExtraError: Scikit-image is not installed.
    """
    try:
        from skimage.color import rgb2lab
        from skimage.filters import gaussian, threshold_otsu
    except ImportError as error:
        raise MissingExtraError("cutting out by the backdrop", "3d") from error
    scale = min(1.0, _SIDE / max(pixels.shape[:2]))
    size = [max(1, round(n * scale)) for n in pixels.shape[:2]]
    lab = gaussian(rgb2lab(_resized(pixels, size)), sigma=1, channel_axis=-1)
    border = _border(lab.shape[:2])
    means, spreads = _backdrop(lab[border])
    distance = _distance(lab, means, spreads)
    own = distance[border]
    usual = own[own <= np.quantile(own, 1 - 2 * _RARE)]  # without the object's part of the border
    apart = float(np.expm1(threshold_otsu(np.log1p(distance))))
    threshold = max(min(apart, _MOST_DEVIATIONS), _LEAST_DEVIATIONS, 2 * float(usual.max()))
    mask = _tidied(distance > threshold, distance, float(np.median(usual)))
    mask &= _is_half(mask, distance)
    if mask.mean() < _LEAST:
        raise ClearpaneError(f"nothing stands out from the backdrop; {INSTEAD}")
    if mask.mean() > _MOST:
        raise ClearpaneError(f"the object cannot be distinguished from the backdrop; {INSTEAD}")
    return np.asarray(
        _resized(gaussian(mask.astype(np.float32), sigma=0.7)[..., None], pixels.shape[:2])[..., 0]
    )


def _resized(values: np.ndarray, size: list[int] | tuple[int, ...]) -> np.ndarray:
    """Resize [H, W, C]; shrinking averages the pixels."""
    tensor = torch.from_numpy(np.ascontiguousarray(values, np.float32)).permute(2, 0, 1)[None]
    if tuple(size) == values.shape[:2]:
        return values
    mode = "area" if size[0] < values.shape[0] else "bilinear"
    return F.interpolate(tensor, list(size), mode=mode)[0].permute(1, 2, 0).numpy()


def _border(size: tuple[int, ...]) -> np.ndarray:
    """Return True for the pixels of a picture of this height and width that show the backdrop, [H, W]."""
    width = max(2, round(_BORDER * min(size)))
    border = np.ones(size, bool)
    border[width:-width, width:-width] = False
    return border


def _backdrop(colours: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit the border's colours [N, 3]: means [K, 3] and covariances [K, 3, 3].

    Raises:
        ClearpaneError: The border has too many colours.
    """
    colours = colours[:: max(1, len(colours) // _SAMPLES)]
    means = np.median(colours, axis=0)[None]
    for _ in range(_COLOURS - 1):  # each far from the earlier ones, but not an outlier
        away = ((colours[:, None] - means) ** 2).sum(-1).min(1)
        means = np.concatenate([means, colours[[np.argsort(away)[int(0.98 * len(away))]]]])
    for _ in range(_ROUNDS):
        nearest = ((colours[:, None] - means) ** 2).sum(-1).argmin(1)
        members = [colours[nearest == k] for k in range(len(means))]
        means = np.stack([m.mean(0) for m in members if len(m)])
    found = [m for m in members if len(m) >= _RARE * len(colours)]
    apart = np.concatenate([m - m.mean(0) for m in found]) if found else colours
    share = len(apart) / len(colours)
    if share < 1 - 2 * _RARE or np.sqrt((apart**2).sum(-1).mean()) > _PLAIN:
        raise ClearpaneError(f"the backdrop is not plain, so that the object cannot be found; {INSTEAD}")
    return np.stack([m.mean(0) for m in found]), np.stack([np.cov(m.T) for m in found])


def _distance(lab: np.ndarray, means: np.ndarray, spreads: np.ndarray) -> np.ndarray:
    """Return the distance of colours [H, W, 3] from the nearest distribution, in deviations: [H, W]."""
    nearest = np.full(lab.shape[:2], np.inf)
    for mean, spread in zip(means, spreads, strict=True):
        whitening = np.linalg.cholesky(np.linalg.inv(spread + _NOISE**2 * np.eye(3)))
        nearest = np.minimum(nearest, (((lab - mean) @ whitening) ** 2).sum(-1))
    result: np.ndarray = np.sqrt(nearest)
    return result


def _is_half(mask: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Return True for a pixel near a mask's edge at least half as far from the backdrop as the object.

    A pixel that is mostly backdrop still exceeds a low threshold; inside the mask, every pixel counts.
    """
    return ~_most_around(~mask) | (distance > 0.5 * _most_around(distance))


def _most_around(values: np.ndarray) -> np.ndarray:
    """Return the largest value within an edge's width, [H, W]; this dilates a mask."""
    tensor = torch.from_numpy(values.astype(np.float32))[None]
    return F.max_pool2d(tensor, 2 * _EDGE + 1, 1, _EDGE)[0].numpy().astype(values.dtype)


def _tidied(mask: np.ndarray, distance: np.ndarray, usual: float) -> np.ndarray:
    """Remove small pieces, holes, and lines along the frame, which are edges of the backdrop itself."""
    from skimage.measure import label, regionprops

    lines = label(mask & ~_most_around(~_most_around(~mask)))
    mask = mask & ~np.isin(lines, _at_frame(lines)[1:])
    pieces = label(mask)
    areas = np.bincount(pieces.ravel())
    areas[0] = 0
    mask = (areas >= _PIECE * areas.max())[pieces] & mask
    outside = label(~mask, connectivity=1)
    reaching = _at_frame(outside)
    for hole in regionprops(outside):
        seen = distance[tuple(hole.coords.T)]
        is_open = hole.area > _HOLE * mask.sum() and np.median(seen) < usual + _EXACT
        if hole.label not in reaching and not is_open:
            mask[tuple(hole.coords.T)] = True
    return mask


def _at_frame(labels: np.ndarray) -> np.ndarray:
    """Return the labels [H, W] that reach the picture's frame, 0 among them, in order."""
    return np.unique(np.concatenate([[0], labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
