"""Base class of separators, and how they are loaded by name."""

import logging
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Self, cast

import numpy as np

from clearpane.errors import ClearpaneError, MissingExtraError
from clearpane.separation.interface import Quality, SeparatorOptions
from clearpane.separation.layers import Layers
from clearpane.separation.pretrained import export_model, find_model
from clearpane.separation.registry import MODELS, find, make_options, options_class, own_weights

_log = logging.getLogger(__name__)


class Separator(ABC):
    """Splits a photograph into its layers.

    >>> from clearpane import load_separator
    >>> isinstance(load_separator(), Separator)
    True
    """

    # Directory or hub name of the weights, as `load_separator` loaded them.
    _source: str | None = None

    @abstractmethod
    def separate(self, image: np.ndarray, *, quality: Quality = "fast", confidence: bool = False) -> Layers:
        """Separate ``image`` ([H, W, 3] float32, sRGB, clipped to [0, 1]) of any size from 16 x 16 up.

        The layers are new arrays that the caller may change; ``image`` is left unchanged. ``quality="best"``
        runs several forward passes and takes up to six times as long. ``confidence`` fills
        ``Layers.confidence``, which takes one more forward pass; the map is that of quality "fast".
        """

    @classmethod
    def from_pretrained(cls, name: Path | str, **given: Any) -> Self:
        """Load a separator from a directory or from the model hub.

        Args:
            name: Directory, or hub name (``owner/name``).
            given: Options of the model by name, such as ``precision="nf4"``.

        Raises:
            ClearpaneError: See `load_separator`; or the directory holds a model of another class.
        """
        separator = load_separator(str(name), **given)
        if not isinstance(separator, cls):
            raise ClearpaneError(f"{name}: holds a {type(separator).__name__}, not a {cls.__name__}")
        return separator

    def save_pretrained(self, folder: Path | str) -> None:
        """Write the model to a new directory as the model hub wants it, with a model card.

        `from_pretrained` and ``clearpane remove --model`` read it. The base model is not copied. What the
        directory holds beside the model, such as checkpoints, is left out.

        Raises:
            ClearpaneError: The separator was not loaded by `load_separator`, or the directory exists or
                cannot be written.
            MissingExtraError: The model card needs a package that is not installed.
        """
        if self._source is None:
            raise ClearpaneError("the separator was not loaded by its name: there are no files to save")
        export_model(self._source, Path(folder))


def load_separator(name: str = "compact", options: SeparatorOptions | None = None, **given: Any) -> Separator:
    """Load a separator once, for use with many pictures.

    Args:
        name: Key of `MODELS`, a directory of a trained model, or its name on the model hub (``owner/name``),
            from which it is downloaded.
        options: Instance of the model's options class, with a key of `MODELS`; None for ``given``.
        given: Options by name; all others keep their defaults.

    Raises:
        ClearpaneError: There is no such model, the options belong to another model, or the weights cannot be
            used.
        MissingExtraError: it needs packages that are not installed.

    >>> import numpy as np
    >>> separator = load_separator("compact")
    >>> separator.separate(np.full((16, 24, 3), 0.5, np.float32)).reflection.shape
    (16, 24, 3)
    """
    model = name
    if name not in MODELS:
        model, folder = find_model(name)
        if options is not None or "weights" in given:
            raise ClearpaneError(f"{name}: is the weights already; with other `weights` give `{model}`")
        given = {**given, "weights": folder}
    kind = options_class(model)
    if options is None:
        options = make_options(model, given)
    elif given:
        raise ClearpaneError(f"`{next(iter(given))}`: set it in the options, not beside them")
    elif not isinstance(options, kind):
        raise ClearpaneError(f"`model={model}` takes {kind.__name__}, not {type(options).__name__}")
    try:
        load = find(MODELS[model].loader)
    except ModuleNotFoundError as error:
        extra = MODELS[model].extra
        if extra is None or (error.name or "").startswith("clearpane"):
            raise
        raise MissingExtraError(f"`model={model}`", extra) from error
    started = time.perf_counter()
    separator = cast(Separator, load(options))
    weights = getattr(options, "weights", None) or own_weights(model)
    if weights is not None:
        separator._source = weights if isinstance(weights, str) else weights.as_posix()
    _log.info("loaded the separator %s in %.2f s", model, time.perf_counter() - started)
    return separator
