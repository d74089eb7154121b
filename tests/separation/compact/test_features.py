import pytest
import torch
from torch import nn
from torch.nn import functional as F

from clearpane.errors import ClearpaneError
from clearpane.separation.compact.features import CHANNELS, ImageNetFeatures

# Kernel, stride, expansion, inputs, outputs of EfficientNet-Lite0's sixteen blocks, as published.
BLOCKS = [
    (3, 1, 1, 32, 16),
    *[(3, 2, 6, 16, 24), (3, 1, 6, 24, 24)],
    *[(5, 2, 6, 24, 40), (5, 1, 6, 40, 40)],
    *[(3, 2, 6, 40, 80), (3, 1, 6, 80, 80), (3, 1, 6, 80, 80)],
    *[(5, 1, 6, 80, 112), (5, 1, 6, 112, 112), (5, 1, 6, 112, 112)],
    *[(5, 2, 6, 112, 192), (5, 1, 6, 192, 192), (5, 1, 6, 192, 192), (5, 1, 6, 192, 192)],
    (3, 1, 6, 192, 320),
]


def published_weights() -> dict[str, torch.Tensor]:
    """Random weights under the names and in the shapes of the published file."""
    generator = torch.Generator().manual_seed(0)
    weights = {}

    def add(name: str, norm: str, *shape: int) -> None:
        spread = (2 / (shape[1] * shape[2] * shape[3])) ** 0.5
        weights[f"{name}.weight"] = spread * torch.randn(*shape, generator=generator)
        for key in ("weight", "running_var"):
            weights[f"{norm}.{key}"] = 0.5 + torch.rand(shape[0], generator=generator)
        for key in ("bias", "running_mean"):
            weights[f"{norm}.{key}"] = 0.2 * torch.randn(shape[0], generator=generator)
        weights[f"{norm}.num_batches_tracked"] = torch.tensor(1)

    add("_conv_stem", "_bn0", 32, 3, 3, 3)
    for number, (kernel, _, expansion, inputs, outputs) in enumerate(BLOCKS):
        block, inner = f"_blocks.{number}.", inputs * expansion
        if expansion > 1:
            add(f"{block}_expand_conv", f"{block}_bn0", inner, inputs, 1, 1)
        add(f"{block}_depthwise_conv", f"{block}_bn1", inner, 1, kernel, kernel)
        add(f"{block}_project_conv", f"{block}_bn2", outputs, inner, 1, 1)
    add("_conv_head", "_bn1", 1280, 320, 1, 1)
    return weights


def plain_features(weights: dict[str, torch.Tensor], image: torch.Tensor) -> list[torch.Tensor]:
    """The network as it was published: convolution, batch normalisation, ReLU6, one after the other."""

    def layer(x, name, norm, kernel=1, stride=1, groups=1, active=True):
        pad = kernel - stride
        x = F.pad(x, (pad // 2, pad - pad // 2) * 2)
        x = F.conv2d(x, weights[f"{name}.weight"], stride=stride, groups=groups)
        mean, variance, scale, shift = (
            weights[f"{norm}.{key}"] for key in ("running_mean", "running_var", "weight", "bias")
        )
        x = F.batch_norm(x, mean, variance, scale, shift, eps=1e-3)
        return F.relu6(x) if active else x

    x = layer((image * 255 - 127) / 128, "_conv_stem", "_bn0", 3, 2)
    found = []
    for number, (kernel, stride, expansion, inputs, outputs) in enumerate(BLOCKS):
        block, inner, y = f"_blocks.{number}.", inputs * expansion, x
        if expansion > 1:
            y = layer(y, f"{block}_expand_conv", f"{block}_bn0")
        y = layer(y, f"{block}_depthwise_conv", f"{block}_bn1", kernel, stride, inner)
        y = layer(y, f"{block}_project_conv", f"{block}_bn2", active=False)
        x = x + y if stride == 1 and inputs == outputs else y
        if number in (2, 4, 10, 15):
            found.append(x)
    return found


def test_published_weights_give_the_published_networks_features(tmp_path):
    weights = published_weights()
    torch.save(weights, tmp_path / "lite0.pth")
    network = ImageNetFeatures().eval()
    network.load_pretrained(tmp_path / "lite0.pth")
    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        found, expected = network(image), plain_features(weights, image)
    assert tuple(f.shape[1] for f in found) == CHANNELS
    assert [f.shape[-2:] for f in found] == [(64 // k, 96 // k) for k in (4, 8, 16, 32)]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("content", [b"nothing", None])
def test_other_files_are_refused_in_one_line(tmp_path, content):
    path = tmp_path / "other.pth"
    if content is None:
        torch.save(nn.Linear(2, 2).state_dict(), path)
    else:
        path.write_bytes(content)
    with pytest.raises(ClearpaneError, match=r"other\.pth: not the weights of EfficientNet-Lite0") as error:
        ImageNetFeatures().load_pretrained(path)
    assert "\n" not in str(error.value)


def test_code_in_a_weights_file_is_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (tmp_path.joinpath("sprung").mkdir, ())

    torch.save(Trap(), tmp_path / "trap.pth")
    with pytest.raises(ClearpaneError, match="not the weights"):
        ImageNetFeatures().load_pretrained(tmp_path / "trap.pth")
    assert not (tmp_path / "sprung").exists()
