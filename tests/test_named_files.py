"""Files named in other files stay in the folders that the user gave."""

from pathlib import Path

import pytest

from clearpane.named_files import lies_in


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "inside" / "images").mkdir(parents=True)
    (tmp_path / "inside" / "images" / "a.png").touch()
    (tmp_path / "outside.png").touch()
    (tmp_path / "inside" / "away.png").symlink_to(tmp_path / "outside.png")
    (tmp_path / "inside" / "near.png").symlink_to("images/a.png")
    (tmp_path / "inside" / "up").symlink_to("..")
    (tmp_path / "inside" / "circle").symlink_to("circle")
    return tmp_path / "inside"


@pytest.mark.parametrize(
    ("name", "inside"),
    [
        ("images/a.png", True),
        ("images/not there.png", True),
        ("images/../images/a.png", True),
        ("near.png", True),
        ("../outside.png", False),
        ("../inside2/a.png", False),
        ("images/../../outside.png", False),
        ("away.png", False),
        ("up/outside.png", False),
        ("circle", False),
        ("/etc/hostname", False),
        ("a\0b", False),
    ],
)
def test_names_and_links_are_followed(folder: Path, name: str, inside: bool) -> None:
    assert lies_in(folder / name, [folder]) is inside
    assert lies_in(folder / name, [folder / "images", folder]) is inside


def test_an_absolute_name_within_the_folder_is_one_of_it(folder: Path) -> None:
    assert lies_in(folder / str(folder / "images" / "a.png"), [folder])
