"""Folders of pictures and environments for glass scenes, read once and cached in memory."""

from collections import OrderedDict
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from clearpane.errors import ClearpaneError
from clearpane.images.formats import PICTURE_SUFFIXES
from clearpane.optics.color import linear_to_srgb, srgb_to_linear
from clearpane.synthesis.glass.sampling import SourceNames
from clearpane.synthesis.glass.scene import GlassScene
from clearpane.synthesis.glass.textures import SceneTextures, load_texture, scene_textures, texture_size

ENVIRONMENT_SUFFIXES = frozenset({".hdr", ".exr"})
_LINEAR_SUFFIXES = frozenset({".hdr", ".exr"})

# Linear light of the 256 sRGB values.
_DECODED = srgb_to_linear(torch.arange(256, dtype=torch.float64) / 255).float()


class Pictures:
    """The pictures below a folder, listed once, each read on first use.

    Pictures are cached with 8 bits a channel in sRGB, HDR maps in float32; the least recently used are
    dropped when the cache is full. Those larger than ``longest`` are shrunk to it, which is enough for a
    scene's texture. The result of `load` does not depend on the state of the cache, which is not pickled.

    Args:
        folder: Folder, searched with its subfolders; hidden files and folders are skipped.
        suffixes: File name endings, in lower case.
        longest: Maximum length of a picture's longer side, pixels.
        cache_bytes: Maximum memory for decoded pictures.
        leave_out: Names, relative to the folder, to ignore.

    Attributes:
        names: Paths relative to the folder, with forward slashes, sorted by code point: the same on every
            machine.

    Raises:
        ClearpaneError: There is no such folder, or no picture in it.
    """

    def __init__(
        self,
        folder: Path,
        suffixes: frozenset[str],
        longest: int = 1024,
        cache_bytes: int = 2**30,
        leave_out: Collection[str] = (),
    ) -> None:
        if not folder.is_dir():
            raise ClearpaneError(f"{folder}: no such folder; check the name")
        self.folder, self.longest, self.cache_bytes = folder, longest, cache_bytes
        relative = (p.relative_to(folder) for p in folder.rglob("*") if p.suffix.lower() in suffixes)
        names = {p.as_posix() for p in relative if not any(part.startswith(".") for part in p.parts)}
        self.names = tuple(sorted(names.difference(leave_out)))
        if not self.names:
            endings = ", ".join(sorted(suffixes))
            raise ClearpaneError(f"{folder}: no pictures in it ({endings}); name another folder")
        self._known = frozenset(self.names)
        self._cache: OrderedDict[str, Tensor] = OrderedDict()
        self._used = 0

    def load(self, name: str) -> Tensor:
        """Return a picture in linear light [3, H, W] float32.

        Raises:
            ClearpaneError: There is no such picture, it cannot be read, or it has values that are not finite.
        """
        if name not in self._known:
            raise ClearpaneError(f"{self.folder}: no picture {name!r} in it; is this the scene's folder?")
        if name in self._cache:
            self._cache.move_to_end(name)
            stored = self._cache[name]
        else:
            stored = self._read(name)
            self._keep(name, stored)
        if stored.dtype != torch.uint8:
            return stored
        return _DECODED.index_select(0, stored.flatten().int()).reshape(stored.shape)

    def preload(self) -> None:
        """Read pictures in order until all are in memory or the cache is full.

        Call it before worker processes are forked: they then share the memory, and none reads a file.
        """
        with ThreadPoolExecutor(2) as pool:
            # A few at a time, so that little is read beyond what fits.
            for first in range(0, len(self.names), 16):
                some = [name for name in self.names[first : first + 16] if name not in self._cache]
                for name, stored in zip(some, pool.map(self._read, some), strict=True):
                    if self._used + stored.nbytes > self.cache_bytes:
                        return
                    self._keep(name, stored)

    def check(self) -> None:
        """Read every picture once, keeping in memory what fits.

        Which samples a data set has depends on the names of all pictures, so a bad one is not skipped.

        Raises:
            ClearpaneError: Pictures cannot be used; all are named, with the reason for the first.
        """
        bad: list[str] = []
        reason = ""
        with ThreadPoolExecutor(2) as pool:
            for first in range(0, len(self.names), 16):
                some = self.names[first : first + 16]
                for name, found in zip(some, pool.map(self._tried, some), strict=True):
                    if isinstance(found, ClearpaneError):
                        bad.append(name)
                        reason = reason or str(found)
                    elif self._used + found.nbytes <= self.cache_bytes and name not in self._cache:
                        self._keep(name, found)
        if bad:
            more = f"; so are {len(bad) - 1} others: {', '.join(bad[1:9])}" if len(bad) > 1 else ""
            raise ClearpaneError(f"a picture cannot be used: {reason}{more}; take it out of {self.folder}")

    def _tried(self, name: str) -> Tensor | ClearpaneError:
        try:
            return self._read(name)
        except ClearpaneError as error:
            return error

    def _read(self, name: str) -> Tensor:
        picture = load_texture(self.folder / name)
        longer = max(picture.shape[-2:])
        if longer > self.longest:
            height, width = (max(1, round(n * self.longest / longer)) for n in picture.shape[-2:])
            picture = F.interpolate(
                picture[None], (height, width), mode="bilinear", antialias=True, align_corners=False
            )[0]
        if Path(name).suffix.lower() in _LINEAR_SUFFIXES:
            return picture
        return (linear_to_srgb(picture).clamp(0, 1) * 255).round().to(torch.uint8)

    def _keep(self, name: str, stored: Tensor) -> None:
        if stored.nbytes > self.cache_bytes:
            return
        self._cache[name] = stored
        self._used += stored.nbytes
        while self._used > self.cache_bytes:
            self._used -= self._cache.popitem(last=False)[1].nbytes

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cache": OrderedDict(), "_used": 0}


@dataclass(frozen=True, eq=False)
class Sources:
    """Source pictures of scenes.

    Attributes:
        backgrounds: Pictures for backgrounds and reflected screens.
        environments: Equirectangular HDR maps for domes; None for scenes without domes.
    """

    backgrounds: Pictures
    environments: Pictures | None = None

    @classmethod
    def open(cls, backgrounds: Path, environments: Path | None = None) -> Self:
        """Find the pictures below folders.

        Raises:
            ClearpaneError: A folder is missing, or there is nothing in it.
        """
        return cls(
            Pictures(backgrounds, PICTURE_SUFFIXES),
            Pictures(environments, ENVIRONMENT_SUFFIXES, longest=2048) if environments else None,
        )

    def check(self) -> None:
        """Read every picture once.

        Raises:
            ClearpaneError: See `Pictures.check`.
        """
        self.backgrounds.check()
        if self.environments is not None:
            self.environments.check()

    @property
    def names(self) -> SourceNames:
        """Names of the pictures that scenes may use."""
        return SourceNames(self.backgrounds.names, self.environments.names if self.environments else ())

    def textures(self, scene: GlassScene, height: int, width: int) -> SceneTextures:
        """Make the textures of a scene for pictures of height x width.

        Raises:
            ClearpaneError: A picture is missing or cannot be read, or the scene has a dome but there are no
                environments.
        """
        worlds = self.environments if scene.world.shape == "dome" else self.backgrounds
        if worlds is None:
            raise ClearpaneError(f"scene with the dome {scene.world.picture}: name a folder of environments")
        return scene_textures(
            scene,
            self.backgrounds.load(scene.background.picture),
            worlds.load(scene.world.picture),
            *texture_size(height, width, max(512, height, width)),
        )
