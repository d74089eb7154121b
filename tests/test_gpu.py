"""Test what needs a CUDA GPU; skipped elsewhere. The same code runs on a CPU in the other tests."""

import pytest
import torch

from clearpane.separation.compact.network import CompactNetwork
from clearpane.separation.flux.loading import Loading, encode_text, load_backbone

pytestmark = pytest.mark.gpu


def test_the_compact_network_agrees_with_a_cpu():
    torch.manual_seed(0)
    network = CompactNetwork().eval()
    torch.nn.init.normal_(network.head.weight, std=0.01)
    photo = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        expected = network(photo)
        result = network.cuda()(photo.cuda())
    for a, b in zip(result, expected, strict=True):
        torch.testing.assert_close(a.cpu(), b, atol=1e-3, rtol=0)


@pytest.mark.parametrize("offload", [False, True])
def test_a_base_model_predicts_the_same_as_on_a_cpu(base, offload):
    def velocity(loading):
        backbone = load_backbone(base, loading)
        task = encode_text(base, "please remove the reflection.").to(loading.device, torch.float32)
        generator = torch.Generator().manual_seed(0)
        noisy, reference = (torch.randn(1, 4, 4, 4, generator=generator) for _ in range(2))
        here = (x.to(loading.device) for x in (noisy, reference, torch.tensor([0.5])))
        with torch.no_grad():
            return backbone.velocity(*here, task, 2.5).cpu()

    expected = velocity(Loading("float32", "cpu"))
    result = velocity(Loading("float32", "cuda", offload=offload))
    torch.testing.assert_close(result, expected, atol=1e-3, rtol=1e-3)


def test_four_bits_need_less_memory_than_sixteen(base):
    sizes = {}
    for precision in ("bfloat16", "nf4"):
        torch.cuda.empty_cache()
        before = torch.cuda.memory_allocated()
        backbone = load_backbone(base, Loading(precision, "cuda"))
        sizes[precision] = torch.cuda.memory_allocated() - before
        del backbone
    assert sizes["nf4"] < sizes["bfloat16"]
