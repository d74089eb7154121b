"""``clearpane evaluate``: compare results with photographs taken without the glass."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from clearpane.app.evaluate_methods import first_method, load_methods, load_metrics
from clearpane.app.evaluate_options import DESCRIPTION, Evaluate, check_options, output_files
from clearpane.app.inputs import UsageError
from clearpane.app.places import with_local_paths
from clearpane.app.ray_evaluate import ScoringJob, score_on_ray
from clearpane.cluster.addresses import local_folder, place_to_write, shown
from clearpane.errors import ClearpaneError
from clearpane.evaluation.judge import JudgePage, key_path, read_verdicts
from clearpane.evaluation.protocols import PROTOCOLS, Pair, Protocol, find_pairs
from clearpane.evaluation.report import Report
from clearpane.evaluation.scoring import (
    BASELINES,
    METRICS,
    REFLECTION_SUFFIX,
    Pictures,
    PictureScores,
    RowSummary,
    SetSummary,
    score_pairs,
    summarise,
)
from clearpane.evaluation.tables import csv_text, json_text, write_text

__all__ = ["DESCRIPTION", "Evaluate", "run"]

T = TypeVar("T")
_SHOWN = ("psnr", "psnr_g", "ssim", "lmse", "ncc", "lpips", "st_lpips")
_PLACES = ("folder", "results", "csv", "json", "report", "judge")


def run(options: Evaluate) -> int:
    """Measure, print the tables, write the requested files and return 0.

    Raises:
        ClearpaneError: An input or an output file cannot be used.
    """
    console = Console()
    options = with_local_paths(options, _PLACES, positional="folder")
    if options.judge_answers:
        if options.judge is None:
            raise ClearpaneError("--judge-answers also needs --judge FILE.html: the page that was answered")
        if options.ray is not None:
            raise UsageError("--judge-answers counts on this machine; leave out --ray")
        _print_verdicts(console, options.judge_answers, key_path(options.judge))
        return 0
    if options.folder is None:
        raise ClearpaneError("name the folder with the pairs, for example: clearpane evaluate pairs")
    check_options(options)
    protocol = PROTOCOLS[options.protocol]
    pairs = find_pairs(local_folder(options.folder))
    report = Report(first_method(options), protocol, len(pairs)) if options.report else None
    judge = JudgePage() if options.judge else None
    scores: list[PictureScores] = []
    for scored, pictures in _progress(_scored(pairs, options.folder, options), len(pairs)):
        scores.append(scored)
        if report is not None and pictures is not None:
            report.add(scored, pictures)
        if judge is not None and pictures is not None:
            judge.add(scored, pictures)
    summaries = summarise(scores)

    if options.csv:
        _write(options.csv, csv_text(protocol.name, scores), options)
    if options.json:
        _write(options.json, json_text(protocol.name, summaries, scores), options)
    if report is not None and options.report:
        _write(options.report, report.html(summaries), options)
    if judge is not None and options.judge:
        with place_to_write(options.judge) as place:
            judge.write(place, overwrite=options.overwrite)
    _print_tables(console, summaries, protocol)
    for path in output_files(options):
        console.print(f"wrote {shown(path)}", markup=False, highlight=False, soft_wrap=True)
    return 0


def _scored(
    pairs: Sequence[Pair], folder: Path, options: Evaluate
) -> Iterable[tuple[PictureScores, Pictures | None]]:
    """Score the pairs here or on a cluster, in their order."""
    if options.ray is not None:
        job = ScoringJob(options, folder, with_pictures=bool(options.report or options.judge))
        return score_on_ray(pairs, job, options.ray)
    return score_pairs(pairs, load_methods(options), PROTOCOLS[options.protocol], load_metrics(options))


def _write(path: Path, text: str, options: Evaluate) -> None:
    with place_to_write(path) as place:
        write_text(place, text, overwrite=options.overwrite)


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
