"""Takes the glass away: separates a photograph taken through glass into the clean picture and the reflection.

>>> import numpy as np
>>> import clearpane
>>> photo = np.full((30, 40, 3), 0.5, np.float32)  # or a path such as "window.jpg"
>>> layers = clearpane.remove_reflection(photo)
>>> layers.transmission.shape
(30, 40, 3)
>>> clearpane.__version__.count(".")
2
"""

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

from clearpane._version import __version__
from clearpane.errors import ClearpaneError

if TYPE_CHECKING:
    from clearpane.images.picture import Picture
    from clearpane.images.reading import read_picture
    from clearpane.images.writing import write_picture
    from clearpane.reconstruction.asset.asset import Asset, save_asset
    from clearpane.reconstruction.reconstruct import reconstruct
    from clearpane.separation.compact.options import CompactOptions
    from clearpane.separation.gensirr.options import GensirrOptions
    from clearpane.separation.layers import Layers
    from clearpane.separation.panel.options import PanelOptions
    from clearpane.separation.removal import remove_reflection
    from clearpane.separation.separator import Separator, load_separator
    from clearpane.separation.windowseat.options import WindowseatOptions

__all__ = [
    "Asset",
    "ClearpaneError",
    "CompactOptions",
    "GensirrOptions",
    "Layers",
    "PanelOptions",
    "Picture",
    "Separator",
    "WindowseatOptions",
    "__version__",
    "load_separator",
    "read_picture",
    "reconstruct",
    "remove_reflection",
    "save_asset",
    "write_picture",
]

logging.getLogger(__name__).addHandler(logging.NullHandler())  # programs choose what they print

# Imported at first use, so that importing the package stays quick and loads no model.
_HOMES = {
    "Asset": "clearpane.reconstruction.asset.asset",
    "CompactOptions": "clearpane.separation.compact.options",
    "GensirrOptions": "clearpane.separation.gensirr.options",
    "Layers": "clearpane.separation.layers",
    "PanelOptions": "clearpane.separation.panel.options",
    "Picture": "clearpane.images.picture",
    "Separator": "clearpane.separation.separator",
    "WindowseatOptions": "clearpane.separation.windowseat.options",
    "load_separator": "clearpane.separation.separator",
    "read_picture": "clearpane.images.reading",
    "reconstruct": "clearpane.reconstruction.reconstruct",
    "remove_reflection": "clearpane.separation.removal",
    "save_asset": "clearpane.reconstruction.asset.asset",
    "write_picture": "clearpane.images.writing",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
