"""Cutting an object out of a photograph whose backdrop is plain, without any network."""

import numpy as np
import torch
from torch.nn import functional as F

from clearpane.errors import ClearpaneError, MissingExtraError

# The picture is looked at no larger than this along its longer side.
_SIDE = 1536
# Width of the border that shows the backdrop, in shares of the shorter side.
_BORDER = 0.03
# Colours that a backdrop is made of: two, and what lies between where one shades into the other.
_COLOURS = 4
_ROUNDS = 15
# Pixels of the border that are enough to find them in.
_SAMPLES = 4000
# Of the border, a colour with less than this share is the object's, which reaches out of the picture there.
_RARE = 0.1
# The root mean square difference of colours in CIELAB up to which a border is plain. With four colours, of
# ten ordinary photographs about one stays below, and is mostly of something before a plain backdrop.
_PLAIN = 4.0
# Noise of a colour in CIELAB that a clean picture is thought to have at least.
_NOISE = 1.5
# Of a colour's deviations, how far from the backdrop is never the object, and is always: Otsu's threshold
# alone would lose the bright half of a black and light grey thing before white.
_LEAST_DEVIATIONS, _MOST_DEVIATIONS = 3.0, 8.0
# Of the largest piece, what a piece has at least; of the whole, what a hole has that is not filled.
_PIECE, _HOLE = 0.05, 0.01
# As many deviations farther off than the border, half of a large hole may be for it to show the backdrop.
_EXACT = 0.5
# Pixels on either side of an edge in which the object's colour goes over into the backdrop's.
_EDGE = 2
# Of the picture, what an object covers at least and at most; what covers more is a picture in a frame.
_LEAST, _MOST = 0.001, 0.8

_INSTEAD = "give masks, pictures with alpha, or a program that makes masks"


def backdrop_segmenter(pixels: np.ndarray) -> np.ndarray:
    """Cut out what stands before a plain backdrop.

    The picture's border shows the backdrop: its colours in CIELAB are gathered into four normal
    distributions, of which those that hardly any of the border has are left out. A pixel is as far from the
    backdrop as from the nearest of them,

        d^2 = min_k (c - m_k)^T (S_k + s^2 I)^-1 (c - m_k),

    and the object's if ``log(1 + d)`` is beyond Otsu's threshold (at most 8 deviations), and farther than the
    border. Small pieces are left out and holes filled, except large ones through which exactly the backdrop
    is seen (a handle's). Shadows darker than all of the backdrop's border count as object.

    Args:
        pixels: sRGB in [0, 1], [H, W, 3].

    Returns:
        [H, W] in [0, 1], soft by a pixel at the edge.

    Raises:
        ClearpaneError: the border is not plain; nothing stands out from it, or nearly everything.
        MissingExtraError: scikit-image is not installed.
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
    usual = own[own <= np.quantile(own, 1 - 2 * _RARE)]  # without what of the object reaches out
    apart = float(np.expm1(threshold_otsu(np.log1p(distance))))
    threshold = max(min(apart, _MOST_DEVIATIONS), _LEAST_DEVIATIONS, 2 * float(usual.max()))
    mask = _tidied(distance > threshold, distance, float(np.median(usual)))
    mask &= _is_half(mask, distance)
    if mask.mean() < _LEAST:
        raise ClearpaneError(f"nothing stands out from the backdrop; {_INSTEAD}")
    if mask.mean() > _MOST:
        raise ClearpaneError(f"the object cannot be told from the backdrop; {_INSTEAD}")
    return np.asarray(
        _resized(gaussian(mask.astype(np.float32), sigma=0.7)[..., None], pixels.shape[:2])[..., 0]
    )


def _resized(values: np.ndarray, size: list[int] | tuple[int, ...]) -> np.ndarray:
    """[H, W, C] at another size; shrunk, the mean of what a pixel covers."""
    tensor = torch.from_numpy(np.ascontiguousarray(values, np.float32)).permute(2, 0, 1)[None]
    if tuple(size) == values.shape[:2]:
        return values
    mode = "area" if size[0] < values.shape[0] else "bilinear"
    return F.interpolate(tensor, list(size), mode=mode)[0].permute(1, 2, 0).numpy()


def _border(size: tuple[int, ...]) -> np.ndarray:
    """Where a picture of so many rows and columns shows the backdrop, [H, W]."""
    width = max(2, round(_BORDER * min(size)))
    border = np.ones(size, bool)
    border[width:-width, width:-width] = False
    return border


def _backdrop(colours: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means [K, 3] and covariances [K, 3, 3] of the colours [N, 3] of a border.

    Raises:
        ClearpaneError: they are too many.
    """
    colours = colours[:: max(1, len(colours) // _SAMPLES)]
    means = np.median(colours, axis=0)[None]
    for _ in range(_COLOURS - 1):  # one after the other, far from those there are, but not a stray one
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
        raise ClearpaneError(f"the backdrop is not plain, so that the object cannot be found; {_INSTEAD}")
    return np.stack([m.mean(0) for m in found]), np.stack([np.cov(m.T) for m in found])


def _distance(lab: np.ndarray, means: np.ndarray, spreads: np.ndarray) -> np.ndarray:
    """How far colours [H, W, 3] are from the nearest distribution, in its deviations: [H, W]."""
    nearest = np.full(lab.shape[:2], np.inf)
    for mean, spread in zip(means, spreads, strict=True):
        whitening = np.linalg.cholesky(np.linalg.inv(spread + _NOISE**2 * np.eye(3)))
        nearest = np.minimum(nearest, (((lab - mean) @ whitening) ** 2).sum(-1))
    result: np.ndarray = np.sqrt(nearest)
    return result


def _is_half(mask: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Whether a pixel near a mask's edge is at least half as far from the backdrop as the object next to it.

    A pixel that is mostly backdrop is still far from it, by a low threshold; inside the mask all are.
    """
    return ~_most_around(~mask) | (distance > 0.5 * _most_around(distance))


def _most_around(values: np.ndarray) -> np.ndarray:
    """Return the largest value within an edge's width, [H, W]; for a mask: the mask grown."""
    tensor = torch.from_numpy(values.astype(np.float32))[None]
    return F.max_pool2d(tensor, 2 * _EDGE + 1, 1, _EDGE)[0].numpy().astype(values.dtype)


def _tidied(mask: np.ndarray, distance: np.ndarray, usual: float) -> np.ndarray:
    """Clean a mask: no crumbs, no holes, no lines to the frame, which are edges of the backdrop itself."""
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
