"""The tiny autoencoder: its files' keys, its sizes."""

import pytest
import torch
from safetensors.torch import save_file

from benchmarks.flux.tiny_autoencoder import TinyAutoencoder, load_tiny_autoencoder


def test_weights_are_read_from_files_that_number_the_layers(tmp_path):
    torch.manual_seed(0)
    made = TinyAutoencoder()
    for name in ("encoder", "decoder"):
        part = getattr(made, name)
        save_file(
            {key: value.half() for key, value in part.state_dict().items()},
            tmp_path / f"taef2_{name}.safetensors",
        )
    vae = load_tiny_autoencoder(tmp_path)
    pictures = 2 * torch.rand(2, 3, 16, 24) - 1
    latents = vae.encode(pictures).latent_dist.mode()
    assert latents.shape == (2, 32, 2, 3) and vae.decode(latents).sample.shape == pictures.shape
    own = made.encode(pictures).latent_dist.mode()
    torch.testing.assert_close(latents, own, atol=1e-2, rtol=1e-2)
    (tmp_path / "taef2_decoder.safetensors").unlink()
    with pytest.raises(FileNotFoundError):
        load_tiny_autoencoder(tmp_path)


def test_there_are_1_3_million_parameters_in_each_half():
    for part in TinyAutoencoder().children():
        assert 1.2e6 < sum(p.numel() for p in part.parameters()) < 1.4e6
