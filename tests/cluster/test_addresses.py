"""Addresses of fsspec, on its memory and file systems."""

from pathlib import Path

import pytest

fsspec = pytest.importorskip("fsspec")

from clearpane.cluster import addresses as a  # noqa: E402
from clearpane.errors import ClearpaneError  # noqa: E402

ROOT = Path("memory://test-addresses")


@pytest.fixture
def memory():
    system = fsspec.filesystem("memory")
    system.pipe({"/test-addresses/a.jpg": b"a", "/test-addresses/sub/b.jpg": b"bb"})
    yield system
    system.rm("/test-addresses", recursive=True)


def test_files_are_listed_fetched_and_sent(memory, tmp_path: Path) -> None:
    assert a.files_below(ROOT) == [ROOT / "a.jpg", ROOT / "sub" / "b.jpg"]
    assert a.files_below(ROOT, recursive=False) == [ROOT / "a.jpg"]
    assert a.files_below(ROOT / "a.jpg") == [ROOT / "a.jpg"]
    assert a.fetch(ROOT / "sub" / "b.jpg", tmp_path).read_bytes() == b"bb"
    a.send(tmp_path / "b.jpg", ROOT / "new" / "c.jpg")
    assert memory.cat("/test-addresses/new/c.jpg") == b"bb" and a.exists(ROOT / "new" / "c.jpg")
    assert [path.name for path in a.files_below(ROOT / "new")] == ["c.jpg"]  # no temporary file
    assert a.checksum(ROOT / "a.jpg")[0] == 1


def test_a_file_that_cannot_be_sent_leaves_nothing(memory, tmp_path: Path, monkeypatch) -> None:
    def fail(*args, **kwargs):
        raise OSError("the store is full")

    (tmp_path / "d.jpg").write_bytes(b"d")
    monkeypatch.setattr(type(memory), "mv", fail)
    with pytest.raises(ClearpaneError, match=r"^memory://test-addresses/d\.jpg: .*full"):
        a.send(tmp_path / "d.jpg", ROOT / "d.jpg")
    assert a.files_below(ROOT) == [ROOT / "a.jpg", ROOT / "sub" / "b.jpg"]


def test_a_folder_is_copied_once_to_a_machine(memory, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(a.tempfile, "tempdir", str(tmp_path))
    copy = a.local_folder(ROOT)
    assert copy.name == "test-addresses" and (copy / "sub" / "b.jpg").read_bytes() == b"bb"
    memory.pipe("/test-addresses/a.jpg", b"changed")
    assert (a.local_folder(ROOT) / "a.jpg").read_bytes() == b"a"
    assert a.local_folder(tmp_path) == tmp_path


@pytest.mark.parametrize(
    ("address", "reason"),
    [("memory://nothing-here/x.jpg", "no such file"), ("nosuch://x/y.jpg", "nosuch")],
)
def test_bad_addresses_are_named(address: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ClearpaneError, match=f"^{address}: .*{reason}"):
        a.fetch(Path(address), tmp_path)


def test_file_addresses_are_local_paths(tmp_path: Path) -> None:
    assert a.as_local(Path(f"file://{tmp_path.as_posix()}")) == tmp_path
