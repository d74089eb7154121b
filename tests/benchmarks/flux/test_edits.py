"""Edits that the small base learns."""

import torch

from benchmarks.flux.edits import EDITS


def test_edits_change_what_they_say():
    clean = torch.rand((3, 40, 40), generator=torch.Generator().manual_seed(0))
    made = {name: edit.make(clean, torch.Generator().manual_seed(1)) for name, edit in EDITS.items()}
    for name, (given, wanted) in made.items():
        assert given.shape == wanted.shape == clean.shape, name
        assert torch.equal(given if name == "darken" else wanted, clean), name
        assert (given - wanted).abs().mean() > 0.01, name
    assert torch.equal(*made["colourise"][0][:2])
    hole = (made["fill"][0] == 1).all(dim=0)
    assert 0.04 * 1600 <= hole.sum() <= 0.25 * 1600
    assert torch.equal(made["fill"][0][:, ~hole], clean[:, ~hole])
    assert (made["darken"][1] < clean).all()
    assert len({edit.sentence for edit in EDITS.values()}) == len(EDITS)
