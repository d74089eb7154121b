from pathlib import Path

import numpy as np
import pytest

from clearpane.errors import ClearpaneError
from clearpane.evaluation.lpips import Lpips

torch = pytest.importorskip("torch")
safetensors_torch = pytest.importorskip("safetensors.torch")
nn = torch.nn


def alexnet() -> "torch.nn.Sequential":
    """torchvision's ``alexnet().features``, layer for layer."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2),
    )  # fmt: skip


def vgg16() -> "torch.nn.Sequential":
    """torchvision's ``vgg16().features``, layer for layer."""
    layers, before = [], 3
    for width in (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"):
        if width == "M":
            layers.append(nn.MaxPool2d(2, 2))
        else:
            layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
            before = width
    return nn.Sequential(*layers)


# (network, last layer of each slice, channels compared there, as in the lpips package)
NETWORKS = {
    "alex": (alexnet, (1, 4, 7, 9, 11), (64, 192, 384, 256, 256)),
    "vgg": (vgg16, (3, 8, 15, 22, 29), (64, 128, 256, 512, 512)),
}


def reference(
    features: "torch.nn.Sequential", ends: tuple[int, ...], heads: list, x: np.ndarray, t: np.ndarray
) -> float:
    """LPIPS written out plainly, in double precision."""
    features = features.double()
    shift = torch.tensor([-0.030, -0.088, -0.188]).double()[:, None, None]
    scale = torch.tensor([0.458, 0.448, 0.450]).double()[:, None, None]
    layers: list[list[torch.Tensor]] = []
    for image in (x, t):
        h = (torch.from_numpy(image / 127.5 - 1).permute(2, 0, 1) - shift) / scale
        h, taps = h[None], []
        for index, layer in enumerate(features):
            h = layer(h)
            if index in ends:
                taps.append(h[0] / (h[0].norm(dim=0) + 1e-10))
        layers.append(taps)
    distance = 0.0
    for a, b, head in zip(*layers, heads, strict=True):
        distance += float(((a - b) ** 2 * head.double()[0]).sum(dim=0).mean())
    return distance


@pytest.fixture(params=["alex", "vgg"])
def network(request: pytest.FixtureRequest) -> tuple:
    torch.manual_seed(0)
    build, ends, widths = NETWORKS[request.param]
    heads = [torch.rand(1, width, 1, 1) for width in widths]
    return request.param, build(), ends, heads


def save(path: Path, features: "torch.nn.Sequential", heads: list) -> Path:
    tensors = {f"features.{k}": v.float().contiguous() for k, v in features.state_dict().items()}
    tensors |= {f"lin{i}.model.1.weight": head for i, head in enumerate(heads)}
    safetensors_torch.save_file(tensors, path)
    return path


def pictures() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 256, (64, 70, 3), dtype=np.uint8)
    return np.clip(truth + rng.normal(0, 30, truth.shape), 0, 255).astype(np.uint8), truth


def test_agrees_with_the_definition_written_out(network: tuple, tmp_path: Path) -> None:
    name, features, ends, heads = network
    lpips = Lpips(save(tmp_path / "w.safetensors", features, heads))
    x, t = pictures()
    assert lpips.network == name
    with torch.no_grad():
        assert lpips(x, t) == pytest.approx(reference(features, ends, heads, x, t), rel=1e-4)


def test_reads_the_names_of_the_lpips_package(tmp_path: Path) -> None:
    torch.manual_seed(0)
    build, ends, widths = NETWORKS["alex"]
    features, heads = build(), [torch.rand(1, width, 1, 1) for width in widths]
    plain = Lpips(save(tmp_path / "plain.safetensors", features, heads))
    tensors = {"scaling_layer.shift": torch.zeros(1, 3, 1, 1)}
    for key, value in features.state_dict().items():
        index = int(key.split(".")[0])
        part = next(i for i, end in enumerate(ends, 1) if index <= end)
        tensors[f"net.slice{part}.{key}"] = value
    tensors |= {f"lins.{i}.model.1.weight": head for i, head in enumerate(heads)}
    safetensors_torch.save_file(tensors, tmp_path / "package.safetensors")
    assert Lpips(tmp_path / "package.safetensors")(*pictures()) == plain(*pictures())


def test_equal_pictures_floats_and_small_ones(tmp_path: Path) -> None:
    build, _, widths = NETWORKS["alex"]
    lpips = Lpips(save(tmp_path / "w.safetensors", build(), [torch.rand(1, n, 1, 1) for n in widths]))
    x, t = pictures()
    assert lpips(t, t) == 0.0
    assert lpips(x / 255.0, t / 255.0) == pytest.approx(lpips(x, t), rel=1e-4)
    with pytest.raises(ClearpaneError, match="64 x 64 pixels, got 70 x 63"):
        lpips(x[:63], t[:63])


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"no tensors")
    with pytest.raises(ClearpaneError, match="not a readable safetensors file"):
        Lpips(path)
    with pytest.raises(ClearpaneError, match="not a readable safetensors file"):
        Lpips(tmp_path / "nowhere.safetensors")
    safetensors_torch.save_file({"features.0.weight": torch.zeros(8, 3, 3, 3)}, path)
    with pytest.raises(ClearpaneError, match="neither AlexNet nor VGG-16"):
        Lpips(path)
    save(path, alexnet(), [])
    with pytest.raises(ClearpaneError, match=r"no tensor lin0\.model\.1\.weight"):
        Lpips(path)
