"""The tab for many photographs."""

from collections.abc import Iterator
from typing import Any

import gradio as gr

from clearpane.separation.interface import Quality
from clearpane.separation.pictures import Edit
from clearpane.web.batch import BatchJob, BatchState, run_batch
from clearpane.web.photograph import Wanted
from clearpane.web.photograph_tab import SEPARATING
from clearpane.web.settings import ResultFormat
from clearpane.web.studio import Studio
from clearpane.web.uploads import gather, pictures_in
from clearpane.web.work import Cancelled


def batch_tab(studio: Studio) -> None:
    """Build the tab."""
    label = studio.texts.label
    limits = studio.settings.limits
    gr.Markdown(label("batch_intro"))
    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            files = gr.File(
                label=label("batch_files"), file_count="multiple", elem_id="batch-files", height=180
            )
            quality = gr.Radio(
                [(label("fast"), "fast"), (label("best"), "best")], value="fast", label=label("quality")
            )
            strength = gr.Slider(-1, 1, 1, step=0.05, label=label("strength"))
            kind = gr.Dropdown(
                [(label(f"kind_{name}"), name) for name in ("transmission", "reflection", "confidence")],
                value="transmission",
                label=label("kind"),
            )
            format_ = gr.Dropdown(
                [(label("format_original"), "original")]
                + [(name.upper(), name) for name in ("jpeg", "png", "tiff")],
                value="original",
                label=label("format"),
            )
            usable = studio.separators.usable
            model = gr.Dropdown(usable, value=usable[0], label=label("model"))
            with gr.Row():
                start = gr.Button(
                    label("batch_start"), min_width=90, variant="primary", elem_id="batch-start"
                )
                cancel = gr.Button(label("cancel"), min_width=90, elem_id="batch-cancel")
        with gr.Column(scale=3, min_width=300):
            status = gr.Markdown(elem_id="batch-status", container=False)
            gallery = gr.Gallery(
                label=label("results"), elem_id="batch-gallery", columns=4, height=420, buttons=[]
            )
            failed = gr.Dataframe(
                headers=["file", "reason"],
                label=label("failed"),
                visible=False,
                wrap=True,
                interactive=False,
                elem_id="batch-failed",
            )
            download = gr.DownloadButton(
                label("download_zip"), visible=False, variant="primary", elem_id="batch-download"
            )

    def run(
        files: list[str] | None,
        quality: Quality,
        strength: float,
        kind: Any,
        format_: ResultFormat,
        model: str,
        request: gr.Request,
    ) -> Iterator[tuple[Any, ...]]:
        with studio.job(request) as visit:
            photographs = gather(studio.claim_all(visit, files), visit.new_folder("batch"), limits)
            job = BatchJob(
                studio.separators.get(model),
                Edit(strength, None, quality),
                Wanted(kind, strength, format=format_),
                limits.pixels,
            )
            results = visit.new_folder("results")
            found = pictures_in(photographs)
            others = [path.name for path in photographs.rglob("*") if path.is_file() and path not in found]
            try:
                for state in run_batch(found, results, job, lambda: studio.gate.check(visit.cancelled)):
                    yield _shown(studio, state, others, request)
            except Cancelled:
                gr.Warning(studio.texts.say(request, "cancelled"))

    files.upload(studio.keep, files, None, queue=False, api_visibility="private")
    start.click(
        run,
        [files, quality, strength, kind, format_, model],
        [status, gallery, failed, download],
        show_progress_on=status,
        api_visibility="private",
        **SEPARATING,
    )
    cancel.click(studio.cancel, None, None, queue=False, api_visibility="private")


def _shown(studio: Studio, state: BatchState, others: list[str], request: gr.Request) -> tuple[Any, ...]:
    say = studio.texts.say
    if state.path is not None:
        text = say(request, "batch_done", done=len(state.done), total=state.total)
    elif state.seconds_left is None:
        text = say(request, "batch_begins", total=state.total)
    else:
        text = say(request, "batch_left", done=state.finished, total=state.total, seconds=state.seconds_left)
    thumbnails = [(str(written.small), written.path.name) for written in state.done]
    rows = [[name, studio.plain(reason)] for name, reason in state.failed]
    rows += [[name, say(request, "not_a_picture")] for name in others]
    return (
        text,
        thumbnails,
        gr.Dataframe(value=rows, visible=bool(rows)),
        gr.DownloadButton(
            value=None if state.path is None else str(state.path), visible=state.path is not None
        ),
    )
