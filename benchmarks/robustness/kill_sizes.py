"""Smaller networks and grids for the commands that are killed: what they write, and when, stays the same.

Each function changes constants of modules for the process that calls it, which then runs one command.
"""

from functools import partial
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING

from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from torch import nn


def small_compact() -> None:
    """Train a separator of one level, without ImageNet's features, and export its weights without a graph.

    PyTorch's exporter works for long and writes nothing; the file and its weights are Clearpane's to write.
    """
    from clearpane.separation.compact import export
    from clearpane.separation.compact.network import CompactNetwork, NetworkConfig
    from clearpane.training import precision
    from clearpane.training.compact import recipe

    config = NetworkConfig((8,), (0,), decoder_blocks=(), features=False)
    _set(recipe, CompactNetwork=partial(CompactNetwork, config))
    _set(export.torch.onnx, export=_weights_alone)
    _set(precision, bfloat16_speed=lambda: 0.0)  # not measured


def _weights_alone(network: "nn.Module", *_: object, **__: object) -> SimpleNamespace:
    """Return what `torch.onnx.export` returns, for a graph that hands its input on beside the weights."""
    shape = [1, 3, None, None]
    image, result = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("image", "same")
    )
    weights = [numpy_helper.from_array(value.numpy(), name) for name, value in network.state_dict().items()]
    node = helper.make_node("Identity", ["image"], ["same"])
    model = helper.make_model(helper.make_graph([node], "network", [image], [result], weights))
    return SimpleNamespace(model_proto=model)


def small_lirm() -> None:
    """Train a LIRM of one block on objects with few views, points and lights; score one small new view."""
    from clearpane.reconstruction.field.rendering import RenderOptions
    from clearpane.reconstruction.lirm.model import LirmConfig
    from clearpane.synthesis.objects import materials, rendering
    from clearpane.synthesis.objects.samples import ObjectStream
    from clearpane.training import precision
    from clearpane.training.lirm import objective, recipe, validation

    config = LirmConfig(
        blocks=1,
        width=16,
        heads=2,
        patch=8,
        plane_side=2,
        plane_stride=4,
        channels=4,
        panorama_side=2,
        evidence=8,
        volume=8,
    )
    options = rendering.ObjectRenderOptions(supersampling=1, lights=4, facets=1)
    stream = partial(ObjectStream, views=4, points=256, options=options)
    _set(recipe, _SIZES={"small": config}, ROUNDS=((2,), (1, 1)), MOST_SHOWN=2, ObjectStream=stream)
    _set(objective, ROUNDS=((2,), (1, 1)), MOST_SHOWN=2)
    _set(validation, _SHOWN=2, _NEW=1, FINAL_RENDERING=RenderOptions(1 / 800, samples=16, occupancy=8))
    _set(materials, TEXTURE_SIZE=64)
    _set(rendering, _STEPS=24, _SHADOW_STEPS=8, DistanceGrid=partial(rendering.DistanceGrid, side=24))
    _set(precision, bfloat16_speed=lambda: 0.0)  # not measured


def small_reconstruction() -> None:
    """Place, crop and start from coarse hulls, and draw a small contact sheet."""
    from clearpane.app import reconstruct_object
    from clearpane.reconstruction.asset import baking
    from clearpane.reconstruction.capture import cropping, placement
    from clearpane.reconstruction.fitting import refine, sky_visibility, starting

    _set(placement, _GRID=16)
    _set(cropping, _HULL_SIDE=12)
    _set(starting, EVIDENCE_SIDE=24, _PLANE_SIDE=16, _VOLUME_SIDE=8)
    _set(refine, _EVALUATED=64)
    _set(sky_visibility, _GRID=8, _DISTANCES=16)
    _set(baking, _OCCLUSION_GRID=16, _OCCLUSION_RAYS=8)
    _set(reconstruct_object, _SHEET_SIDE=32)


def _set(module: ModuleType, **constants: object) -> None:
    """Change constants of a module; one that it does not have is an error."""
    for name, value in constants.items():
        getattr(module, name)
        setattr(module, name, value)
