"""Encode small pictures for embedding in a page."""

import base64
import io

import numpy as np
from PIL import Image

ERROR_WHITE = 0.25
# Black, violet, red, orange, pale yellow: brightness increases evenly, so it also reads in grey.
_HEAT = np.array([[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]], np.float64)


def data_uri(image: np.ndarray, long_side: int = 640) -> str:
    """Encode a uint8 picture as a WebP data URI, shrunk to ``long_side`` pixels where it is larger."""
    picture = Image.fromarray(image)
    picture.thumbnail((long_side, long_side), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    picture.save(out, "WEBP", quality=84)
    return "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode("ascii")


def error_map(result: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Draw |result - truth|, averaged over channels, as a heat map (uint8): black 0, pale yellow >= 0.25."""
    error = np.abs(result.astype(np.float64) - truth).mean(axis=2) / 255.0
    position = np.clip(error / ERROR_WHITE, 0.0, 1.0) * (len(_HEAT) - 1)
    stops = np.arange(len(_HEAT))
    return np.stack([np.interp(position, stops, _HEAT[:, c]) for c in range(3)], axis=-1).astype(np.uint8)
