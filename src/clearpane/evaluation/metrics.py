"""Compute full-reference picture metrics.

Every function takes ``result`` and ``truth`` as arrays [H, W, 3] of the same shape: uint8, or floating point
sRGB in [0, 1]. Sums are in float64. Published figures are computed from 8-bit pictures, so pass uint8 (see
:func:`to_8bit`).
"""

import numpy as np

PSNR_LIMIT = 100.0
SSIM_WINDOW = 7
LMSE_STEP = 10


def psnr(result: np.ndarray, truth: np.ndarray) -> float:
    """Compute the peak signal-to-noise ratio, dB: 10 log10(1 / MSE), one mean over all pixels and channels.

    The result is at most 100 dB, the value of identical pictures, so that means over pictures stay finite.
    """
    x, t = _pair(result, truth)
    return _decibel(float(np.mean((x - t) ** 2)))


def psnr_by_channel(result: np.ndarray, truth: np.ndarray) -> float:
    """Average the PSNR of the three channels, dB, as the code of ERRNet, YTMT and DSRNet does.

    The result is never below :func:`psnr`; on photographs through glass it is about 0.1 dB higher.
    """
    x, t = _pair(result, truth)
    return float(np.mean([_decibel(float(e)) for e in np.mean((x - t) ** 2, axis=(0, 1))]))


