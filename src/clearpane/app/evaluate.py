"""``clearpane evaluate``: compare results with photographs taken without the glass."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from tyro.conf import OmitArgPrefixes, Positional, arg

from clearpane.app.inputs import UsageError
from clearpane.app.model_choice import ModelChoice
from clearpane.errors import ClearpaneError
from clearpane.evaluation.judge import INPUT, JudgePage, key_path, read_verdicts
from clearpane.evaluation.lpips import Lpips
from clearpane.evaluation.protocols import PROTOCOLS, Protocol, ProtocolName, find_pairs
from clearpane.evaluation.report import Report
from clearpane.evaluation.scoring import (
    BASELINES,
    METRICS,
    REFLECTION_SUFFIX,
    FolderMethod,
    Method,
    PictureMetric,
    PictureScores,
    RowSummary,
    SeparatorMethod,
    SetSummary,
    score_pairs,
    summarise,
)
from clearpane.evaluation.st_lpips import StLpips
from clearpane.evaluation.tables import csv_text, json_text, write_text
from clearpane.separation.interface import Quality
from clearpane.separation.separator import load_separator

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
  clearpane evaluate pairs --results clean --judge judge.html
      makes a page for blind judging; send it to people, keep judge.key.json
  clearpane evaluate --judge judge.html --judge-answers judge-answers.csv
      counts how often people found the reflection gone
"""

T = TypeVar("T")
_SHOWN = ("psnr", "psnr_g", "ssim", "lmse", "ncc", "lpips", "st_lpips")


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

    overwrite: Annotated[bool, arg(help_behavior_hint="")] = False
    """Replace output files that exist."""


def run(options: Evaluate) -> int:
    """Measure, print the tables, write the requested files and return 0.

    Raises:
        ClearpaneError: An input or an output file cannot be used.
    """
    console = Console()
    if options.judge_answers:
        if options.judge is None:
            raise ClearpaneError("--judge-answers also needs --judge FILE.html: the page that was answered")
        _print_verdicts(console, options.judge_answers, key_path(options.judge))
        return 0
    if options.folder is None:
        raise ClearpaneError("name the folder with the pairs, for example: clearpane evaluate pairs")
    if options.results and options.choice != ModelChoice():
        raise UsageError("--model and its options cannot be combined with --results")
    options.choice.make_options()
    _check_outputs(options)
    protocol = PROTOCOLS[options.protocol]
    pairs = find_pairs(options.folder)
    learned: dict[str, PictureMetric] = {}
    if options.lpips_weights:
        learned["lpips"] = Lpips(options.lpips_weights)
    if "st-lpips" in options.metrics:
        learned["st_lpips"] = StLpips()
    methods = _methods(options, protocol)
    report = Report(methods[0].name, protocol, len(pairs)) if options.report else None
    judge = JudgePage() if options.judge else None

    scores: list[PictureScores] = []
    for scored, pictures in _progress(score_pairs(pairs, methods, protocol, learned), len(pairs)):
        scores.append(scored)
        if report is not None:
            report.add(scored, pictures)
        if judge is not None:
            judge.add(scored, pictures)
    summaries = summarise(scores)

    if options.csv:
        write_text(options.csv, csv_text(protocol.name, scores), overwrite=options.overwrite)
    if options.json:
        write_text(options.json, json_text(protocol.name, summaries, scores), overwrite=options.overwrite)
    if report is not None and options.report:
        write_text(options.report, report.html(summaries), overwrite=options.overwrite)
    if judge is not None and options.judge:
        judge.write(options.judge, overwrite=options.overwrite)
    _print_tables(console, summaries, protocol)
    for path in _outputs(options):
        console.print(f"wrote {path}", markup=False, highlight=False, soft_wrap=True)
    return 0


def _methods(options: Evaluate, protocol: Protocol) -> list[Method]:
    if not options.results:
        choice = options.choice
        separator = load_separator(choice.name, choice.make_options())
        return [SeparatorMethod(choice.model, separator, options.quality)]
    methods: list[Method] = []
    taken = {*BASELINES, INPUT}
    for folder in options.results:
        if not folder.is_dir():
            raise ClearpaneError(f"{folder}: no such folder; --results names folders of finished pictures")
        whole = folder.resolve()
        if any(isinstance(m, FolderMethod) and m.folder.resolve() == whole for m in methods):
            raise ClearpaneError(f"{folder}: named twice in --results; name it once")
        name = str(whole) if whole.name in taken else whole.name
        taken.add(name)
        methods.append(FolderMethod(name, folder, protocol))
    return methods


