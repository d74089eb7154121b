"""The first tab: one photograph."""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from clearpane.separation.base import Quality
from clearpane.web.photograph import Photograph, Region, View, Wanted, open_photograph
from clearpane.web.settings import ResultFormat
from clearpane.web.studio import Studio
from clearpane.web.visits import Visit

EXAMPLES = ("window", "shop", "painting", "vase")
# One photograph is separated at a time: more would share the same cores, and need their memory at once.
SEPARATING: dict[str, Any] = {"concurrency_id": "separate", "concurrency_limit": 1}
_LIVE: dict[str, Any] = {"concurrency_id": "live", "concurrency_limit": 4, "show_progress": "hidden"}
_BRUSH = gr.Brush(colors=["#dc1e3c"], color_mode="fixed")


@dataclass(frozen=True)
class _Parts:
    """Components of the tab that its events use."""

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


def photograph_tab(studio: Studio) -> None:
    """Build the tab."""
    parts = _build(studio)
    events = _Events(studio)
    private: dict[str, Any] = {"api_visibility": "private"}
    opened = [parts.slider, parts.facts, parts.editor, parts.mask_file, parts.workbench, parts.download]
    shown = [parts.strength, parts.view, parts.region]
    opening = [parts.photo, parts.model, parts.quality, *shown]
    gr.on(
        [parts.photo.upload, parts.quality.input, parts.model.input],
        events.open,
        opening,
        opened,
        **SEPARATING,
        **private,
    )
    parts.photo.clear(events.close, None, [parts.workbench], queue=False, **private)
    parts.examples.select(events.example, None, [parts.photo], queue=False, **private).then(
        events.open, opening, opened, **SEPARATING, **private
    )
    gr.on(
        [parts.strength.input, parts.region.input],
        events.show,
        shown,
        [parts.slider, parts.download],
        trigger_mode="always_last",
        **_LIVE,
        **private,
    )
    # A confidence map is made when it is first looked at: that separates once more.
    parts.view.input(
        events.look, [*shown, parts.model], [parts.slider, parts.download], **SEPARATING, **private
    )
    parts.editor.change(
        events.paint,
        [parts.editor, *shown],
        [parts.slider, parts.region, parts.download],
        trigger_mode="always_last",
        **_LIVE,
        **private,
    )
    gr.on(
        [parts.mask_file.upload, parts.mask_file.clear],
        events.mask,
        [parts.mask_file, *shown],
        [parts.slider, parts.region, parts.facts],
        **_LIVE,
        **private,
    )
    parts.prepare.click(
        events.write,
        [parts.kind, parts.format, parts.strength, parts.region, parts.model],
        [parts.download, parts.facts],
        **SEPARATING,
        **private,
    ).success(None, js="() => clearpane.press('#download')")


