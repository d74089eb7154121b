"""Convert pictures and rays to tokens, and tokens to planes and panoramas.

Source: LIRM (arXiv 2504.20026), section 3.
"""

import torch
from torch import Tensor, nn

from clearpane.errors import ClearpaneError
from clearpane.geometry.cameras import Cameras, picture_rays, plucker_coordinates


class ViewTokens(nn.Module):
    """Make a token from each patch of each view: a linear layer of its pixels and their rays.

    The surroundings and the mask go through a second layer, which starts at zero, and is added: the network
    starts as one that sees objects on white only.

    Args:
        patch: Side of a patch, pixels.
        width: Width of a token.
    """

    def __init__(self, patch: int, width: int) -> None:
        super().__init__()
        self.patch = patch
        self.picture = nn.Linear(9 * patch**2, width, bias=False)
        self.background = nn.Linear(4 * patch**2, width, bias=False)
        nn.init.zeros_(self.background.weight)

    def forward(
        self, pictures: Tensor, masks: Tensor, backgrounds: Tensor | None, cameras: Cameras
    ) -> Tensor:
        """Make the tokens of views, [B, V N, width]; views have no number, their rays distinguish them.

        Args:
            pictures: Objects on white [B, V, 3, H, W], sRGB in [0, 1].
            masks: Coverage by the object [B, V, 1, H, W], in [0, 1].
            backgrounds: Surroundings of the objects [B, V, 3, H, W], or None where they are not known.
            cameras: Cameras [B, V].

        Raises:
            ClearpaneError: The pictures' sides are not multiples of the patch.
        """
        height, width = pictures.shape[-2:]
        if height % self.patch or width % self.patch:
            raise ClearpaneError(f"views of {width} x {height} pixels: give multiples of {self.patch}")
        rays = plucker_coordinates(*picture_rays(cameras)).movedim(-1, -3).to(pictures)
        tokens = self.picture(self._patches(torch.cat([2 * pictures - 1, rays], dim=-3)))
        around = torch.zeros_like(pictures) if backgrounds is None else backgrounds
        surroundings = torch.cat([(1 - masks) * around, 1 - masks], dim=-3)
        result: Tensor = tokens + self.background(self._patches(surroundings))
        return result

    def _patches(self, values: Tensor) -> Tensor:
        """Cut pictures into patches: [B, V, C, H, W] -> [B, V H W / patch^2, C patch^2]."""
        batch, views, channels, height, width = values.shape
        rows, columns = height // self.patch, width // self.patch
        cut = values.reshape(batch, views, channels, rows, self.patch, columns, self.patch)
        return cut.permute(0, 1, 3, 5, 2, 4, 6).reshape(batch, views * rows * columns, -1)


class PlaneTokens(nn.Module):
    """Hold the learnt tokens of some planes, and convert tokens to planes of features.

    Args:
        planes: Number of planes.
        side: Tokens along a side of each plane.
        width: Width of a token.
        stride: Texels along a side of each token.
        channels: Channels of a texel.
    """

    def __init__(self, planes: int, side: int, width: int, stride: int, channels: int) -> None:
        super().__init__()
        self.shape = (planes, side, side, width)
        self.positions = nn.Parameter(0.02 * torch.randn(planes * side * side, width))
        self.up = nn.ConvTranspose2d(width, channels, stride, stride)

    def forward(self, tokens: Tensor) -> Tensor:
        """Convert [B, planes side^2, width] to [B, planes, channels, side stride, side stride]."""
        planes, rows, columns, width = self.shape
        maps = tokens.reshape(-1, rows, columns, width).permute(0, 3, 1, 2)
        up = self.up(maps)
        result: Tensor = up.reshape(-1, planes, *up.shape[1:])
        return result
