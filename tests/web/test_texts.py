import re
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import gradio as gr
import pytest

from clearpane.web.texts import Texts

WEB = Path(__file__).parents[2] / "src" / "clearpane" / "web"


def asked_in(language: str) -> gr.Request:
    return cast(gr.Request, SimpleNamespace(headers={"accept-language": language}))


def test_all_languages_have_the_same_texts_with_the_same_fields() -> None:
    english, *others = Texts().translations.values()
    assert others
    for other in others:
        assert other.keys() == english.keys()
        for key, text in english.items():
            assert sorted(re.findall(r"{\w+", text)) == sorted(re.findall(r"{\w+", other[key])), key


def test_every_text_is_used_and_every_text_that_is_used_exists() -> None:
    code = "".join(path.read_text("utf-8") for path in WEB.glob("*.py"))
    known = set(Texts().translations["en"])
    named = set(re.findall(r'(?:label|say)\(\s*(?:request,\s*)?"(\w+)"', code))
    built = set(re.findall(r'label\(f"(\w+_)\{', code))
    assert named <= known
    assert {key for key in known - named if not key.startswith(tuple(built))} == set()


@pytest.mark.parametrize(
    ("asked", "answered"),
    [("de-AT,de;q=0.9,en;q=0.8", "de"), ("fr,en;q=0.5", "en"), ("ja", "en"), ("", "en")],
)
def test_the_visitors_language_is_the_browsers(asked: str, answered: str) -> None:
    assert Texts().language(asked_in(asked)) == answered
    assert Texts().language(None) == "en"
