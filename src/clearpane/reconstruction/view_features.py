"""What a small network sees in each view, gathered in space: how far the views agree about a place.

Colours of single pixels say little of whether views see the same piece of a surface; features of a pixel's
surroundings, learnt for it, say more. As in networks for multi-view stereo (Y. Yao et al., MVSNet, 2018) they
are looked up where each voxel is in each view, and their mean and deviation over the views are what counts.
The sums grow with neither views nor rounds.
"""

import torch
from torch import Tensor, nn

from clearpane.reconstruction.evidence import Sight, look_up, voxel_centres
from clearpane.reconstruction.tokens import at_least_float32

_WIDTH = 32
# Under the root of the variance: its slope at 0 is infinite.
_LEAST_VARIANCE = 1e-4
# Metres behind the hull's front in which a view's say falls to 1 / e. Surfaces in hollows lie that deep: were
# all views that the hull blocks alike, those from behind would drown the agreement of those in front.
_FADE = 0.03


class ViewFeatures(nn.Module):
    """Four convolutions, from pictures to features at half their size.

    Args:
        channels: of the features.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(4, _WIDTH // 2, 3, 1, 1),
            nn.ReLU(),
            nn.Conv2d(_WIDTH // 2, _WIDTH, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(_WIDTH, _WIDTH, 3, 1, 1),
            nn.ReLU(),
            nn.Conv2d(_WIDTH, channels, 3, 1, 1),
        )
        # Features as large as the evidence's other channels from the start: with PyTorch's usual weights they
        # were 0.03, their variance over views 0.00002, and short runs made nothing of them.
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)

    def forward(self, pictures: Tensor, masks: Tensor) -> Tensor:
        """[B, V, 3, H, W] and [B, V, 1, H, W] in [0, 1] -> [B, V, C, H / 2, W / 2]."""
        seen = torch.cat([2 * pictures - 1, masks], dim=2)
        made = at_least_float32(self.layers(seen.flatten(0, 1)))
        return made.unflatten(0, pictures.shape[:2])


def empty_sums(channels: int, side: int, like: Tensor) -> Tensor:
    """Before the first view: weights, features, squares of features, [1 + 2 C, S, S, S]."""
    return like.new_zeros(1 + 2 * channels, side, side, side)


def add_features(sums: Tensor, features: Tensor, sight: Sight) -> Tensor:
    """The sums with these views' features, weighed by how much their pixels say of a voxel.

    Args:
        sums: [1 + 2 C, S, S, S].
        features: [V, C, h, w].
        sight: of the same V views.
    """
    side = sums.shape[-1]
    index = sight.voxels(side)
    points = voxel_centres(side, sums).reshape(-1, 3)[index]
    gathered = sums.new_zeros(len(sums), len(index))
    for view, of_view in enumerate(features):
        place, weight = sight.of_points(view, points, _FADE)
        found = look_up(of_view, place)
        gathered = gathered + weight * torch.cat([torch.ones_like(weight)[None], found, found.square()])
    return sums.flatten(1).index_add(1, index, gathered).reshape(sums.shape)


def mean_and_deviation(sums: Tensor) -> Tensor:
    """[1 + 2 C, S, S, S] -> [2 C, S, S, S]; 0 where no view says anything."""
    channels = len(sums) // 2
    weight = sums[:1].clamp(min=1e-6)
    mean, square = (part / weight for part in (sums[1 : 1 + channels], sums[1 + channels :]))
    variance = (square - mean.square()).clamp(min=0)
    return torch.cat([mean, (variance + _LEAST_VARIANCE).sqrt() - _LEAST_VARIANCE**0.5])