def _outputs(options: Evaluate) -> list[Path]:
    paths = [p for p in (options.csv, options.json, options.report, options.judge) if p is not None]
    return [*paths, key_path(options.judge)] if options.judge else paths


def _check_outputs(options: Evaluate) -> None:
    """Raise ClearpaneError if an output file cannot be written, before any work is done."""
    paths = _outputs(options)
    for path in paths:
        if paths.count(path) > 1:
            raise ClearpaneError(f"{path}: named for two outputs; give each its own file")
        if path.is_dir():
            raise ClearpaneError(f"{path}: is a folder; name a file in it")
        if not path.parent.is_dir():
            raise ClearpaneError(f"{path}: its folder does not exist; create {path.parent} first")
        if path.exists() and not options.overwrite:
            raise ClearpaneError(f"{path}: exists already; choose another name or add --overwrite")


def _progress(items: Iterable[T], total: int) -> Iterable[T]:
    if not sys.stderr.isatty():
        yield from items
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield from bar.track(items, total=total, description="measuring")


def _print_tables(console: Console, summaries: Sequence[SetSummary], protocol: Protocol) -> None:
    for summary in summaries:
        keys = [key for key in _SHOWN if key in summary.rows[0].mean]
        title = "all sets, weighted by their pictures" if summary.name == "all" else summary.name
        table = Table(
            title=f"{title}: {summary.pictures} pictures, protocol {protocol.name}",
            box=box.SIMPLE_HEAD,
            show_edge=False,
        )
        table.title_justify = "left"
        table.add_column("")
        for key in keys:
            table.add_column(METRICS[key].title, justify="right", no_wrap=True)
        table.add_column("better than\nnothing", justify="right", no_wrap=True)
        for row in summary.rows:
            better = "" if row.better is None else f"{row.better} of {row.pictures}"
            table.add_row(
                row.name,
                *(_figure(row, key) for key in keys),
                better,
                style="dim" if row.name in BASELINES else None,
            )
        console.print(table)
        console.print(_explanation(keys), style="dim")
        for row in summary.rows:
            if row.name not in BASELINES and not row.name.endswith(REFLECTION_SUFFIX):
                console.print(_against_nothing(row), markup=False, highlight=False, soft_wrap=True)
        console.print()


def _explanation(keys: Sequence[str]) -> str:
    """Say what the second lines are, and for which of these metrics less is better."""
    text = "Second lines: difference from doing nothing."
    less = [METRICS[key].title for key in keys if not METRICS[key].higher_is_better]
    return f"{text} Less is better for {', '.join(less)}." if less else text


def _figure(row: RowSummary, key: str) -> str:
    """Write a mean, and on a line of its own its difference from doing nothing."""
    decimals = METRICS[key].decimals
    gain = f"\n{row.over_nothing[key].mean:+.{decimals}f}" if row.over_nothing else ""
    return f"{row.mean[key]:.{decimals}f}{gain}"


def _against_nothing(row: RowSummary) -> str:
    parts = [
        f"{METRICS[key].title} {over.mean:+.2f} dB [{over.low:+.2f}, {over.high:+.2f}]"
        for key, over in (row.over_nothing or {}).items()
        if key in ("psnr", "psnr_g")
    ]
    return f"{row.name} over doing nothing: {', '.join(parts)} (95 % intervals, paired bootstrap)"


def _print_verdicts(console: Console, answers: Sequence[Path], key: Path) -> None:
    table = Table(title="Is the reflection gone and the scene intact?", box=box.SIMPLE_HEAD)
    table.title_justify = "left"
    for heading in ("", "yes", "success", "95 % interval"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for v in read_verdicts(answers, key):
        interval = f"{v.rate.low:.0%} to {v.rate.high:.0%}"
        table.add_row(v.method, f"{v.yes} of {v.answers}", f"{v.rate.mean:.0%}", interval)
    console.print(table)
