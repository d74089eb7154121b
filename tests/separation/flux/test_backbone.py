import torch
from diffusers import FluxKontextPipeline

from clearpane.separation.flux.backbone import pack, unpack


def test_packing_is_that_of_diffusers_and_unpacking_its_inverse():
    latents = torch.randn(2, 3, 6, 8)
    tokens = pack(latents)
    assert torch.equal(tokens, FluxKontextPipeline._pack_latents(latents, 2, 3, 6, 8))
    assert torch.equal(unpack(tokens, 6, 8), latents)


def test_latents_are_the_posterior_s_mean_shifted_and_scaled(backbone):
    pictures = torch.rand(2, 3, 16, 24)
    latents = backbone.encode(pictures)
    plain = backbone.vae.encode(2 * pictures - 1).latent_dist.mean
    torch.testing.assert_close(latents, 0.7 * (plain - 0.1))
    assert latents.shape == (2, 4, 4, 6)
    assert backbone.multiple == 8


def test_decoding_takes_back_shift_and_scale(backbone):
    latents = torch.randn(1, 4, 4, 4)
    plain = backbone.vae.decode(latents / 0.7 + 0.1).sample
    torch.testing.assert_close(backbone.decode(latents), (plain + 1) / 2)


def test_pictures_of_a_batch_do_not_see_each_other(backbone, task):
    noisy, reference = torch.randn(2, 4, 4, 4), torch.randn(2, 4, 4, 6)
    sigma = torch.tensor([0.3, 0.8])
    both = backbone.velocity(noisy, reference, sigma, task, 2.5)
    for i in range(2):
        alone = backbone.velocity(noisy[i : i + 1], reference[i : i + 1], sigma[i : i + 1], task, 2.5)
        torch.testing.assert_close(both[i : i + 1], alone, atol=1e-5, rtol=1e-4)


def test_reference_noise_task_and_guidance_all_matter(backbone, task):
    noisy, reference, sigma = torch.randn(1, 4, 4, 4), torch.randn(1, 4, 4, 4), torch.tensor([0.5])
    plain = backbone.velocity(noisy, reference, sigma, task, 2.5)
    other = type(task)(task.prompt_embeds + 1, task.pooled_prompt_embeds)
    for changed in (
        backbone.velocity(noisy, reference.flip(-1), sigma, task, 2.5),
        backbone.velocity(noisy.flip(-1), reference, sigma, task, 2.5),
        backbone.velocity(noisy, reference, sigma + 0.3, task, 2.5),
        backbone.velocity(noisy, reference, sigma, other, 2.5),
        backbone.velocity(noisy, reference, sigma, task, 5.0),
    ):
        assert (changed - plain).abs().max() > 1e-4
