import json
import re
from pathlib import Path

import numpy as np
import pytest

from clearpane.errors import ClearpaneError
from clearpane.evaluation.bootstrap import wilson
from clearpane.evaluation.judge import JudgePage, key_path, read_verdicts
from clearpane.evaluation.protocols import Pair
from clearpane.evaluation.scoring import Pictures, PictureScores, Prediction

METHODS = ("secret-model", "other-program")


def make_page(folder: Path, count: int = 6) -> tuple[Path, dict]:
    page = JudgePage()
    for number in range(count):
        levels = np.random.default_rng(number).integers(0, 256, (3, 24, 32, 3), dtype=np.uint8)
        predictions = {m: Prediction(levels[i + 1]) for i, m in enumerate(METHODS)}
        pair = Pair(f"photo{number}", "my-set", Path("i.png"), Path("t.png"))
        page.add(PictureScores(pair, {}), Pictures(levels[0], levels[0], None, predictions))
    path = folder / "my judge.html"
    page.write(path)
    return path, json.loads(key_path(path).read_text())


def questions(path: Path) -> list:
    match = re.search(
        r'<script id="data" type="application/json">(.*?)</script>', path.read_text(), re.DOTALL
    )
    assert match
    return json.loads(match[1])["questions"]


def test_the_page_asks_each_method_and_the_input_once_a_picture(tmp_path: Path) -> None:
    path, key = make_page(tmp_path)
    ids = [q[0] for q in questions(path)]
    assert len(ids) == len(set(ids)) == 6 * 3
    assert set(ids) == set(key)
    asked = {(k["picture"], k["method"]) for k in key.values()}
    assert asked == {(f"photo{n}", m) for n in range(6) for m in ("input", *METHODS)}


def test_the_page_hides_the_methods_and_is_shuffled(tmp_path: Path) -> None:
    path, key = make_page(tmp_path)
    text = path.read_text()
    assert not any(word in text for word in (*METHODS, "my-set", "photo1"))
    assert not re.search(r"https?://|url\(|\$[a-z{]", text)
    order = [(key[q[0]]["picture"], key[q[0]]["method"]) for q in questions(path)]
    added = [(f"photo{n}", m) for n in range(6) for m in ("input", *METHODS)]
    assert order != added  # equal by chance once in 18! times
    assert '"my-judge-answers.csv"' in text


def test_each_candidate_lies_beside_its_own_photograph(tmp_path: Path) -> None:
    path, key = make_page(tmp_path)
    by_photograph: dict[int, set[str]] = {}
    for identifier, photograph, _ in questions(path):
        by_photograph.setdefault(photograph, set()).add(key[identifier]["picture"])
    assert sorted(len(names) for names in by_photograph.values()) == [1] * 6


def test_verdicts_count_several_people(tmp_path: Path) -> None:
    path, key = make_page(tmp_path)
    of_method = {m: [i for i, k in key.items() if k["method"] == m] for m in ("input", *METHODS)}
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    yes = of_method["secret-model"]
    one.write_text(
        "id,answer\n" + "".join(f"{i},yes\n" for i in yes) + "".join(f"{i},no\n" for i in of_method["input"])
    )
    two.write_text("\ufeffid,answer\r\n" + f"{yes[0]},no\r\n{of_method['other-program'][0]},yes\r\n")
    verdicts = read_verdicts([one, two], key_path(path))
    assert [(v.method, v.yes, v.answers) for v in verdicts] == [
        ("other-program", 1, 1),
        ("secret-model", 6, 7),
        ("input", 0, 6),
    ]
    assert verdicts[1].rate == wilson(6, 7)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,answer\nffffffffffff,yes\n", "belong to another page"),
        ("id,answer\n", "no answers yet"),
        ("name,verdict\na,b\n", "line 2: expected the columns id and answer"),
        ("id,answer\nffffffffffff,maybe\n", "line 2: expected"),
    ],
)
def test_answers_that_cannot_be_counted(text: str, message: str, tmp_path: Path) -> None:
    path, _ = make_page(tmp_path, 1)
    answers = tmp_path / "answers.csv"
    answers.write_text(text)
    with pytest.raises(ClearpaneError, match=message):
        read_verdicts([answers], key_path(path))


def test_a_missing_or_foreign_key(tmp_path: Path) -> None:
    answers = tmp_path / "answers.csv"
    answers.write_text("id,answer\na,yes\n")
    with pytest.raises(ClearpaneError, match=r"judge\.key\.json: cannot read the key"):
        read_verdicts([answers], tmp_path / "judge.key.json")
    (tmp_path / "judge.key.json").write_text("[1]")
    with pytest.raises(ClearpaneError, match="not the key"):
        read_verdicts([answers], tmp_path / "judge.key.json")


def test_a_page_with_answers_under_way_is_not_replaced(tmp_path: Path) -> None:
    path, key = make_page(tmp_path)
    with pytest.raises(ClearpaneError, match="key"):
        make_page(tmp_path)
    assert json.loads(key_path(path).read_text()) == key
