import os
import subprocess
import sys

import pytest
from huggingface_hub import constants

from clearpane.errors import ClearpaneError, MissingExtraError
from clearpane.hub.cache import downloads, remove
from clearpane.hub.download import check_contents, fetch, is_hub_name


@pytest.fixture
def repository(hub, toy):
    hub.repositories["owner/toy"] = toy
    return hub


def test_a_directory_is_itself(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner" / "name").mkdir(parents=True)
    assert not is_hub_name("owner/name")
    assert str(fetch("owner/name", ["*"])) == "owner/name"


def test_wanted_files_are_downloaded_once(repository, toy):
    folder = fetch("owner/toy", ["toy.json", "more/*"])
    assert (folder / "more" / "big.bin").read_bytes() == (toy / "more" / "big.bin").read_bytes()
    assert sorted(repository.downloaded()) == ["more/big.bin", "toy.json"]
    assert fetch("owner/toy", ["toy.json", "more/*", "share.txt"]) == folder
    assert sorted(repository.downloaded()) == ["more/big.bin", "share.txt", "toy.json"]


def test_a_transfer_that_breaks_off_continues_where_it_ended(repository, toy, monkeypatch):
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1024)
    repository.breaks = 2
    folder = fetch("owner/toy", ["more/*"])
    assert (folder / "more" / "big.bin").read_bytes() == (toy / "more" / "big.bin").read_bytes()
    assert [asked[2] for asked in repository.requests[-2:]] == ["bytes=4096-", "bytes=8192-"]


def test_files_that_have_arrived_are_kept_when_others_do_not(repository, monkeypatch):
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    fetch("owner/toy", ["toy.json"])
    repository.breaks = 20  # more often than the client tries
    with pytest.raises(ClearpaneError, match=r"^owner/toy: .*\); what has arrived is kept, try again$"):
        fetch("owner/toy", ["toy.json", "more/*"])
    repository.breaks = 0
    repository.requests.clear()
    fetch("owner/toy", ["toy.json", "more/*"])
    assert repository.downloaded() == ["more/big.bin"]


def test_contents_are_compared_with_the_hub_s(repository):
    folder = fetch("owner/toy", ["toy.json", "more/*"])
    assert check_contents("owner/toy", folder) == 2
    blob = (folder / "more" / "big.bin").resolve()
    blob.write_bytes(bytes(len(blob.read_bytes())))
    with pytest.raises(ClearpaneError, match=r"big\.bin: differs .*clearpane models remove owner/toy"):
        check_contents("owner/toy", folder)


def test_offline_what_is_here_is_used_and_the_rest_is_named(repository, monkeypatch):
    folder = fetch("owner/toy", ["toy.json"])
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    asked = len(repository.requests)
    assert fetch("owner/toy", ["toy.json"]) == folder
    with pytest.raises(
        ClearpaneError, match=r"toy: is not complete here \(1 files are missing\), and HF_HUB_OFFLINE"
    ):
        fetch("owner/toy", ["toy.json", "share.txt"])
    with pytest.raises(ClearpaneError, match="other: is not on this computer, and HF_HUB_OFFLINE forbids"):
        fetch("owner/other", ["toy.json"])
    assert len(repository.requests) == asked


def test_without_a_network_what_is_here_is_used(repository, monkeypatch):
    folder = fetch("owner/toy", ["toy.json"])
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")  # nobody listens there
    assert fetch("owner/toy", ["toy.json"]) == folder
    with pytest.raises(
        ClearpaneError, match=r"is not on this computer, and the model hub cannot be reached \("
    ):
        fetch("owner/other", ["toy.json"])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("owner/none", "the model hub has no such model, or a private one"),
        ("owner/toy", "is only given to those who accept its licence"),
        ("owner/a--b", "not a name that the model hub can have"),
    ],
)
def test_what_the_hub_does_not_give_is_one_line(repository, name, said):
    repository.gated.add("owner/toy")
    with pytest.raises(ClearpaneError, match=f"^{name}: {said}|^{name}: .*{said}"):
        fetch(name, ["toy.json"])


def test_a_name_needs_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for ask in (lambda: fetch("owner/name", ["*"]), downloads):
        with pytest.raises(MissingExtraError, match=r"clearpane\[hub\]"):
            ask()


def test_downloads_are_listed_and_removed(repository, toy):
    assert downloads() == []
    folder = fetch("owner/toy", ["toy.json", "more/*"])
    (found,) = downloads()
    assert (found.name, found.folder) == ("owner/toy", folder)
    assert found.bytes == sum((toy / name).stat().st_size for name in ("toy.json", "more/big.bin"))
    assert remove("owner/toy") == found.bytes
    assert downloads() == [] and not folder.exists()
    with pytest.raises(ClearpaneError, match="owner/toy: was not downloaded"):
        remove("owner/toy")


def test_the_environment_names_a_mirror_and_the_cache(repository, tmp_path):
    """In a process of its own: huggingface_hub reads the environment when it is imported."""
    code = "from clearpane.hub.download import fetch; print(fetch('owner/toy', ['toy.json']))"
    environment = {**os.environ, "HF_ENDPOINT": repository.endpoint, "HF_HOME": str(tmp_path / "home")}
    for name in ("HF_HUB_CACHE", "HF_HUB_OFFLINE"):
        environment.pop(name, None)
    command = [sys.executable, "-c", code]
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert printed.startswith(str(tmp_path / "home"))
    assert repository.downloaded() == ["toy.json"]
