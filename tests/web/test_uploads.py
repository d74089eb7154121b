import zipfile
from pathlib import Path

import pytest

from clearpane.errors import ClearpaneError
from clearpane.web.names import safe_name, safe_path
from clearpane.web.settings import Limits
from clearpane.web.uploads import gather, pictures_in


def packed(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def gathered(tmp_path: Path, *paths: Path, **limits: int) -> list[str]:
    folder = tmp_path / "gathered"
    folder.mkdir()
    found = gather(paths, folder, Limits(**limits))
    return sorted(str(path.relative_to(found)) for path in found.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", ["../../x.jpg", "/etc/x.jpg", "C:\\x.jpg", "a/..\\../x.jpg"])
def test_a_zip_cannot_write_outside_its_folder(tmp_path, name):
    archive = packed(tmp_path / "a.zip", {name: b"1", "y.jpg": b"2"})
    gathered(tmp_path, archive)
    written = {path for path in tmp_path.rglob("*") if path.is_file()} - {archive}
    assert len(written) == 2
    assert all(path.is_relative_to(tmp_path / "gathered") for path in written)
    assert not Path("/etc/x.jpg").exists()


def test_folders_of_a_zip_stay_and_hidden_files_do_not(tmp_path):
    files = {
        "duck/images/a.jpg": b"1",
        "duck/transforms.json": b"{}",
        "__MACOSX/duck/._a.jpg": b"",
        ".x": b"",
    }
    assert gathered(tmp_path, packed(tmp_path / "a.zip", files)) == ["images/a.jpg", "transforms.json"]


def test_files_of_one_name_are_numbered(tmp_path):
    (tmp_path / "1").mkdir()
    paths = [tmp_path / "a.jpg", tmp_path / "1" / "a.jpg"]
    for path in paths:
        path.write_bytes(b"x")
    assert gathered(tmp_path, *paths) == ["a-2.jpg", "a.jpg"]


def test_limits_hold(tmp_path):
    many = packed(tmp_path / "many.zip", {f"{n}.jpg": b"1" for n in range(5)})
    with pytest.raises(ClearpaneError, match="limit of 4 files"):
        gathered(tmp_path, many, files=4)


def test_a_zip_bomb_is_refused(tmp_path):
    bomb = packed(tmp_path / "bomb.zip", {"a.jpg": bytes(3_000_000)})
    assert bomb.stat().st_size < 10_000
    with pytest.raises(ClearpaneError, match="too large when it is unpacked"):
        gathered(tmp_path, bomb, upload_bytes=1_000_000)


def test_a_damaged_zip_is_one_line(tmp_path):
    archive = packed(tmp_path / "a.zip", {"a.jpg": b"abc" * 1000})
    content = bytearray(archive.read_bytes())
    content[40:60] = bytes(20)
    archive.write_bytes(content)
    with pytest.raises(ClearpaneError, match=r"a\.zip: cannot be unpacked"):
        gathered(tmp_path, archive)


def test_nothing_is_said_to_be_nothing(tmp_path):
    with pytest.raises(ClearpaneError, match="no files yet"):
        gathered(tmp_path)


def test_pictures_are_told_by_their_names(tmp_path):
    for name in ("b.JPG", "a.tif", "notes.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in pictures_in(tmp_path)] == ["a.tif", "b.JPG"]


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("a\x00b\n.jpg", "a_b_.jpg"),
        ("con.txt", "file_con.txt"),
        ("", "file"),
        ("Straße 1.jpg", "Straße 1.jpg"),
    ],
)
def test_names_are_made_safe(name, safe):
    assert safe_name(name) == safe


def test_long_names_keep_their_ending():
    name = safe_name("x" * 500 + ".jpeg")
    assert len(name) <= 100 and name.endswith(".jpeg")
    assert safe_path("..").parts == ("file",)
