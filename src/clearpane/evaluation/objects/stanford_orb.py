"""Compute Stanford-ORB's measures for views of reconstructed objects: pictures, albedo, normals, depth.

Every picture is compared within the truth's mask, eroded by two pixels, after one gain for each picture and
channel, ``s_c = sum(x_c t_c) / sum(x_c^2)``: pictures cannot separate the brightness of light and albedo.
Outside the mask both count as black, and the mean is over the whole picture, so values are higher than within
the mask.

Source: Z. Kuang et al., Stanford-ORB, NeurIPS 2023, and the evaluation that its authors publish.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from clearpane.errors import ClearpaneError
from clearpane.optics.color import linear_to_srgb

HDR_LIMIT, LDR_LIMIT = 4.0, 1.0
"""Values at which linear light and displayed pictures are clipped."""

_EROSION = 2
_SSIM_SIGMA = 1.5


@dataclass(frozen=True)
class PictureScores:
    """Hold the comparison of an object's picture with the truth.

    Attributes:
        psnr_hdr: PSNR-H, dB: linear light up to 4, both scaled to the truth's mean brightness in sRGB.
        psnr_ldr: PSNR-L, dB: sRGB values of light up to 1.
        ssim: SSIM of the sRGB values, in [-1, 1].
    """

    psnr_hdr: float
    psnr_ldr: float
    ssim: float


def eroded(mask: np.ndarray) -> np.ndarray:
    """Erode a mask [H, W] by 5 x 5 pixels, bool; beyond the edge all pixels count as inside."""
    inside = np.pad(mask > 0.5, _EROSION, constant_values=True)
    return np.asarray(sliding_window_view(inside, (2 * _EROSION + 1,) * 2).all(axis=(2, 3)))


def picture_scores(result: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> PictureScores:
    """Compute PSNR-H, PSNR-L and SSIM of linear light.

    Args:
        result, truth: Linear light [H, W, 3], 0 or more.
        mask: Mask of the truth [H, W].

    Raises:
        ClearpaneError: The sizes differ, or the mask is empty.
    """
    inside = _checked(result, truth, mask)
    result, truth = result * inside[..., None], np.maximum(truth, 0) * inside[..., None]
    scaled = result * channel_gains(result, truth, inside)
    brightness = _display_gain(truth)
    hdr = psnr(scaled * brightness, truth * brightness, inside, HDR_LIMIT)
    seen, wanted = (np.asarray(linear_to_srgb(np.clip(x, 0, LDR_LIMIT))) for x in (scaled, truth))
    return PictureScores(hdr, psnr(seen, wanted, inside, LDR_LIMIT), ssim(seen, wanted))


def albedo_psnr(result: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> float:
    """Compute the PSNR of linear albedo up to 1, dB, after one gain for each channel, as `picture_scores`."""
    inside = _checked(result, truth, mask)
    result, truth = result * inside[..., None], np.maximum(truth, 0) * inside[..., None]
    return psnr(result * channel_gains(result, truth, inside), truth, inside, LDR_LIMIT)


def normal_error(result: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> float:
    """Average 1 - cos of the angle between normals [H, W, 3] of any length."""
    inside = _checked(result, truth, mask)

    def unit(normals: np.ndarray) -> np.ndarray:
        return np.asarray(normals / (np.linalg.norm(normals, axis=-1, keepdims=True) + 1e-6))

    return float((1 - (unit(result) * unit(truth)).sum(-1))[inside].mean())


def depth_error(
    results: Sequence[np.ndarray], truths: Sequence[np.ndarray], masks: Sequence[np.ndarray]
) -> float:
    """Compute the mean squared error of depths [H, W] over all views of an object, after one common gain.

    The mean is over whole pictures, as for colours.
    """
    insides = [_checked(r, t, m) for r, t, m in zip(results, truths, masks, strict=True)]
    # A picture that shows nothing counts as a plane.
    shown = [
        r if (r[i] ** 2).sum() > 1e-6 else np.ones_like(t)
        for r, t, i in zip(results, truths, insides, strict=True)
    ]
    product = sum(float((r * t)[i].sum()) for r, t, i in zip(shown, truths, insides, strict=True))
    power = sum(float((r**2)[i].sum()) for r, i in zip(shown, insides, strict=True))
    errors = [
        float((((product / power) * r - t) ** 2 * i).mean())
        for r, t, i in zip(shown, truths, insides, strict=True)
    ]
    return float(np.mean(errors))


def channel_gains(result: np.ndarray, truth: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Fit the gain of each channel from a result to the truth, [3]; a black result gets the gain of white."""
    pixels, wanted = result[inside].astype(np.float64), truth[inside].astype(np.float64)
    pixels = np.where((pixels**2).sum(0) > 1e-6, pixels, 1.0)
    return np.asarray((pixels * wanted).sum(0) / (pixels**2).sum(0))


def psnr(result: np.ndarray, truth: np.ndarray, inside: np.ndarray, limit: float) -> float:
    """Compute the PSNR for a peak of 1, both clipped at ``limit``; at least that of a uniform grey of 1/2."""
    result, truth = np.clip(result, 0, limit), np.clip(truth, 0, limit)
    grey = 0.5 * inside[..., None] * np.ones(3)
    least, own = (float(((x - truth) ** 2).mean()) for x in (grey, result))
    return -10 * float(np.log10(max(min(own, least), 1e-12)))


def ssim(result: np.ndarray, truth: np.ndarray) -> float:
    """Compute the mean SSIM of pictures [H, W, 3] in [0, 1]: Gaussian windows of 3 x 3, sigma 1.5.

    The pictures are mirrored at their edges.
    """
    first, second = 0.01**2, 0.03**2
    mean_r, mean_t = _blur(result), _blur(truth)
    variance_r, variance_t = _blur(result**2) - mean_r**2, _blur(truth**2) - mean_t**2
    covariance = _blur(result * truth) - mean_r * mean_t
    value = (2 * mean_r * mean_t + first) * (2 * covariance + second)
    value = value / ((mean_r**2 + mean_t**2 + first) * (variance_r + variance_t + second))
    return float(np.clip(value, -1, 1).mean())


def _blur(picture: np.ndarray) -> np.ndarray:
    weights = np.exp(-np.asarray([1.0, 0.0, 1.0]) / (2 * _SSIM_SIGMA**2))
    weights = weights / weights.sum()
    padded = np.pad(np.asarray(picture, np.float64), ((1, 1), (1, 1), (0, 0)), mode="reflect")
    rows = sum(w * padded[i : len(padded) - 2 + i] for i, w in enumerate(weights))
    return np.asarray(sum(w * rows[:, i : rows.shape[1] - 2 + i] for i, w in enumerate(weights)))


def _display_gain(truth: np.ndarray) -> float:
    """Return the gain that brings linear light to the mean brightness of the truth in sRGB."""
    clipped = np.clip(truth, 0, 1)
    mean = float(clipped.mean())
    return float(np.asarray(linear_to_srgb(clipped)).mean()) / mean if mean > 1e-8 else 1.0


def _checked(result: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> np.ndarray:
    if result.shape != truth.shape or mask.shape != truth.shape[:2]:
        raise ClearpaneError(
            f"sizes differ: {list(result.shape)}, truth {list(truth.shape)}, mask {list(mask.shape)}"
        )
    inside = eroded(mask)
    if not inside.any():
        raise ClearpaneError("a mask has nothing in it once it is eroded by two pixels")
    return inside