def with_gain(result: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return ``result`` after the least-squares gain of each channel (float64).

    The gain multiplies sRGB values, and the product is clipped to [0, 1]:
    g_c = <x_c, t_c> / <x_c, x_c>; a black channel keeps gain 1.
    """
    x, t = _pair(result, truth)
    energy = np.einsum("hwc,hwc->c", x, x)
    gain = np.divide(np.einsum("hwc,hwc->c", x, t), energy, out=np.ones(3), where=energy > 0)
    value: np.ndarray = np.clip(x * gain, 0.0, 1.0)
    return value


def with_gain_and_offset(result: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return ``result`` after the least-squares line a_c x_c + b_c of each channel (float64).

    The line is fitted to sRGB values, and its output is clipped to [0, 1]. A constant channel keeps
    a_c = 1.
    """
    x, t = _pair(result, truth)
    mean_x, mean_t = x.mean(axis=(0, 1)), t.mean(axis=(0, 1))
    centred = x - mean_x
    variance = np.einsum("hwc,hwc->c", centred, centred)
    gain = np.divide(
        np.einsum("hwc,hwc->c", centred, t), variance, out=np.ones(3), where=np.ptp(x, axis=(0, 1)) > 0
    )
    value: np.ndarray = np.clip(centred * gain + mean_t, 0.0, 1.0)
    return value


def psnr_after_gain(result: np.ndarray, truth: np.ndarray) -> float:
    """Compute PSNR-G, dB: :func:`psnr` after :func:`with_gain`, which ignores exposure and haze.

    The picture after the gain is not quantised again.
    """
    return psnr(with_gain(result, truth), truth)


def ssim(result: np.ndarray, truth: np.ndarray) -> float:
    """Compute the structural similarity, in [-1, 1], averaged over the three channels (Wang et al. 2004).

    The windows are uniform, 7 x 7 and wholly inside the picture; variances are unbiased (n - 1), K1 = 0.01,
    K2 = 0.03. This is what scikit-image's ``structural_similarity`` computes by default and the code of
    ERRNet, YTMT and DSRNet reports.

    Raises:
        ValueError: A side is shorter than 7 pixels.
    """
    x, t = _pair(result, truth)
    if min(x.shape[:2]) < SSIM_WINDOW:
        raise ValueError(
            f"SSIM needs at least {SSIM_WINDOW} x {SSIM_WINDOW} pixels, got {x.shape[0]} x {x.shape[1]}"
        )
    return float(np.mean([_ssim_channel(x[..., c], t[..., c]) for c in range(3)]))


def lmse(result: np.ndarray, truth: np.ndarray) -> float:
    """Compute the local mean squared error (Grosse et al. 2009); 0 is perfect, a black result scores 1.

    In each channel of every 20 x 20 window, spaced by 10, the result is scaled to fit: sum over windows of
    min_a |t - a x|^2, divided by the sum of |t|^2. The code of ERRNet and DSRNet prints this number; the
    paper of SIR2 prints sLMSE = 1 - LMSE.

    Raises:
        ValueError: A side is shorter than 20 pixels.
    """
    x, t = _pair(result, truth)
    rows, columns = x.shape[0] // LMSE_STEP, x.shape[1] // LMSE_STEP
    if min(rows, columns) < 2:
        raise ValueError(f"LMSE needs at least 20 x 20 pixels, got {x.shape[0]} x {x.shape[1]}")

    def window_sums(values: np.ndarray) -> np.ndarray:
        tiles = values[: rows * LMSE_STEP, : columns * LMSE_STEP]
        tiles = tiles.reshape(rows, LMSE_STEP, columns, LMSE_STEP, 3).sum(axis=(1, 3))
        result: np.ndarray = tiles[:-1, :-1] + tiles[1:, :-1] + tiles[:-1, 1:] + tiles[1:, 1:]
        return result

    xx, xt, tt = window_sums(x * x), window_sums(x * t), window_sums(t * t)
    explained = np.divide(xt * xt, xx, out=np.zeros_like(xx), where=xx > 0)
    total = float(tt.sum())
    return float((tt - explained).sum()) / total if total > 0 else 0.0


def ncc(result: np.ndarray, truth: np.ndarray) -> float:
    """Compute Pearson's correlation over all pixels and channels at once (NCC), in [-1, 1].

    The result is 0 if either picture is constant.
    """
    x, t = _pair(result, truth)
    if np.ptp(x) == 0 or np.ptp(t) == 0:
        return 0.0
    x, t = x - x.mean(), t - t.mean()
    return float(np.vdot(x, t) / np.sqrt(np.vdot(x, x) * np.vdot(t, t)))


def _pair(result: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Convert both pictures to float64 in [0, 1]."""
    if result.shape != truth.shape or result.ndim != 3 or result.shape[2] != 3:
        raise ValueError(f"expected two H x W x 3 arrays of one shape, got {result.shape} and {truth.shape}")
    return _unit(result), _unit(truth)


def _unit(image: np.ndarray) -> np.ndarray:
    return image / 255.0 if image.dtype == np.uint8 else image.astype(np.float64)


def _decibel(mse: float) -> float:
    return min(PSNR_LIMIT, -10.0 * float(np.log10(mse))) if mse > 0 else PSNR_LIMIT


def _ssim_channel(x: np.ndarray, t: np.ndarray) -> float:
    mean_x, mean_t = _box_mean(x), _box_mean(t)
    unbiased = SSIM_WINDOW**2 / (SSIM_WINDOW**2 - 1)
    variances = unbiased * (_box_mean(x * x) + _box_mean(t * t) - mean_x**2 - mean_t**2)
    covariance = unbiased * (_box_mean(x * t) - mean_x * mean_t)
    c1, c2 = 0.01**2, 0.03**2
    numerator = (2 * mean_x * mean_t + c1) * (2 * covariance + c2)
    return float(np.mean(numerator / ((mean_x**2 + mean_t**2 + c1) * (variances + c2))))


def _box_mean(values: np.ndarray) -> np.ndarray:
    """Average all SSIM windows inside the picture by running sums: [H, W] -> [H - 6, W - 6]."""
    for _ in range(2):
        sums = np.cumsum(values, axis=0)
        sums[SSIM_WINDOW:] -= sums[:-SSIM_WINDOW].copy()
        values = sums[SSIM_WINDOW - 1 :].T
    return values / SSIM_WINDOW**2
