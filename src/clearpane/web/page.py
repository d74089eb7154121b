"""The page: its tabs, its look, and what happens when a visit ends."""

from importlib.resources import files
from typing import Any

import gradio as gr

from clearpane._version import __version__
from clearpane.web.api import add_endpoints
from clearpane.web.batch_tab import batch_tab
from clearpane.web.compare_tab import compare_tab
from clearpane.web.judging import Judging
from clearpane.web.object_tab import object_tab
from clearpane.web.photograph_tab import photograph_tab
from clearpane.web.studio import Studio


def build_page(studio: Studio, judging: Judging) -> gr.Blocks:
    """Build the page with all its tabs and endpoints."""
    label = studio.texts.label
    page: gr.Blocks = gr.Blocks(title="Clearpane", analytics_enabled=False, fill_width=False)
    with page:
        gr.HTML(f'<h1 id="title">Clearpane <small>{__version__}</small></h1>', padding=False)
        with gr.Tabs(elem_id="tabs"):
            with gr.Tab(label("tab_photo"), id="photo"):
                photograph_tab(studio)
            with gr.Tab(label("tab_batch"), id="batch"):
                batch_tab(studio)
            with gr.Tab(label("tab_object"), id="object"):
                object_tab(studio)
            with gr.Tab(label("tab_compare"), id="compare"):
                compare_tab(studio, judging)
            with gr.Tab(label("tab_models"), id="models"):
                _models_tab(studio)
        add_endpoints(studio)

        def leave(request: gr.Request) -> None:
            studio.visits.end(request.session_hash)

        page.unload(leave)
    page.queue(max_size=studio.settings.limits.waiting, default_concurrency_limit=2)
    return page


def look() -> dict[str, Any]:
    """Return the theme, the style sheet and the script, as Gradio's mount takes them."""
    assets = files("clearpane.web").joinpath("assets")
    system = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
    theme = gr.themes.Base(
        primary_hue="teal",
        neutral_hue="slate",
        font=system,
        font_mono=["ui-monospace", "Consolas", "monospace"],
    ).set(
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_600",
        button_primary_text_color="white",
        button_primary_text_color_dark="white",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
    )
    return {
        "theme": theme,
        "css": assets.joinpath("page.css").read_text("utf-8"),
        "head": f"<script>{assets.joinpath('page.js').read_text('utf-8')}</script>",
    }


def _models_tab(studio: Studio) -> None:
    label = studio.texts.label
    gr.Markdown(label("models_intro"))
    gr.Dataframe(
        [
            [model.name, "✓" if model.options is not None else "–", model.needs]
            for model in studio.settings.models
        ],
        headers=["model", "usable", "needs"],
        label=label("models"),
        interactive=False,
        wrap=True,
        elem_id="models",
    )
