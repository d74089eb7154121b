"""``clearpane synthesize``: make a data set of photographs through glass with their layers."""

import os
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Annotated, Self

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from tyro.conf import arg

from clearpane.app.inputs import UsageError
from clearpane.app.places import with_local_paths
from clearpane.app.progress import print_error
from clearpane.app.ray_synthesize import ShardJob, clear_address, data_set_folder, is_whole_at, shards_on_ray
from clearpane.cluster.addresses import is_remote, local_folder, send, shown
from clearpane.errors import ClearpaneError, MissingExtraError
from clearpane.json_files import read_json
from clearpane.locks import only_run
from clearpane.synthesis.dataset.datacard import data_card
from clearpane.synthesis.dataset.manifest import CARD, MANIFEST, DataSet, ShardEntry
from clearpane.synthesis.dataset.online import SampleStream
from clearpane.synthesis.dataset.parallel import workers
from clearpane.synthesis.dataset.recipe import Recipe, SampleMaker
from clearpane.synthesis.dataset.samples import Renderer, SampleOptions
from clearpane.synthesis.dataset.shards import EncodedSample, Format
from clearpane.synthesis.dataset.sources import Sources
from clearpane.synthesis.glass.layers import LETTERS
from clearpane.synthesis.glass.ranges import SceneRanges

DESCRIPTION = """\
Make a data set of photographs through glass. Random scenes are rendered with
their layers: I photograph, T transmission, R reflection, B background and MR
mirror image. They are packed into WebDataset shards, with a manifest of
checksums and a data card. After an interruption, run the same command again to
resume; with a larger --count the data set grows. Either way the result is the
same, byte for byte, as if made in one run.

Examples:
  clearpane synthesize --output glass --count 1000 --backgrounds photos
  clearpane synthesize --output glass --count 1000 --backgrounds photos \\
      --environments hdris --size 512 --layers I,T,R --workers 8
  clearpane synthesize --output reference --count 50 --backgrounds photos \\
      --renderer mitsuba --samples 1024 --format exr
  clearpane preview glass --output sheet.jpg
      draws a contact sheet of the result
"""


@dataclass(frozen=True)
class Synthesize:
    """Make a data set of photographs through glass."""

    output: Annotated[Path, arg(metavar="DIR", help_behavior_hint="(required)")]
    """Folder for the data set; created if it does not exist."""

    count: Annotated[int, arg(metavar="N", help_behavior_hint="(required)")]
    """Number of samples."""

    backgrounds: Annotated[Path, arg(metavar="DIR", help_behavior_hint="(required)")]
    """Folder of photographs, including its subfolders: the scenes behind the glass and those it reflects."""

    environments: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="")] = None
    """Folder of equirectangular HDR maps (.hdr, .exr): surroundings that the glass reflects. Without them all
    reflections are of photographs, and no pane is curved."""

    renderer: Annotated[Renderer, arg(help_behavior_hint="(default: analytic)")] = "analytic"
    """analytic is exact and fast; mitsuba is a path tracer for reference: slow, and without polarising
    filters."""

    layers: Annotated[str, arg(metavar="LETTERS", help_behavior_hint="(default: I,T,R,B,MR)")] = ",".join(
        LETTERS
    )
    """Layers to keep."""

    size: Annotated[int, arg(metavar="PIXELS", help_behavior_hint="(default: 256)")] = 256
    """Width and height of the pictures in pixels."""

    seed: Annotated[int, arg(metavar="K", help_behavior_hint="(default: 0)")] = 0
    """Random seed of the scenes; the same seed and the same pictures give the same data set."""

    workers: Annotated[int | None, arg(metavar="W", help_behavior_hint="(default: all cores)")] = None
    """Number of processes. It does not affect the result."""

    ray: Annotated[str | None, arg(metavar="ADDRESS", help_behavior_hint="")] = None
    """Spread the shards over a Ray cluster, as in clearpane remove; folders may then be addresses such as
    s3://bucket/folder. It does not affect the result."""

    format: Annotated[Format, arg(help_behavior_hint="(default: png16)")] = "png16"
    """Format of the layers T, R, B and MR: png16 is 16-bit PNG, sRGB, clipped at white; exr is OpenEXR, half
    floats, linear light, not clipped. The photograph is always a PNG."""

    samples: Annotated[int, arg(metavar="N", help_behavior_hint="(default: 256)")] = 256
    """With mitsuba: paths per pixel and layer; more are slower and less noisy."""

    denoise: Annotated[bool, arg(help_behavior_hint="")] = False
    """With mitsuba: remove the noise of R."""

    ranges: Annotated[Path | None, arg(metavar="FILE.json", help_behavior_hint="")] = None
    """Draw scenes from other ranges: a JSON object such as {"yaw": [0, 30], "dome_chance": 1}. The data card
    lists all names and the values used."""

    samples_per_shard: Annotated[int, arg(metavar="N", help_behavior_hint="(default: 100)")] = 100
    """Number of samples in each shard."""

    overwrite: Annotated[bool, arg(help_behavior_hint="")] = False
    """Remove an existing data set in the folder first."""


