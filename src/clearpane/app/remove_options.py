"""The options of ``clearpane remove``."""

import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import OmitArgPrefixes, Positional, arg

from clearpane.app.inputs import UsageError
from clearpane.app.model_choice import ModelChoice, check_confidence
from clearpane.app.pipe import STREAM
from clearpane.errors import ClearpaneError
from clearpane.separation.interface import Quality
from clearpane.separation.strength import check_strength

DESCRIPTION = """\
Remove the reflection from photographs taken through glass.

The result of window.jpg is window_transmission.jpg in the output folder, in
the same format and bit depth as the photograph. Your photographs are never
changed, and existing results are kept: after an interruption, run the same
command again to resume. Earlier results that lie beside their photograph in
an input folder are skipped.

Examples:
  clearpane remove window.jpg --output clean
  clearpane remove holiday --output clean --recursive --compare
  clearpane remove window.jpg --output clean --strength 0.6 --overwrite
  clearpane remove window.jpg --output clean --mask pane.png
  clearpane remove *.tif --output clean --quality best --reflection
  clearpane remove window.jpg --output clean --model panel --weights panel
  clearpane remove --watch camera --output clean
  clearpane remove - --output - < window.jpg > clean.jpg
  clearpane remove s3://shop/photos --output s3://shop/clean --ray auto
"""


@dataclass(frozen=True)
class Remove:
    """Remove the reflection from photographs taken through glass."""

    pictures: Annotated[
        Positional[tuple[Path, ...]], arg(metavar="PICTURES_OR_FOLDERS...", help_behavior_hint="")
    ]
    """Photographs, or folders of photographs; - is standard input and needs --output -."""

    output: Annotated[Path, arg(metavar="DIR", help_behavior_hint="(required)")]
    """Folder for the results; created if it does not exist. - writes the result of one photograph to standard
    output, in the photograph's format or that of --format; messages go to standard error."""

    strength: Annotated[float, arg(metavar="NUMBER", help_behavior_hint="(default: 1)")] = 1.0
    """Share of the reflection to remove: 1 all, 0.5 half, 0 nothing. Below 0 the scene behind the glass
    fades instead; -1 shows the reflection alone."""

    mask: Annotated[Path | None, arg(metavar="MASK.png", help_behavior_hint="")] = None
    """Limit the change to a region: a picture of the photograph's size, white where the reflection is
    removed, black where nothing changes, grey in between; or the region painted in one colour on a
    transparent, black or white layer. The mask applies to all photographs of the command."""

    quality: Annotated[Quality, arg(help_behavior_hint="(default: fast)")] = "fast"
    """best takes the median of four separations of each photograph and is up to six times slower; with panel
    and gensirr it takes the mean over four random seeds."""

    reflection: Annotated[bool, arg(help_behavior_hint="")] = False
    """Also write the reflection: window_reflection.jpg. --strength and --mask do not affect it."""

    confidence: Annotated[bool, arg(help_behavior_hint="")] = False
    """Also write a confidence map: window_confidence.png, white where the result is probably right, dark
    where much had to be guessed. Each value is the estimated probability that a pixel is right to within a
    tenth of the range. --strength and --mask do not affect it."""

    compare: Annotated[bool, arg(help_behavior_hint="")] = False
    """Also write a before/after picture: window_compare.jpg."""

    recursive: Annotated[bool, arg(help_behavior_hint="")] = False
    """Also process the subfolders; the output folder gets the same subfolders."""

    format: Annotated[
        Literal["jpeg", "png", "tiff"] | None, arg(metavar="jpeg|png|tiff", help_behavior_hint="")
    ] = None
    """File format of the results. Default: that of the photograph, or 16-bit PNG for HEIC and camera RAW."""

    watch: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="")] = None
    """Wait for photographs that come into this folder, and process each once it is completely written, until
    Ctrl-C. What is there already is left alone. Needs the extra [watch]."""

    ray: Annotated[str | None, arg(metavar="ADDRESS", help_behavior_hint="")] = None
    """Spread the photographs over a Ray cluster: auto is the one that this machine belongs to, local
    starts one on this machine, HOST:PORT is another. Photographs and the output folder may then be addresses
    such as s3://bucket/folder; other paths must be the same on every machine. Needs the extra [cluster]."""

    overwrite: Annotated[bool, arg(help_behavior_hint="")] = False
    """Make results again that exist. The photographs themselves are never overwritten."""

    json: Annotated[bool, arg(help_behavior_hint="")] = False
    """Print one line of JSON for each picture, for scripts."""

    choice: OmitArgPrefixes[Annotated[ModelChoice, arg(name="model")]] = field(default_factory=ModelChoice)
    """The model and its options."""

    @property
    def kinds(self) -> list[str]:
        """Requested kinds of output."""
        return (
            ["transmission"]
            + ["reflection"] * self.reflection
            + ["confidence"] * self.confidence
            + ["compare"] * self.compare
        )

    @property
    def needs_layers(self) -> bool:
        """True if the requested outputs need a separation."""
        return self.strength != 0 or self.reflection or self.confidence


def check_options(options: Remove) -> None:
    """Raise UsageError if the options are invalid or do not go together."""
    if not options.pictures and options.watch is None:
        raise UsageError("no pictures named; clearpane remove --help shows how")
    if options.ray is not None and options.watch is not None:
        raise UsageError("--watch works on this machine alone; leave out --ray")
    if STREAM in (options.output, *options.pictures):
        _check_stream(options)
    options.choice.make_options()
    if options.confidence:
        check_confidence(options.choice.name)
    try:
        check_strength(options.strength)
    except ClearpaneError as error:
        raise UsageError(str(error)) from error
    with contextlib.suppress(OSError):  # reported when the folder is made
        if options.output != STREAM and options.output.is_file():
            raise UsageError(f"--output {options.output} is a file; name a folder")


def _check_stream(options: Remove) -> None:
    """Raise UsageError for what does not go with standard input and output."""
    if options.output != STREAM:
        raise UsageError("the picture - is standard input, whose result needs --output -")
    if len(options.pictures) != 1 or options.watch is not None:
        raise UsageError("--output - takes one picture: name one, or - for standard input")
    for name in ("reflection", "confidence", "compare", "recursive", "ray", "overwrite", "json"):
        if getattr(options, name):
            raise UsageError(f"--{name} does not go with --output -, which receives one picture alone")
