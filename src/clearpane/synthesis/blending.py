"""Pictures through glass made by blending two pictures with published formulas.

Pictures are sRGB in [0, 1] unless the name says linear; all randomness comes from the generator argument.
The functions reproduce published training data; their docstrings say where they depart from physics and which
layers their authors train on.
"""

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from clearpane.synthesis.draws import truncated_normal, uniform

# Mean, standard deviation and limits of the red, green and blue gains.
RDNET_GAINS = (
    (1.109, 0.118, (0.82, 1.42)),
    (1.106, 0.115, (0.85, 1.35)),
    (1.078, 0.116, (0.85, 1.31)),
)


@dataclass(frozen=True)
class Blend:
    """A blended picture and its layers, each [3, H, W], sRGB in [0, 1].

    Attributes:
        input: I, the picture through the glass.
        transmission: T, the light transmitted by the glass.
        reflection: R, the light added by the glass.
        background: B, the scene without the glass.
    """

    input: Tensor
    transmission: Tensor
    reflection: Tensor
    background: Tensor


def gaussian_blur(picture: Tensor, sigma: float, size: int | None = None) -> Tensor:
    """Blur a picture with a Gaussian of ``sigma`` pixels, edges reflected.

    Args:
        picture: Picture [C, H, W].
        sigma: Standard deviation in pixels, > 0.
        size: Kernel width in pixels, odd; by default 3 sigma to either side.
    """
    radius = size // 2 if size else math.ceil(3 * sigma)
    radius = min(radius, min(picture.shape[-2:]) - 1)
    x = torch.arange(-radius, radius + 1, dtype=picture.dtype)
    kernel = torch.exp(-0.5 * (x / sigma) ** 2)
    kernel = (kernel / kernel.sum())[None, None]
    padded = F.pad(picture[:, None], (radius, radius, radius, radius), mode="reflect")
    return F.conv2d(F.conv2d(padded, kernel[..., None]), kernel[:, :, None])[:, 0]


def ceilnet_blend(background: Tensor, reflected: Tensor, generator: Generator) -> Blend:
    """Blend as CEILNet (Fan et al., ICCV 2017), with the parameters of ERRNet (Wei et al., CVPR 2019).

    ``I = clip(B + R)`` with R the reflected picture under an 11 x 11 Gaussian, sigma ~ U(2, 5). If any sum
    exceeds 1, R is first lowered everywhere by 1.3 times the mean excess of those sums.

    Against physics: sRGB values are added as if they were light, so a reflection washes out bright parts of
    the scene as strongly as dark ones; lowering R by a constant clips its dark parts, where a sensor would
    saturate; the glass absorbs nothing; always out of focus, never a ghost. The authors' blur darkens a
    border of 5 pixels (zero padding); here the picture is reflected at its edge.

    Args:
        background: Scene behind the glass [3, H, W].
        reflected: Scene in front of the glass [3, H, W].
        generator: Source of all randomness.

    Returns:
        A blend with ``transmission`` equal to ``background``, both B as given; the networks are trained on it
        and on ``reflection``.
    """
    reflection = gaussian_blur(reflected, uniform(2, 5, generator), 11)
    reflection = _lower_excess(background, reflection)
    blended = (background + reflection).clamp(0, 1)
    return Blend(input=blended, transmission=background, reflection=reflection, background=background)


def zhang_blend(background: Tensor, reflected: Tensor, generator: Generator) -> Blend:
    """Blend as Zhang, Ng and Chen (CVPR 2018); also used by IBCLN (Li et al., CVPR 2020).

    ``I^2.2 = clip(a B^2.2 + V R^2.2)`` with a ~ U(0.8, 1); R is blurred with sigma ~ U(1, 5) in a kernel of
    ``2 ceil(2 sigma) + 1`` pixels. If a sum exceeds 1, its channel of R is first lowered everywhere by
    U(1.08, 1.18) times the mean excess there. V is a vignette with a random centre, see
    :func:`~clearpane.synthesis.blending.vignette_mask`.

    Against physics: light does add up here, up to the power of 2.2 instead of the sRGB curve; but R loses a
    constant where a sensor would saturate, and the vignette and the absorption model no particular pane.

    Arguments as in :func:`ceilnet_blend`.

    Returns:
        A blend with ``transmission`` the dimmed ``a^(1 / 2.2) B``, and ``background`` B as given, which the
        authors' networks are trained on as the transmission. ``reflection`` includes the vignette.
    """
    background_power, light = background**2.2, reflected**2.2
    sigma = uniform(1, 5, generator)
    light = gaussian_blur(light, sigma, 2 * math.ceil(2 * sigma) + 1)
    factor = uniform(1.08, 1.18, generator)
    light = torch.stack([_lower_excess(b, r, factor) for b, r in zip(background_power, light, strict=True)])
    height, width = background.shape[-2:]
    light = light * vignette_mask(height, width, generator)
    transmission_power = uniform(0.8, 1, generator) * background_power
    return Blend(
        input=(transmission_power + light).clamp(0, 1) ** (1 / 2.2),
        transmission=transmission_power ** (1 / 2.2),
        reflection=light ** (1 / 2.2),
        background=background,
    )


