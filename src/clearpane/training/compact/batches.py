"""Draw batches for the embedded separator: crops of real pairs, drawn photographs and clean pictures.

Crops are drawn in linear light and photographed by a drawn camera, so that exposure, tone and compression are
those of photographs; real pairs come as they are.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from clearpane.optics.color import srgb_to_linear
from clearpane.synthesis.blending import ceilnet_blend, dsrnet_blend, gaussian_blur, rdnet_blend, zhang_blend
from clearpane.synthesis.dataset.sources import Sources
from clearpane.synthesis.draws import chance, log_uniform, uniform
from clearpane.synthesis.glass.analytic import AnalyticOptions, render_analytic
from clearpane.synthesis.glass.ranges import SceneRanges
from clearpane.synthesis.glass.sampling import sample_scene
from clearpane.synthesis.reflections import ReflectionRanges, defocus, reflected_light
from clearpane.training.compact.camera import add_grain, photograph
from clearpane.training.compact.losses import Batch
from clearpane.training.compact.scenes import SceneLight, vary_scene, without_detail
from clearpane.training.compact.sources import AlignedPair
from clearpane.training.pictures import GlassPictures, add_distractors, jitter, random_crop, remix

T = TypeVar("T")
_PUBLISHED = {"ceilnet": ceilnet_blend, "zhang": zhang_blend, "dsrnet": dsrnet_blend, "rdnet": rdnet_blend}

# Flat single panes and a pinhole: curved, wedged and double panes and lenses take ten times as long to draw.
FLAT_PANES = SceneRanges(
    bent_chance=0,
    lens_chance=0,
    wedged_chance=0,
    double_chance=0,
    rough_chance=0,
    defocus_chance=0,
    shadow_chance=0,
    exposure=(0.9, 1.1),
)


@dataclass(frozen=True)
class Shares:
    """Shares of the kinds of crop in a step; the rest are blends.

    Attributes:
        real: Share of crops of real pairs.
        transfer: Share of crops with a real pair's reflection on another scene.
        glass: Share of crops of rendered glass scenes.
        clean: Share of pictures without glass, whose target is the picture itself.
        distractors: Share of the drawn scenes with bright things pasted in.
        remix: Share of the real crops whose reflection is weakened or strengthened.
    """

    real: float = 0.40
    transfer: float = 0.18
    glass: float = 0.12
    clean: float = 0.10
    distractors: float = 0.25
    remix: float = 0.5


@dataclass(frozen=True, eq=False)
class TrainingPictures:
    """Pictures that crops are drawn from.

    Attributes:
        natural: Pictures that may lie behind glass or be reflected in it.
        reflected: Pictures that are only reflected.
        pair_sets: Sets of scenes of real pairs; each set is drawn as often as the others, whatever its size,
            and in it each scene.
        glass: Glass scenes rendered in advance; if empty, each is rendered when it is drawn.
        sources: Sources of glass scenes that are rendered when they are drawn.
    """

    natural: Sequence[Sequence[Tensor]]
    reflected: Sequence[Tensor] = ()
    pair_sets: Sequence[Sequence[Sequence[AlignedPair]]] = ()
    glass: Sequence[GlassPictures] = ()
    sources: Sources | None = None


class Row(NamedTuple):
    """One crop of a batch, see `Batch`: pictures [3, size, size], t [3] or one number."""

    photo: Tensor
    target: Tensor
    reflection: Tensor
    transmittance: Tensor | float
    real: bool = False


def one_of(items: Sequence[T], generator: Generator) -> T:
    """Draw one of the items."""
    return items[int(torch.randint(len(items), (), generator=generator))]


def drawn_crop(picture: Tensor, size: int, generator: Generator, zoom: float = 1.8) -> Tensor:
    """Draw a window of a picture, [3, size, size]; one in five is enlarged by up to 1 / 0.6.

    A large photograph, seen at a megapixel, has less detail a pixel than the pictures trained on.
    """
    if not chance(0.2, generator):
        return random_crop((picture,), size, generator, zoom)[0]
    small = random_crop((picture,), max(16, round(size * uniform(0.6, 1, generator))), generator, 1.0)[0]
    return F.interpolate(small[None], (size, size), mode="bicubic", align_corners=False)[0].clamp(0, 1)


@dataclass(frozen=True, eq=False)
class CropDrawer:
    """Draws rows of a batch, each of one kind.

    Attributes:
        pictures: Pictures to draw from.
        shares: Shares, of which `distractors` and `remix` are used here.
        size: Side of the crops in pixels.
    """

    pictures: TrainingPictures
    shares: Shares
    size: int

    def pair(self, generator: Generator) -> AlignedPair:
        """Draw a real pair: one of the sets, one of its scenes, one of its pairs."""
        return one_of(one_of(one_of(self.pictures.pair_sets, generator), generator), generator)

    def scene(self, generator: Generator) -> tuple[Tensor, SceneLight]:
        """Draw what lies behind the glass: a picture or, where there are pairs, the truth of one.

        One in twelve has no detail: a wall, paper, fog.
        """
        if self.pictures.pair_sets and chance(0.25, generator):
            picture = self.pair(generator).pair.truth
        else:
            picture = one_of(one_of(self.pictures.natural, generator), generator)
        scene, light = vary_scene(drawn_crop(picture, self.size, generator), generator)
        if chance(0.08, generator):
            scene = without_detail(scene, generator)
        if chance(self.shares.distractors, generator):
            scene = add_distractors(scene, generator)
        return scene, light

    def reflected(self, generator: Generator) -> Tensor:
        """Draw a scene before the glass."""
        if self.pictures.reflected and chance(0.3, generator):
            picture = one_of(self.pictures.reflected, generator)
        else:
            picture = one_of(one_of(self.pictures.natural, generator), generator)
        return drawn_crop(picture, self.size, generator, 2.5)

    def real_row(self, generator: Generator) -> Row:
        """Draw a crop of a real pair, half of them remixed."""
        photo, truth = self._real_crop(self.pair(generator), generator)
        if chance(self.shares.remix, generator):
            photo = remix(photo, truth, generator)
        return Row(photo, truth, torch.zeros_like(photo), torch.nan, real=True)

    def transfer_row(self, generator: Generator) -> Row:
        """Draw what the glass added to a real pair, on another scene.

        It is blurred by up to a pixel where the pair is aligned, and by one where it may not be: that hides
        the misregistration.
        """
        aligned = self.pair(generator)
        photo, truth = self._real_crop(aligned, generator)
        added = srgb_to_linear(photo) - uniform(0.8, 1, generator) * srgb_to_linear(truth)
        sigma = uniform(0, 1, generator) if aligned.exact else 1.0
        if sigma > 0.3:
            added = gaussian_blur(added.clamp(min=0), sigma)
        scene, light = self.scene(generator)
        background = srgb_to_linear(scene) * log_uniform(*light.exposure, generator)
        added = uniform(0.4, 1.4, generator) * added.clamp(min=0)
        return mixed(background, added, draw_gain(generator), generator, pale=light.pale)

    def clean_row(self, generator: Generator) -> Row:
        """Draw a picture without glass, as a camera saves it; one in five has no detail."""
        scene, light = self.scene(generator)
        if chance(0.2, generator):
            scene = without_detail(scene, generator)
        exposed = srgb_to_linear(scene) * log_uniform(*light.exposure, generator)
        (photo,), _ = photograph([exposed], generator, pale=light.pale)
        return Row(photo, photo, torch.zeros_like(photo), 1.0)

    def blend_row(self, generator: Generator) -> Row:
        """Draw a scene, sometimes out of focus, and another one reflected."""
        scene, light = self.scene(generator)
        background = srgb_to_linear(scene) * log_uniform(*light.exposure, generator)
        if chance(0.08, generator):
            background = defocus(background, 5.0, generator)
        ranges = ReflectionRanges(veil_chance=light.veil_chance)
        if light.pale:
            ranges = replace(ranges, veil=0.4 * ranges.veil, dense_chance=0.0)
        added = reflected_light(self.reflected(generator), generator, ranges)
        return mixed(background, added, draw_gain(generator), generator, pale=light.pale)

    def published_row(self, blend: str, generator: Generator) -> Row:
        """Draw a blend of the literature, by its name, with what its authors train towards."""
        drawn = _PUBLISHED[blend](self.scene(generator)[0], self.reflected(generator), generator)
        target = drawn.transmission if blend == "rdnet" else drawn.background
        # Their sums are not those of light, so there is no t.
        return Row(add_grain(drawn.input, generator), target, drawn.reflection, torch.nan)

    def glass_row(self, generator: Generator) -> Row:
        """Draw a crop of a glass scene: of one rendered before or, if there are none, of a new one."""
        if not self.pictures.glass:
            return self._new_glass_row(generator)
        glass = one_of(self.pictures.glass, generator)
        layers = glass.input, glass.background, glass.reflection
        photo, target, reflection = random_crop(layers, self.size, generator)
        return Row(photo, target, reflection, glass.transmittance)

    def _new_glass_row(self, generator: Generator) -> Row:
        sources, size = self.pictures.sources, self.size
        assert sources is not None
        seed = int(torch.randint(2**31 - 1, (), generator=generator))
        scene = sample_scene(seed, sources.names, FLAT_PANES, size, size)
        textures = sources.textures(scene, size, size)
        layers = render_analytic([scene], [textures], AnalyticOptions(size, size))
        passed, seen = layers.transmission[0], layers.background[0]
        gain = (passed.sum((1, 2)) / seen.sum((1, 2)).clamp(min=1e-6)).clamp(0.05, 1)
        background, pale = relit(passed / gain[:, None, None], generator)
        added = defocus(layers.reflection[0], 8.0, generator)
        if chance(0.3, generator):
            added = log_uniform(0.1, 1, generator) * added
        return mixed(background, added, gain, generator, pale=pale)

    def _real_crop(self, aligned: AlignedPair, generator: Generator) -> list[Tensor]:
        pictures = aligned.pair.input, aligned.pair.truth
        return jitter(random_crop(pictures, self.size, generator), generator)


def relit(background: Tensor, generator: Generator) -> tuple[Tensor, bool]:
    """Make a rendered background, linear light, pale (a third), deep in shadow (a quarter) or darker.

    Returns:
        The background and whether it is pale.
    """
    kind = uniform(0, 1, generator)
    if kind < 0.35:
        colour = 1 - uniform(0, 0.5, generator) * torch.rand(3, 1, 1, generator=generator)
        return uniform(0.6, 1, generator) * background + uniform(0, 0.2, generator) * colour, True
    if kind < 0.6:
        return background.clamp(0, 1) ** uniform(1, 2.2, generator), False
    return log_uniform(0.3, 1.2, generator) * background, False


def draw_gain(generator: Generator) -> Tensor:
    """Draw the share of light that passes a pane, [3]: 0.75 to 1, the channels within 5 % of each other."""
    return uniform(0.75, 1.0, generator) * (1 - 0.05 * torch.rand(3, generator=generator))


def mixed(background: Tensor, added: Tensor, gain: Tensor, generator: Generator, *, pale: bool) -> Row:
    """Photograph ``I = t B + R``, [3, H, W] in linear light, t the ``gain`` [3]; B is clipped at white."""
    background = background.clamp(max=1)
    layers = [gain[:, None, None] * background + added, background, added]
    (photo, target, reflection), lawful = photograph(layers, generator, pale=pale)
    return Row(photo, target, reflection, gain if lawful else torch.nan)


def draw_rows(
    drawer: CropDrawer, count: int, rest: Callable[[Generator], Row], generator: Generator
) -> Batch:
    """Draw a batch of ``count`` crops by the shares of their kinds; ``rest`` draws the remainder."""
    shares = drawer.shares
    kinds = (
        (shares.real, drawer.real_row),
        (shares.transfer, drawer.transfer_row),
        (shares.glass, drawer.glass_row),
        (shares.clean, drawer.clean_row),
    )
    rows = []
    for _ in range(count):
        place, draw = uniform(0, 1, generator), rest
        for share, kind in kinds:
            if place < share:
                draw = kind
                break
            place -= share
        rows.append(draw(generator))
    photos, targets, reflections, gains, real = zip(*rows, strict=True)
    return Batch(
        torch.stack(photos),
        torch.stack(targets),
        torch.stack(reflections),
        torch.stack([torch.as_tensor(gain, dtype=torch.float32).expand(3) for gain in gains]),
        torch.tensor(real),
    )
