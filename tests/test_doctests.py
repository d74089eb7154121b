"""The examples in docstrings hold, and every public name has one."""

import doctest
import importlib
import inspect
from pathlib import Path

import pytest

import clearpane

SOURCES = Path(__file__).parents[1] / "src"
MODULES = [
    ".".join(path.relative_to(SOURCES).with_suffix("").parts).removesuffix(".__init__")
    for path in sorted(SOURCES.rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    results = doctest.testmod(importlib.import_module(name))
    assert results.attempted > 0 and results.failed == 0


@pytest.mark.parametrize("name", clearpane.__all__)
def test_every_public_name_has_an_example_that_is_run(name: str) -> None:
    described = clearpane if name == "__version__" else getattr(clearpane, name)
    examples = doctest.DocTestParser().get_examples(described.__doc__ or "")
    assert any(name in e.source for e in examples if not e.options.get(doctest.SKIP))
    module = described if inspect.ismodule(described) else inspect.getmodule(described)
    assert module is not None and module.__name__ in MODULES
