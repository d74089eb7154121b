"""The tab for 3D objects. PyTorch and Mitsuba are imported when they are first needed."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gradio as gr

from clearpane.errors import MissingExtraError
from clearpane.reconstruction.relighting.lights import LIGHTS
from clearpane.web.studio import PROGRESS, Studio
from clearpane.web.uploads import gather
from clearpane.web.visits import Visit

# One at a time, beside the photographs: an object takes minutes, and they should not wait for it.
BUILDING: dict[str, Any] = {"concurrency_id": "objects", "concurrency_limit": 1}
_PACKAGES = ("torch", "pycolmap", "trimesh", "mitsuba", "av")


def has_objects() -> bool:
    """Return True if the packages of the extra [3d] are installed."""
    return all(find_spec(name) is not None for name in _PACKAGES)


def object_tab(studio: Studio) -> None:
    """Build the tab."""
    label = studio.texts.label
    if not has_objects():
        gr.Markdown(label("objects_missing"))
        gr.Markdown(f"`{MissingExtraError('3D', '3d')}`")
        return
    gr.Markdown(label("object_intro"))
    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            views = gr.File(
                label=label("object_views"), file_count="multiple", elem_id="object-views", height=150
            )
            masks = gr.File(
                label=label("object_masks"), file_count="multiple", elem_id="object-masks", height=150
            )
            quality = gr.Radio(
                [(label(f"object_{name}"), name) for name in ("draft", "standard", "fine")],
                value="standard",
                label=label("object_quality"),
                info=label("object_quality_info"),
                elem_id="object-quality",
            )
            start_from = gr.Radio(
                [(label("start_hull"), "hull"), (label("start_lirm"), "lirm-small")],
                value="hull",
                label=label("start_from"),
            )
            gr.Markdown(label("object_minutes"))
            with gr.Row():
                start = gr.Button(
                    label("object_start"), min_width=90, variant="primary", elem_id="object-start"
                )
                cancel = gr.Button(label("cancel"), min_width=90, elem_id="object-cancel")
        with gr.Column(scale=2, min_width=300):
            status = gr.Markdown(label("object_status"), elem_id="object-status", container=False)
            model = gr.Model3D(label=label("object"), elem_id="object-model", height=420, interactive=False)
            sheet = gr.Image(
                label=label("object_sheet"), visible=False, type="filepath", interactive=False, buttons=[]
            )
            download = gr.DownloadButton(label("download_glb"), visible=False, elem_id="object-download")
    gr.Markdown(label("relight_intro"))
    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            asset = gr.File(label=label("relight_asset"), elem_id="relight-asset", height=150)
            light = gr.Dropdown(
                [(label(f"light_{name.replace(' ', '_')}"), name) for name in LIGHTS],
                value="studio",
                label=label("light"),
                elem_id="light",
            )
            light_file = gr.File(label=label("light_file"), elem_id="light-file", height=150)
            traced = gr.Radio(
                [(label("shading_quick"), "quick"), (label("shading_traced"), "traced")],
                value="quick",
                label=label("shading"),
                elem_id="shading",
            )
            with gr.Row():
                picture = gr.Button(
                    label("relight_picture"), min_width=90, variant="primary", elem_id="relight-picture"
                )
                film = gr.Button(label("relight_film"), min_width=90, elem_id="relight-film")
                stop = gr.Button(label("cancel"), min_width=90, elem_id="relight-cancel")
        with gr.Column(scale=2, min_width=300):
            relit = gr.Image(
                label=label("relit"), type="filepath", interactive=False, elem_id="relit", height=360,
                buttons=["download"],
            )  # fmt: skip
            turntable = gr.Video(
                label=label("turntable"), interactive=False, elem_id="turntable", visible=False, loop=True,
                buttons=["download"],
            )  # fmt: skip

    events = _Events(studio)
    private: dict[str, Any] = {"api_visibility": "private"}
    for upload in (views, masks, asset, light_file):
        upload.upload(studio.keep, upload, None, queue=False, **private)
    start.click(
        events.make,
        [views, masks, quality, start_from],
        [model, sheet, download, asset, status],
        show_progress_on=status,
        **BUILDING,
        **private,
    )
    asset.upload(events.show_asset, asset, model, queue=False, **private)
    lighting = [asset, light, light_file]
    picture.click(events.picture, [*lighting, traced], relit, **BUILDING, **private)
    film.click(events.film, lighting, turntable, show_progress_on=relit, **BUILDING, **private)
    for button in (cancel, stop):
        button.click(studio.cancel, None, None, queue=False, **private)


class _Events:
    """Event handlers of the tab; Gradio calls each method with the values of components."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio

    def make(
        self,
        views: list[str] | None,
        masks: list[str] | None,
        quality: Any,
        start_from: Any,
        request: gr.Request,
        progress: gr.Progress = PROGRESS,
    ) -> tuple[Any, ...]:
        from clearpane.web.objects import make_object

        with self.studio.job(request) as visit:
            limits = self.studio.settings.limits
            photographs = gather(self.studio.claim_all(visit, views), visit.new_folder("views"), limits)
            found = None
            if masks:
                found = gather(self.studio.claim_all(visit, masks), visit.new_folder("masks"), limits)

            def on_progress(share: float, text: str) -> None:
                self.studio.gate.check(visit.cancelled)
                progress(share, desc=text)

            folder = visit.new_folder("object")
            made = make_object(photographs, found, folder, (quality, start_from), on_progress)
            text = self.studio.texts.say(
                request,
                "object_done",
                views=made.views,
                triangles=made.triangles,
                psnr=made.psnr,
                seconds=made.seconds,
            )
            text = " ".join([text, *(f"⚠ {self.studio.plain(warning)}." for warning in made.warnings)])
            glb = str(made.asset)
            return (
                glb,
                gr.Image(value=str(made.sheet), visible=True),
                gr.DownloadButton(value=glb, visible=True),
                glb,
                text,
            )

    def show_asset(self, asset: str, request: gr.Request) -> str:
        with self.studio.job(request) as visit:
            return str(self.studio.visits.claim(visit, asset))

    def picture(
        self,
        asset: str | None,
        light: str,
        light_file: str | None,
        shading: str,
        request: gr.Request,
        progress: gr.Progress = PROGRESS,
    ) -> str:
        from clearpane.reconstruction.relighting.relight import RelightSettings
        from clearpane.web.objects import find_light, light_picture

        with self.studio.job(request) as visit:
            file, map_file = self._files(visit, asset, light_file, request)
            settings = RelightSettings(
                samples=64, preview=shading == "quick", denoise=shading == "traced", background="environment"
            )

            def on_progress(share: float, text: str) -> None:
                self.studio.gate.check(visit.cancelled)
                progress(share)

            environment = find_light(light, map_file)
            return str(light_picture(file, environment, visit.new_folder("relit"), settings, on_progress))

    def film(
        self,
        asset: str | None,
        light: str,
        light_file: str | None,
        request: gr.Request,
        progress: gr.Progress = PROGRESS,
    ) -> Any:
        from clearpane.web.objects import find_light, light_film

        with self.studio.job(request) as visit:
            file, map_file = self._files(visit, asset, light_file, request)

            def on_progress(share: float, text: str) -> None:
                self.studio.gate.check(visit.cancelled)
                progress(share, desc=text)

            environment = find_light(light, map_file)
            path = light_film(file, environment, visit.new_folder("film"), on_progress)
            return gr.Video(value=str(path), visible=True)

    def _files(
        self, visit: Visit, asset: str | None, light_file: str | None, request: gr.Request
    ) -> tuple[Path, Path | None]:
        if asset is None:
            raise gr.Error(self.studio.texts.say(request, "no_asset"), print_exception=False)
        claim = self.studio.visits.claim
        return claim(visit, asset), None if light_file is None else claim(visit, light_file)
