"""Detect what went wrong in a reconstruction: floaters, leakage, highlights in the base colour, grey albedo.

Each detector measures a share in [0, 1] and compares it with a limit above which the failure is visible.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from clearpane.errors import MissingExtraError
from clearpane.geometry.mesh import Mesh, connected_pieces, face_areas
from clearpane.reconstruction.asset.asset import Asset
from clearpane.reconstruction.capture.cropping import Capture
from clearpane.reconstruction.failures.seen_surface import SeenSurface

Kind = Literal["floaters", "leakage", "highlights", "grey albedo"]

# Baking drops pieces with less than 2 % of the largest one's area, so this limit means any piece that is
# left; smaller ones, in meshes from elsewhere, are hardly seen.
_FLOATING = 0.01

# Parts up to this thickness are thin, metres; the object is a metre long. The planes of the field blend
# within 1 cm of the middle, and the visual hull of eight views is a few centimetres too thick.
_THIN = 0.05
# Smallest difference between the sides' chromaticities (shares of red, green and blue), as a distance. A
# lamp on one side and daylight on the other (gains 1.2, 1, 0.8 and 0.8, 1, 1.2) change white paint by 0.19;
# red and blue paints differ by 0.4 to 0.8.
_DIFFERENT = 0.25
# The least share of the surface whose sides differ so: fewer points than 200 decide nothing.
_ENOUGH = 0.01
# Half means that the sides cannot be told apart. Lights as different as those above feign up to 0.2.
_LEAKED = 0.2
# Weight of the assumption that a thin part's colours are mixed of its two sides alone.
_RIDGE = 0.01
# The darkest colours (sum of the linear channels) whose chromaticity is not yet noise of 8 bits.
_DARK = 0.03

# A baked highlight is brighter than around by this factor more than in the middle one of the views, and one
# view at least is brighter than the middle one by it. In sRGB, 1.5 is a step of 20 %: plain to see, and more
# than noise makes of one colour.
_BRIGHTER = 1.5
# Largest saturation, (max - min) / max, of a highlight in the base colour: nearly white.
_WHITE = 0.3
# Views that must see a point, so that a highlight in one of them does not move the middle one.
_SEEING = 3
# What is around a point: this many of these points, 3 % of the surface, so up to 1.5 % may be a highlight.
_AROUND, _COARSE = 120, 4000
# Bright paint on one of these nearest points, some 2 cm wide, explains a bright albedo: at the edges of
# paint, a shape that is wrong by a pixel or two shows other paint in each view.
_NEAREST = 9
# A patch of 4 cm on an object with a square metre of surface; below it, single points along edges decide.
_HIGHLIGHTS = 0.002

# The least saturation of the views: paler things may be white in a light that is not balanced quite.
_COLOURED = 0.3
# The share of the saturation that is lost. Highlights and coloured light alter it by a tenth or two.
_LOST = 0.5

# Two points face alike: a difference of 1 between unit normals, 60 degrees, counts as so many metres.
_FACING = 0.1


@dataclass(frozen=True)
class Detection:
    """Hold the verdict of one detector.

    Attributes:
        kind: Kind of failure.
        measured: Measured share, in [0, 1]: floaters, of the area; leakage, of the far side's colour in a
            thin part's; highlights, of the surface; grey albedo, of the saturation that is lost.
        limit: Largest share that is no failure.
        message: Description for the user: what, how much, and what to do.
    """

    kind: Kind
    measured: float
    limit: float
    message: str

    @property
    def found(self) -> bool:
        """Return True if this is a failure."""
        return self.measured > self.limit


def find_failures(asset: Asset, capture: Capture) -> list[Detection]:
    """Return the failures in an asset.

    Args:
        asset: Asset in the cube's world, as `clearpane.reconstruction.asset.baking.bake_asset` returns it.
        capture: Views that it was made from.

    Raises:
        ClearpaneError: The mesh has no area.
        MissingExtraError: A package of the extra [3d] is not installed.
    """
    surface = SeenSurface.of(asset, capture)
    detectors = (detect_floaters, detect_leakage, detect_highlights, detect_grey_albedo)
    return [detection for detection in (detect(surface) for detect in detectors) if detection.found]


def detect_floaters(surface: SeenSurface) -> Detection:
    """Measure the share of the area in pieces that are not connected with the largest one."""
    # Vertices are repeated along the seams of the texture.
    vertices, index = np.unique(surface.mesh.vertices.round(6), axis=0, return_inverse=True)
    piece = connected_pieces(Mesh(vertices, index.reshape(-1)[surface.mesh.faces]))
    areas = np.bincount(piece, weights=face_areas(surface.mesh))
    others = piece != areas.argmax()
    share = 1 - float(areas.max() / areas.sum())
    count = int((areas > 0).sum()) - 1
    what = "1 piece floats" if count == 1 else f"{count} pieces float"
    return Detection(
        "floaters",
        share,
        _FLOATING,
        f"{what} apart from the object, {share:.0%} of its surface"
        f"{_shown_in(surface, others[surface.faces])}; if this is no part of it, give masks that leave it "
        "out, or more views of that place",
    )


def detect_leakage(surface: SeenSurface) -> Detection:
    """Measure how much of the far side's colour the near side of thin parts has.

    For points with a surface of the opposite direction within 5 cm behind them, the asset's chromaticities
    are fitted by those that the views show of the two sides: ``a - w = alpha (near - w) + beta (far - w)``
    with white w; the share is beta. A gain, and so the brightness of the light on either side, changes no
    chromaticity. A colour that fades to grey has a smaller alpha, and is no leakage; only where the sides are
    complementary, which fade to grey by mixing too, ``alpha + beta = 1`` decides.
    """
    near, points, normals = _opposite(surface)
    far = surface.views.look(points, normals)
    own, opposite, albedo = surface.sighting.mean[near], far.mean, surface.albedo[near]
    known = far.seen & (np.stack([x.sum(-1) for x in (own, opposite, albedo)]) > _DARK).all(0)
    colours = [x[known] / x[known].sum(-1, keepdims=True) - 1 / 3 for x in (own, opposite, albedo)]
    different = np.linalg.norm(colours[1] - colours[0], axis=-1) > _DIFFERENT
    share = 0.0
    if different.sum() > _ENOUGH * len(surface.points):
        own, opposite, albedo = (x[different].reshape(-1) for x in colours)
        tie = (_RIDGE * (own @ own + opposite @ opposite)) ** 0.5
        sides = np.stack([np.append(own, tie), np.append(opposite, tie)], axis=-1)
        share = float(np.linalg.lstsq(sides, np.append(albedo, tie), rcond=None)[0][1].clip(0, 1))
    where = _shown_in(surface, near[known][different])
    return Detection(
        "leakage",
        share,
        _LEAKED,
        f"thin parts have {share:.0%} of the colour of their far side{where}; give more views of both sides, "
        "or fit longer (`quality=fine`)",
    )


def detect_highlights(surface: SeenSurface) -> Detection:
    """Measure the share of the surface on which highlights are part of the base colour.

    A highlight moves with the camera, paint does not. There, the albedo is nearly white and stands out from
    what is around it; in the middle one of the views that place and those beside it stand out less, and one
    view is brighter than that.
    """
    brightness = surface.sighting.colours.mean(-1)
    sees = surface.sighting.weights > 0
    judged = (sees.sum(0) >= _SEEING).nonzero()[0]
    values = np.where(sees, brightness, np.nan)[:, judged]
    albedo = surface.albedo[judged]
    if not len(judged):
        middle, brightest = np.zeros((2, 0))
    else:
        middle, brightest = np.nanmedian(values, axis=0), np.nanmax(values, axis=0)
    white = albedo.max(-1) - albedo.min(-1) < _WHITE * albedo.max(-1)
    possible = (white & (brightest > _BRIGHTER * middle)).nonzero()[0]
    found = possible[:0]
    if len(possible):
        places = np.concatenate([surface.points, _FACING * surface.normals], axis=-1)[judged]
        coarse = np.linspace(0, len(judged) - 1, min(_COARSE, len(judged))).astype(np.int64)
        around = coarse[_nearest(places[coarse], places[possible], _AROUND)]
        beside = middle[_nearest(places, places[possible], _NEAREST)].max(-1)
        usual = [np.median(x[around], axis=-1).clip(1e-6) for x in (albedo.mean(-1), middle)]
        of_paint = np.maximum(beside / usual[1], 1)
        found = possible[albedo[possible].mean(-1) / usual[0] > _BRIGHTER * of_paint]
    share = len(found) / len(surface.points)
    return Detection(
        "highlights",
        share,
        _HIGHLIGHTS,
        f"the base colour holds highlights on {share:.1%} of the surface"
        f"{_shown_in(surface, judged[found])}; give more views of that place from other directions, or "
        "softer light",
    )


def detect_grey_albedo(surface: SeenSurface) -> Detection:
    """Measure how much of the views' saturation the albedo lacks; 0 if they show an object without colour.

    Saturation is the sum of ``max - min`` over the channels, divided by that of their mean, in linear light.
    """
    seen = surface.sighting.seen
    albedo = surface.albedo[seen]
    weights = surface.sighting.weights[:, seen, None]
    wanted = _saturation(surface.sighting.colours[:, seen], weights)
    kept = _saturation(albedo, np.ones_like(albedo[:, :1])) / wanted if wanted > _COLOURED else 1.0
    return Detection(
        "grey albedo",
        max(0.0, 1 - kept),
        _LOST,
        f"the base colour has only {kept:.0%} of the photographs' saturation; fit longer (`quality=fine`), "
        "and check that exposure and white balance are the same in all photographs",
    )


def _saturation(colours: np.ndarray, weights: np.ndarray) -> float:
    spread = (weights * (colours.max(-1, keepdims=True) - colours.min(-1, keepdims=True))).sum()
    return float(spread / max((weights * colours.mean(-1, keepdims=True)).sum(), 1e-9))


def _opposite(surface: SeenSurface) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the far side of thin parts.

    Returns:
        Indices of the points in front of one that a view sees [N]; the points behind them, on the line along
        the normal [N, 3]; and the normals there.
    """
    index = surface.sighting.seen.nonzero()[0]
    if not len(index):
        return index, np.zeros((0, 3)), np.zeros((0, 3))
    points, normals = surface.points, surface.normals
    turned = np.concatenate([points[index], -_FACING * normals[index]], axis=-1)
    tree = _tree(np.concatenate([points, _FACING * normals], axis=-1))
    reach = 2 * _THIN
    distance, other = tree.query(turned, distance_upper_bound=reach)
    index, other = index[distance < reach], other[distance < reach]
    # Where the line meets the plane of the nearest point that faces away.
    slope = (normals[index] * normals[other]).sum(-1)
    apart = ((points[index] - points[other]) * normals[other]).sum(-1)
    depth = apart / np.where(slope < -0.5, slope, np.inf)
    place = points[index] - depth[:, None] * normals[index]
    spacing = (face_areas(surface.mesh).sum() / len(points)) ** 0.5
    aside = np.linalg.norm(place - points[other], axis=-1)
    thin = (depth > 0) & (depth < _THIN) & (aside < 2 * spacing)
    return index[thin], place[thin], normals[other[thin]]


def _nearest(places: np.ndarray, wanted: np.ndarray, count: int) -> np.ndarray:
    """Return the indices of the places nearest to each of the wanted ones, [N, at most count]."""
    found = _tree(places).query(wanted, min(count, len(places)))[1]
    return np.asarray(found).reshape(len(wanted), -1)


def _tree(places: np.ndarray) -> Any:
    try:
        from scipy.spatial import KDTree
    except ImportError as error:
        raise MissingExtraError("checking an asset", "3d") from error
    return KDTree(places)


def _shown_in(surface: SeenSurface, chosen: np.ndarray) -> str:
    """Name the view that shows most of some points, as a part of a message."""
    name = surface.best_view(chosen)
    return ", which none of these photographs shows" if name is None else f", shown best by {name}"
