"""Scores of an editor whose results are known."""

import torch

from benchmarks.flux import edit_scores
from benchmarks.flux.edits import EDITS


def test_an_editor_s_scores_are_those_of_its_pictures(monkeypatch):
    """An editor that gives back what it is given scores as doing nothing."""

    class Identity:
        def encode(self, pictures):
            return pictures

        decode = encode

    monkeypatch.setattr(edit_scores, "sample", lambda backbone, reference, task, sampling: reference)
    pictures = [torch.randint(256, (3, 80, 90), dtype=torch.uint8) for _ in range(3)]
    edited = edit_scores.score_edits(Identity(), lambda sentence: None, pictures)
    others = edit_scores.score_others(Identity(), lambda sentence: None, pictures)
    assert list(edited) == list(others) == list(EDITS)
    for name, row in others.items():
        assert edited[name] == row["other_sentence"] == row["nothing"]
        assert row["vae"] == 100
