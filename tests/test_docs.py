"""The pages agree with pyproject.toml and with the package."""

import re
import tomllib
from pathlib import Path

import clearpane

ROOT = Path(__file__).parents[1]


def test_the_table_of_extras_is_that_of_pyproject() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    rows = re.findall(
        r"^\| `(\w+)` \| (.*?) \|", (ROOT / "docs/install.md").read_text(encoding="utf-8"), re.M
    )
    assert sorted(name for name, _ in rows) == sorted(extras)
    (bundled,) = (re.fullmatch(r"clearpane\[(.*)\]", r)[1] for r in extras["all"])
    assert set(re.findall(r"`(\w+)`", dict(rows)["all"])) == set(bundled.split(","))


def test_the_programming_interface_describes_every_public_name() -> None:
    page = (ROOT / "docs/site/api.rst").read_text(encoding="utf-8")
    described = re.findall(r"^\.\. auto\w+:: clearpane\.(\w+)$", page, re.M)
    assert sorted(described) == sorted(clearpane.__all__)


def test_every_page_is_in_the_menu_of_the_site() -> None:
    menu = (ROOT / "docs/site/navigation.md").read_text(encoding="utf-8").split()
    pages = [p.relative_to(ROOT).with_suffix("").as_posix() for p in (ROOT / "docs").rglob("*.md")]
    made = ("docs/figures/", "docs/gallery/", "docs/site/navigation")
    assert {p for p in pages if not p.startswith(made)} <= set(menu)
