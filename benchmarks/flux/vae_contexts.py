"""Train a VAE to encode a picture independently of its neighbours in a panel.

Its group norms average over the whole picture. So a photograph beside two white pictures, as in the panel's
reference, gets other latents than the same photograph beside T and R: the difference exceeds the latents' own
variation. A large VAE has seen all kinds of pictures; a small one trained on crops alone has to be taught.
"""

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from clearpane.separation.panel.separator import join_panels
from clearpane.training.compact.losses import gradient_loss

# Brightness, blue-yellow and red-green, an orthonormal basis of linear combinations of R, G and B.
_OPPONENT = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, -2.0], [1.0, -1.0, 0.0]])
_OPPONENT /= _OPPONENT.norm(dim=1, keepdim=True)
_NOISE = 0.05
# Pictures to the right of a picture: white, layers of light, a darker one, others.
_SHARES = {"white": 0.4, "layers": 0.35, "darker": 0.15}


def picture_loss(made: Tensor, wanted: Tensor) -> Tensor:
    """Compute the mean absolute error of values and gradients in opponent colours: [B, 3, H, W] -> [].

    In R, G and B each error mostly has the sign of the brightness error, and faint colours are not learnt.
    """
    result, truth = (torch.einsum("ij,bjhw->bihw", _OPPONENT, x) for x in (made, wanted))
    return (result - truth).abs().mean() + gradient_loss(result, truth).mean()


def draw_neighbours(crops: Tensor, generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Draw panels of three pictures, like those of the experiments' editors.

    Args:
        crops: 3 n pictures, [3 n, 3, S, S].

    Returns:
        Left, middle and right, [n, 3, S, S] each.
    """
    left, middle, right = (part.clone() for part in crops.chunk(3))
    for index in range(len(left)):
        kind, strength = torch.rand(2, generator=generator).tolist()
        if kind < _SHARES["white"]:
            middle[index], right[index] = 1, 1
        elif kind < _SHARES["white"] + _SHARES["layers"]:
            reflection = 0.6 * strength * right[index]
            middle[index] = (left[index] - reflection / 2).clamp(0, 1) * (0.8 + 0.2 * strength)
            right[index] = reflection
        elif kind < sum(_SHARES.values()):
            right[index] = strength * middle[index]
    return left, middle, right


def context_loss(vae: nn.Module, teacher: nn.Module, crops: Tensor, generator: Generator) -> Tensor:
    """Compute how far latents in a panel, and alone, are from the teacher's of each picture alone.

    ``|E(panel) - z|^2 / var(z) + |E(x) - z_x|^2 / var(z) + loss(D(z + noise), panel) + loss(D(z_x), x)`` with
    z the teacher's latents of the three pictures side by side.
    """
    pictures = draw_neighbours(crops, generator)
    with torch.no_grad():
        alone = [teacher.encode(2 * x - 1).latent_dist.mode().float() for x in pictures]
    wanted, panel = torch.cat(alone, dim=3), join_panels(*pictures)
    found, single = (vae.encode(2 * x - 1).latent_dist.mode().float() for x in (panel, pictures[0]))
    variance = alone[0].var()
    latents = (F.mse_loss(found, wanted) + F.mse_loss(single, alone[0])) / variance
    noisy = wanted + _NOISE * torch.randn(wanted.shape, generator=generator)
    shown, one = ((vae.decode(z).sample.float() + 1) / 2 for z in (noisy, alone[0]))
    return latents + picture_loss(shown, panel) + picture_loss(one, pictures[0])


@torch.no_grad()
def context_errors(vae: nn.Module, photos: Tensor, others: Tensor) -> dict[str, float]:
    """Compute how far latents of photographs beside others are from those of them alone, over their variance.

    Args:
        photos, others: [n, 3, S, S].

    Returns:
        The error beside two white pictures, and beside two others.
    """
    alone = vae.encode(2 * photos - 1).latent_dist.mode()
    width = alone.shape[-1]
    white = torch.ones_like(photos)
    panels = {
        "beside white": join_panels(photos, white, white),
        "beside others": join_panels(photos, others, others.flip(0)),
    }
    errors = {}
    for name, panel in panels.items():
        found = vae.encode(2 * panel - 1).latent_dist.mode()[..., :width]
        errors[name] = float(F.mse_loss(found, alone) / alone.var())
    return errors
