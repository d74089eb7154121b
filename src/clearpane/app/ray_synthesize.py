"""``clearpane synthesize --ray``: each shard of a data set is one task of a Ray cluster."""

import contextlib
import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from clearpane.app.progress import describe_unexpected
from clearpane.cluster.addresses import (
    checksum,
    delete,
    exists,
    fetch,
    files_below,
    is_remote,
    local_folder,
    send,
    shown,
)
from clearpane.cluster.ray_work import cluster, map_on_cluster
from clearpane.errors import ClearpaneError
from clearpane.synthesis.dataset.manifest import MANIFEST, DataSet, Shard, ShardEntry, make_shard
from clearpane.synthesis.dataset.recipe import Recipe, SampleMaker
from clearpane.synthesis.dataset.sources import Sources


@dataclass(frozen=True)
class ShardJob:
    """Hold what all workers share.

    Attributes:
        recipe: Recipe of the data set.
        backgrounds, environments: Folders of the source pictures, local paths or addresses.
        output: Folder of the data set, local path or address.
    """

    recipe: Recipe
    backgrounds: Path
    environments: Path | None
    output: Path


def shards_on_ray(shards: Sequence[Shard], job: ShardJob, address: str) -> Generator[ShardEntry, None, None]:
    """Make shards on a cluster; yield their entries as they are written.

    Raises:
        ClearpaneError: The cluster cannot be used, or a shard cannot be made.
    """
    waiting = {shard.name for shard in shards}
    items = [json.dumps([shard.name, shard.samples.start, shard.samples.stop]) for shard in shards]
    with cluster(address):
        for row in map_on_cluster(make_one, items, job):
            if row["error"]:
                raise ClearpaneError(row["error"])
            entry = ShardEntry(**json.loads(row["entry"]))
            waiting.discard(entry.name)
            yield entry
    if waiting:
        raise ClearpaneError(f"{min(waiting)}: its worker was ended each time, perhaps for lack of memory")


def make_one(row: Mapping[str, Any], job: ShardJob) -> dict[str, str]:
    """Make one shard on a worker, in one thread, so that its bytes depend on no machine.

    Args:
        row: Name, first sample and end of the shard as JSON under "item".
        job: What all shards share.

    Returns:
        The entry as JSON, and the reason why there is none.
    """
    import torch

    name, start, stop = json.loads(row["item"])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        maker = SampleMaker(job.recipe, _sources(job.backgrounds, job.environments))
        samples = map(maker, range(start, stop))
        if not is_remote(job.output):
            return {"entry": json.dumps(asdict(make_shard(job.output / name, samples))), "error": ""}
        with TemporaryDirectory(prefix="clearpane-") as folder:
            entry = make_shard(Path(folder) / name, samples)
            send(Path(folder) / name, job.output / name)
        return {"entry": json.dumps(asdict(entry)), "error": ""}
    except ClearpaneError as error:
        return {"entry": "", "error": str(error)}
    except Exception as error:
        return {"entry": "", "error": f"{name}: {describe_unexpected(error)}"}
    finally:
        torch.set_num_threads(threads)


@lru_cache(maxsize=1)
def _sources(backgrounds: Path, environments: Path | None) -> Sources:
    """Open the source pictures once in each worker process, which keeps them in memory."""
    return Sources.open(local_folder(backgrounds), environments and local_folder(environments))


@contextlib.contextmanager
def data_set_folder(output: Path, overwrite: bool) -> Iterator[Path]:
    """Yield a local folder for the manifest and the card: ``output``, or a copy of that of an address.

    Raises:
        ClearpaneError: The address holds shards without a manifest.
    """
    if not is_remote(output):
        yield output
        return
    with TemporaryDirectory(prefix="clearpane-") as folder:
        if not overwrite and exists(output / MANIFEST):
            fetch(output / MANIFEST, Path(folder))
        elif not overwrite and _shards_at(output):
            raise ClearpaneError(
                f"{shown(output)}: holds shards but no {MANIFEST}; choose another folder, "
                "or `overwrite` to remove them"
            )
        yield Path(folder)


def is_whole_at(output: Path, entry: ShardEntry) -> bool:
    """Return True if the shard of an entry lies at an address, undamaged."""
    path = output / entry.name
    return exists(path) and checksum(path) == (entry.bytes, entry.sha256)


def clear_address(output: Path, data_set: DataSet) -> None:
    """Remove the shards at an address that the data set does not list, as `DataSet.prepare` does locally."""
    for path in _shards_at(output):
        if path.name not in data_set.entries:
            delete(path)


def _shards_at(output: Path) -> list[Path]:
    try:
        files = files_below(output, recursive=False)
    except ClearpaneError:  # nothing is there yet
        return []
    return [path for path in files if path.match("shard-*.tar")]
