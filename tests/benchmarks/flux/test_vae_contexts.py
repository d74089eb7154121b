"""Context errors of VAEs whose errors are known."""

from types import SimpleNamespace

import torch

from benchmarks.flux import vae_contexts
from benchmarks.flux.vae_contexts import _OPPONENT


def test_opponent_colours_are_an_orthonormal_basis():
    torch.testing.assert_close(_OPPONENT @ _OPPONENT.T, torch.eye(3))


def test_a_vae_that_sees_each_pixel_alone_has_nothing_to_learn_of_contexts():

    class Pixels(torch.nn.Module):
        """Latents are the picture itself, four pixels to one."""

        def encode(self, pictures):
            latents = torch.nn.functional.pixel_unshuffle(pictures, 2)
            return SimpleNamespace(latent_dist=SimpleNamespace(mode=lambda: latents))

        def decode(self, latents):
            return SimpleNamespace(sample=torch.nn.functional.pixel_shuffle(latents, 2))

    class Means(Pixels):
        """Latents less the mean of the whole picture, as a norm would have them."""

        def encode(self, pictures):
            return super().encode(pictures - pictures.mean(dim=(-2, -1), keepdim=True))

    photos, others = torch.rand(2, 4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert set(vae_contexts.context_errors(Pixels(), photos, others).values()) == {0.0}
    assert vae_contexts.context_errors(Means(), photos, others)["beside white"] > 0.5
    crops, generators = torch.rand(18, 3, 8, 8), [torch.Generator().manual_seed(1) for _ in range(3)]
    alone = vae_contexts.context_loss(Pixels(), Pixels(), crops, generators[0])
    assert alone < vae_contexts.context_loss(Means(), Pixels(), crops, generators[1])
    left, middle, right = vae_contexts.draw_neighbours(crops, generators[2])
    assert torch.equal(left, crops[:6]) and middle.shape == right.shape == left.shape
    assert middle.min() >= 0 and middle.max() <= 1
