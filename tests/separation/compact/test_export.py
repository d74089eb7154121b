import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from clearpane.errors import ClearpaneError
from clearpane.separation.compact.export import export_onnx, import_onnx
from clearpane.separation.compact.network import CompactNetwork, NetworkConfig
from clearpane.separation.compact.runtime import CompactSeparator

# The smallest network with both kinds of blocks: the exporter's time grows with their number.
CONFIG = NetworkConfig(widths=(16, 48), encoder_blocks=(1, 1), decoder_blocks=(1,), gated_from=1)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A network away from its start, and its ONNX file."""
    torch.manual_seed(1)
    network = CompactNetwork(CONFIG)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.03 * torch.randn_like(parameter))
    path = export_onnx(network.eval(), tmp_path_factory.mktemp("onnx") / "small.onnx", {"run": "test"})
    return network, path


@pytest.mark.parametrize(("height", "width"), [(4, 8), (40, 64), (64, 20)])
def test_onnx_agrees_with_pytorch_at_any_size(exported, height, width):
    network, path = exported
    picture = np.random.default_rng(0).random((1, 3, height, width), dtype=np.float32)
    session = onnxruntime.InferenceSession(str(path))
    results = session.run(["transmission", "reflection"], {"image": picture})
    with torch.no_grad():
        expected = network(torch.from_numpy(picture))
    assert np.abs(expected[0].numpy() - picture).max() > 0.05  # the network does something
    for result, layer in zip(results, expected, strict=True):
        np.testing.assert_allclose(result, layer.numpy(), atol=1e-3)


def test_weights_are_stored_as_half(exported):
    network, path = exported
    model = onnx.load(path)
    stored = {t.data_type for t in model.graph.initializer if np.prod(t.dims) >= 1024}
    assert stored == {onnx.TensorProto.FLOAT16}
    assert path.stat().st_size < 2.6 * sum(p.numel() for p in network.parameters())


def test_no_path_of_the_machine_that_exported_it_is_in_the_file(exported):
    assert b"site-packages" not in exported[1].read_bytes()
    assert b".py" not in exported[1].read_bytes()


def test_the_file_says_what_it_is(exported):
    session = onnxruntime.InferenceSession(str(exported[1]))
    facts = session.get_modelmeta().custom_metadata_map
    assert facts == {"multiple": "4", "run": "test"}


def test_the_runtime_gives_the_networks_result(exported):
    network, path = exported
    image = np.random.default_rng(1).random((21, 35, 3), dtype=np.float32)
    layers = CompactSeparator(path).separate(image)
    padded = np.pad(image, ((0, 3), (0, 1), (0, 0)), mode="edge").transpose(2, 0, 1)[None]
    with torch.no_grad():
        expected = network(torch.from_numpy(np.ascontiguousarray(padded)))
    for layer, tensor in zip((layers.transmission, layers.reflection), expected, strict=True):
        plain = tensor[0].permute(1, 2, 0)[:21, :35].clamp(0, 1).numpy()
        np.testing.assert_allclose(layer, plain, atol=1e-3)


def test_training_can_go_on_from_the_file(exported, tmp_path):
    network, path = exported
    loaded = CompactNetwork(CONFIG)
    import_onnx(loaded, path)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value, atol=1e-3, rtol=1e-3)
    with pytest.raises(ClearpaneError, match="not the weights of this network"):
        import_onnx(CompactNetwork(), path)
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(b"nothing of the kind")
    with pytest.raises(ClearpaneError, match=r"damaged\.onnx: not the weights"):
        import_onnx(loaded, damaged)
