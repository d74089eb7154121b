from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from clearpane.errors import ClearpaneError
from clearpane.evaluation import st_lpips
from clearpane.evaluation.st_lpips import PACKAGE, StLpips

torch = pytest.importorskip("torch")
nn = torch.nn


class LowPass(nn.Module):
    """Half the resolution, by the binomial filter 1, 2, 1 on mirrored edges."""

    def forward(self, x: "torch.Tensor") -> "torch.Tensor":
        line = torch.tensor([0.25, 0.5, 0.25], dtype=x.dtype)
        padded = nn.ReflectionPad2d(2)(x)
        across = sum(line[i] * padded[..., i : padded.shape[-1] - 2 + i] for i in range(3))
        both = sum(line[i] * across[..., i : across.shape[-2] - 2 + i, :] for i in range(3))
        return both[..., ::2, ::2]


def network() -> "torch.nn.Sequential":
    """The published layers, numbered as in the published state dictionary."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, 1, 2), LowPass(), nn.ReLU(),
        nn.MaxPool2d(3, 1), LowPass(), nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(),
        nn.MaxPool2d(3, 1), LowPass(), nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(),
    )  # fmt: skip


SLICES = {0: 1, 5: 2, 9: 3, 11: 4, 13: 5}
ENDS = (2, 6, 10, 12, 14)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> tuple:
    torch.manual_seed(0)
    layers, heads = network(), [torch.rand(1, width, 1, 1) for width in (64, 192, 384, 256, 256)]
    tensors = {f"lin{i}.model.1.weight": head for i, head in enumerate(heads)}
    for name, value in layers.state_dict().items():
        tensors[f"net.slice{SLICES[int(name.split('.')[0])]}.{name}"] = value
    path = tmp_path_factory.mktemp("weights") / "alex.pth"
    torch.save(tensors, path)
    return path, layers, heads


def pictures() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 256, (64, 70, 3), dtype=np.uint8)
    return np.clip(truth + rng.normal(0, 30, truth.shape), 0, 255).astype(np.uint8), truth


def test_agrees_with_the_definition_written_out(weights: tuple) -> None:
    path, layers, heads = weights
    shift = torch.tensor([-0.030, -0.088, -0.188])[:, None, None]
    scale = torch.tensor([0.458, 0.448, 0.450])[:, None, None]
    seen: list[list[torch.Tensor]] = []
    for image in pictures():
        x = ((torch.from_numpy(image / np.float32(127.5) - 1).permute(2, 0, 1) - shift) / scale)[None]
        taps = []
        with torch.no_grad():
            for index, layer in enumerate(layers):
                x = layer(x)
                if index in ENDS:
                    taps.append(x[0] / (x[0].norm(dim=0) + 1e-10))
        seen.append(taps)
    wanted = sum(
        float(((a - b) ** 2 * head[0]).sum(dim=0).mean()) for a, b, head in zip(*seen, heads, strict=True)
    )
    assert StLpips(path)(*pictures()) == pytest.approx(wanted, rel=1e-4)


def test_equal_pictures_floats_and_small_ones(weights: tuple) -> None:
    metric, (x, t) = StLpips(weights[0]), pictures()
    assert metric(t, t) == 0.0
    assert metric(x / 255.0, t / 255.0) == pytest.approx(metric(x, t), rel=1e-4)
    with pytest.raises(ClearpaneError, match="ST-LPIPS needs at least 64 x 64 pixels, got 70 x 63"):
        metric(x[:63], t[:63])


def test_weights_that_are_missing_or_damaged_are_one_line(
    weights: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(st_lpips, "PACKAGE", "no_such_package")
    with pytest.raises(ClearpaneError, match="pip install stlpips-pytorch"):
        StLpips()
    path = tmp_path / "w.pth"
    path.write_bytes(b"no tensors")
    with pytest.raises(ClearpaneError, match="damaged, not the weights of ST-LPIPS"):
        StLpips(path)
    torch.save({"net.slice1.0.weight": torch.zeros(1)}, path)
    with pytest.raises(ClearpaneError, match=r"no tensor net\.slice1\.0\.bias"):
        StLpips(path)


@pytest.mark.skipif(find_spec(PACKAGE) is None, reason="stlpips-pytorch is not installed")
def test_the_published_network_gives_the_published_code_s_figure() -> None:
    """0.0038009626: the package's own code on these pictures."""
    assert StLpips()(*pictures()) == pytest.approx(0.0038009626, rel=1e-4)


def test_a_tensor_of_another_shape_is_named(weights: tuple, tmp_path: Path) -> None:
    tensors = torch.load(weights[0], weights_only=True)
    for value in (torch.zeros(192, 64, 3, 3), "text"):
        torch.save({**tensors, "net.slice2.5.weight": value}, tmp_path / "other.pth")
        with pytest.raises(ClearpaneError, match=r"net\.slice2\.5\.weight is .*not \[192, 64, 5, 5\]; these"):
            StLpips(tmp_path / "other.pth")
