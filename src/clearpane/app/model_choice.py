"""The options that choose and set up a model, shared by ``clearpane remove`` and ``clearpane evaluate``."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import arg

from clearpane.app.inputs import UsageError
from clearpane.errors import ClearpaneError
from clearpane.separation.base import MODELS, SeparatorOptions, make_options, options_class
from clearpane.separation.flux.options import FluxOptions, Precision
from clearpane.separation.gensirr.options import Branching, GensirrOptions


@dataclass(frozen=True)
class ModelChoice:
    """A model's name and the union of all models' options.

    An option that was not given is None, or False for a switch, and leaves the model's own default.
    """

    model: Annotated[str, arg(metavar="|".join(MODELS), help_behavior_hint="(default: compact)")] = "compact"
    """The model that removes the reflection: compact is embedded; panel and gensirr are image editors that
    have been taught to (clearpane train panel, train gensirr); they need --weights, mostly a base model, and
    better a GPU."""

    weights: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="")] = None
    """Folder that the panel or gensirr was trained into."""

    base: Annotated[str | None, arg(metavar="DIR", help_behavior_hint="")] = None
    """Their base model, a directory or a name on the model hub. Usually the one they were trained on."""

    steps: Annotated[
        int | None, arg(metavar="NUMBER", help_behavior_hint=f"(default: {FluxOptions.steps})")
    ] = None
    """Number of steps in which they paint; fewer are faster."""

    seed: Annotated[
        int | None, arg(metavar="NUMBER", help_behavior_hint=f"(default: {FluxOptions.seed})")
    ] = None
    """Random seed: the same number gives the same picture."""

    candidates: Annotated[
        int | None, arg(metavar="NUMBER", help_behavior_hint=f"(default: {GensirrOptions.candidates})")
    ] = None
    """With gensirr: how many first steps to take, of which the best is continued."""

    branching: Annotated[
        Branching | None,
        arg(
            metavar="depth|depth-and-edges|residual",
            help_behavior_hint=f"(default: {GensirrOptions.branching})",
        ),
    ] = None
    """Rule that picks the best: the deepest, the deepest with the fewest edges, or the one in which
    compact finds the least reflection."""

    depth_model: Annotated[str | None, arg(metavar="DIR", help_behavior_hint="")] = None
    """The depth estimator, a directory or a name on the model hub. Usually Depth Anything V2 small."""

    precision: Annotated[
        Precision | None,
        arg(
            metavar="float32|bfloat16|8bit|nf4",
            help_behavior_hint=f"(default: {FluxOptions.precision})",
        ),
    ] = None
    """Number format of the base model's weights: 8bit and nf4 (four bits) take less memory and need an
    NVIDIA GPU."""

    offload: Annotated[bool, arg(help_behavior_hint="")] = False
    """Keep the base model in main memory, and on the GPU only the block at work: slower."""

    @property
    def given(self) -> dict[str, Any]:
        """The model's options that were given, by field."""
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "model"}
        return {name: value for name, value in values.items() if value is not None and value is not False}

    def make_options(self, on_step: Callable[[int, int], None] | None = None) -> SeparatorOptions:
        """Make the chosen model's options from those that were given.

        Args:
            on_step: called after each step of a picture, by the models that report their steps.

        Raises:
            UsageError: the model is unknown, has no such option, or needs one that was not given.
        """
        try:
            options = make_options(self.model, self.given)
        except ClearpaneError as error:
            raise UsageError(str(error)) from error
        if on_step is not None and "on_step" in {field.name for field in fields(options)}:
            return replace(options, **{"on_step": on_step})
        return options


def check_confidence(model: str) -> None:
    """Raise UsageError where a model cannot map its confidence."""
    if not options_class(model).maps_confidence:
        able = " or ".join(name for name in MODELS if options_class(name).maps_confidence)
        raise UsageError(f"--confidence goes with --model {able}; {model} has no such map")
