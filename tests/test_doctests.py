"""The examples in docstrings hold."""

import doctest
import importlib

import pytest

MODULES = ["errors", "optics.color", "optics.fresnel", "optics.sensor"]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    results = doctest.testmod(importlib.import_module(f"clearpane.{name}"))
    assert results.attempted > 0 and results.failed == 0
