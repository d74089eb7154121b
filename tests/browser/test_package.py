"""The npm package: its types are sound, and the archive holds what is needed and nothing else."""

import json
import shutil
import subprocess

import pytest

from .conftest import WEB

pytestmark = pytest.mark.skipif(
    not (WEB / "node_modules").is_dir() or shutil.which("npm") is None,
    reason="web/node_modules or npm is missing: run `npm ci` in web/ (make test does where there is npm)",
)


def test_the_scripts_and_the_declared_types_agree() -> None:
    done = subprocess.run(["npm", "run", "--silent", "types"], cwd=WEB, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_archive_holds_the_built_page_its_types_and_its_description(page_folder) -> None:
    folder = page_folder.parent / "package"
    shutil.copytree(page_folder, folder / "dist")
    for name in ("package.json", "clear-pane.d.ts", "README.md"):
        shutil.copy(WEB / name, folder)
    command = ["npm", "pack", "--json", "--ignore-scripts", "--pack-destination", str(folder)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    packed = json.loads(done.stdout)
    (archive,) = packed if isinstance(packed, list) else packed.values()
    assert (folder / archive["filename"]).is_file()
    files = {file["path"] for file in archive["files"]}
    facts = json.loads((WEB / "package.json").read_text())
    assert {facts["main"], facts["types"], "README.md", "package.json", "dist/compact-full.onnx"} <= files
    assert {"dist/licences.txt", "dist/separator.worker.js"} <= files
    assert not any("node_modules" in name or name.startswith("src/") for name in files)
