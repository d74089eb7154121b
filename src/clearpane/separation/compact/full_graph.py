"""One ONNX graph from a photograph of any size to its layers, for runtimes without Python.

It surrounds the network by what `clearpane.separation.resolution`, `strength` and `confidence` do in NumPy,
which remain the reference that the tests compare it with.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import onnx
from onnx import ModelProto, NodeProto, parser

from clearpane.errors import ClearpaneError
from clearpane.files import atomic_path
from clearpane.separation.compact.runtime import WEIGHTS, WORKING_PIXELS
from clearpane.separation.confidence import INTERCEPT
from clearpane.separation.confidence import WEIGHTS as CUE_WEIGHTS

_MIRRORED = "mirrored_"

# The working size, as `working_size` computes it.
_SHRINK = f"""
shrink (float[1, 3, height, width] photograph) => (float[1, 3, height, width] centred) {{
    zero = Constant <value_float = 0.0> ()
    one = Constant <value_float = 1.0> ()
    clipped = Clip (photograph, zero, one)
    sides = Shape <start = 2> (photograph)
    precise_sides = Cast <to = 11> (sides)
    area = ReduceProd <keepdims = 1> (precise_sides)
    pixels = Constant <value = double {{{WORKING_PIXELS}.0}}> ()
    ratio = Div (pixels, area)
    root = Sqrt (ratio)
    whole = Constant <value = double {{1.0}}> ()
    scale = Min (root, whole)
    scaled = Mul (precise_sides, scale)
    rounded = Round (scaled)
    least = Constant <value = double {{16.0}}> ()
    at_least = Max (rounded, least)
    wanted = Cast <to = 7> (at_least)
    size = Min (wanted, sides)
    lead = Constant <value_ints = [1, 3]> ()
    single = Constant <value_ints = [1, 1]> ()
    grey = Constant <value_float = 0.5> ()
    centred = Sub (clipped, grey)
}}
"""

# The mean of the pixels whose centres lie in each of equal parts of a side, as differences of running sums.
_SIDE = """
side (float[1, 3, height, width] SOURCE) => (float[1, 3, rows, columns] SIDE_means) {
    SIDE_index = Constant <value_int = INDEX> ()
    SIDE_after = Gather (size, SIDE_index)
    SIDE_before = Gather (sides, SIDE_index)
    SIDE_one = Constant <value_int = 1> ()
    SIDE_past = Add (SIDE_after, SIDE_one)
    SIDE_numbers = Range (SIDE_one, SIDE_past, SIDE_one)
    SIDE_precise = Cast <to = 11> (SIDE_numbers)
    SIDE_precise_before = Cast <to = 11> (SIDE_before)
    SIDE_precise_after = Cast <to = 11> (SIDE_after)
    SIDE_product = Mul (SIDE_precise, SIDE_precise_before)
    SIDE_places = Div (SIDE_product, SIDE_precise_after)
    SIDE_half = Constant <value = double {0.5}> ()
    SIDE_centres = Add (SIDE_places, SIDE_half)
    SIDE_floors = Floor (SIDE_centres)
    SIDE_ends = Cast <to = 7> (SIDE_floors)
    SIDE_axis = Constant <value_int = AXIS> ()
    SIDE_running = CumSum (SOURCE, SIDE_axis)
    SIDE_last = Sub (SIDE_ends, SIDE_one)
    SIDE_sums_to_ends = Gather <axis = AXIS> (SIDE_running, SIDE_last)
    SIDE_first = Constant <value_ints = [0]> ()
    SIDE_minus_one = Constant <value_ints = [-1]> ()
    SIDE_axes = Constant <value_ints = [AXIS]> ()
    SIDE_earlier = Slice (SIDE_sums_to_ends, SIDE_first, SIDE_minus_one, SIDE_axes)
    SIDE_padding = Constant <value_ints = [1, 0]> ()
    SIDE_starts_sums = Pad (SIDE_earlier, SIDE_padding, , SIDE_axes)
    SIDE_sums = Sub (SIDE_sums_to_ends, SIDE_starts_sums)
    SIDE_earlier_ends = Slice (SIDE_ends, SIDE_first, SIDE_minus_one)
    SIDE_starts = Pad (SIDE_earlier_ends, SIDE_padding)
    SIDE_counts = Sub (SIDE_ends, SIDE_starts)
    SIDE_float_counts = Cast <to = 1> (SIDE_counts)
    SIDE_shape = Constant <value_ints = COUNT_SHAPE> ()
    SIDE_divisors = Reshape (SIDE_float_counts, SIDE_shape)
    SIDE_means = Div (SIDE_sums, SIDE_divisors)
}
"""

# The photograph at the working size, its sides padded to multiples of 32 by repeating the edges.
_PAD = """
pad (float[1, 3, rows, columns] columns_means) => (float[1, 3, padded_rows, padded_columns] image) {
    small = Add (columns_means, grey)
    multiple = Constant <value_ints = [32]> ()
    negative = Neg (size)
    missing = Mod (negative, multiple)
    before = Constant <value_ints = [0, 0, 0, 0, 0, 0]> ()
    padding = Concat <axis = 0> (before, missing)
    image = Pad <mode = "edge"> (small, padding)
}
"""

# Gain and offset of each layer at the working size, enlarged and applied to the photograph itself.
_LAYER = """
layer (float[1, 3, rows, columns] PADDED) => (float[1, 3, height, width] LAYER) {
    LAYER_corner = Constant <value_ints = [0, 0]> ()
    LAYER_axes = Constant <value_ints = [2, 3]> ()
    LAYER_small = Slice (PADDED, LAYER_corner, size, LAYER_axes)
    LAYER_centred = Sub (LAYER_small, grey)
    LAYER_mean_image = AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (columns_means)
    LAYER_mean = AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (LAYER_centred)
    LAYER_squares = Mul (columns_means, columns_means)
    LAYER_mean_squares = AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (LAYER_squares)
    LAYER_products = Mul (columns_means, LAYER_centred)
    LAYER_mean_products = AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (LAYER_products)
    LAYER_square_of_mean = Mul (LAYER_mean_image, LAYER_mean_image)
    LAYER_variance = Sub (LAYER_mean_squares, LAYER_square_of_mean)
    LAYER_product_of_means = Mul (LAYER_mean_image, LAYER_mean)
    LAYER_covariance = Sub (LAYER_mean_products, LAYER_product_of_means)
    LAYER_flat = Constant <value_float = FLAT> ()
    LAYER_flat_variance = Constant <value_float = 0.0001> ()
    LAYER_numerator = Add (LAYER_covariance, LAYER_flat)
    LAYER_denominator = Add (LAYER_variance, LAYER_flat_variance)
    LAYER_window_gain = Div (LAYER_numerator, LAYER_denominator)
    LAYER_gain = AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (LAYER_window_gain)
    LAYER_scaled = Mul (LAYER_gain, small)
    LAYER_offset = Sub (LAYER_small, LAYER_scaled)
    LAYER_shape = Concat <axis = 0> (lead, sides)
    LAYER_gain_full = Resize <mode = "linear"> (LAYER_gain, , , LAYER_shape)
    LAYER_gained = Mul (LAYER_gain_full, clipped)
    LAYER_offset_full = Resize <mode = "linear"> (LAYER_offset, , , LAYER_shape)
    LAYER_sum = Add (LAYER_gained, LAYER_offset_full)
    LAYER = Clip (LAYER_sum, zero, one)
}
"""

# I + |s| (layer - I) in linear light; the photograph itself at 0 and the layer itself at 1 and -1.
_STRENGTH = """
strength (float[1] strength) => (float[1, 3, height, width] result) {
    kept = Equal (strength, zero)
    nonnegative = GreaterOrEqual (strength, zero)
    chosen = Where (nonnegative, transmission, reflection)
    weight = Abs (strength)
    between = Less (weight, one)
    partly = Squeeze (between)
    result = If (partly) <
        then_branch = mix () => (float[1, 3, height, width] mixed) {
            knee = Constant <value_float = 0.04045> ()
            slope = Constant <value_float = 12.92> ()
            shift = Constant <value_float = 0.055> ()
            span = Constant <value_float = 1.055> ()
            power = Constant <value_float = 2.4> ()
            inverse = Constant <value_float = 0.4166666666666667> ()
            linear_knee = Constant <value_float = 0.0031308> ()
            image_low = Div (clipped, slope)
            image_shifted = Add (clipped, shift)
            image_base = Div (image_shifted, span)
            image_high = Pow (image_base, power)
            image_dark = LessOrEqual (clipped, knee)
            image_light = Where (image_dark, image_low, image_high)
            chosen_low = Div (chosen, slope)
            chosen_shifted = Add (chosen, shift)
            chosen_base = Div (chosen_shifted, span)
            chosen_high = Pow (chosen_base, power)
            chosen_dark = LessOrEqual (chosen, knee)
            chosen_light = Where (chosen_dark, chosen_low, chosen_high)
            difference = Sub (chosen_light, image_light)
            share = Mul (weight, difference)
            light = Add (image_light, share)
            light_low = Mul (light, slope)
            light_root = Pow (light, inverse)
            light_scaled = Mul (light_root, span)
            light_high = Sub (light_scaled, shift)
            light_dark = LessOrEqual (light, linear_knee)
            blended = Where (light_dark, light_low, light_high)
            mixed = Where (kept, clipped, blended)
        },
        else_branch = whole_layer () => (float[1, 3, height, width] unmixed) {
            unmixed = Identity (chosen)
        }
    >
}
"""

# A second copy of the network for the mirror image; NETWORK stands for its nodes.
_CONFIDENCE = f"""
confidence (bool with_confidence) => (float[1, 1, map_height, map_width] confidence) {{
    confidence = If (with_confidence) <
        then_branch = estimate () => (float[1, 1, map_height, map_width] estimated) {{
            last = Constant <value_ints = [-1]> ()
            past_first = Constant <value_ints = [-9223372036854775807]> ()
            horizontal = Constant <value_ints = [3]> ()
            mirror = Slice (small, last, past_first, horizontal, last)
            {_MIRRORED}image = Pad <mode = "edge"> (mirror, padding)
            NETWORK = Identity ({_MIRRORED}image)
            corner = Constant <value_ints = [0, 0]> ()
            axes = Constant <value_ints = [2, 3]> ()
            seen_mirrored = Slice ({_MIRRORED}passed, corner, size, axes)
            seen_again = Slice (seen_mirrored, last, past_first, horizontal, last)
            again = Clip (seen_again, zero, one)
            found = Clip (transmission_small, zero, one)
            differing = Sub (found, again)
            disagreement = Abs (differing)
            changing = Sub (found, small)
            change = Abs (changing)
            channels = Constant <value_ints = [1]> ()
            mean_disagreement = ReduceMean (disagreement, channels)
            mean_change = ReduceMean (change, channels)
            cues = Concat <axis = 1> (mean_disagreement, mean_change)
            means = AveragePool <kernel_shape = [9, 9], pads = [4, 4, 4, 4]> (cues)
            smallest = Constant <value_float = 0.01> ()
            offset_means = Add (means, smallest)
            logarithms = Log (offset_means)
            cue_weights = Constant <value = float[1, 2, 1, 1] {{{CUE_WEIGHTS[0]}, {CUE_WEIGHTS[1]}}}> ()
            weighted = Mul (logarithms, cue_weights)
            summed = ReduceSum (weighted, channels)
            intercept = Constant <value_float = {INTERCEPT}> ()
            score = Add (summed, intercept)
            probability = Sigmoid (score)
            map_shape = Concat <axis = 0> (single, sides)
            estimated = Resize <mode = "linear"> (probability, , , map_shape)
        }},
        else_branch = nothing () => (float[1, 1, map_height, map_width] none) {{
            none = Constant <value = float[1, 1, 0, 0] {{}}> ()
        }}
    >
}}
"""


def _nodes(text: str) -> list[NodeProto]:
    return list(parser.parse_graph(text).node)


def _side_nodes(name: str, source: str, index: int) -> list[NodeProto]:
    text = _SIDE.replace("SOURCE", source).replace("SIDE", name).replace("INDEX", str(index))
    shape = "[-1, 1]" if index == 0 else "[-1]"
    return _nodes(text.replace("AXIS", str(index + 2)).replace("COUNT_SHAPE", shape))


def _layer_nodes(name: str, padded: str, flat: float) -> list[NodeProto]:
    text = _LAYER.replace("PADDED", padded).replace("LAYER", name).replace("FLAT", f"{flat:.6f}")
    return _nodes(text)


def _renamed(nodes: Iterable[NodeProto], names: Mapping[str, str]) -> list[NodeProto]:
    """Copy nodes with some of their values under other names."""
    copies = []
    for node in nodes:
        copy = NodeProto()
        copy.CopyFrom(node)
        for values in (copy.input, copy.output):
            values[:] = [names.get(name, name) for name in values]
        copies.append(copy)
    return copies


def _mirrored_nodes(network: list[NodeProto]) -> list[NodeProto]:
    """Copy the nodes that depend on the image, under other names; both copies share the weights."""
    depending, nodes = {"image"}, []
    for node in network:
        if depending.intersection(node.input):
            depending.update(node.output)
            nodes.append(node)
    copies = _renamed(nodes, {name: _MIRRORED + name for name in depending})
    for copy in copies:
        copy.name = _MIRRORED + copy.name if copy.name else ""
    return copies


def _confidence_nodes(network: list[NodeProto]) -> list[NodeProto]:
    nodes = _nodes(_CONFIDENCE)
    branch = next(attribute.g for attribute in nodes[0].attribute if attribute.name == "then_branch")
    place = next(i for i, node in enumerate(branch.node) if list(node.output) == ["NETWORK"])
    inner = [*branch.node[:place], *_mirrored_nodes(network), *branch.node[place + 1 :]]
    del branch.node[:]
    branch.node.extend(inner)
    return nodes


def build_full_graph(network: ModelProto) -> ModelProto:
    """Surround the separator's network by everything from a photograph of any size to its layers.

    Args:
        network: Model written by `clearpane.separation.compact.export.export_onnx`.

    Returns:
        Model with the inputs ``photograph`` [1, 3, H, W] (sRGB in [0, 1]), ``strength`` [1] (-1 to 1) and
        ``with_confidence`` (a Boolean), and the outputs ``result`` (the photograph with as much of the
        reflection removed as the strength says), ``transmission``, ``reflection`` [1, 3, H, W] and
        ``confidence`` ([1, 1, H, W], or [1, 1, 0, 0] if not requested).
    """
    inside = _renamed(network.graph.node, {"transmission": "passed", "reflection": "added"})
    nodes = [
        *_nodes(_SHRINK),
        *_side_nodes("rows", "centred", 0),
        *_side_nodes("columns", "rows_means", 1),
        *_nodes(_PAD),
        *inside,
        *_layer_nodes("transmission", "passed", 1e-4),
        *_layer_nodes("reflection", "added", 0.0),
        *_nodes(_STRENGTH),
        *_confidence_nodes(inside),
    ]
    signature = parser.parse_graph(
        """
        clearpane (float[1, 3, height, width] photograph, float[1] strength, bool with_confidence) =>
            (float[1, 3, height, width] result, float[1, 3, height, width] transmission,
             float[1, 3, height, width] reflection, float[1, 1, map_height, map_width] confidence) {}
        """
    )
    graph = onnx.helper.make_graph(
        nodes, "clearpane", signature.input, signature.output, network.graph.initializer
    )
    model = onnx.helper.make_model(
        graph, opset_imports=network.opset_import, ir_version=network.ir_version, producer_name="clearpane"
    )
    onnx.checker.check_model(model)
    return model


def export_full_graph(path: Path, weights: Path = WEIGHTS) -> Path:
    """Write the whole graph of a separator to ``path`` and return it.

    Raises:
        ClearpaneError: The weights cannot be read, or the file cannot be written.
    """
    try:
        network = onnx.load(weights)
    except Exception as error:  # protobuf's own exceptions share no base class
        raise ClearpaneError(f"{weights}: not an ONNX model ({str(error).splitlines()[0]})") from error
    model = build_full_graph(network)
    with atomic_path(path, overwrite=True) as temporary:
        Path(temporary).write_bytes(model.SerializeToString())
    return path
