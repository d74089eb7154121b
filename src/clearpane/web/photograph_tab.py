"""The first tab: one photograph."""

from typing import Any

import gradio as gr
import numpy as np

from clearpane.separation.interface import Quality
from clearpane.web.photograph import Photograph, Region, View, Wanted, open_photograph
from clearpane.web.photograph_parts import EXAMPLES, build_parts, example_file
from clearpane.web.settings import ResultFormat
from clearpane.web.studio import Studio
from clearpane.web.visits import Visit

# One photograph is separated at a time: more would share the same cores, and need their memory at once.
SEPARATING: dict[str, Any] = {"concurrency_id": "separate", "concurrency_limit": 1}
_LIVE: dict[str, Any] = {"concurrency_id": "live", "concurrency_limit": 4, "show_progress": "hidden"}


def photograph_tab(studio: Studio) -> None:
    """Build the tab."""
    parts = build_parts(studio)
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
    gr.on(
        [parts.editor.input, parts.editor.apply, parts.editor.clear],
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
    ).success(None, [parts.download], js="file => clearpane.save(file)", **private)


class _Events:
    """Event handlers of the tab; Gradio calls each method with the values of components."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio

    def example(self, event: gr.SelectData, request: gr.Request) -> str:
        with self.studio.job(request) as visit:
            name = EXAMPLES[int(event.index)]
            path = visit.new_folder("example") / f"{name}.jpg"
            path.write_bytes(example_file(name).read_bytes())
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
    return np.asarray(alpha > 0, np.float32)