def run(options: Synthesize) -> int:
    """Make the missing samples of the data set.

    Returns:
        0 if all are finished, 1 after a failure, 130 if interrupted; finished shards are kept.

    Raises:
        ClearpaneError: An option or input is invalid; nothing was done.
    """
    options = with_local_paths(options, ("output", "backgrounds", "environments"))
    recipe = _recipe(options)
    environments = options.environments and local_folder(options.environments)
    sources = Sources.open(local_folder(options.backgrounds), environments)
    sources.check()  # find a bad picture before the first sample, not half-way
    if options.overwrite:
        SampleMaker(recipe, sources)(0)  # fail on impossible settings before anything is removed
    with data_set_folder(options.output, options.overwrite) as folder, only_run(folder):
        return _fill(options, folder, recipe, sources)


def _fill(options: Synthesize, folder: Path, recipe: Recipe, sources: Sources) -> int:
    """Make the missing samples of the data set whose manifest is in a folder; return the exit code."""
    remote = is_remote(options.output)
    data_set = DataSet.prepare(
        folder,
        recipe.facts(sources),
        options.count,
        overwrite=options.overwrite,
        is_whole=(lambda entry: is_whole_at(options.output, entry)) if remote else None,
    )
    if remote:
        clear_address(options.output, data_set)
    missing = sum(len(shard.samples) for shard in data_set.missing())
    held = data_set.held
    if held and missing:
        print(f"{shown(options.output)}: resuming, {held} of {options.count} samples exist")
    try:
        if missing and options.ray is not None:
            _draw_on_ray(options, recipe, data_set)
        elif missing:
            _draw(
                SampleMaker(recipe, sources), data_set, min(options.workers or os.cpu_count() or 1, missing)
            )
        data_set.write_card(data_card(data_set, _command(options, recipe)))
        if remote:
            send(folder / MANIFEST, options.output / MANIFEST)
            send(folder / CARD, options.output / CARD)
    except (ClearpaneError, KeyboardInterrupt) as error:
        interrupted = isinstance(error, KeyboardInterrupt)
        if not interrupted:
            print_error(str(error))
        again = "the same command without --overwrite" if options.overwrite else "the same command"
        print(
            f"{'interrupted' if interrupted else 'stopped'}: {data_set.held} of {options.count} samples are "
            f"kept; run {again} again to resume",
            file=sys.stderr,
        )
        return 130 if interrupted else 1
    size = sum(entry.bytes for entry in data_set.entries.values())
    print(
        f"{shown(options.output)}: {data_set.held} samples in {len(data_set.entries)} shards, {decimal(size)}"
        f"{'' if missing else ', all of which existed'}; described in {CARD}"
    )
    return 0


def _recipe(options: Synthesize) -> Recipe:
    smallest = {"count": 1, "size": 16, "seed": 0, "workers": 1, "samples": 1, "samples_per_shard": 1}
    for name, least in smallest.items():
        value = getattr(options, name)
        if value is not None and value < least:
            raise UsageError(f"--{name.replace('_', '-')} {value}: give {least} or more")
    asked = [letter.strip().upper() for letter in options.layers.split(",")]
    if not set(asked) <= set(LETTERS):
        raise UsageError(f"--layers {options.layers}: choose from {','.join(LETTERS)}, separated by commas")
    needed = ("webdataset", "mitsuba", "drjit") if options.renderer == "mitsuba" else ("webdataset",)
    if any(find_spec(package) is None for package in needed):
        raise MissingExtraError("clearpane synthesize", "synthesis")
    if options.renderer != "mitsuba" and options.denoise:
        raise UsageError("--denoise needs --renderer mitsuba; the analytic layers have no noise")
    ranges = SceneRanges() if options.ranges is None else read_json(SceneRanges, options.ranges)
    if options.renderer == "mitsuba":
        ranges = replace(ranges, polarizer_chance=0.0)
    stream = SampleStream(
        options.seed,
        ranges,
        SampleOptions(options.size, options.size, options.renderer, options.samples, options.denoise),
    )
    letters = tuple(letter for letter in LETTERS if letter in asked)
    return Recipe(stream, letters, options.format, options.samples_per_shard)


