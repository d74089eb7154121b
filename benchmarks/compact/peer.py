"""The peer: Yang et al., "Fast Single Image Reflection Suppression via Convex Optimization" (CVPR 2019).

The package `fast-reflection-removal` fails with numpy 2, so it is installed in its own virtual environment
and run on files. Its results are cached by the content of the picture, so that a second run is quick.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
import venv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from clearpane.errors import ClearpaneError
from clearpane.evaluation.protocols import Pair
from clearpane.evaluation.scoring import Prediction

PACKAGE = "fast-reflection-removal"
REQUIREMENTS = (f"{PACKAGE}==1.1", "numpy<2", "scipy")
# Values from its README, and the default of its command.
THRESHOLDS = (0.11, 0.03)
WORKER = Path(__file__).with_name("peer_worker.py")


def make_environment(folder: Path) -> Path:
    """Return the Python of the peer's virtual environment, made on the first call, which needs the network.

    Raises:
        ClearpaneError: The packages cannot be installed.
    """
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    stamp = folder / "installed"
    if stamp.is_file():
        return python
    venv.create(folder, with_pip=True, clear=True)
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *REQUIREMENTS]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        reason = (done.stderr.strip() or "pip failed").splitlines()[-1]
        raise ClearpaneError(f"{PACKAGE} cannot be installed into {folder} ({reason}); is there a network?")
    stamp.touch()
    return python


@dataclass(frozen=True)
class FastReflectionRemoval:
    """Method of the evaluation that runs the peer.

    Attributes:
        python: Python of its environment, see `make_environment`.
        threshold: Parameter h; lower gradients are taken as the reflection's.
        cache: Folder of finished pictures.
    """

    python: Path
    threshold: float
    cache: Path

    @property
    def name(self) -> str:
        return f"{PACKAGE}, h = {self.threshold:g}"

    def predict(self, pair: Pair, image: np.ndarray) -> Prediction:
        return Prediction(self.remove([image])[0])

    def remove(self, images: list[np.ndarray]) -> list[np.ndarray]:
        """Compute the transmissions of uint8 pictures [H, W, 3]; one process handles all that are not cached.

        Raises:
            ClearpaneError: The package failed.
        """
        self.cache.mkdir(parents=True, exist_ok=True)
        results = [self._result(image) for image in images]
        missing = {p: image for p, image in zip(results, images, strict=True) if not p.is_file()}
        if missing:
            with tempfile.TemporaryDirectory() as folder:
                jobs = []
                for index, (result, image) in enumerate(missing.items()):
                    source = Path(folder) / f"{index}.png"
                    Image.fromarray(image).save(source, compress_level=1)
                    jobs.append((str(source), str(result)))
                self._run(jobs)
        return [np.asarray(Image.open(path)) for path in results]

    def _result(self, image: np.ndarray) -> Path:
        content = hashlib.sha256(f"{image.shape} {self.threshold}".encode() + image.tobytes())
        return self.cache / f"{content.hexdigest()[:24]}.png"

    def _run(self, jobs: list[tuple[str, str]]) -> None:
        command = [self.python, WORKER, str(self.threshold)]
        done = subprocess.run(command, input=json.dumps(jobs), capture_output=True, text=True)
        if done.returncode != 0:
            reason = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
            raise ClearpaneError(f"{PACKAGE} failed: {reason}")
