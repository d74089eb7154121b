"""The commands that are killed, on data so small that a run takes seconds."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.robustness.kill_sizes import small_compact, small_lirm, small_reconstruction

Prepare = Callable[[Path], list[str]]


@dataclass(frozen=True)
class Case:
    """A command to be killed.

    Attributes:
        name: Command.
        prepare: Makes its data in a folder and returns the arguments; OUTPUT stands for the run's folder.
        modules: Imported before the clock starts; `clearpane` imports the rest only when it needs it.
        promised: Files that come out the same, byte for byte: their endings.
        otherwise: Files that need not, and why.
        shrink: Makes networks and grids smaller in the process that runs the command.
    """

    name: str
    prepare: Prepare
    modules: tuple[str, ...]
    promised: tuple[str, ...]
    otherwise: str = ""
    shrink: Callable[[], None] | None = None


def _pictures(folder: Path, count: int, side: int, suffixes: tuple[str, ...] = (".jpg",)) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[0:side, 0 : side + side // 2] / side
    for number in range(count):
        waves = [np.sin((3 + number % 7 + c) * x + c) * np.cos((2 + number % 5) * y) for c in range(3)]
        pixels = (127.5 + 100 * np.stack(waves, axis=-1)).astype(np.uint8)
        name = f"{number:03d}{suffixes[number % len(suffixes)]}"
        Image.fromarray(pixels).save(folder / name)
    return folder


def _remove(data: Path) -> list[str]:
    pictures = _pictures(data / "pictures", 30, 48, (".jpg", ".png", ".tif"))
    return ["remove", str(pictures), "--output", "OUTPUT", "--reflection", "--confidence", "--compare"]


def _synthesize(data: Path) -> list[str]:
    pictures = _pictures(data / "backgrounds", 4, 64)
    words = f"synthesize --output OUTPUT --count 24 --backgrounds {pictures} --size 32 --samples-per-shard 3"
    return [*words.split(), "--workers", "1"]


def _train_compact(data: Path) -> list[str]:
    _pictures(data / "natural", 6, 64)
    pairs = data / "real_pairs" / "train"
    for kind, source in (("input", 0), ("transmission", 1)):
        names = sorted(_pictures(data / kind, 4, 64).iterdir())
        pairs.mkdir(parents=True, exist_ok=True)
        for number, path in enumerate(names[source:] + names[:source]):
            path.replace(pairs / f"{number:03d}_{kind}.jpg")
    words = f"train compact --data {data} --output OUTPUT --crops 32 --pixels-per-step 2048 --threads 1"
    schedule = "--steps 18 --checkpoint-every 3 --evaluate-every 6 --folds 2"
    return [*words.split(), *schedule.split()]


def _train_lirm(data: Path) -> list[str]:
    words = "train lirm --output OUTPUT --side 16 --coarse-side 8 --targets 1 --patch 8 --samples 8 --cpu"
    schedule = "--steps 6 --checkpoint-every 2 --objects 2 --validation 1 --workers 0"
    return [*words.split(), *schedule.split()]


def _views(folder: Path) -> Path:
    """Six photographs of a ball coloured by its normal, with alpha and poses."""
    folder.mkdir(parents=True, exist_ok=True)
    side, frames = 32, []
    focal = 0.5 * side / math.tan(math.radians(20))
    row, column = np.mgrid[0:side, 0:side] + 0.5
    local = np.stack([(column - side / 2) / focal, (side / 2 - row) / focal, -np.ones_like(row)], axis=-1)
    for number in range(6):
        turn, height = 2 * math.pi * number / 6, 0.5 * (-1) ** number
        back = np.asarray([math.cos(turn), math.sin(turn), height])
        back /= np.linalg.norm(back)
        right = np.cross([0, 0, 1], back)
        right /= np.linalg.norm(right)
        pose = np.eye(4)
        pose[:3] = np.stack([right, np.cross(back, right), back, 3 * back], axis=1)
        rays = local @ pose[:3, :3].T
        rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
        along = rays @ pose[:3, 3]
        inside = along**2 - 9 + 0.64
        hit = inside > 0
        normal = (pose[:3, 3] + (-along - np.sqrt(np.maximum(inside, 0)))[..., None] * rays) / 0.8
        pixels = np.where(hit[..., None], 127.5 + 127 * normal, 255)
        rgba = np.concatenate([pixels, 255 * hit[..., None]], axis=-1).astype(np.uint8)
        Image.fromarray(rgba).save(folder / f"{number}.png")
        frames.append({"file_path": f"{number}.png", "transform_matrix": pose.tolist()})
    facts = {"fl_x": focal, "fl_y": focal, "cx": side / 2, "cy": side / 2, "w": side, "h": side}
    (folder / "transforms.json").write_text(json.dumps({**facts, "frames": frames}))
    return folder


def _reconstruct(data: Path) -> list[str]:
    words = f"reconstruct {_views(data / 'views')} --output OUTPUT/ball.glb --time-limit 0 --overwrite"
    return [*words.split(), *["--side", "32", "--resolution", "16", "--texture", "32", "--faces", "200"]]


def _relight(data: Path) -> list[str]:
    import trimesh

    ball = trimesh.creation.icosphere(2)
    ball.visual = trimesh.visual.TextureVisuals(
        uv=np.full((len(ball.vertices), 2), 0.5),
        material=trimesh.visual.material.PBRMaterial(baseColorFactor=[0.5, 0.5, 0.5, 1.0]),
    )
    (data / "ball.glb").write_bytes(ball.export(file_type="glb", include_normals=True))
    (data / "sky.hdr").write_bytes(_sky(16, 32))
    words = f"relight {data / 'ball.glb'} --environment {data / 'sky.hdr'} --output OUTPUT --turntable"
    return [*words.split(), *["--views", "12", "--size", "32", "--samples", "4"]]


def _sky(height: int, width: int) -> bytes:
    """A map that is brighter above, as Radiance HDR: grey, in RGBE without run lengths."""
    head = f"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y {height} +X {width}\n".encode()
    rows = (
        np.full((width, 4), (value, value, value, 129), np.uint8)
        for value in range(250, 250 - 8 * height, -8)
    )
    return head + b"".join(row.tobytes() for row in rows)


CASES = (
    Case("remove", _remove, ("clearpane.app.remove", "onnxruntime"), (".jpg", ".png", ".tif")),
    Case(
        "synthesize",
        _synthesize,
        ("clearpane.app.synthesize", "clearpane.synthesis.glass.analytic", "webdataset"),
        (".tar", ".json", ".md"),
    ),
    Case(
        "train compact",
        _train_compact,
        ("clearpane.training.compact.recipe", "onnx", "torch._dynamo", "torch.onnx"),
        (".safetensors", ".onnx", ".jsonl"),
        "TensorBoard's events hold the time",
        small_compact,
    ),
    Case(
        "train lirm",
        _train_lirm,
        ("clearpane.training.lirm.recipe", "torch._dynamo", "numpy.testing"),
        (".safetensors", ".jsonl", ".json"),
        "TensorBoard's events hold the time",
        small_lirm,
    ),
    Case(
        "reconstruct",
        _reconstruct,
        (
            "clearpane.app.reconstruct",
            "OpenImageIO",
            "fast_simplification",
            "skimage.measure",
            "torch._dynamo",
            "trimesh",
            "xatlas",
        ),
        (".glb", ".jpg"),
        shrink=small_reconstruction,
    ),
    Case(
        "relight --turntable",
        _relight,
        ("clearpane.app.relight", "OpenImageIO", "av", "drjit", "mitsuba", "trimesh"),
        (".png", ".json", ".mp4"),
    ),
)
