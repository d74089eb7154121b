"""Score a fine-tune of benchmarks/flux/panel.py."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.flux.panel_cells import RANK, Cell
from clearpane.evaluation.metrics import psnr, psnr_after_gain
from clearpane.images.picture import to_8bit
from clearpane.separation.flux.backbone import DEFAULT_GUIDANCE, Backbone
from clearpane.separation.flux.keeping import UNTOUCHED, keep_untouched
from clearpane.separation.flux.sampling import Held, Sampling, sample
from clearpane.separation.flux.task_embedding import TaskEmbedding
from clearpane.separation.panel.separator import (
    PanelSeparator,
    PanelSettings,
    cut_panels,
    join_panels,
    reference_panel,
)
from clearpane.separation.resolution import enlarge, working_size
from clearpane.separation.resolution import shrink as shrink_to
from clearpane.training.flux.panel_batches import PanelPictures

SAMPLING_STEPS = 8
# Below the first difference the photograph's own pixels are kept, from the second on the change is applied.
LIMITS = {
    "applied everywhere": (-1.0, -0.5),
    f"kept below {UNTOUCHED[0]:g}, changed from {UNTOUCHED[1]:g} (as shipped)": UNTOUCHED,
    "kept below 0.01, changed from 0.03": (0.01, 0.03),
    "kept below 0.02, changed from 0.06": (0.02, 0.06),
    "kept below 0.04, changed from 0.12": (0.04, 0.12),
}
Scores = dict[str, list[float]]
# Other sampling settings: number of steps, and number of noise seeds averaged.
SAMPLINGS = {f"{steps} steps" if steps > 1 else "1 step": (steps, 1) for steps in (1, 2, 4, 8, 16)}
SAMPLINGS[f"{SAMPLING_STEPS} steps, the mean over four seeds"] = (SAMPLING_STEPS, 4)


def seen_size(cell: Cell, height: int, width: int) -> tuple[int, int]:
    """Return the size at which a cell sees a picture: about ``side * side`` pixels in multiples of a
    token."""
    scale = cell.side / (height * width) ** 0.5
    return tuple(max(8, 8 * round(x * scale / 8)) for x in (height, width))  # type: ignore[return-value]


def shrink(picture: Tensor, cell: Cell) -> Tensor:
    """Shrink [3, H, W] uint8 to the cell's size: [1, 3, h, w] in [0, 1]."""
    size = seen_size(cell, *picture.shape[-2:])
    return F.interpolate(picture[None] / 255, size, mode="bilinear", antialias=True).clamp(0, 1)


