"""Download repositories of the model hub: resumed, into huggingface_hub's cache; its settings apply.

``HF_ENDPOINT`` names a mirror, ``HF_HUB_OFFLINE=1`` forbids the network, ``HF_HOME`` moves the cache.
"""

import re
from pathlib import Path

from clearpane.errors import ClearpaneError, MissingExtraError, first_line

_MISSING = re.compile(r"(\d+) file\(s\) are missing")


def is_hub_name(name: str) -> bool:
    """Return True for the form ``owner/name`` that no file or directory here has.

    >>> is_hub_name("owner/name"), is_hub_name("./owner"), is_hub_name("name")
    (True, False, False)
    """
    return name.count("/") == 1 and not name.startswith((".", "/", "~")) and not Path(name).exists()


def fetch(name: str, wanted: list[str]) -> Path:
    """Return a local directory unchanged; download the wanted files of a hub name (``owner/name``).

    Files that are here already are not downloaded again, and a transfer that breaks off continues where it
    ended. The hub's client compares each file's length with the hub's; `check_contents` compares contents.

    Args:
        wanted: Patterns of the files to download.

    Raises:
        ClearpaneError: It cannot be downloaded.
        MissingExtraError: huggingface_hub is not installed.
    """
    if not is_hub_name(name):
        return Path(name)
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import (
            GatedRepoError,
            HFValidationError,
            LocalEntryNotFoundError,
            RepositoryNotFoundError,
        )
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"{name}: downloading from the model hub", "hub") from error
    try:
        return Path(snapshot_download(name, allow_patterns=wanted))
    except GatedRepoError as error:
        raise ClearpaneError(
            f"{name}: is only given to those who accept its licence; accept it on the model's page of the "
            "hub, then log in here with hf auth login"
        ) from error
    except RepositoryNotFoundError as error:
        raise ClearpaneError(
            f"{name}: the model hub has no such model, or a private one; check the name, or log in with hf "
            "auth login"
        ) from error
    except HFValidationError as error:
        raise ClearpaneError(
            f"{name}: no directory of that name, and not a name that the model hub can have"
        ) from error
    except LocalEntryNotFoundError as error:
        raise _unreachable(name, error) from error
    except Exception as error:  # of the network, the hub or the file system: no common base class
        raise ClearpaneError(
            f"{name}: no directory of that name, and it cannot be downloaded from the model hub "
            f"({first_line(error)}); what has arrived is kept, try again"
        ) from error


def _unreachable(name: str, error: Exception) -> ClearpaneError:
    """Say what is missing here where the hub is not asked or does not answer."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    found = _MISSING.search(str(error))
    state = f"is not complete here ({found[1]} files are missing)" if found else "is not on this computer"
    if isinstance(error.__cause__, OfflineModeIsEnabled):
        return ClearpaneError(
            f"{name}: {state}, and HF_HUB_OFFLINE forbids downloading; download it once with clearpane "
            f"models download {name}"
        )
    reason = first_line(error.__cause__ or error)
    return ClearpaneError(
        f"{name}: {state}, and the model hub cannot be reached ({reason}); try again, or name a mirror in "
        "HF_ENDPOINT"
    )


def check_contents(name: str, folder: Path) -> int:
    """Compare the downloaded files of a hub name with the checksums that the hub has of them.

    Args:
        folder: Directory of the download, as `fetch` returns it.

    Returns:
        Number of the files compared.

    Raises:
        ClearpaneError: A file differs, or the hub does not answer.
    """
    from huggingface_hub import HfApi

    try:
        found = HfApi().verify_repo_checksums(name, revision=folder.name)
    except Exception as error:  # as above
        raise ClearpaneError(f"{name}: cannot be compared with the hub's ({first_line(error)})") from error
    if found.mismatches:
        raise ClearpaneError(
            f"{folder / found.mismatches[0]['path']}: differs from the hub's; it was damaged: remove "
            f"it with clearpane models remove {name}, then download it again"
        )
    return int(found.checked_count)