def _build(studio: Studio) -> _Parts:
    label = studio.texts.label
    gr.Markdown(label("photo_intro"))
    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            photo = gr.File(label=label("photo"), elem_id="photo", height=150)
            examples = gr.Gallery(
                [str(_example(name)) for name in EXAMPLES],
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
    return _Parts(
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


def _example(name: str) -> Path:
    return Path(str(files("clearpane.web").joinpath(f"assets/examples/{name}.jpg")))


class _Events:
    """What the tab does; each method is called by Gradio with the values of components."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio

    def example(self, event: gr.SelectData, request: gr.Request) -> str:
        with self.studio.job(request) as visit:
            name = EXAMPLES[int(event.index)]
            path = visit.new_folder("example") / f"{name}.jpg"
            path.write_bytes(_example(name).read_bytes())
            return str(path)

    def open(
        self,
        photo: str | None,
        model: str,
        quality: Quality,
        strength: float,
        view: View,
        region: Region,
        request: gr.Request,
    ) -> tuple[Any, ...]:
        if photo is None:
            return tuple(gr.skip() for _ in range(6))
        with self.studio.job(request) as visit:
            path = self.studio.visits.claim(visit, photo)
            separator = self.studio.separators.get(model)
            photograph = open_photograph(
                path,
                visit.new_folder("photograph"),
                separator,
                quality,
                self.studio.settings.limits.pixels,
            )
            visit.photograph = photograph
            if view == "confidence":
                self._map_confidence(photograph, model)
            before = str(photograph.before)
            return (
                (before, str(photograph.show(view, strength, region))),
                self._facts(photograph, model, request),
                {"background": before, "layers": [], "composite": None},
                None,
                gr.Column(visible=True),
                gr.DownloadButton(visible=False),
            )

    def close(self, request: gr.Request) -> Any:
        with self.studio.job(request) as visit:
            visit.photograph = None
            return gr.Column(visible=False)

    def show(self, strength: float, view: View, region: Region, request: gr.Request) -> tuple[Any, Any]:
        with self.studio.job(request) as visit:
            return self._pair(visit, strength, view, region), gr.DownloadButton(visible=False)

    def look(
        self, strength: float, view: View, region: Region, model: str, request: gr.Request
    ) -> tuple[Any, Any]:
        with self.studio.job(request) as visit:
            if visit.photograph is not None and view == "confidence":
                self._map_confidence(visit.photograph, model)
            return self._pair(visit, strength, view, region), gr.DownloadButton(visible=False)

    def paint(
        self, editor: dict[str, Any] | None, strength: float, view: View, region: Region, request: gr.Request
    ) -> tuple[Any, Any, Any]:
        with self.studio.job(request) as visit:
            if visit.photograph is None:
                return gr.skip(), gr.skip(), gr.skip()
            had_mask = visit.photograph.mask is not None
            visit.photograph.paint(_painted(editor))
            if not had_mask and visit.photograph.mask is None:
                return gr.skip(), gr.skip(), gr.skip()
            chosen: Region = "only" if region == "everywhere" and not had_mask else region
            pair = self._pair(visit, strength, view, chosen)
            return pair, chosen, gr.DownloadButton(visible=False)

    def mask(
        self, file: str | None, strength: float, view: View, region: Region, request: gr.Request
    ) -> tuple[Any, Any, Any]:
        with self.studio.job(request) as visit:
            if visit.photograph is None:
                return gr.skip(), gr.skip(), gr.skip()
            path = None if file is None else self.studio.visits.claim(visit, file)
            reading = visit.photograph.use_mask_file(path)
            chosen: Region = "only" if region == "everywhere" and path is not None else region
            return self._pair(visit, strength, view, chosen), chosen, reading or gr.skip()

    def write(
        self,
        kind: Any,
        format_: ResultFormat,
        strength: float,
        region: Region,
        model: str,
        request: gr.Request,
    ) -> tuple[Any, Any]:
        with self.studio.job(request) as visit:
            if visit.photograph is None:
                return gr.skip(), gr.skip()
            written = visit.photograph.write(
                visit.new_folder("result"),
                self.studio.separators.get(model),
                Wanted(kind, strength, region, format_),
                self.studio.settings.limits.pixels,
            )
            text = self.studio.texts.say(
                request,
                "written",
                name=written.path.name,
                megabytes=written.path.stat().st_size / 1e6,
                seconds=written.seconds,
            )
            return gr.DownloadButton(value=str(written.path), visible=True), _with_warnings(
                text, written.warnings, self.studio
            )

    def _pair(self, visit: Visit, strength: float, view: View, region: Region) -> Any:
        if visit.photograph is None:
            return gr.skip()
        shown = visit.photograph.show(view, strength, region)
        return str(visit.photograph.before), str(shown)

    def _map_confidence(self, photograph: Photograph, model: str) -> None:
        if not photograph.has_confidence():
            photograph.add_confidence(self.studio.separators.get(model))

    def _facts(self, photograph: Photograph, model: str, request: gr.Request) -> str:
        text = self.studio.texts.say(
            request,
            "facts",
            name=photograph.path.name,
            width=photograph.width,
            height=photograph.height,
            format=photograph.format.upper(),
            model=model,
            quality=photograph.quality,
            seconds=photograph.seconds,
        )
        return _with_warnings(text, photograph.warnings, self.studio)


def _with_warnings(text: str, warnings: tuple[str, ...], studio: Studio) -> str:
    return " ".join([text, *(f"⚠ {studio.plain(warning)}." for warning in warnings)])


def _painted(editor: dict[str, Any] | None) -> np.ndarray | None:
    """Return the region that brush strokes cover, [h, w] float32 in [0, 1]."""
    layers = [] if editor is None else [layer for layer in editor["layers"] if layer is not None]
    if not layers:
        return None
    alpha = np.maximum.reduce([layer[..., 3] for layer in layers])
    return (alpha > 0).astype(np.float32)