@torch.no_grad()
def separate(
    backbone: Backbone, task: TaskEmbedding, cell: Cell, photos: Tensor, sampling: Sampling, hold: bool
) -> tuple[Tensor, Tensor | None]:
    """Predict T and, from a panel, R. ``hold`` fixes the latents of the panel's first picture."""
    if cell.target == "transmission":
        latents = sample(backbone, backbone.encode(photos), task, sampling)
        return backbone.decode(latents).clamp(0, 1), None
    reference = backbone.encode(reference_panel(photos))
    held = None
    if hold:
        mask = torch.zeros_like(reference[:1, :1])
        mask[..., : mask.shape[-1] // 3] = 1
        held = Held(reference, mask)
    latents = sample(backbone, reference, task, sampling, held=held)
    _, transmission, reflection = cut_panels(backbone.decode(latents).clamp(0, 1))
    return transmission, reflection


def score_pictures(
    backbone: Backbone,
    task: TaskEmbedding,
    cell: Cell,
    pictures: list[PanelPictures],
    hold: bool = False,
    steps: int = SAMPLING_STEPS,
    seeds: int = 1,
) -> Scores:
    """Compute by picture PSNR and PSNR-G of T and of doing nothing, and PSNR of R where it is known.

    Args:
        seeds: Number of noise seeds; the mean over their pictures is scored.
    """
    scores: Scores = {key: [] for key in ("t", "t_g", "nothing", "nothing_g", "r")}
    for batch in batches(pictures, cell):
        photos, truths = (
            torch.cat([shrink(getattr(x, layer), cell) for x in batch]) for layer in ("input", "transmission")
        )
        samplings = [Sampling(steps, seed) for seed in range(seeds)]
        made_by_seed = [separate(backbone, task, cell, photos, x, hold) for x in samplings]
        transmissions, reflections = (mean_picture(x) for x in zip(*made_by_seed, strict=True))
        for index, picture in enumerate(batch):
            photo, truth, made = (array(x[index]) for x in (photos, truths, transmissions))
            scores["t"].append(psnr(made, truth))
            scores["t_g"].append(psnr_after_gain(made, truth))
            scores["nothing"].append(psnr(photo, truth))
            scores["nothing_g"].append(psnr_after_gain(photo, truth))
            if reflections is not None and picture.reflection is not None:
                wanted = array(shrink(picture.reflection, cell)[0])
                scores["r"].append(psnr(array(reflections[index]), wanted))
    return scores


def mean_picture(pictures: Sequence[Tensor | None]) -> Tensor | None:
    """Average a layer over seeds, if it is predicted."""
    known = [x for x in pictures if x is not None]
    return torch.stack(known).mean(0) if known else None


def score_ceiling(backbone: Backbone, cell: Cell, picture: PanelPictures) -> Scores:
    """Compute the PSNR of the true panel's T and R through the VAE, which bounds the distinguishable
    quality."""
    return score_pair(shown_by_vae(backbone, cell, picture)[1:], true_layers(cell, picture)[1:])


@torch.no_grad()
def score_vae(backbone: Backbone, cell: Cell, pictures: list[PanelPictures]) -> Scores:
    """Compute the PSNR of each true T, and of known R, through the VAE: a bound on predicted ones."""
    scores: Scores = {"t": [], "r": []}
    for picture in pictures:
        for key, layer in (("t", picture.transmission), ("r", picture.reflection)):
            if layer is not None:
                true = shrink(layer, cell)
                shown = backbone.decode(backbone.encode(true)).clamp(0, 1)
                scores[key].append(psnr(array(shown[0]), array(true[0])))
    return scores


def score_as_shown(backbone: Backbone, task: TaskEmbedding, cell: Cell, picture: PanelPictures) -> Scores:
    """Compute the PSNR of predicted T and R against the true ones through the VAE: the transformer's
    error."""
    photo, *_ = true_layers(cell, picture)
    painted = separate(backbone, task, cell, photo, Sampling(SAMPLING_STEPS), hold=False)
    return score_pair(painted, shown_by_vae(backbone, cell, picture)[1:])


def true_layers(cell: Cell, picture: PanelPictures) -> list[Tensor]:
    """Return I, T and R at the cell's size."""
    return [shrink(x, cell) for x in (picture.input, picture.transmission, picture.reflection)]


@torch.no_grad()
def shown_by_vae(backbone: Backbone, cell: Cell, picture: PanelPictures) -> tuple[Tensor, Tensor, Tensor]:
    """Encode and decode the true panel; return its I, T and R."""
    panel = join_panels(*true_layers(cell, picture))
    return cut_panels(backbone.decode(backbone.encode(panel)).clamp(0, 1))


def score_pair(made: Sequence[Tensor], wanted: Sequence[Tensor]) -> Scores:
    """Compute the PSNR of T and of R."""
    return {n: [psnr(array(x[0]), array(y[0]))] for n, x, y in zip(("t", "r"), made, wanted, strict=True)}


def array(picture: Tensor) -> np.ndarray:
    """Convert [3, H, W] in [0, 1] to [H, W, 3] rounded to 8 bits, as it would be saved."""
    return to_8bit(picture.permute(1, 2, 0).numpy())


def batches(pictures: list[PanelPictures], cell: Cell) -> list[list[PanelPictures]]:
    """Split the pictures, in order, into batches of one size and at most twenty."""
    groups: list[list[PanelPictures]] = []
    sizes = [seen_size(cell, *picture.input.shape[-2:]) for picture in pictures]
    for index, picture in enumerate(pictures):
        if index and sizes[index] == sizes[index - 1] and len(groups[-1]) < 20:
            groups[-1].append(picture)
        else:
            groups.append([picture])
    return groups


def new_separator(backbone: Backbone, task: TaskEmbedding, cell: Cell) -> PanelSeparator:
    """Make the separator that `clearpane remove` would use."""
    settings = PanelSettings("", "", cell.side, RANK, DEFAULT_GUIDANCE, cell.caption)
    return PanelSeparator(backbone, task, settings, Sampling(SAMPLING_STEPS))


def photograph(layer: Tensor) -> np.ndarray:
    """Convert [3, H, W] uint8 to [H, W, 3] in [0, 1]."""
    return (layer.permute(1, 2, 0).numpy() / 255).astype(np.float32)


def score_full_size(
    backbone: Backbone, task: TaskEmbedding, cell: Cell, pictures: list[PanelPictures]
) -> Scores:
    """Score T as `score_pictures` does, at the pictures' own size, as `clearpane remove` makes it."""
    separator = new_separator(backbone, task, cell)
    scores: Scores = {key: [] for key in ("t", "t_g", "nothing", "nothing_g")}
    for picture in pictures:
        photo, truth = photograph(picture.input), picture.transmission.permute(1, 2, 0).numpy()
        for key, result in (("t", separator.separate(photo).transmission), ("nothing", photo)):
            scores[key].append(psnr(to_8bit(result), truth))
            scores[f"{key}_g"].append(psnr_after_gain(to_8bit(result), truth))
    return scores


def score_kept(
    backbone: Backbone, task: TaskEmbedding, cell: Cell, pictures: list[PanelPictures]
) -> dict[str, Scores]:
    """Score what happens to the half of a photograph without glass, by the limits for keeping pixels.

    The left half is the photograph, the right half its T, where nothing is to be removed. Returned by
        picture, at 8 bits: PSNR of the result's right half to the photograph's, the percentage of its pixels
        that equal the photograph's, and the gain in PSNR of the left half.
    """
    separator = new_separator(backbone, task, cell)
    rows: dict[str, Scores] = {}
    for picture in pictures:
        photo, truth = photograph(picture.input), photograph(picture.transmission)
        height, width = photo.shape[:2]
        half = width // 2
        given = np.concatenate([photo[:, :half], truth[:, half:]], axis=1)
        seen, transmission, _ = separator.run_once(
            shrink_to(given, *working_size(height, width, cell.side**2))
        )
        painted = enlarge(transmission, height, width)
        results = {"T as the VAE shows it, enlarged": painted}
        for name, limits in LIMITS.items():
            results[name] = keep_untouched(given, seen, transmission, limits)
        # Without the windows at the seam, which contain both halves.
        far, near = np.s_[:, half + width // 8 :], np.s_[:, : half - width // 8]
        before, wanted = to_8bit(given), to_8bit(truth)
        for name, result in results.items():
            row, after = rows.setdefault(name, {"psnr": [], "own": [], "gain": []}), to_8bit(result)
            row["psnr"].append(psnr(after[far], before[far]))
            row["own"].append(float(100 * (after[far] == before[far]).all(axis=2).mean()))
            row["gain"].append(psnr(after[near], wanted[near]) - psnr(before[near], wanted[near]))
    return rows
