import pytest
import torch

from clearpane.separation.compact.network import ChannelNorm, CompactNetwork, NetworkConfig, gate

SMALL = NetworkConfig((8, 8, 16), (1, 1, 2), decoder_blocks=(1, 1), gated_from=1, features=False)
# The smallest with ImageNet's features.
INFORMED = NetworkConfig((8,) * 5, encoder_blocks=(0,) * 5, decoder_blocks=(0,) * 4)


def perturbed(config: NetworkConfig = SMALL) -> CompactNetwork:
    """A network away from its starting point, so that every layer shows in the result."""
    torch.manual_seed(0)
    network = CompactNetwork(config)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return network.eval()


@pytest.mark.parametrize("config", [SMALL, INFORMED])
def test_starts_as_the_identity_with_no_reflection(config):
    picture = torch.rand(2, 3, 32, 64)
    transmission, reflection = CompactNetwork(config)(picture)
    assert torch.equal(transmission, picture)
    assert torch.equal(reflection, torch.zeros_like(picture))


def test_a_picture_does_not_depend_on_its_batch():
    network = perturbed()
    pictures = torch.rand(3, 3, 16, 16)
    together = network(pictures)
    alone = network(pictures[1:2])
    for whole, part in zip(together, alone, strict=True):
        torch.testing.assert_close(whole[1:2], part, atol=1e-5, rtol=1e-5)


def test_a_distant_change_reaches_every_place():
    """Channel attention averages over the whole picture: exposure and haze are global."""
    network = perturbed()
    picture = torch.rand(1, 3, 16, 256)
    changed = picture.clone()
    changed[..., -16:] = 1
    difference = (network(picture)[0] - network(changed)[0])[..., :16].abs()
    assert difference.max() > 1e-6


def test_gate_and_norm_by_hand():
    x = torch.tensor([2.0, 3.0, 5.0, 7.0]).view(1, 4, 1, 1)
    assert gate(x).flatten().tolist() == [10.0, 21.0]
    normed = ChannelNorm(4)(x).flatten()
    expected = (x.flatten() - 4.25) / (x.flatten().var(unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(normed, expected)


def test_gradients_reach_every_parameter():
    network = perturbed().train()
    sum(layer.square().mean() for layer in network(torch.rand(1, 3, 16, 16))).backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not silent


def test_a_config_whose_lengths_disagree_is_refused():
    with pytest.raises(ValueError, match="decoder_blocks"):
        NetworkConfig(widths=(8, 16), encoder_blocks=(1, 1), decoder_blocks=(1, 1), features=False)
    with pytest.raises(ValueError, match="5 levels"):
        NetworkConfig(widths=(8, 16), encoder_blocks=(1, 1), decoder_blocks=(1,))


def test_features_inform_every_level_and_are_learnt():
    network = perturbed(INFORMED)
    picture = torch.rand(1, 3, 64, 64)
    before = network(picture)[0]
    network(picture)[0].square().mean().backward()
    assert all(p.grad.any() for p in network.features.parameters())
    for convolution in network.inject:
        assert convolution.weight.grad.any()
        kept = convolution.weight.data.clone()
        convolution.weight.data.zero_()
        assert not torch.equal(network(picture)[0], before)
        convolution.weight.data.copy_(kept)
