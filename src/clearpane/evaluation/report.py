"""Write the report: one self-contained HTML page, with the pictures side by side, worst first."""

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from string import Template

from clearpane.evaluation.protocols import Protocol
from clearpane.evaluation.scoring import (
    METRICS,
    NOTHING,
    REFLECTION_SUFFIX,
    Pictures,
    PictureScores,
    RowSummary,
    SetSummary,
)
from clearpane.evaluation.thumbnails import data_uri, error_map

_MANY = 100


class Report:
    """Collect scored pictures and make the page. Pictures are shrunk and compressed as they come.

    Args:
        method: Row that orders the pictures by its gain in PSNR over doing nothing, worst first.
        pictures: Number of pictures to come; above 100 they are embedded smaller.
    """

    def __init__(self, method: str, protocol: Protocol, pictures: int) -> None:
        self._method = method
        self._protocol = protocol
        self._long_side = 640 if pictures <= _MANY else 320
        self._cards: list[tuple[PictureScores, list[tuple[str, str]], tuple[int, int]]] = []

    def add(self, scores: PictureScores, pictures: Pictures) -> None:
        """Add one scored pair."""
        shown = [("Input", pictures.input)]
        for name, prediction in pictures.predictions.items():
            shown.append((name, prediction.transmission))
        shown.append(("Truth", pictures.transmission))
        for name, prediction in pictures.predictions.items():
            shown.append((f"{name}: error", error_map(prediction.transmission, pictures.transmission)))
        for name, prediction in pictures.predictions.items():
            if prediction.reflection is not None:
                shown.append((name + REFLECTION_SUFFIX, prediction.reflection))
        if pictures.reflection is not None:
            shown.append(("Truth: reflection", pictures.reflection))
        encoded = [(title, data_uri(image, self._long_side)) for title, image in shown]
        height, width = pictures.input.shape[:2]
        self._cards.append((scores, encoded, (width, height)))

    def html(self, summaries: Sequence[SetSummary]) -> str:
        """Return the whole page."""
        cards = sorted(self._cards, key=lambda card: card[0].gain(self._method))
        numbered = (self._card(i, *card) for i, card in enumerate(cards, 1))
        template = Template(files("clearpane.evaluation").joinpath("assets/report.html").read_text("utf-8"))
        return template.substitute(
            title=escape(f"{self._method}: reflection removal, {len(cards)} pictures"),
            method=escape(self._method),
            protocol=escape(f"{self._protocol.name}: {self._protocol.summary}"),
            tables="\n".join(_table(summary, self._protocol.name) for summary in summaries),
            cards="\n".join(numbered),
        )

    def _card(
        self, number: int, scores: PictureScores, shown: Sequence[tuple[str, str]], size: tuple[int, int]
    ) -> str:
        name, dataset = escape(scores.pair.name), escape(scores.pair.dataset)
        strip = "".join(
            f'<figure><button type="button" aria-pressed="false" data-title="{escape(title)}">'
            f'<img src="{uri}" width="{size[0]}" height="{size[1]}" alt="{escape(title)} of {name}">'
            f"</button><figcaption>{escape(title)}</figcaption></figure>"
            for title, uri in shown
        )
        keys = [key for key in METRICS if key in scores.rows[NOTHING]]
        head = "".join(f"<th>{METRICS[key].title}</th>" for key in keys)
        rows = "".join(
            f'<tr><th scope="row">{escape(row)}</th>'
            + "".join(f"<td>{values[key]:.{METRICS[key].decimals}f}</td>" for key in keys)
            + "</tr>"
            for row, values in scores.rows.items()
        )
        return f"""<article class="card" tabindex="-1" aria-label="Picture {number}: {name}">
<header><span class="rank">{number}</span><h3>{name}</h3><span class="set">{dataset}</span>
{self._gains(scores)}</header>
<div class="body"><div class="stage" style="--ratio:{size[0] / size[1]:.5f}"></div>
<div class="strip">{strip}</div></div>
<details><summary>Scores</summary><div class="scroll"><table><thead><tr><td></td>{head}</tr></thead>
<tbody>{rows}</tbody></table></div></details>
</article>"""

    def _gains(self, scores: PictureScores) -> str:
        before, after = scores.rows[NOTHING], scores.rows[self._method]
        return "".join(
            f'<span class="gain {"good" if after[key] > before[key] else "bad"}">{METRICS[key].title} '
            f"{before[key]:.2f} → {after[key]:.2f} <b>{_signed(after[key] - before[key])} dB</b></span>"
            for key in ("psnr", "psnr_g")
        )


def _table(summary: SetSummary, protocol: str) -> str:
    keys = [key for key in METRICS if key in summary.rows[0].mean]
    head = "".join(
        f"<th>{METRICS[k].title}{' ↑' if METRICS[k].higher_is_better else ' ↓'}</th>" for k in keys
    )
    rows = "".join(_table_row(row, keys) for row in summary.rows)
    size = f"{summary.pictures} pictures, protocol {escape(protocol)}"
    name = "All sets" if summary.name == "all" else escape(summary.name)
    return f"""<section><h2>{name} <small>{size}</small></h2><div class="scroll"><table>
<thead><tr><td></td>{head}<th>PSNR over doing nothing</th>
<th>PSNR-G over doing nothing</th><th>Better</th></tr></thead>
<tbody>{rows}</tbody></table></div></section>"""


def _table_row(row: RowSummary, keys: Sequence[str]) -> str:
    digits = {key: METRICS[key].decimals for key in keys}
    gains = {
        k: f" <b>{_signed(row.over_nothing[k].mean, digits[k])}</b>" if row.over_nothing else "" for k in keys
    }
    cells = "".join(
        f"<td>{row.mean[k]:.{digits[k]}f}{gains[k]} <small>± {row.spread[k]:.{digits[k]}f}</small></td>"
        for k in keys
    )
    for key in ("psnr", "psnr_g"):
        over = row.over_nothing[key] if row.over_nothing else None
        cells += (
            f"<td>{_signed(over.mean)} <small>[{_signed(over.low)}, {_signed(over.high)}]</small></td>"
            if over
            else "<td>–</td>"
        )
    cells += f"<td>{row.better} of {row.pictures}</td>" if row.better is not None else "<td>–</td>"
    return f'<tr><th scope="row">{escape(row.name)}</th>{cells}</tr>'


def _signed(value: float, decimals: int = 2) -> str:
    return f"{value:+.{decimals}f}".replace("-", "−")