def dsrnet_blend(background: Tensor, reflected: Tensor, generator: Generator) -> Blend:
    """Blend as DSRNet (Hu and Guo, ICCV 2023).

    ``T = a B`` and ``R = b G(R)`` with a ~ U(0.8, 1), b ~ U(0.4, 1) and G a Gaussian of 5, 7, 9 or 11 pixels
    (probabilities 0.1, 0.2, 0.3, 0.4), sigma ~ U(2, 5). With probability 0.7 they are screened,
    ``I = T + R - T R``, otherwise added as in :func:`ceilnet_blend`. (The authors' first code always screens;
    the mix follows the code of RDNet and GenSIRR.)

    Against physics: sRGB values instead of light. Screening never saturates: it fades the reflection where
    the scene is bright, which resembles adding light but does not follow from it.

    Arguments as in :func:`ceilnet_blend`.

    Returns:
        A blend with ``transmission`` the dimmed T, ``background`` B as given, which the networks are trained
        on, and ``reflection`` the layer R. After screening, R is not the added light: ``I - T`` is
        ``R (1 - T)``.
    """
    transmission = uniform(0.8, 1, generator) * background
    reflection = _dsrnet_reflection(reflected, generator)
    blended, reflection = _screen_or_add(transmission, reflection, generator)
    return Blend(input=blended, transmission=transmission, reflection=reflection, background=background)


def rdnet_blend(background: Tensor, reflected: Tensor, generator: Generator) -> Blend:
    """Blend as RDNet (Zhao et al., CVPR 2025); also used by GenSIRR (Li et al., CVPR 2026).

    Like :func:`dsrnet_blend`, but T is B with a gain for each channel, drawn from truncated normal
    distributions: red N(1.109, 0.118) in [0.82, 1.42], green N(1.106, 0.115) in [0.85, 1.35], blue
    N(1.078, 0.116) in [0.85, 1.31].

    Against physics: as in :func:`dsrnet_blend`, and the gains brighten the scene by some 10 % on average,
        whereas glass dims it.

    Arguments as in :func:`ceilnet_blend`.

    Returns:
        A blend with ``transmission`` the T after the gains, which the networks are trained on, ``background``
        B as given, and ``reflection`` the residual ``I - T``. The authors leave values above 1 in I and T;
        here they are clipped.
    """
    gains = [truncated_normal(*distribution, generator) for distribution in RDNET_GAINS]
    transmission = background * torch.tensor(gains)[:, None, None]
    blended, _ = _screen_or_add(transmission, _dsrnet_reflection(reflected, generator), generator)
    transmission = transmission.clamp(max=1)
    return Blend(
        input=blended, transmission=transmission, reflection=blended - transmission, background=background
    )


def _dsrnet_reflection(reflected: Tensor, generator: Generator) -> Tensor:
    size = (5, 7, 9, 11)[int(torch.multinomial(torch.tensor([0.1, 0.2, 0.3, 0.4]), 1, generator=generator))]
    return uniform(0.4, 1, generator) * gaussian_blur(reflected, uniform(2, 5, generator), size)


def _screen_or_add(transmission: Tensor, reflection: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Blend as DSRNet does; return the input and the reflection used in it."""
    if uniform(0, 1, generator) < 0.7:
        blended = transmission + reflection - transmission * reflection
    else:
        reflection = _lower_excess(transmission, reflection)
        blended = transmission + reflection
    return blended.clamp(0, 1), reflection


def _lower_excess(transmission: Tensor, reflection: Tensor, factor: float = 1.3) -> Tensor:
    """Lower the reflection by ``factor`` times the mean excess of the sums above 1, and clip it to [0, 1]."""
    blended = transmission + reflection
    excess = blended[blended > 1]
    if excess.numel():
        reflection = reflection - factor * (excess.mean() - 1)
    return reflection.clamp(0, 1)


def smooth_mask(height: int, width: int, generator: Generator) -> Tensor:
    """Draw an uneven mask [H, W]: low-frequency noise of 2 to 5 cells, stretched to [0, 1]."""
    cells = int(torch.randint(2, 6, (), generator=generator))
    noise = torch.rand(1, 1, cells, cells, generator=generator)
    mask = F.interpolate(noise, (height, width), mode="bicubic", align_corners=True)[0, 0]
    return ((mask - mask.min()) / (mask.max() - mask.min() + 1e-6)).clamp(0, 1)


def half_plane_mask(height: int, width: int, generator: Generator) -> Tensor:
    """Draw a mask [H, W] that ends along a straight edge, soft or hard, like that of a window frame."""
    angle = uniform(0, 2 * math.pi, generator)
    offset = uniform(-0.35, 0.35, generator)
    softness = 10 ** uniform(-2.5, -0.5, generator)
    y = torch.linspace(-0.5, 0.5, height)[:, None]
    x = torch.linspace(-0.5, 0.5, width)[None]
    return torch.sigmoid((math.cos(angle) * x + math.sin(angle) * y - offset) / softness)


def vignette_mask(height: int, width: int, generator: Generator) -> Tensor:
    """Draw the vignette of Zhang et al. 2018 [H, W]: a random window of a broad bright spot.

    The spot is ``exp(-(x^2 + y^2) / 4)``, x and y from -3 to 3 over a square of 560 pixels; the window ends
    at least 10 pixels before the square does. For pictures above 550 pixels the square grows with them.
    """
    side = 560 * max(1.0, max(height, width) / 550)

    def profile(length: int) -> Tensor:
        start = uniform(0, side - 10 - length, generator)
        x = (start + 0.5 + torch.arange(length)) * (6 / side) - 3
        return torch.exp(-(x**2) / 4)

    return profile(height)[:, None] * profile(width)[None]
