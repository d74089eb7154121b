"""List downloads from the model hub with their places and sizes, and remove them."""

from dataclasses import dataclass
from pathlib import Path

from clearpane.errors import ClearpaneError, MissingExtraError, first_line


@dataclass(frozen=True)
class Download:
    """A repository in the cache.

    Attributes:
        name: Hub name, ``owner/name``.
        folder: Directory of its main branch as it was downloaded last.
        bytes: Size of all its files on the disk.
    """

    name: str
    folder: Path
    bytes: int


def cache_folder() -> Path:
    """Return the directory that downloads lie in; ``HF_HOME`` or ``HF_HUB_CACHE`` moves it.

    Raises:
        MissingExtraError: huggingface_hub is not installed.
    """
    try:
        from huggingface_hub import constants
    except ModuleNotFoundError as error:
        raise MissingExtraError("the model hub", "hub") from error
    return Path(constants.HF_HUB_CACHE)


def downloads() -> list[Download]:
    """List the models in the cache by name, complete or not.

    Raises:
        MissingExtraError: huggingface_hub is not installed.
        ClearpaneError: The cache cannot be read.
    """
    if not cache_folder().is_dir():
        return []
    from huggingface_hub import scan_cache_dir

    try:
        found = scan_cache_dir(cache_folder())
    except (OSError, ValueError) as error:
        raise ClearpaneError(f"{cache_folder()}: cannot be read ({first_line(error)})") from error
    listed = []
    for repository in found.repos:
        if repository.repo_type == "model" and repository.revisions:
            shown = max(repository.revisions, key=lambda r: ("main" in r.refs, r.last_modified))
            listed.append(Download(repository.repo_id, Path(shown.snapshot_path), repository.size_on_disk))
    return sorted(listed, key=lambda download: download.name)


def remove(name: str) -> int:
    """Delete all that was downloaded of a hub name; return the number of bytes freed.

    Raises:
        MissingExtraError: huggingface_hub is not installed.
        ClearpaneError: Nothing of that name was downloaded, or it cannot be deleted.
    """
    if not any(download.name == name for download in downloads()):
        raise ClearpaneError(f"{name}: was not downloaded; clearpane models list shows what was")
    from huggingface_hub import scan_cache_dir

    (repository,) = (
        r for r in scan_cache_dir(cache_folder()).repos if (r.repo_id, r.repo_type) == (name, "model")
    )
    strategy = scan_cache_dir(cache_folder()).delete_revisions(*(r.commit_hash for r in repository.revisions))
    strategy.execute()
    if Path(repository.repo_path).exists():
        raise ClearpaneError(f"{repository.repo_path}: cannot be deleted; delete it by hand")
    return int(strategy.expected_freed_size)
