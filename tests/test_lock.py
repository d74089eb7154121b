"""uv.lock holds what pyproject.toml asks for, from public places."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCK = (ROOT / "uv.lock").read_text(encoding="utf-8")

# Name, bounds and extra of a requirement; uv writes conditions on the platform in words of its own.
Wanted = tuple[str, str, str]


def asked() -> set[Wanted]:
    """The requirements of pyproject.toml; an extra that names others has theirs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {"": project["dependencies"], **project["optional-dependencies"]}

    def all_of(extra: str) -> set[tuple[str, str]]:
        found: set[tuple[str, str]] = set()
        for wanted in map(Requirement, extras[extra]):
            if wanted.name == project["name"]:
                found |= {each for other in wanted.extras for each in all_of(other)}
            else:
                found.add((canonicalize_name(wanted.name), str(wanted.specifier)))
        return found

    return {(*wanted, extra) for extra in extras for wanted in all_of(extra)}


def locked() -> set[Wanted]:
    """The same as uv wrote it down."""
    (own,) = (package for package in tomllib.loads(LOCK)["package"] if package["name"] == "clearpane")
    found = set()
    for entry in own["metadata"]["requires-dist"]:
        extra = re.search(r"extra == '([^']+)'", entry.get("marker", ""))
        bounds = str(SpecifierSet(entry.get("specifier", "")))
        found.add((entry["name"], bounds, extra[1] if extra else ""))
    return found


def test_the_lock_fits_the_requirements() -> None:
    assert locked() == asked(), "run `uv lock`"


def test_the_lock_names_public_places_alone() -> None:
    places = set(re.findall(r'"([a-z+]+://[^/"]+)', LOCK))
    assert places == {"https://pypi.org", "https://files.pythonhosted.org"}
