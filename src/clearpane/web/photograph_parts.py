"""Components of the first tab."""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import gradio as gr

from clearpane.web.studio import Studio

EXAMPLES = ("window", "shop", "painting", "vase")
_BRUSH = gr.Brush(colors=["#dc1e3c"], color_mode="fixed")


@dataclass(frozen=True)
class Parts:
    """Components that the tab's events use."""

    photo: gr.File
    slider: gr.ImageSlider
    facts: gr.Markdown
    strength: gr.Slider
    view: gr.Radio
    quality: gr.Radio
    model: gr.Dropdown
    region: gr.Radio
    editor: gr.ImageEditor
    mask_file: gr.File
    kind: gr.Dropdown
    format: gr.Dropdown
    prepare: gr.Button
    download: gr.DownloadButton
    workbench: gr.Column
    examples: gr.Gallery


def build_parts(studio: Studio) -> Parts:
    """Build the components."""
    label = studio.texts.label
    gr.Markdown(label("photo_intro"))
    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            photo = gr.File(label=label("photo"), elem_id="photo", height=150)
            examples = gr.Gallery(
                [str(example_file(name)) for name in EXAMPLES],
                label=label("examples"),
                elem_id="examples",
                columns=2,
                height=270,
                allow_preview=False,
                object_fit="cover",
                interactive=False,
                buttons=[],
            )
            with gr.Accordion(label("model_and_quality"), open=False):
                quality = gr.Radio(
                    [(label("fast"), "fast"), (label("best"), "best")],
                    value="fast",
                    label=label("quality"),
                    info=label("quality_info"),
                    elem_id="quality",
                )
                usable = studio.separators.usable
                model = gr.Dropdown(usable, value=usable[0], label=label("model"), elem_id="model")
        with gr.Column(scale=3, min_width=300, visible=False) as workbench:
            slider = gr.ImageSlider(
                label=label("before_after"),
                type="filepath",
                elem_id="slider",
                interactive=False,
                slider_position=40,
                max_height=620,
            )
            facts = gr.Markdown(elem_id="facts", container=False)
            with gr.Row():
                strength = gr.Slider(
                    -1,
                    1,
                    1,
                    step=0.05,
                    label=label("strength"),
                    info=label("strength_info"),
                    elem_id="strength",
                    min_width=260,
                )
                view = gr.Radio(
                    [
                        (label(f"view_{name}"), name)
                        for name in ("result", "reflection", "confidence", "photograph")
                    ],
                    value="result",
                    label=label("view"),
                    elem_id="view",
                    min_width=260,
                )
            with gr.Accordion(label("mask"), open=False, elem_id="mask"):
                region = gr.Radio(
                    [(label(f"region_{name}"), name) for name in ("everywhere", "only", "except")],
                    value="everywhere",
                    label=label("region"),
                    elem_id="region",
                )
                editor = gr.ImageEditor(
                    label=label("paint"),
                    elem_id="editor",
                    sources=(),
                    transforms=(),
                    brush=_BRUSH,
                    eraser=gr.Eraser(),
                    layers=False,
                    type="numpy",
                    format="png",
                    height=420,
                )
                mask_file = gr.File(label=label("mask_file"), elem_id="mask-file", height=150)
            with gr.Row(equal_height=True):
                kind = gr.Dropdown(
                    [(label(f"kind_{name}"), name) for name in ("transmission", "reflection", "confidence")],
                    value="transmission",
                    label=label("kind"),
                    elem_id="kind",
                    min_width=230,
                )
                format_ = gr.Dropdown(
                    [(label("format_original"), "original")]
                    + [(name.upper(), name) for name in ("jpeg", "png", "tiff", "webp", "exr")],
                    value="original",
                    label=label("format"),
                    elem_id="format",
                    min_width=200,
                )
                prepare = gr.Button(label("download_full"), variant="primary", elem_id="prepare")
            download = gr.DownloadButton(
                label("download_again"), visible=False, elem_id="download", size="sm"
            )
    return Parts(
        photo,
        slider,
        facts,
        strength,
        view,
        quality,
        model,
        region,
        editor,
        mask_file,
        kind,
        format_,
        prepare,
        download,
        workbench,
        examples,
    )


def example_file(name: str) -> Path:
    """Return the file of one of `EXAMPLES`."""
    return Path(str(files("clearpane.web").joinpath(f"assets/examples/{name}.jpg")))
