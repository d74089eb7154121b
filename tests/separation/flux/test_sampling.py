import math

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxKontextInpaintPipeline

from clearpane.errors import ClearpaneError
from clearpane.separation.flux.backbone import Backbone
from clearpane.separation.flux.sampling import Held, Sampling, sample, sigma_schedule

STEPS, SEED, GUIDANCE = 4, 3, 2.5
SAMPLING = Sampling(STEPS, SEED, GUIDANCE)


def picture(height: int, width: int) -> torch.Tensor:
    return torch.rand((1, 3, height, width), generator=torch.Generator().manual_seed(1))


def stock_arguments(task, height: int, width: int) -> dict:
    return {
        "prompt_embeds": task.prompt_embeds,
        "pooled_prompt_embeds": task.pooled_prompt_embeds,
        "height": height,
        "width": width,
        "max_area": height * width,
        "num_inference_steps": STEPS,
        "guidance_scale": GUIDANCE,
        "generator": torch.Generator().manual_seed(SEED),
        "output_type": "pt",
        "_auto_resize": False,
    }


@pytest.mark.parametrize("size", [(32, 48), (24, 64)])
def test_samples_are_those_of_stock_diffusers(backbone, stock, task, size):
    photo = picture(32, 48)
    height, width = (side // 4 for side in size)
    latents = sample(backbone, backbone.encode(photo), task, SAMPLING, (height, width))
    with torch.no_grad():
        ours = backbone.decode(latents).clamp(0, 1)
    theirs = stock(image=photo, **stock_arguments(task, *size)).images
    assert theirs.std() > 0.05
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_held_latents_are_those_of_the_stock_inpainting_pipeline(backbone, stock, task):
    photo, mask = picture(32, 48), torch.zeros(1, 1, 32, 48)
    mask[..., 16:] = 1  # painted; the left third is held
    reference = backbone.encode(photo)
    held = Held(reference, 1 - mask[..., ::4, ::4])
    latents = sample(backbone, reference, task, SAMPLING, held=held)
    inpainting = FluxKontextInpaintPipeline(**stock.components)
    inpainting.set_progress_bar_config(disable=True)
    with torch.no_grad():
        ours = backbone.decode(latents).clamp(0, 1)
    theirs = inpainting(image=photo, mask_image=mask, **stock_arguments(task, 32, 48)).images
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    torch.testing.assert_close(latents[..., :4], reference[..., :4], atol=1e-6, rtol=0)


@pytest.mark.parametrize("steps", [1, 2, 7, 28])
def test_schedule_is_that_of_the_stock_scheduler(steps):
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    mu = 0.63
    unshifted = torch.linspace(1, 1 / steps, steps).numpy()
    scheduler.set_timesteps(sigmas=unshifted, mu=mu)
    torch.testing.assert_close(sigma_schedule(steps, math.exp(mu)), scheduler.sigmas)


class Constant:
    """A model whose velocity is the same everywhere: Euler's method is exact."""

    def __init__(self, velocity: torch.Tensor) -> None:
        self._velocity = velocity

    def shift(self, tokens: int) -> float:
        return 1.7

    def velocity(self, noisy, reference, sigma, task, guidance):
        return self._velocity


@pytest.mark.parametrize("steps", [1, 5])
def test_a_constant_velocity_is_followed_to_its_end(steps):
    velocity = torch.randn(1, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(1, 4, 2, 2, generator=torch.Generator().manual_seed(9))
    result = sample(Constant(velocity), torch.zeros(1, 4, 2, 2), None, Sampling(steps, 9))
    torch.testing.assert_close(result, noise - velocity)


def test_the_same_seed_gives_the_same_picture_and_another_another(backbone, task):
    reference = backbone.encode(picture(16, 16))
    first, again, other = (sample(backbone, reference, task, Sampling(2, seed)) for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=0.1)


def test_steps_are_told_and_an_interruption_passes(backbone, task):
    told = []

    def stop() -> None:
        told.append(1)
        if len(told) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample(backbone, backbone.encode(picture(16, 16)), task, SAMPLING, on_step=stop)
    assert len(told) == 2


def test_a_number_that_is_not_finite_is_an_error(backbone, task):
    with torch.no_grad():
        backbone.transformer.proj_out.bias[0] = math.nan
    with pytest.raises(ClearpaneError, match=r"step 1 of 4: .* not finite"):
        sample(backbone, backbone.encode(picture(16, 16)), task, SAMPLING)


def test_the_shift_is_flux_s(backbone: Backbone):
    assert backbone.shift(256) == pytest.approx(math.exp(0.5))
    assert backbone.shift(4096) == pytest.approx(math.exp(1.15))


@pytest.mark.parametrize(
    ("steps", "seed", "said"), [(0, 0, "0 steps"), (4, -1, "seed -1"), (4, 2**70, "seed")]
)
def test_what_cannot_be_sampled_is_refused(steps, seed, said):
    with pytest.raises(ClearpaneError, match=said):
        Sampling(steps, seed)
