import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
from PIL import Image

from clearpane.evaluation.protocols import PROTOCOLS, Pair
from clearpane.evaluation.report import Report
from clearpane.evaluation.scoring import (
    NOTHING,
    ORACLE_GAIN,
    Pictures,
    PictureScores,
    Prediction,
    score,
    summarise,
)
from clearpane.evaluation.thumbnails import data_uri, error_map

VOID = {"meta", "img", "input", "br"}


class Balance(HTMLParser):
    """Collects tags left open, addresses and the pictures' headings."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.cards: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.sources += [v for k, v in attrs if k in ("src", "href") and v]
        if tag == "article":
            self.cards.append(values["aria-label"] or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def scored(name: str, error: int) -> tuple[PictureScores, Pictures]:
    truth = np.random.default_rng(0).integers(0, 200, (30, 40, 3), dtype=np.uint8)
    image, result = truth + 20, (truth + error).astype(np.uint8)
    rows = {"ours": score(result, truth), NOTHING: score(image, truth), ORACLE_GAIN: score(image, truth)}
    pair = Pair(name, "set", Path(f"{name}.png"), Path("t.png"))
    pictures = Pictures(image, truth, truth, {"ours": Prediction(result, result)})
    return PictureScores(pair, rows), pictures


def make_page(*pictures: tuple[PictureScores, Pictures]) -> str:
    report = Report("ours", PROTOCOLS["original"], len(pictures))
    for scores, shown in pictures:
        report.add(scores, shown)
    return report.html(summarise([scores for scores, _ in pictures]))


def test_worst_first_and_well_formed() -> None:
    page = make_page(scored("good", 2), scored("bad", 40), scored("same", 20))
    parser = Balance()
    parser.feed(page)
    assert parser.open == []
    assert parser.cards == ["Picture 1: bad", "Picture 2: same", "Picture 3: good"]


def test_needs_no_network() -> None:
    parser = Balance()
    page = make_page(scored("a", 5))
    parser.feed(page)
    assert len(parser.sources) == 6  # input, result, truth, error, both reflections
    assert all(source.startswith("data:image/webp;base64,") for source in parser.sources)
    assert not re.search(r"https?://|url\(|@import", page)
    assert not re.search(r"\$[a-z{]", page)


def test_names_are_escaped() -> None:
    page = make_page(scored("<script>alert(1)</script>", 5))
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_shows_the_gain_and_the_interval() -> None:
    page = make_page(scored("a", 10), scored("b", 10))
    # 20 levels of error become 10: 6.02 dB.
    assert "<b>+6.02 dB</b>" in page
    assert "+6.02 <small>[+6.02, +6.02]</small>" in page
    assert "2 of 2" in page
    assert "<b>+6.02</b> <small>± 0.00</small>" in page  # beside the mean
    assert "<small>2 pictures, protocol original</small>" in page


def test_embedded_pictures_are_shrunk_never_enlarged() -> None:
    def size(image: np.ndarray) -> tuple[int, int]:
        encoded = data_uri(image, 100).partition(",")[2]
        return Image.open(io.BytesIO(base64.b64decode(encoded))).size

    assert size(np.zeros((300, 400, 3), np.uint8)) == (100, 75)
    assert size(np.zeros((30, 40, 3), np.uint8)) == (40, 30)


def test_error_map_runs_from_black_to_pale_yellow() -> None:
    truth = np.zeros((1, 4, 3), np.uint8)
    result = np.array([0, 32, 64, 255], np.uint8)[None, :, None].repeat(3, axis=2)
    heat = error_map(result, truth)
    assert heat[0, 0].tolist() == [0, 0, 4]
    assert heat[0, 2].tolist() == heat[0, 3].tolist() == [252, 255, 164]
    assert np.all(np.diff(heat[0, :3].astype(int).sum(axis=1)) > 0)
