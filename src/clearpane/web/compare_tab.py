"""The tab for researchers: two results of the same photographs."""

from typing import Any

import gradio as gr

from clearpane.evaluation.judge import key_path, read_verdicts
from clearpane.evaluation.scoring import METRICS
from clearpane.web.comparing import SHOWN, Compared, compare_results
from clearpane.web.judging import Judging, answers_of
from clearpane.web.studio import PROGRESS, Studio
from clearpane.web.uploads import gather

_TITLES = [METRICS[key].title for key in SHOWN]


def compare_tab(studio: Studio, judging: Judging) -> None:
    """Build the tab."""
    label = studio.texts.label
    gr.Markdown(label("compare_intro"))
    with gr.Row():
        files = {
            name: gr.File(
                label=label(f"compare_{name}"), file_count="multiple", elem_id=f"compare-{name}", height=150
            )
            for name in ("pairs", "a", "b")
        }
    with gr.Row():
        start = gr.Button(label("compare_start"), variant="primary", elem_id="compare-start")
        cancel = gr.Button(label("cancel"))
    means = gr.Dataframe(
        headers=["", *_TITLES, "> nothing"], label=label("compare_means"), interactive=False,
        elem_id="compare-means", visible=False,
    )  # fmt: skip
    with gr.Column(visible=False) as results:
        which = gr.Dropdown([], label=label("compare_which"), elem_id="compare-which")
        slider = gr.ImageSlider(
            label=label("compare_slider"), type="filepath", interactive=False, elem_id="compare-slider"
        )
        scores = gr.Dataframe(headers=["", *_TITLES], label=label("compare_scores"), interactive=False)
        link = gr.HTML(elem_id="judge-link")
        with gr.Row():
            answers = gr.File(label=label("judge_answers"), file_count="multiple", height=150)
            count = gr.Button(label("judge_count"), elem_id="judge-count")
        verdicts = gr.Dataframe(
            headers=["", "yes", "rate", "95 %"], label=label("judge_verdicts"), interactive=False,
            elem_id="judge-verdicts", visible=False,
        )  # fmt: skip
    compared = gr.State(None)

    def run(
        pairs: list[str] | None,
        a: list[str] | None,
        b: list[str] | None,
        request: gr.Request,
        progress: gr.Progress = PROGRESS,
    ) -> tuple[Any, ...]:
        with studio.job(request) as visit:
            limits = studio.settings.limits
            folders = [
                gather(studio.claim_all(visit, uploads), visit.new_folder(name), limits)
                for name, uploads in (("pairs", pairs), ("a", a), ("b", b))
            ]

            def on_progress(done: int, total: int) -> None:
                studio.gate.check(visit.cancelled)
                progress((done, total))

            found = compare_results(
                folders[0], (folders[1], folders[2]), ("A", "B"), visit.new_folder("compared"), on_progress
            )
            first = next(iter(found.pictures))
            address = judging.publish(found.judge)
            text = studio.texts.say(request, "judge_link")
            return (
                found,
                gr.Dataframe(value=found.means, visible=True),
                gr.Column(visible=True),
                gr.Dropdown(choices=list(found.pictures), value=first),
                *show(found, first),
                f'<a href="{address}" target="_blank" rel="noopener">{text}</a>',
            )

    def show(found: Compared | None, name: str) -> tuple[Any, Any]:
        if found is None or name not in found.pictures:
            return gr.skip(), gr.skip()
        before, after = found.pictures[name]
        return (str(before), str(after)), found.scores[name]

    def count_answers(found: Compared | None, uploads: list[str] | None, request: gr.Request) -> Any:
        with studio.job(request) as visit:
            if found is None:
                return gr.skip()
            given = [*answers_of(found.judge), *studio.claim_all(visit, uploads)]
            rows = [
                [
                    v.method,
                    f"{v.yes} / {v.answers}",
                    f"{v.rate.mean:.0%}",
                    f"{v.rate.low:.0%} – {v.rate.high:.0%}",
                ]
                for v in read_verdicts(given, key_path(found.judge))
            ]
            return gr.Dataframe(value=rows, visible=True)

    private: dict[str, Any] = {"api_visibility": "private"}
    for upload in (*files.values(), answers):
        upload.upload(studio.keep, upload, None, queue=False, **private)
    start.click(
        run,
        list(files.values()),
        [compared, means, results, which, slider, scores, link],
        concurrency_id="compare",
        concurrency_limit=1,
        **private,
    )
    which.input(show, [compared, which], [slider, scores], **private)
    count.click(count_answers, [compared, answers], verdicts, **private)
    cancel.click(studio.cancel, None, None, queue=False, **private)