def _draw(maker: SampleMaker, data_set: DataSet, processes: int) -> None:
    shards = data_set.missing()
    indices = (index for shard in shards for index in shard.samples)
    with (
        _DrawingProgress(data_set.held, data_set.count) as progress,
        workers(maker.shared_by(processes), processes) as ordered,
    ):
        samples = progress.counted(ordered(indices))
        for shard in shards:
            progress.report(data_set.write(shard, islice(samples, len(shard.samples))))


def _draw_on_ray(options: Synthesize, recipe: Recipe, data_set: DataSet) -> None:
    job = ShardJob(recipe, options.backgrounds, options.environments, options.output)
    address = options.ray or "auto"
    with (
        _DrawingProgress(data_set.held, data_set.count) as progress,
        closing(shards_on_ray(data_set.missing(), job, address)) as entries,
    ):
        for entry in entries:
            data_set.add(entry)
            if is_remote(options.output):
                send(data_set.folder / MANIFEST, options.output / MANIFEST)
            progress.advance(entry.samples)
            progress.report(entry)


class _DrawingProgress:
    """Reporter of a data set: a line per shard on standard output, a bar on standard error."""

    def __init__(self, held: int, total: int) -> None:
        self._held, self._done, self._total = held, held, total
        self._stack = ExitStack()
        self._started = time.monotonic()

    def __enter__(self) -> Self:
        self._bar = Progress(
            TextColumn("drawing"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            speed_estimate_period=3600,  # one path-traced sample can take minutes
            disable=not sys.stderr.isatty(),
            redirect_stdout=sys.stdout.isatty(),
        )
        self._stack.enter_context(self._bar)
        self._task = self._bar.add_task("", total=self._total, completed=self._held)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def counted(self, samples: Iterator[EncodedSample]) -> Iterator[EncodedSample]:
        """Yield the same samples and advance the progress bar."""
        for sample in samples:
            self.advance(1)
            yield sample

    def advance(self, samples: int) -> None:
        """Advance the progress bar."""
        self._done += samples
        self._bar.advance(self._task, samples)

    def report(self, entry: ShardEntry) -> None:
        """Report a written shard and the estimated time left."""
        seconds = (time.monotonic() - self._started) * (self._total - self._done) / (self._done - self._held)
        left = f", about {_duration(seconds)} left" if self._done < self._total else ""
        print(
            f"{entry.name}: {entry.samples} samples, {decimal(entry.bytes)} "
            f"({self._done} of {self._total}{left})",
            flush=True,
        )


def _command(options: Synthesize, recipe: Recipe) -> str:
    """Return the command for the data card, with everything the samples depend on; folders by name only."""
    defaults = Recipe()
    stream = recipe.stream
    chosen = {
        "output": "DIR",
        "count": options.count,
        "backgrounds": options.backgrounds.resolve().name,
        "environments": options.environments and options.environments.resolve().name,
        "renderer": options.renderer,
        "layers": ",".join(recipe.letters) if recipe.letters != defaults.letters else None,
        "size": options.size,
        "seed": options.seed,
        "format": options.format if options.format != defaults.format else None,
        "samples": stream.options.samples if options.renderer == "mitsuba" else None,
        "ranges": options.ranges and options.ranges.name,
        "samples-per-shard": recipe.samples_per_shard
        if recipe.samples_per_shard != defaults.samples_per_shard
        else None,
    }
    words = [
        word for name, value in chosen.items() if value is not None for word in (f"--{name}", str(value))
    ]
    if options.denoise and options.renderer == "mitsuba":
        words.append("--denoise")
    return shlex.join(["clearpane", "synthesize", *words])


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"
