"""Measure whether labels, lamps, lit walls and skies behind the glass are mistaken for reflections.

The generator of the training's negatives pastes such objects into held-out natural pictures. These are then
used as they are, and behind a pane with a weak and with a usual reflection.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common.harm import harm, summarise_harm
from benchmarks.common.markdown import interval, table
from clearpane.errors import MissingExtraError
from clearpane.evaluation.bootstrap import bootstrap_mean
from clearpane.evaluation.metrics import psnr
from clearpane.images.picture import to_8bit
from clearpane.separation.compact.runtime import CompactSeparator

_SIZE, _SEED = 256, 7
_CLEAN = "without glass"
# Settings of the linear-light blend: the weak reflection adds a third of the usual one's light.
_PANES: dict[str, dict[str, Any] | None] = {
    _CLEAN: None,
    "behind a weak reflection": {"exposure": (0.8, 1.2), "level": (0.04, 0.5, 0.15), "veil": 0.03},
    "behind a usual reflection": {"exposure": (0.7, 1.4)},
}


def measure_bright(folder: Path, separator: CompactSeparator, limit: int | None) -> dict[str, Any]:
    """Score the separator on the held-out natural pictures of ``folder``.

    Raises:
        MissingExtraError: The extra [train], which draws the pictures, is not installed.
    """
    try:
        from benchmarks.common.linear_light import LinearLightRanges, linear_light_blend
        from clearpane.training.loop import step_generator
        from clearpane.training.pictures import (
            add_distractors,
            deepen_shadows,
            load_natural,
            random_crop,
        )
    except ModuleNotFoundError as error:
        raise MissingExtraError("the benchmark of bright backgrounds", "train") from error

    pictures = load_natural(folder, held_out=True)[:limit]
    rows = []
    for name, settings in _PANES.items():
        before, after, undone, harms = [], [], [], []
        for index, picture in enumerate(pictures):
            generator = step_generator(_SEED, index)
            other = pictures[(index + len(pictures) // 2) % len(pictures)]
            scene, reflected = (random_crop((x,), _SIZE, generator)[0] for x in (picture, other))
            seen = truth = add_distractors(deepen_shadows(scene, generator), generator)
            if settings is not None:
                blend = linear_light_blend(truth, reflected, generator, LinearLightRanges(**settings))
                seen, truth = blend.input, blend.background
            photo, clean = (np.ascontiguousarray(x.permute(1, 2, 0)) for x in (seen, truth))
            result = separator.separate(photo).transmission
            before.append(psnr(to_8bit(photo), to_8bit(clean)))
            after.append(psnr(to_8bit(result), to_8bit(clean)))
            undone.append(harm(photo, clean))
            harms.append(harm(result, clean))
        gains = np.subtract(after, before)
        rows.append(
            {
                "name": name,
                "pictures": len(pictures),
                "nothing": float(np.mean(before)),
                "psnr": float(np.mean(after)),
                "gain": asdict(bootstrap_mean(gains)),
                "better": int((gains > 0).sum()),
                "dark_before": summarise_harm(undone).false_removal_rate,
                "false_removal_rate": summarise_harm(harms).false_removal_rate,
            }
        )
    return {"rows": rows}


def bright_table(section: dict[str, Any]) -> str:
    lines = []
    for row in section["rows"]:
        glass = row["name"] != _CLEAN
        rates = (row["dark_before"], row["false_removal_rate"])
        lines.append(
            [
                f"{row['name']} ({row['pictures']})",
                f"{row['nothing']:.2f}" if glass else "unchanged",
                f"{row['psnr']:.2f}",
                interval(row["gain"]) if glass else "",
                f"{row['better']} of {row['pictures']}" if glass else "",
                *("" if rate is None else f"{100 * rate:.2f} %" for rate in rates),
            ]
        )
    head = ["pictures", "do nothing", "PSNR", "gain", "better than doing nothing"]
    head += ["too dark, doing nothing", "false removal"]
    return (
        f"Held-out natural pictures, crops of {_SIZE} x {_SIZE} pixels with deepened shadows and labels, "
        "lamps, lit walls and skies pasted in (drawn as the negatives of the training are), without glass "
        "and behind drawn reflections (linear-light blend). PSNR against the scene without the glass, dB; "
        "the gain with its paired 95 % bootstrap interval. False removal: pixels of the scene with a luma "
        "above 0.9 that came out more than 0.05 darker; the glass has dimmed some of them already, which is "
        "the column before.\n\n" + table(head, lines)
    )
