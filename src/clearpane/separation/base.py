"""What every separator offers, and how one is found by its name."""

from typing import get_args

from clearpane.errors import ClearpaneError, MissingExtraError
from clearpane.separation.options import Model, ModelOptions, Separator

SEPARATORS: tuple[Model, ...] = get_args(Model)
EMBEDDED = ("compact",)
"""Those whose weights are part of the package."""


def load_separator(name: str = "compact", options: ModelOptions | None = None) -> Separator:
    """Load a separator once, to be used for many pictures.

    Args:
        name: one of `SEPARATORS`.
        options: for all but the compact one.

    Raises:
        ClearpaneError: there is no separator of that name, or its weights cannot be used.
        MissingExtraError: it needs packages that are not installed.
    """
    if name == "compact":
        if options is not None:
            raise ClearpaneError("`weights` and the options of other models do not go with `model=compact`")
        from clearpane.separation.compact.runtime import CompactSeparator

        return CompactSeparator()
    if name == "panel":
        try:
            from clearpane.separation.panel.separator import load_panel
        except ModuleNotFoundError as error:
            raise MissingExtraError("`model=panel`", "flux") from error
        return load_panel(options or ModelOptions())
    if name == "gensirr":
        try:
            from clearpane.separation.gensirr.separator import load_gensirr
        except ModuleNotFoundError as error:
            raise MissingExtraError("`model=gensirr`", "flux") from error
        return load_gensirr(options or ModelOptions())
    raise ClearpaneError(f"unknown separator {name!r}; known are: {', '.join(SEPARATORS)}")
