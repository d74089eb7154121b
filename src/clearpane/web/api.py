"""Named endpoints, for programs: what the tabs do, by `gradio_client`."""

from pathlib import Path
from typing import Any

import gradio as gr

from clearpane.images.masks import read_mask
from clearpane.reconstruction.relighting.lights import LIGHTS
from clearpane.separation.interface import Quality
from clearpane.separation.pictures import Edit
from clearpane.web.object_tab import BUILDING, has_objects
from clearpane.web.photograph import Wanted, write_result
from clearpane.web.photograph_tab import SEPARATING
from clearpane.web.settings import ResultFormat
from clearpane.web.studio import Studio
from clearpane.web.uploads import gather

_QUALITIES = ["fast", "best"]
_LENGTHS = ["draft", "standard", "fine"]
_KINDS = ["transmission", "reflection", "confidence"]
_FORMATS = ["original", "jpeg", "png", "tiff", "webp", "exr"]


def add_endpoints(studio: Studio) -> None:
    """Add the endpoints to the page that is being built; their inputs are not shown."""
    endpoints = _Endpoints(studio)
    file = gr.File(visible=False)
    usable = studio.separators.usable
    with gr.Row(visible=False):
        _endpoint(
            endpoints.remove,
            [
                gr.File(label="photo"),
                gr.Number(1.0, label="strength"),
                gr.Radio(_QUALITIES, value="fast", label="quality"),
                gr.Radio(_KINDS, value="transmission", label="kind"),
                gr.Radio(_FORMATS, value="original", label="format"),
                gr.File(label="mask"),
                gr.Dropdown(usable, value=usable[0], label="model"),
            ],
            file,
            SEPARATING,
        )
        _endpoint(endpoints.models, [], gr.JSON(), {})
        if has_objects():
            _endpoint(
                endpoints.reconstruct,
                [
                    gr.File(label="views", file_count="multiple"),
                    gr.Radio(_LENGTHS, value="standard", label="quality"),
                    gr.Radio(["hull", "lirm-small"], value="hull", label="start"),
                    gr.File(label="masks", file_count="multiple"),
                ],
                file,
                BUILDING,
            )
            _endpoint(
                endpoints.relight,
                [
                    gr.File(label="asset"),
                    gr.Radio(list(LIGHTS), value="studio", label="light"),
                    gr.File(label="environment"),
                ],
                file,
                BUILDING,
            )


def _endpoint(function: Any, inputs: list[Any], output: Any, limits: dict[str, Any]) -> None:
    gr.Button(visible=False).click(
        function, inputs, output, api_name=function.__name__, show_progress="hidden", **limits
    )


class _Endpoints:
    """Handlers of the endpoints."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio

    def remove(
        self,
        photo: str,
        strength: float,
        quality: Quality,
        kind: Any,
        format: ResultFormat,
        mask: str | None = None,
        model: str = "compact",
        request: gr.Request | None = None,
    ) -> str:
        """Take the reflection out of a photograph; returns the result as a file of the photograph's kind."""
        with self.studio.job(request, from_page=False) as visit:
            [source] = self.studio.claim_all(visit, photo)
            masks = self.studio.claim_all(visit, mask)
            weights = read_mask(masks[0]).weights if masks else None
            written = write_result(
                source,
                visit.new_folder("result"),
                self.studio.separators.get(model),
                Edit(strength, weights, quality),
                Wanted(kind, strength, format=format),
                self.studio.settings.limits.pixels,
            )
            return str(written.path)

    def models(self) -> list[dict[str, Any]]:
        """List the models, whether they can be used here, and what they need."""
        return [
            {"name": model.name, "usable": model.options is not None, "needs": model.needs}
            for model in self.studio.settings.models
        ]

    def reconstruct(
        self,
        views: list[str],
        quality: Any,
        start: Any,
        masks: list[str] | None = None,
        request: gr.Request | None = None,
    ) -> str:
        """Make a 3D object from photographs or a zip of them; returns a GLB file. Takes minutes."""
        from clearpane.web.objects import make_object

        with self.studio.job(request, from_page=False) as visit:
            limits = self.studio.settings.limits
            folder = gather(self.studio.claim_all(visit, views), visit.new_folder("views"), limits)
            given = self.studio.claim_all(visit, masks)
            masked = gather(given, visit.new_folder("masks"), limits) if given else None
            made = make_object(
                folder,
                masked,
                visit.new_folder("object"),
                (quality, start),
                lambda share, text: self.studio.gate.check(visit.cancelled),
            )
            return str(made.asset)

    def relight(
        self,
        asset: str,
        light: str,
        environment: str | None = None,
        request: gr.Request | None = None,
    ) -> str:
        """Show a GLB file in another light, quickly shaded; returns a PNG file."""
        from clearpane.reconstruction.relighting.relight import RelightSettings
        from clearpane.web.objects import find_light, light_picture

        with self.studio.job(request, from_page=False) as visit:
            [file] = self.studio.claim_all(visit, asset)
            maps = self.studio.claim_all(visit, environment)
            lit: Path = light_picture(
                file,
                find_light(light, maps[0] if maps else None),
                visit.new_folder("relit"),
                RelightSettings(preview=True),
                lambda share, text: self.studio.gate.check(visit.cancelled),
            )
            return str(lit)
