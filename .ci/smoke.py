"""Check an installed Clearpane: `python -I .ci/smoke.py PHOTOGRAPH`, from any folder."""

import subprocess
import sys
import tempfile
from importlib import metadata, resources
from pathlib import Path

import numpy as np

import clearpane
from clearpane.images.writing import WriteOptions

photograph = Path(sys.argv[1]).resolve()
command = [sys.executable, "-m", "clearpane"]

assert Path(clearpane.__file__).is_relative_to(sys.prefix), (
    f"{clearpane.__file__} is not the installed package"
)
assert metadata.version("clearpane") == clearpane.__version__
assert resources.files("clearpane").joinpath("py.typed").is_file()

# Every format of the base install is written and read.
values = np.linspace(0, 1, 16 * 24 * 3, dtype=np.float32).reshape(16, 24, 3)
with tempfile.TemporaryDirectory() as folder:
    for suffix in (".jpg", ".png", ".tif", ".webp", ".exr", ".hdr"):
        path = Path(folder) / f"a{suffix}"
        clearpane.write_picture(path, clearpane.Picture(values, "exr", "half"), WriteOptions())
        assert np.abs(clearpane.read_picture(path).pixels - values).max() < 0.1, suffix

    # The library removes something; the command does the same through a pipe.
    layers = clearpane.remove_reflection(photograph)
    before = clearpane.read_picture(photograph).pixels
    assert layers.transmission.shape == before.shape and np.abs(layers.transmission - before).max() > 0.05
    piped = subprocess.run(
        [*command, "remove", "-", "--output", "-", "--format", "png"],
        input=photograph.read_bytes(),
        capture_output=True,
        check=True,
    ).stdout
    assert np.abs(clearpane.read_picture(piped).pixels - layers.transmission).max() < 0.01

    # Nothing of the base install is missing; what an extra holds is named.
    subprocess.run([*command, "doctor"], check=True, stdout=subprocess.DEVNULL)
    missing = subprocess.run(
        [*command, "relight", "a.glb", "--output", folder], capture_output=True, text=True
    )
    assert missing.returncode == 1 and 'pip install "clearpane[3d]"' in missing.stderr, missing.stderr
    wrong = subprocess.run(
        [*command, "remove", "nowhere.jpg", "--output", folder], capture_output=True, text=True
    )
    assert wrong.returncode == 1 and "nowhere.jpg: no such file" in wrong.stderr, wrong.stderr
print(f"Clearpane {clearpane.__version__} works on Python {sys.version.split()[0]}")
