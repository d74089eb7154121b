from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import (
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    Dinov2Config,
    GLPNConfig,
    GLPNForDepthEstimation,
    GLPNImageProcessor,
)
from transformers.models.dpt import DPTImageProcessorPil

from benchmarks.flux.branch_scorers import score_by_chance, score_by_truth
from clearpane.errors import ClearpaneError
from clearpane.separation.gensirr import scorers
from clearpane.separation.gensirr.scorers import (
    DepthEstimator,
    edge_energy,
    score_by_depth,
    score_by_depth_and_edges,
    score_by_residual,
    standardised,
)
from clearpane.separation.layers import Layers

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def metres(tmp_path_factory):
    """A tiny estimator of metres."""
    torch.manual_seed(0)
    config = GLPNConfig(
        depths=[1, 1, 1, 1], hidden_sizes=[8, 8, 16, 16], num_attention_heads=[1, 1, 2, 2],
        decoder_hidden_size=8,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("glpn")
    GLPNForDepthEstimation(config).save_pretrained(folder)
    GLPNImageProcessor(size_divisor=32).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def nearness(tmp_path_factory):
    """A tiny estimator of 1 / depth."""
    torch.manual_seed(0)
    backbone = Dinov2Config(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, patch_size=14, image_size=56,
        out_indices=[1, 2, 3, 4], apply_layernorm=True, reshape_hidden_states=False,
    )  # fmt: skip
    config = DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=16, neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8, head_hidden_size=8,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("depth-anything")
    DepthAnythingForDepthEstimation(config).save_pretrained(folder)
    processor = DPTImageProcessorPil(
        size={"height": 56, "width": 56}, ensure_multiple_of=14, keep_aspect_ratio=True
    )
    processor.save_pretrained(folder)
    return folder


@pytest.fixture
def pictures():
    return torch.rand(3, 3, 64, 96, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("kind", "sign"), [("metres", -1), ("nearness", 1)])
def test_nearness_is_what_the_estimator_itself_says(request, pictures, kind, sign):
    folder = request.getfixturevalue(kind)
    classes = {"metres": GLPNForDepthEstimation, "nearness": DepthAnythingForDepthEstimation}
    processors = {"metres": GLPNImageProcessor, "nearness": DPTImageProcessorPil}
    model, processor = (x[kind].from_pretrained(folder) for x in (classes, processors))
    arrays = [np.asarray((255 * x).round().to(torch.uint8).permute(1, 2, 0)) for x in pictures]
    with torch.no_grad():
        own = [model(**processor(x, return_tensors="pt")).predicted_depth.mean().item() for x in arrays]
    estimator = DepthEstimator(str(folder), CPU)
    torch.testing.assert_close(
        estimator.mean_nearness(pictures), sign * torch.tensor(own), atol=1e-4, rtol=1e-4
    )
    assert int(score_by_depth(estimator)(pictures).argmax()) == int((sign * np.asarray(own)).argmin())


def test_a_missing_estimator_is_told_in_one_line(tmp_path):
    with pytest.raises(ClearpaneError, match="nothing: cannot be loaded as a depth estimator") as told:
        DepthEstimator(str(tmp_path / "nothing"), CPU)
    assert "\n" not in str(told.value)


def test_an_estimator_of_unknown_sign_is_refused(metres, monkeypatch):
    monkeypatch.setattr(scorers, "_METRES", {"zoedepth"})
    with pytest.raises(ClearpaneError, match="it is unknown whether glpn predicts depth or its inverse"):
        DepthEstimator(str(metres), CPU)


def test_edges_of_two_scenes_are_more_than_those_of_one():
    flat = torch.full((1, 3, 16, 16), 0.5)
    step = flat.clone()
    step[..., 8:] = 0.7
    assert edge_energy(flat).item() == 0
    # One column of 15 differs by 0.2.
    assert edge_energy(step).item() == pytest.approx(0.2 / 15, rel=1e-4)


def test_standardised_values_have_mean_0_and_deviation_1_or_are_0():
    values = standardised(torch.tensor([1.0, 2.0, 6.0]))
    assert values.mean().item() == pytest.approx(0, abs=1e-6)
    assert values.std(correction=0).item() == pytest.approx(1, abs=1e-6)
    assert standardised(torch.full((3,), 4.0)).tolist() == [0, 0, 0]


def test_depth_and_edges_weigh_the_same(pictures):
    class Fixed:
        def mean_nearness(self, pictures):
            return torch.tensor([0.0, 1.0, 2.0])

    flat = torch.stack([0 * pictures[0], pictures[1], pictures[2]])
    scores = score_by_depth_and_edges(Fixed())(flat)
    assert int(scores.argmax()) == 0
    wanted = standardised(torch.tensor([0.0, -1.0, -2.0])) + standardised(-edge_energy(flat))
    torch.testing.assert_close(scores, wanted)


def test_the_residual_is_what_a_separator_would_still_take_away(pictures):
    class Darken:
        def separate(self, image):
            return Layers(image * np.float32(0.5), image)

    dark = torch.stack([pictures[0], 0.1 * pictures[0]])
    assert int(score_by_residual(Darken())(dark).argmax()) == 1
    assert score_by_residual(Darken())(dark)[0].item() == pytest.approx(
        -0.5 * pictures[0].mean().item(), rel=1e-4
    )


def test_chance_is_the_same_for_a_seed_and_the_truth_is_psnr(pictures):
    assert torch.equal(score_by_chance(1)(pictures), score_by_chance(1)(pictures))
    assert not torch.equal(score_by_chance(1)(pictures), score_by_chance(2)(pictures))
    off = (pictures[:1] * 0.5 + 0.1).clamp(0, 1)
    score = score_by_truth(off)(off + 0.1)
    assert score.item() == pytest.approx(20, abs=1e-3)


def test_pictures_smaller_than_an_estimator_takes_are_enlarged_for_it(metres):
    assert DepthEstimator(str(metres), CPU).mean_nearness(torch.rand(2, 3, 16, 24)).isfinite().all()


@pytest.mark.parametrize(("kind", "inverse"), [("dinov2", False), ("beit", True)])
def test_dpt_on_dinov2_gives_metres_and_others_nearness(tmp_path, monkeypatch, kind, inverse):
    class Model(torch.nn.Module):
        config = SimpleNamespace(model_type="dpt", backbone_config=SimpleNamespace(model_type=kind))

    for name in ("AutoImageProcessor", "AutoModelForDepthEstimation"):
        fake = SimpleNamespace(from_pretrained=lambda *arguments, **keywords: Model())
        monkeypatch.setattr(scorers, name, fake)
    assert DepthEstimator(str(tmp_path), CPU)._inverse == inverse
