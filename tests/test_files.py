"""Files and folders that appear whole or not at all."""

import errno
from pathlib import Path

import pytest
from safetensors import SafetensorError

from clearpane import files
from clearpane.errors import ClearpaneError
from clearpane.files import atomic_folder, atomic_path


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, ValueError])
def test_an_interruption_leaves_the_old_file_and_no_stray_one(tmp_path, interruption):
    target = tmp_path / "a.csv"
    target.write_text("old")
    with pytest.raises(interruption), atomic_path(target, overwrite=True) as temporary:
        temporary.write_text("half of the n")
        raise interruption
    assert target.read_text() == "old" and list(tmp_path.iterdir()) == [target]
    with atomic_path(target, overwrite=True) as temporary:
        assert temporary.is_relative_to(tmp_path) and temporary.suffix == ".csv"
        temporary.write_text("new")
    assert target.read_text() == "new" and list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, ValueError])
def test_a_folder_is_the_old_one_or_the_new_one_whole(tmp_path, interruption):
    target = tmp_path / "model"
    with atomic_folder(target, overwrite=True) as folder:
        (folder / "part").mkdir()
        (folder / "part" / "a").write_text("old")
    with pytest.raises(interruption), atomic_folder(target, overwrite=True) as folder:
        (folder / "b").write_text("half of the n")
        raise interruption
    assert [x.name for x in tmp_path.rglob("*")] == ["model", "part", "a"]
    with atomic_folder(target, overwrite=True) as folder:
        (folder / "b").write_text("new")
    assert [x.name for x in tmp_path.rglob("*")] == ["model", "b"]


def test_a_folder_that_cannot_take_its_place_leaves_the_old_one(tmp_path, monkeypatch):
    target = tmp_path / "model"
    with atomic_folder(target, overwrite=True) as folder:
        (folder / "a").write_text("old")
    rename = Path.rename

    def fail(self, other):
        if other == target and not target.exists() and (self / "b").exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        return rename(self, other)

    monkeypatch.setattr(files, "_exchange", lambda one, other: False)
    monkeypatch.setattr(Path, "rename", fail)
    with (
        pytest.raises(ClearpaneError, match="No space left"),
        atomic_folder(target, overwrite=True) as folder,
    ):
        (folder / "b").write_text("new")
    assert [x.name for x in tmp_path.rglob("*")] == ["model", "a"]


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path):
    target = tmp_path / "a.json"
    with pytest.raises(ClearpaneError, match="exists already"), atomic_path(target) as temporary:
        temporary.write_text("ours")
        target.write_text("theirs")
    assert target.read_text() == "theirs" and list(tmp_path.iterdir()) == [target]


def test_without_links_a_file_is_renamed_and_still_none_replaced(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("pathlib.Path.hardlink_to", refuse)
    target = tmp_path / "a.json"
    with atomic_path(target) as temporary:
        temporary.write_text("ours")
    assert target.read_text() == "ours" and list(tmp_path.iterdir()) == [target]
    target.unlink()
    with pytest.raises(ClearpaneError, match="exists already"), atomic_path(target) as temporary:
        target.write_text("theirs")
    assert target.read_text() == "theirs" and list(tmp_path.iterdir()) == [target]


def test_no_permission_is_said(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(ClearpaneError, match="no permission"), atomic_path(tmp_path / "a.json"):
        pass


def test_a_folder_with_something_in_it_is_not_replaced_unasked(tmp_path, monkeypatch):
    (tmp_path / "thesis.txt").write_text("mine")
    monkeypatch.chdir(tmp_path)
    for target in (tmp_path, Path()):
        with pytest.raises(ClearpaneError, match="exists and is not empty"), atomic_folder(target):
            pytest.fail("it was made")
    with pytest.raises(ClearpaneError, match=r"thesis\.txt: is a file"), atomic_folder("thesis.txt"):
        pytest.fail("it was made")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    (tmp_path / "empty").mkdir()
    with atomic_folder("empty") as folder:
        (folder / "a").write_text("new")
    assert (tmp_path / "empty" / "a").read_text() == "new"


def test_what_safetensors_cannot_write_is_one_line(tmp_path):
    for place in (atomic_path(tmp_path / "a"), atomic_folder(tmp_path / "b")):
        with pytest.raises(ClearpaneError, match=r"writing failed .*no space"), place:
            raise SafetensorError("no space")
    assert not list(tmp_path.iterdir())


def test_a_file_has_the_permissions_of_others_whoever_wrote_it(tmp_path):
    (tmp_path / "usual").touch()
    with atomic_path(tmp_path / "private") as temporary:
        temporary.unlink()  # as safetensors does
        temporary.touch(0o600)
    assert (tmp_path / "private").stat().st_mode == (tmp_path / "usual").stat().st_mode
