"""The table of extras agrees with pyproject.toml."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_table_of_extras_is_that_of_pyproject() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    rows = re.findall(
        r"^\| `(\w+)` \| (.*?) \|", (ROOT / "docs/install.md").read_text(encoding="utf-8"), re.M
    )
    assert sorted(name for name, _ in rows) == sorted(extras)
    (bundled,) = (re.fullmatch(r"clearpane\[(.*)\]", r)[1] for r in extras["all"])
    assert set(re.findall(r"`(\w+)`", dict(rows)["all"])) == set(bundled.split(","))
