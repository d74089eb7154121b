"""Score a reconstructed object against the truth with Stanford-ORB's measures (`stanford_orb`)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from clearpane.errors import ClearpaneError, MissingExtraError
from clearpane.evaluation.objects.results import Result, ResultPictures, read_mesh
from clearpane.evaluation.objects.stanford_orb import albedo_psnr, depth_error, normal_error, picture_scores
from clearpane.evaluation.objects.truth import ObjectTruth, TruthPictures, read_view
from clearpane.geometry.mesh import Mesh, surface_points

# Number of points for comparing surfaces, as in the benchmark.
_POINTS = 30_000


class Measure(NamedTuple):
    """Describe how a measure is displayed."""

    title: str
    decimals: int
    higher_is_better: bool


MEASURES = {
    "psnr_hdr": Measure("PSNR-H", 2, True),
    "psnr_ldr": Measure("PSNR-L", 2, True),
    "ssim": Measure("SSIM", 4, True),
    "albedo_psnr": Measure("albedo\nPSNR", 2, True),
    "normal_error": Measure("normals\n1 - cos", 4, False),
    "depth_error": Measure("depth\nMSE", 6, False),
    "chamfer": Measure("Chamfer\nx 2000", 4, False),
}


@dataclass(frozen=True)
class ObjectScores:
    """Hold the measures of an object for which there were data.

    Attributes:
        means: Means over the views, and the measures of the whole object, by the names in `MEASURES`.
        views: Measures of each view by its name.
    """

    means: dict[str, float]
    views: dict[str, dict[str, float]]


class ObjectScorer:
    """Measure an object view by view.

    Args:
        size: Longer side at which pictures are compared, pixels; larger pictures are shrunk.
    """

    def __init__(self, result: Result, truth: ObjectTruth, size: int) -> None:
        self._result, self._truth, self._size = result, truth, size
        self._views: dict[str, dict[str, float]] = {}
        self._depths: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def score_views(self) -> Iterator[str]:
        """Measure the views one after the other, and yield their names.

        Raises:
            ClearpaneError: Pictures cannot be read or do not fit.
        """
        for view in self._truth.views:
            truth = read_view(view, self._size)
            height, width = truth.mask.shape
            shown = self._result.see(view, (height, width))
            try:
                self._views[view.name] = self._measured(shown, truth)
            except ClearpaneError as error:
                raise ClearpaneError(f"view {view.name}: {error}") from error
            yield view.name

    def scores(self) -> ObjectScores:
        """Return all scores, including the distance of shapes, which takes some seconds.

        Raises:
            ClearpaneError: There was nothing to compare.
        """
        keys = [key for key in MEASURES if any(key in view for view in self._views.values())]
        means = {
            key: float(np.mean([view[key] for view in self._views.values() if key in view])) for key in keys
        }
        if self._depths:
            results, truths, masks = zip(*self._depths, strict=True)
            means["depth_error"] = depth_error(results, truths, masks)
        mesh = self._result.mesh
        if mesh is not None and self._truth.mesh is not None:
            scan = read_mesh(self._truth.mesh, self._truth.to_asset)
            means["chamfer"] = mesh_distance(mesh, scan)
        if not means:
            raise ClearpaneError(
                "the result and the truth have nothing in common to compare: no light to render pictures "
                "in (`environment`), no maps, no mesh"
            )
        return ObjectScores(means, self._views)

    def _measured(self, shown: ResultPictures, truth: TruthPictures) -> dict[str, float]:
        values = {}
        if shown.colour is not None:
            found = picture_scores(shown.colour, truth.colour, truth.mask)
            if truth.high_range:
                values["psnr_hdr"] = found.psnr_hdr
            values |= {"psnr_ldr": found.psnr_ldr, "ssim": found.ssim}
        if shown.albedo is not None and truth.albedo is not None:
            values["albedo_psnr"] = albedo_psnr(shown.albedo, truth.albedo, truth.mask)
        if shown.normal is not None and truth.normal is not None:
            values["normal_error"] = normal_error(shown.normal, truth.normal, truth.mask)
        if shown.depth is not None and truth.depth is not None:
            self._depths.append((shown.depth, truth.depth, truth.mask))
        return values


def mesh_distance(result: Mesh, truth: Mesh) -> float:
    """Average the mean squared distances to the nearest point of the other mesh, both ways, times 2000.

    The result is represented by 30,000 points on it. The truth is represented by its vertices, as in the
    benchmark, whose scans are dense, or by 30,000 points on it if it has fewer vertices.

    Args:
        result, truth: Meshes in the benchmark's unit of length.

    Raises:
        ClearpaneError: One of the meshes has no area.
        MissingExtraError: Scipy is not installed.
    """
    try:
        from scipy.spatial import KDTree
    except ImportError as error:
        raise MissingExtraError("comparing shapes", "3d") from error
    points = truth.vertices[np.unique(truth.faces)]
    if len(points) < _POINTS:
        points = surface_points(truth, _POINTS, seed=1)
    sets = surface_points(result, _POINTS), points
    ways = [np.square(KDTree(b).query(a)[0]).mean() for a, b in (sets, sets[::-1])]
    return 2000 * float(np.mean(ways))
