"""Errors of a VAE that is equivariant by construction."""

from types import SimpleNamespace

import torch

from benchmarks.flux import equivariance


def test_an_equivariant_vae_has_no_error_and_its_mixed_latents_show_the_mixture():

    class Identity:
        """Latents that are the pictures in [-1, 1]."""

        def encode(self, pictures):
            return SimpleNamespace(latent_dist=SimpleNamespace(mode=lambda: pictures))

        def decode(self, latents):
            return SimpleNamespace(sample=latents)

    generator = torch.Generator().manual_seed(0)
    first, second = torch.rand(2, 3, 3, 8, 8, generator=generator)
    scores = equivariance.score(Identity(), (first, second, torch.tensor([0.2, 0.5, 0.9])))
    assert max(scores["srgb error"]) < 1e-10
    assert min(scores["linear error"]) > 1e-3
    assert min(scores["srgb from latents"]) > 99 > 40 > max(scores["linear from latents"])
    assert min(scores["clean"] + scores["linear mixed"]) > 99
