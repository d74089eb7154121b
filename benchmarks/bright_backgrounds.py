"""Bright things behind the glass: are labels, lamps, lit walls and skies taken for reflections?

Held-out natural pictures get such things pasted in, from the generator that the training draws its negatives
with. They are then seen as they are, and through a pane with a weak and with a usual reflection.
"""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clearpane.errors import MissingExtraError
from clearpane.evaluation.bootstrap import bootstrap_mean
from clearpane.evaluation.harm import harm, summarise_harm
from clearpane.evaluation.metrics import psnr, to_8bit
from clearpane.separation.compact.runtime import CompactSeparator
from markdown import interval, table

if TYPE_CHECKING:
    from torch import Generator, Tensor

_SIZE, _SEED = 256, 7
# Of the weak reflection: the 95th percentile of its light (median, deviation of the logarithm, most), haze.
_WEAK = {"exposure": (0.8, 1.2), "level": (0.04, 0.5, 0.15), "veil": 0.03}
_KINDS = ("without glass", "behind a weak reflection", "behind a usual reflection")


def measure_bright(folder: Path, separator: CompactSeparator, limit: int | None) -> dict[str, Any]:
    """Score the separator on the natural pictures of ``folder`` that are held out of training.

    Raises:
        MissingExtraError: [train], which draws the pictures, is not installed.
    """
    try:
        from clearpane.synthesis.blending import LinearLightRanges, linear_light_blend
        from clearpane.training.loop import step_generator
        from clearpane.training.pictures import (
            add_bright_things,
            deepen_shadows,
            load_natural,
            random_crop,
        )
    except ModuleNotFoundError as error:
        raise MissingExtraError("the benchmark of bright backgrounds", "train") from error

    pictures = load_natural(folder, held_out=True)[:limit]

    def pane(scene: "Tensor", reflected: "Tensor", generator: "Generator", ranges: LinearLightRanges) -> Any:
        blend = linear_light_blend(scene, reflected, generator, ranges)
        return blend.input, blend.background

    seen: dict[str, Callable[..., Any]] = {
        _KINDS[0]: lambda scene, reflected, generator: (scene, scene),
        _KINDS[1]: lambda *crops: pane(*crops, LinearLightRanges(**_WEAK)),
        _KINDS[2]: lambda *crops: pane(*crops, LinearLightRanges(exposure=(0.7, 1.4))),
    }
    rows = []
    for kind, look in seen.items():
        before, after, harms = [], [], []
        for index, picture in enumerate(pictures):
            generator = step_generator(_SEED, index)
            other = pictures[(index + len(pictures) // 2) % len(pictures)]
            scene, reflected = (random_crop((x,), _SIZE, generator)[0] for x in (picture, other))
            scene = add_bright_things(deepen_shadows(scene, generator), generator)
            photo, truth = (x.permute(1, 2, 0).numpy() for x in look(scene, reflected, generator))
            result = separator.separate(np.ascontiguousarray(photo)).transmission
            before.append(psnr(to_8bit(photo), to_8bit(truth)))
            after.append(psnr(to_8bit(result), to_8bit(truth)))
            harms.append(harm(result, truth))
        gains = np.subtract(after, before)
        rows.append(
            {
                "name": kind,
                "pictures": len(pictures),
                "nothing": float(np.mean(before)),
                "psnr": float(np.mean(after)),
                "gain": asdict(bootstrap_mean(gains)),
                "better": int((gains > 0).sum()),
                "false_removal_rate": summarise_harm(harms).false_removal_rate,
            }
        )
    return {"rows": rows}


def bright_table(section: dict[str, Any]) -> str:
    lines = []
    for row in section["rows"]:
        glass = row["name"] != _KINDS[0]
        lines.append(
            [
                f"{row['name']} ({row['pictures']})",
                f"{row['nothing']:.2f}" if glass else "unchanged",
                f"{row['psnr']:.2f}",
                interval(row["gain"]) if glass else "",
                f"{row['better']} of {row['pictures']}" if glass else "",
                f"{100 * (row['false_removal_rate'] or 0):.2f} %",
            ]
        )
    head = ["pictures", "do nothing", "PSNR", "gain", "better than doing nothing", "false removal"]
    return (
        f"Held-out natural pictures, crops of {_SIZE} x {_SIZE} pixels with deepened shadows and labels, "
        "lamps, lit walls and skies pasted in (drawn as the negatives of the training are), without glass "
        "and behind drawn reflections (linear-light blend). PSNR against the scene without the glass, dB; "
        "the gain with its paired 95 % bootstrap interval. False removal as above.\n\n" + table(head, lines)
    )
