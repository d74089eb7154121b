import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from clearpane.errors import ClearpaneError
from clearpane.separation.compact import export
from clearpane.separation.compact.export import export_onnx, import_onnx
from clearpane.separation.compact.network import CompactNetwork, NetworkConfig
from clearpane.separation.compact.onnx_files import write_onnx_files
from clearpane.separation.compact.runtime import CompactSeparator

# The smallest network with both kinds of blocks: the exporter's time grows with their number.
CONFIG = NetworkConfig((16, 48), encoder_blocks=(1, 1), decoder_blocks=(1,), gated_from=1, features=False)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A network away from its start, and its ONNX file with weights of 8, 16 and 32 bits.

    The network has the weights that the file holds, rounded.
    """
    torch.manual_seed(1)
    network = CompactNetwork(CONFIG)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.03 * torch.randn_like(parameter))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "_SMALLEST_EIGHTH", 3000)
        path = export_onnx(network.eval(), tmp_path_factory.mktemp("onnx") / "small.onnx", {"run": "test"})
    exact = {name: value.clone() for name, value in network.state_dict().items()}
    import_onnx(network, path)
    return network, path, exact


@pytest.mark.parametrize(("height", "width"), [(4, 8), (40, 64), (64, 20)])
def test_onnx_agrees_with_pytorch_at_any_size(exported, height, width):
    network, path, _ = exported
    picture = np.random.default_rng(0).random((1, 3, height, width), dtype=np.float32)
    session = onnxruntime.InferenceSession(str(path))
    results = session.run(["transmission", "reflection"], {"image": picture})
    with torch.no_grad():
        expected = network(torch.from_numpy(picture))
    assert np.abs(expected[0].numpy() - picture).max() > 0.05  # the network does something
    for result, layer in zip(results, expected, strict=True):
        np.testing.assert_allclose(result, layer.numpy(), atol=1e-3)


def test_large_weights_are_stored_with_fewer_bits(exported):
    _, path, exact = exported
    found = {t.name: t for t in onnx.load(path).graph.initializer}
    kinds = {".int8": onnx.TensorProto.INT8, ".half": onnx.TensorProto.FLOAT16, "": onnx.TensorProto.FLOAT}
    for name, value in exact.items():
        bits = ".int8" if value.numel() >= 3000 else ".half" if value.numel() >= 1024 else ""
        assert found[name + bits].data_type == kinds[bits]
    assert {name.rpartition(".")[2] for name in found} >= {"int8", "half", "scale", "bias"}


def test_eight_bits_are_rounded_by_less_than_half_a_step_of_their_channel(exported):
    network, _, exact = exported
    for name, value in network.state_dict().items():
        if value.numel() >= 3000:
            largest = exact[name].abs().amax(dim=(1, 2, 3), keepdim=True)
            assert ((value - exact[name]).abs() <= 0.501 * largest / 127).all()
            assert not torch.equal(value, exact[name])
        else:
            torch.testing.assert_close(value, exact[name], atol=1e-4, rtol=1e-3)


def test_a_channel_of_zeros_stays_zero():
    weight = onnx.numpy_helper.from_array(np.zeros((250, 200), np.float32), "w")
    node = onnx.helper.make_node("Identity", ["w"], ["y"])
    graph = onnx.helper.make_graph([node], "g", [], [], [weight])
    model = onnx.helper.make_model(graph)
    export.store_small(model)
    assert not export.stored_weights(model)["w"].any()


def test_no_path_of_the_machine_that_exported_it_is_in_the_file(exported):
    assert b"site-packages" not in exported[1].read_bytes()
    assert b".py" not in exported[1].read_bytes()


def test_the_file_says_what_it_is(exported):
    session = onnxruntime.InferenceSession(str(exported[1]))
    facts = session.get_modelmeta().custom_metadata_map
    assert facts == {"multiple": "4", "run": "test"}


def test_the_runtime_gives_the_networks_result(exported):
    network, path, _ = exported
    image = np.random.default_rng(1).random((21, 35, 3), dtype=np.float32)
    layers = CompactSeparator(path).separate(image)
    padded = np.pad(image, ((0, 3), (0, 1), (0, 0)), mode="edge").transpose(2, 0, 1)[None]
    with torch.no_grad():
        expected = network(torch.from_numpy(np.ascontiguousarray(padded)))
    for layer, tensor in zip((layers.transmission, layers.reflection), expected, strict=True):
        plain = tensor[0].permute(1, 2, 0)[:21, :35].clamp(0, 1).numpy()
        np.testing.assert_allclose(layer, plain, atol=1e-3)


def test_training_goes_on_from_the_file_alone(exported, tmp_path):
    _, path, _ = exported
    loaded = CompactNetwork(CONFIG)
    with pytest.raises(ClearpaneError, match="not the weights of this network"):
        import_onnx(CompactNetwork(), path)
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(b"nothing of the kind")
    with pytest.raises(ClearpaneError, match=r"damaged\.onnx: not the weights"):
        import_onnx(loaded, damaged)


def test_a_network_with_imagenets_features_is_stored_whole(tmp_path):
    """At the thresholds that ship: what rounding changes is small, and the runtime adds nothing to it."""
    torch.manual_seed(2)
    network = CompactNetwork(NetworkConfig((8,) * 5, encoder_blocks=(0,) * 5, decoder_blocks=(0,) * 4))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if not name.startswith("features."):
                parameter.add_(0.05 * torch.randn_like(parameter))
    path = export_onnx(network.eval(), tmp_path / "informed.onnx")
    rounded = CompactNetwork(network.config).eval()
    import_onnx(rounded, path)
    picture = torch.rand(1, 3, 64, 96)
    session = onnxruntime.InferenceSession(str(path))
    (found,) = session.run(["transmission"], {"image": picture.numpy()})
    with torch.no_grad():
        exact, stored = network(picture)[0], rounded(picture)[0]
        network.inject[-1].weight.zero_()
        uninformed = network(picture)[0]
    change = (exact - picture).square().mean()
    np.testing.assert_allclose(found, stored.numpy(), atol=1e-3)
    assert 0 < (exact - stored).square().mean() < 1e-3 * change
    assert (exact - uninformed).abs().max() > 1e-4


def test_other_programs_get_it_in_float32_float16_and_8_bits(exported, tmp_path):
    network, path, _ = exported
    (tmp_path / "compact.onnx").write_bytes(path.read_bytes())
    write_onnx_files(tmp_path)
    picture = np.random.default_rng(0).random((1, 3, 16, 24), dtype=np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy(picture))[0].numpy()
    kinds, results = {}, {}
    for file in sorted((tmp_path / "onnx").iterdir()):
        model = onnx.load(file)
        kinds[file.name] = {w.data_type for w in model.graph.initializer if int(np.prod(w.dims)) >= 1024}
        assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}  # any runtime's
        session = onnxruntime.InferenceSession(file)
        assert session.get_modelmeta().custom_metadata_map["multiple"] == str(CONFIG.multiple)
        results[file.name] = session.run(["transmission"], {"image": picture})[0]
    kind = onnx.TensorProto
    assert kinds["model.onnx"] == {kind.FLOAT} and kinds["model_fp16.onnx"] == {kind.FLOAT16}
    assert kind.INT8 in kinds["model_quantized.onnx"] and kind.FLOAT not in kinds["model_quantized.onnx"]
    np.testing.assert_allclose(results["model.onnx"], expected, atol=1e-3)
    np.testing.assert_array_equal(results["model_quantized.onnx"], results["model.onnx"])
    assert 0 < np.abs(results["model_fp16.onnx"] - results["model.onnx"]).max() < 0.01
