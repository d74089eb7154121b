"""Registry of models by name: their options and how they are loaded."""

import logging
import time
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from importlib import import_module
from typing import Any, cast

from clearpane.errors import ClearpaneError, MissingExtraError
from clearpane.separation.interface import Separator, SeparatorOptions

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Model:
    """Entry of the registry; its modules are imported when needed.

    Attributes:
        options: Path "module:class" of the model's options, importable without PyTorch.
        loader: Path "module:function" of the function that takes these options and returns a separator.
        extra: Name of the extra that the loader's module needs; None for the base install.
    """

    options: str
    loader: str
    extra: str | None = None


# A module's name that starts with a dot is relative to clearpane.separation.
MODELS: dict[str, Model] = {
    "compact": Model(".compact.options:CompactOptions", ".compact.runtime:load_compact"),
    "panel": Model(".panel.options:PanelOptions", ".panel.separator:load_panel", "flux"),
    "gensirr": Model(".gensirr.options:GensirrOptions", ".gensirr.separator:load_gensirr", "flux"),
    "windowseat": Model(
        ".windowseat.options:WindowseatOptions", ".windowseat.separator:load_windowseat", "flux"
    ),
}


def load_separator(name: str = "compact", options: SeparatorOptions | None = None) -> Separator:
    """Load a separator once, for use with many pictures.

    Args:
        name: Key of `MODELS`.
        options: Instance of the model's options class; None for the class's defaults.

    Raises:
        ClearpaneError: There is no such model, the options belong to another model, or the weights cannot be
            used.
        MissingExtraError: it needs packages that are not installed.

    >>> import numpy as np
    >>> separator = load_separator("compact")
    >>> separator.separate(np.full((16, 24, 3), 0.5, np.float32)).reflection.shape
    (16, 24, 3)
    """
    kind = options_class(name)
    if options is None:
        options = make_options(name, {})
    elif not isinstance(options, kind):
        raise ClearpaneError(f"`model={name}` takes {kind.__name__}, not {type(options).__name__}")
    model = MODELS[name]
    try:
        load = _find(model.loader)
    except ModuleNotFoundError as error:
        if model.extra is None or (error.name or "").startswith("clearpane"):
            raise
        raise MissingExtraError(f"`model={name}`", model.extra) from error
    started = time.perf_counter()
    separator = cast(Separator, load(options))
    _log.info("loaded the separator %s in %.2f s", name, time.perf_counter() - started)
    return separator


def options_class(name: str) -> type[SeparatorOptions]:
    """Return the options class of a model.

    Raises:
        ClearpaneError: There is no such model.
    """
    if name not in MODELS:
        raise ClearpaneError(f"unknown model {name!r}; known are: {', '.join(MODELS)}")
    return cast(type[SeparatorOptions], _find(MODELS[name].options))


def make_options(name: str, given: Mapping[str, Any]) -> SeparatorOptions:
    """Make the options of a model.

    Args:
        name: Key of `MODELS`.
        given: Values by field; all other fields keep their defaults.

    Raises:
        ClearpaneError: There is no such model, it lacks a given field, a required field is missing, or a
            value is out of range.
    """
    kind = options_class(name)
    own = {field.name for field in fields(kind)}
    for field_name in given:
        if field_name not in own:
            owners = [m for m in MODELS if field_name in {field.name for field in fields(options_class(m))}]
            named = " or ".join([", ".join(owners[:-1]), owners[-1]][-len(owners) :]) if owners else ""
            where = f"goes with `model={named}`" if owners else "goes with no model"
            raise ClearpaneError(f"`{field_name}` {where}, not with {name}")
    for field in _required(kind):
        if field.name not in given:
            origin = field.metadata.get("origin")
            raise ClearpaneError(f"`model={name}` needs `{field.name}`" + (f", {origin}" if origin else ""))
    return kind(**given)


def embedded_models() -> list[str]:
    """List the models that the base install can load without options."""
    return [name for name in MODELS if MODELS[name].extra is None and not _required(options_class(name))]


def _required(kind: type[SeparatorOptions]) -> list[Any]:
    return [f for f in fields(kind) if f.init and f.default is MISSING and f.default_factory is MISSING]


def _find(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(import_module(module, "clearpane.separation"), name)
