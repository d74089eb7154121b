"""The page's words, in all its languages: assets/texts.json."""

import json
from functools import cached_property
from importlib.resources import files
from typing import Any

import gradio as gr

_FALLBACK = "en"


class Texts:
    """The page's words.

    What the page is built of is translated in the browser (`label`), what is said while it works here
    (`say`), in the visitor's language as their browser names it.
    """

    @cached_property
    def translations(self) -> dict[str, dict[str, str]]:
        """The texts by language and key."""
        text = files("clearpane.web").joinpath("assets/texts.json").read_text("utf-8")
        translations: dict[str, dict[str, str]] = json.loads(text)
        return translations

    @cached_property
    def i18n(self) -> gr.I18n:
        """The texts as Gradio sends them to the browser."""
        return gr.I18n(**self.translations)

    def label(self, key: str) -> Any:
        """Return a text for Gradio's components, which is translated in the browser."""
        return self.i18n(key)

    def say(self, request: gr.Request | None, key: str, **values: object) -> str:
        """Fill in a text in the visitor's language."""
        return self.translations[self.language(request)][key].format(**values)

    def language(self, request: gr.Request | None) -> str:
        """Return the first language of the page that the visitor's browser asks for."""
        asked = "" if request is None else request.headers.get("accept-language", "")
        for entry in asked.split(","):
            language = entry.partition(";")[0].strip()[:2].lower()
            if language in self.translations:
                return language
        return _FALLBACK
