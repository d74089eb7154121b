import sys
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from clearpane.errors import ClearpaneError, MissingExtraError
from clearpane.hub.card import CardFacts, Figures, complete_card, write_card

KONTEXT = "black-forest-labs/FLUX.1-Kontext-dev"
FACTS = CardFacts(
    "panel: reflection removal", "Paints layers.", "import clearpane",
    base=KONTEXT, data={"glass scenes": "998"}, settings={"steps": 4000, "rank": 16},
)  # fmt: skip
FIGURES = Figures(
    "Nature", "original", 20, {"psnr": "PSNR", "st_lpips": "ST-LPIPS"},
    {"run": {"psnr": 24.5, "st_lpips": 0.125}, "do nothing": {"psnr": 20.25}}, "run",
)  # fmt: skip


def test_the_hub_reads_the_metadata(tmp_path):
    write_card(tmp_path, FACTS)
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.to_dict() == {
        "base_model": KONTEXT,
        "library_name": "clearpane",
        "license": "other",
        "license_name": "flux-1-dev-non-commercial-license",
        "license_link": f"https://huggingface.co/{KONTEXT}/blob/main/LICENSE.md",
        "pipeline_tag": "image-to-image",
        "tags": ["image-to-image", "reflection-removal"],
    }
    for said in (
        "| glass scenes | 998 |",
        "| rank | 16 |",
        "flux-1-dev-non-commercial",
        f"model\n\n{KONTEXT}\n",
    ):
        assert said in card.text


def test_a_base_model_on_a_disk_gives_away_no_path(tmp_path):
    (tmp_path / "kontext").mkdir()
    write_card(tmp_path, CardFacts("t", "s", "u", base=str(tmp_path / "kontext")))
    text = (tmp_path / "README.md").read_text()
    assert str(tmp_path) not in text and "kontext (a directory; give yours as `base`)" in text
    data = ModelCard.load(tmp_path / "README.md").data
    assert data.base_model is None and data.license == "unknown"
    assert "Not recorded." in text and "The licences of the training data" in text


def test_figures_and_a_licence_are_added_and_replaced(tmp_path):
    write_card(tmp_path, FACTS)
    for psnr in (1.0, 24.5):
        rows = {**FIGURES.rows, "run": {"psnr": psnr, "st_lpips": 0.125}}
        figures = Figures("Nature", "original", 20, FIGURES.titles, rows, "run")
        complete_card(tmp_path, [figures], "apache-2.0")
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.license == "apache-2.0" and card.data.get("license_name") is None
    assert [(r.dataset_name, r.metric_type, r.metric_value) for r in card.data.eval_results] == [
        ("Nature", "psnr", 24.5),
        ("Nature", "st_lpips", 0.125),
    ]
    assert card.text.count("## Figures") == 1 and card.text.count("## Licence\n\napache-2.0\n") == 1
    assert "| run | 24.5 | 0.125 |\n| do nothing | 20.25 |  |" in card.text
    assert "| glass scenes | 998 |" in card.text and "non-commercial" not in card.text


@pytest.mark.parametrize("text", [None, "---\na: [\n---\n"])
def test_a_card_that_is_none_is_one_line(tmp_path, text):
    if text is not None:
        (tmp_path / "README.md").write_text(text)
    with pytest.raises(ClearpaneError, match=r"README\.md: cannot be read as a model card"):
        complete_card(tmp_path, licence="mit")


def test_a_card_needs_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for make in (lambda: write_card(tmp_path, FACTS), lambda: complete_card(tmp_path, licence="mit")):
        with pytest.raises(MissingExtraError, match=r"clearpane\[hub\]"):
            make()
    assert list(Path(tmp_path).iterdir()) == []
