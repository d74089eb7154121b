"""The options of ``clearpane evaluate``."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import OmitArgPrefixes, Positional, arg

from clearpane.app.inputs import UsageError
from clearpane.app.model_choice import ModelChoice
from clearpane.cluster.addresses import exists, is_remote, shown
from clearpane.errors import ClearpaneError
from clearpane.evaluation.judge import key_path
from clearpane.evaluation.protocols import ProtocolName
from clearpane.separation.interface import Quality

DESCRIPTION = """\
Compare results with photographs taken without the glass.

The folder holds pairs of files: NAME_input.* and NAME_transmission.*, and
optionally NAME_reflection.*. The published layouts of Real20, Nature and SIR2
also work, as do several sets in one folder. Every table includes two rows for
comparison: "do nothing" (the input as it is) and "oracle gain" (the input
after the best gain of each channel). PSNR-G is the PSNR after such a gain: a
result that beats "do nothing" in PSNR but not in PSNR-G has corrected the
exposure, not removed the reflection.

Examples:
  clearpane evaluate pairs
  clearpane evaluate pairs --report report.html --csv scores.csv
  clearpane evaluate pairs --model panel --weights panel
  clearpane evaluate pairs --results clean other-program
      compares finished pictures: NAME_transmission.* or NAME.* in each folder
  clearpane evaluate s3://shop/pairs --csv s3://shop/scores.csv --ray auto
  clearpane evaluate pairs --results clean --judge judge.html
      makes a page for blind judging; send it to people, keep judge.key.json
  clearpane evaluate --judge judge.html --judge-answers judge-answers.csv
      counts how often people found the reflection gone
"""


@dataclass(frozen=True)
class Evaluate:
    """Compare results with photographs taken without the glass."""

    folder: Annotated[Positional[Path | None], arg(metavar="FOLDER", help_behavior_hint="")] = None
    """Folder with pairs of photographs, or with several test sets."""

    protocol: Annotated[ProtocolName, arg(help_behavior_hint="(default: original)")] = "original"
    """Size to measure at: original keeps the files' size; multiple-of-32 and long-side-512 first shrink the
    input and the ground truth, as some papers do. Do not compare figures of different protocols."""

    quality: Annotated[Quality, arg(help_behavior_hint="(default: fast)")] = "fast"
    """best takes the median of four separations of each photograph and is up to six times slower."""

    choice: OmitArgPrefixes[Annotated[ModelChoice, arg(name="model")]] = field(default_factory=ModelChoice)
    """The model to evaluate unless --results is given, and its options."""

    results: Annotated[tuple[Path, ...], arg(metavar="DIR...", help_behavior_hint="")] = ()
    """Folders of finished pictures, made by any program, to measure instead of running a model."""

    lpips_weights: Annotated[Path | None, arg(metavar="FILE.safetensors", help_behavior_hint="")] = None
    """Also measure LPIPS with these weights: AlexNet or VGG and the linear heads, named as in the lpips
    package's state dictionary. Needs PyTorch."""

    metrics: Annotated[tuple[Literal["st-lpips"], ...], arg(metavar="[st-lpips]", help_behavior_hint="")] = ()
    """Metrics to measure besides the usual ones. st-lpips: ST-LPIPS, a perceptual distance that tolerates
    small shifts and is not comparable with LPIPS. Needs PyTorch and the package stlpips-pytorch, which holds
    its network."""

    csv: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")] = None
    """Write the scores of every picture as a table."""

    json: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")] = None
    """Write all results: means, spreads, confidence intervals and the scores of every picture."""

    report: Annotated[Path | None, arg(metavar="FILE.html", help_behavior_hint="")] = None
    """Write a page that shows the pictures side by side, worst first. Any browser opens it."""

    judge: Annotated[Path | None, arg(metavar="FILE.html", help_behavior_hint="")] = None
    """Write a page for blind judging: results and inputs in random order, without names, to be answered with
    yes or no. FILE.key.json, written beside it, records which is which."""

    judge_answers: Annotated[tuple[Path, ...], arg(metavar="FILE.csv...", help_behavior_hint="")] = ()
    """Count the answers that people saved from the page given by --judge. Nothing is measured."""

    ray: Annotated[str | None, arg(metavar="ADDRESS", help_behavior_hint="")] = None
    """Spread the pairs over a Ray cluster, as in clearpane remove; the folders and the output files may then
    be addresses such as s3://bucket/folder. It does not affect the result. Needs the extra [cluster]."""

    overwrite: Annotated[bool, arg(help_behavior_hint="")] = False
    """Replace output files that exist."""


def check_options(options: Evaluate) -> None:
    """Check the options of a measurement before any work is done.

    Raises:
        UsageError: Options do not go together.
        ClearpaneError: An output file cannot be written.
    """
    if options.results and options.choice != ModelChoice():
        raise UsageError("--model and its options cannot be combined with --results")
    options.choice.make_options()
    _check_outputs(options)


def output_files(options: Evaluate) -> list[Path]:
    """Return the files to write."""
    paths = [p for p in (options.csv, options.json, options.report, options.judge) if p is not None]
    return [*paths, key_path(options.judge)] if options.judge else paths


def _check_outputs(options: Evaluate) -> None:
    """Raise ClearpaneError if an output file cannot be written, before any work is done."""
    paths = output_files(options)
    for path in paths:
        if paths.count(path) > 1:
            raise ClearpaneError(f"{path}: named for two outputs; give each its own file")
        if is_remote(path):
            if not options.overwrite and exists(path):
                raise ClearpaneError(f"{shown(path)}: exists already; choose another name or add --overwrite")
            continue
        if path.is_dir():
            raise ClearpaneError(f"{path}: is a folder; name a file in it")
        if not path.parent.is_dir():
            raise ClearpaneError(f"{path}: its folder does not exist; create {path.parent} first")
        if path.exists() and not options.overwrite:
            raise ClearpaneError(f"{path}: exists already; choose another name or add --overwrite")
