"""Learn features of each view and gather them in space, to measure how far the views agree about a point.

Single colours hardly show whether views see the same piece of a surface; learnt features of a pixel's
neighbourhood show it better. As in networks for multi-view stereo (Y. Yao et al., MVSNet, 2018), they are
sampled where each voxel projects into each view, and summarised by their mean and deviation over the views.
The sums grow with neither views nor rounds.
"""

import torch
from torch import Tensor, nn

from clearpane.reconstruction.field.evidence import Sight, look_up, voxel_centres
from clearpane.reconstruction.lirm.precision import at_least_float32

_WIDTH = 32
# Added under the square root of the variance, whose slope at 0 is infinite.
_LEAST_VARIANCE = 1e-4
# Metres over which the weight of a view that the hull blocks falls to 1 / e. A surface in a hollow is blocked
# from all sides: with equal weights, the views from behind would outweigh those that see into the hollow.
_FADE = 0.03
# Keeps the sums from rounding to zero deep inside, where all views are blocked far more.
_LEAST_WEIGHT = 1e-5


class ViewFeatures(nn.Module):
    """Compute features at half the pictures' size with four convolutions.

    Args:
        channels: Channels of the features.
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
        # Features as large as the evidence's other channels from the start: with PyTorch's defaults they were
        # 0.03, their variance over views 0.00002, and short runs did not learn to use them.
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)

    def forward(self, pictures: Tensor, masks: Tensor) -> Tensor:
        """Map [B, V, 3, H, W] and [B, V, 1, H, W], in [0, 1], to [B, V, C, H / 2, W / 2]."""
        seen = torch.cat([2 * pictures - 1, masks], dim=2)
        made = at_least_float32(self.layers(seen.flatten(0, 1)))
        result: Tensor = made.unflatten(0, pictures.shape[:2])
        return result


def empty_sums(channels: int, side: int, like: Tensor) -> Tensor:
    """Return zero sums: weights, squared weights, features, squared features, [2 + 2 C, S, S, S]."""
    return like.new_zeros(2 + 2 * channels, side, side, side)


def add_features(sums: Tensor, features: Tensor, sight: Sight) -> Tensor:
    """Add these views' features to the sums, weighted by how well their pixels show a voxel.

    The weight is ``exp(-max(b, 0) / 3 cm)``, b being the distance by which the hull blocks the voxel
    (`Sight.of_points`); it is 0 outside the picture.

    Args:
        sums: Sums [2 + 2 C, S, S, S].
        features: Features of the views [V, C, h, w].
        sight: Visibility from the same V views.
    """
    side = sums.shape[-1]
    index = sight.voxels(side)
    points = voxel_centres(side, sums).reshape(-1, 3)[index]
    gathered = sums.new_zeros(len(sums), len(index))
    for view, of_view in enumerate(features):
        place, within, behind = sight.of_points(view, points)
        weight = within * torch.exp(-behind.clamp(min=0) / _FADE).clamp(min=_LEAST_WEIGHT)
        found = look_up(of_view, place)
        weights = torch.stack([torch.ones_like(weight), weight])
        gathered = gathered + weight * torch.cat([weights, found, found.square()])
    return sums.flatten(1).index_add(1, index, gathered).reshape(sums.shape)


def agreement(sums: Tensor) -> Tensor:
    """Summarise the views: their number, and the mean and deviation of their features.

    The number enters as ``1 - 1 / n`` with ``n = (sum w)^2 / sum w^2``: a single view always agrees with
    itself and must not pass for several. All channels are 0 where no view shows anything.

    Args:
        sums: Sums [2 + 2 C, S, S, S].

    Returns:
        Summary [1 + 2 C, S, S, S].
    """
    weight, squares, features, squared = sums.split([1, 1, *[len(sums) // 2 - 1] * 2])
    total = weight.clamp(min=_LEAST_WEIGHT)
    alone = torch.where(weight > 0, squares / total.square(), 1.0)
    mean = features / total
    variance = (squared / total - mean.square()).clamp(min=0)
    return torch.cat([1 - alone, mean, (variance + _LEAST_VARIANCE).sqrt() - _LEAST_VARIANCE**0.5])
