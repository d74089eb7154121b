import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image
from safetensors.torch import save_file

from clearpane.errors import ClearpaneError
from clearpane.separation.flux.loading import load_vae
from clearpane.separation.gensirr.equivariant_vae import equivariance_error, mean_latents, mix_pictures
from clearpane.training import runner
from clearpane.training.flux import fine_tuning, gensirr_vae
from clearpane.training.flux.gensirr_vae import EquivariantLoss, TrainGensirrVae, draw_pictures, run


@pytest.fixture
def photographs(tmp_path):
    folder = tmp_path / "photographs"
    folder.mkdir()
    for index in range(5):
        noise = np.random.default_rng(index).integers(0, 256, (5, 5, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((48, 40), Image.Resampling.BICUBIC).save(folder / f"{index}.png")
    return folder


def recipe(photographs, base, output, **changes) -> TrainGensirrVae:
    settings = {"rank": 2, "steps": 3, "batch": 2, "side": 16, "precision": "float32", "average": 0.0}
    return TrainGensirrVae(photographs, str(base), output, cpu=True, **(settings | changes))


def test_training_makes_the_vae_more_equivariant(photographs, base, tmp_path):
    output = tmp_path / "run"
    assert run(recipe(photographs, base, output, steps=60, batch=4, rank=8, learning_rate=3e-3)) == 0
    assert "| equivariance | 1.0 |" in (output / "README.md").read_text()
    generator = torch.Generator().manual_seed(9)
    background, reflection = torch.rand(2, 8, 3, 16, 16, generator=generator)
    alpha = torch.rand(8, generator=generator)
    mixed = mix_pictures(background, reflection, alpha, "srgb")

    def error(vae) -> float:
        """Over the variance of the latents: latents that shrink are no better for it."""
        latents = [mean_latents(vae, x) for x in (mixed, background, reflection)]
        return (equivariance_error(*latents, alpha).mean() / latents[1].var()).item()

    with torch.no_grad():
        assert error(AutoencoderKL.from_pretrained(output / "vae")) < 0.7 * error(load_vae(base))


def test_the_loss_is_the_sum_of_its_terms(photographs, base, tmp_path):
    vae = load_vae(base)
    drawn = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 16), torch.tensor([0.2, 0.7])
    values = {
        weight: EquivariantLoss(recipe(photographs, base, tmp_path, equivariance=weight), vae)(*drawn).item()
        for weight in (0.0, 1.0, 3.0)
    }
    assert values[1] > values[0] > 0
    assert values[3] - values[0] == pytest.approx(3 * (values[1] - values[0]), rel=1e-4)


def test_lpips_joins_the_loss_where_its_weights_are_given(photographs, base, tmp_path):
    generator = torch.Generator().manual_seed(0)
    shapes = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}
    tensors = {}
    for i, (index, (to, of, side)) in enumerate(shapes.items()):
        tensors[f"features.{index}.weight"] = 0.05 * torch.randn(to, of, side, side, generator=generator)
        tensors[f"features.{index}.bias"] = torch.zeros(to)
        tensors[f"lin{i}.model.1.weight"] = torch.rand(1, to, 1, 1, generator=generator)
    save_file(tensors, tmp_path / "lpips.safetensors")
    vae, drawn = load_vae(base), (torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64), torch.tensor([0.4]))
    with_it = recipe(photographs, base, tmp_path, lpips=tmp_path / "lpips.safetensors")
    losses, gradients = [], []
    for chosen in (recipe(photographs, base, tmp_path), with_it):
        loss = EquivariantLoss(chosen, vae)(*drawn)
        losses.append(loss.item())
        gradients += torch.autograd.grad(loss, vae.decoder.conv_out.weight)
    assert losses[1] > losses[0] + 1e-3
    assert (gradients[1] - gradients[0]).norm() > 0.01 * gradients[0].norm()


def test_the_two_pictures_are_of_different_photographs():
    flat = [torch.full((3, 20, 20), value, dtype=torch.uint8) for value in (50, 200)]
    background, reflection, alpha = draw_pictures(flat, 20, 16, torch.Generator().manual_seed(0))
    assert ((background - reflection).abs() > 0.5).all()
    assert 0 <= alpha.min() < 0.2 < 0.8 < alpha.max() <= 1


def test_a_resumed_run_ends_as_an_uninterrupted_one(photographs, base, tmp_path, monkeypatch):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert run(recipe(photographs, base, whole, steps=4)) == 0
    real = runner.append_json_line

    def interrupt(path, facts):
        real(path, facts)
        if facts["step"] == 2:
            runner.signal.raise_signal(runner.signal.SIGTERM)

    monkeypatch.setattr(runner, "append_json_line", interrupt)
    assert run(recipe(photographs, base, broken, steps=4)) == 130
    monkeypatch.undo()
    assert run(recipe(photographs, base, broken, steps=4)) == 0
    ends = [AutoencoderKL.from_pretrained(x / "vae").state_dict() for x in (whole, broken)]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"steps": 0}, "`steps=0`: give 1 or more"),
        ({"rank": 0}, "`rank=0`: give 1 or more"),
        ({"equivariance": -1.0}, "`equivariance=-1`: give 0 or more"),
        ({"learning_rate": 0.0}, "`learning_rate=0`: give more than 0"),
        ({"average": 1.0}, "`average=1`: give 0 or more, less than 1"),
        ({"side": 64}, "holds a picture of 40 pixels; lower `side` \\(64\\)"),
        ({"lpips": "nothing.safetensors"}, "nothing.safetensors: not a readable safetensors file"),
    ],
)
def test_what_cannot_be_is_said(photographs, base, tmp_path, changes, said):
    with pytest.raises(ClearpaneError, match=said):
        run(recipe(photographs, base, tmp_path / "run", **changes))


def test_one_photograph_is_refused(photographs, base, tmp_path):
    for path in sorted(photographs.glob("*.png"))[2:]:
        path.unlink()
    with pytest.raises(ClearpaneError, match=r"too few photographs \(1\); mixing needs two"):
        run(recipe(photographs, base, tmp_path / "run"))


def test_an_interrupt_before_any_line_of_a_step_costs_nothing(
    photographs, base, tmp_path, interrupt_every_line
):
    settings = recipe(photographs, base, tmp_path / "run", steps=60)
    lines = interrupt_every_line(fine_tuning, [gensirr_vae], lambda: run(settings))
    assert len(lines) > 15
