"""The options that choose and set up a model, shared by ``clearpane remove`` and ``clearpane evaluate``."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import arg

from clearpane.app.inputs import UsageError
from clearpane.errors import ClearpaneError
from clearpane.separation.flux.options import FluxOptions, Precision
from clearpane.separation.gensirr.options import Branching, GensirrOptions
from clearpane.separation.interface import SeparatorOptions
from clearpane.separation.pretrained import UnknownModelError, find_model
from clearpane.separation.registry import MODELS, make_options, options_class
from clearpane.separation.windowseat.options import Tiling, WindowseatOptions

_WINDOWSEAT = WindowseatOptions.precision


@dataclass(frozen=True)
class ModelChoice:
    """Name of a model and the union of all models' options.

    An option that was not given is None (False for a switch): the model's own default applies.
    """

    model: Annotated[
        str, arg(metavar="|".join((*MODELS, "DIR")), help_behavior_hint="(default: compact)")
    ] = "compact"
    """Model that removes the reflection. compact comes with Clearpane. panel and gensirr are trained image
    editors (see clearpane train panel, clearpane train gensirr), windowseat is a published one: they need
    --weights, usually a base model, and preferably a GPU. DIR, the directory of a trained model or its name
    on the model hub (OWNER/NAME), stands for both --model and --weights."""

    weights: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="")] = None
    """Folder of the trained weights; needed by panel, gensirr and windowseat, for which it may be a name on
    the model hub. For compact: the folder of a training of your own."""

    base: Annotated[str | None, arg(metavar="DIR", help_behavior_hint="")] = None
    """Base model of panel, gensirr or windowseat: a directory or a name on the model hub. Default: the one
    that the weights were trained on."""

    steps: Annotated[
        int | None, arg(metavar="NUMBER", help_behavior_hint=f"(default: {FluxOptions.steps})")
    ] = None
    """With panel or gensirr: number of sampling steps; fewer are faster."""

    seed: Annotated[
        int | None, arg(metavar="NUMBER", help_behavior_hint=f"(default: {FluxOptions.seed})")
    ] = None
    """With panel or gensirr: random seed; the same number gives the same picture."""

    candidates: Annotated[
        int | None, arg(metavar="NUMBER", help_behavior_hint=f"(default: {GensirrOptions.candidates})")
    ] = None
    """With gensirr: number of noises to try for one step; only the best is sampled to the end."""

    branching: Annotated[
        Branching | None,
        arg(
            metavar="depth|depth-and-edges|residual",
            help_behavior_hint=f"(default: {GensirrOptions.branching})",
        ),
    ] = None
    """With gensirr: rule that picks the best noise: the deepest scene, the deepest scene with the fewest
    edges, or the one in which compact finds the least reflection."""

    depth_model: Annotated[str | None, arg(metavar="DIR", help_behavior_hint="")] = None
    """With gensirr: depth estimator, a directory or a name on the model hub. Default: Depth Anything V2
    small."""

    side: Annotated[int | None, arg(metavar="PIXELS", help_behavior_hint="")] = None
    """With gensirr: size at which the photograph is processed; its authors use 512 or 768. Default: that of
    the weights."""

    enlarge: Annotated[bool | None, arg(metavar="True|False", help_behavior_hint="")] = None
    """With gensirr: True to bring the photograph's short side to --side, also by enlarging it; False to
    shrink it to about SIDE x SIDE pixels, never enlarging it. Default: as the weights say."""

    tiling: Annotated[
        Tiling | None,
        arg(metavar="short-side|full-size", help_behavior_hint=f"(default: {WindowseatOptions.tiling})"),
    ] = None
    """With windowseat: short-side brings the short side to that of a tile; full-size covers the photograph
    itself with tiles, slower."""

    precision: Annotated[
        Precision | None,
        arg(
            metavar="float32|bfloat16|8bit|nf4",
            help_behavior_hint=f"(default: {FluxOptions.precision}; windowseat: {_WINDOWSEAT})",
        ),
    ] = None
    """With panel, gensirr or windowseat: number format of the base model's weights. 8bit and nf4 (four bits)
    need less memory, and an NVIDIA GPU; windowseat runs in nf4 on a CPU too."""

    offload: Annotated[bool, arg(help_behavior_hint="")] = False
    """With panel or gensirr: keep the base model in main memory and move one block at a time to the GPU.
    Slower, but needs less GPU memory."""

    @cached_property
    def _found(self) -> tuple[str, dict[str, Any]]:
        """Name of the model, and the options that its directory stands for."""
        if self.model in MODELS:
            return self.model, {}
        try:
            name, folder = find_model(self.model)
        except UnknownModelError as error:
            raise UsageError(str(error)) from error
        if self.weights is not None:
            raise UsageError(f"--model {self.model} is the weights already; leave out --weights")
        return name, {"weights": folder}

    @property
    def name(self) -> str:
        """Name of the model in the registry.

        Raises:
            ClearpaneError: No directory or hub name of a model is given.
        """
        return self._found[0]

    @property
    def given(self) -> dict[str, Any]:
        """The model's options that were given, by field."""
        values = {f.name: (getattr(self, f.name), f.default) for f in fields(self) if f.name != "model"}
        return {name: value for name, (value, default) in values.items() if value != default}

    def make_options(self, on_step: Callable[[int, int], None] | None = None) -> SeparatorOptions:
        """Make the chosen model's options from those that were given.

        Args:
            on_step: Function called after each sampling step, for models that report their steps.

        Raises:
            UsageError: The model lacks an option that was given, or needs one that was not.
            ClearpaneError: The model is unknown, or cannot be downloaded.
        """
        name, found = self._found
        try:
            options = make_options(name, {**self.given, **found})
        except ClearpaneError as error:
            raise UsageError(str(error)) from error
        if on_step is not None and "on_step" in {field.name for field in fields(options)}:
            return replace(options, **{"on_step": on_step})
        return options


def check_confidence(model: str) -> None:
    """Raise UsageError if a model has no confidence map."""
    if not options_class(model).maps_confidence:
        able = " or ".join(name for name in MODELS if options_class(name).maps_confidence)
        raise UsageError(f"--confidence needs --model {able}; {model} has no confidence map")
