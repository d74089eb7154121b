"""The nodes of integrations/comfyui, without ComfyUI: they are plain classes."""

import importlib.util
import json
import re
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from clearpane._version import __version__
from clearpane.errors import ClearpaneError
from clearpane.geometry.mesh import Mesh
from clearpane.optics.color import linear_to_srgb, srgb_to_linear
from clearpane.reconstruction.asset.asset import Asset, save_asset

FOLDER = Path(__file__).parents[2] / "integrations" / "comfyui"
WORKFLOWS = sorted((FOLDER / "example_workflows").glob("*.json"))
# ComfyUI's own nodes in the workflows: outputs.
CORE = {
    "LoadImage": [("IMAGE", "IMAGE"), ("MASK", "MASK")],
    "ImageBatch": [("IMAGE", "IMAGE")],
    "MaskToImage": [("IMAGE", "IMAGE")],
    "SaveImage": [],
    "PreviewImage": [],
}


@pytest.fixture(scope="module")
def nodes():
    """The package, imported from its folder as ComfyUI imports it."""
    spec = importlib.util.spec_from_file_location(
        "clearpane_comfyui", FOLDER / "__init__.py", submodule_search_locations=[str(FOLDER)]
    )
    package = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = package
    spec.loader.exec_module(package)
    yield SimpleNamespace(**package.NODE_CLASS_MAPPINGS, module=sys.modules["clearpane_comfyui.nodes"])
    for name in [name for name in sys.modules if name.startswith("clearpane_comfyui")]:
        del sys.modules[name]


def inputs(kind):
    described = kind.INPUT_TYPES()
    return {**described["required"], **described.get("optional", {})}


def defaults(kind):
    """Return the initial values of a node's widgets."""
    return {
        name: said[0][0] if isinstance(said[0], list) else said[1]["default"]
        for name, said in inputs(kind).items()
        if isinstance(said[0], list) or "default" in (said[1] if len(said) > 1 else {})
    }


def test_all_nodes_are_described_as_comfyui_asks(nodes):
    package = sys.modules["clearpane_comfyui"]
    assert package.NODE_CLASS_MAPPINGS.keys() == package.NODE_DISPLAY_NAME_MAPPINGS.keys()
    for kind in package.NODE_CLASS_MAPPINGS.values():
        assert len(kind.RETURN_TYPES) == len(kind.RETURN_NAMES) and kind.CATEGORY == "Clearpane"
        taken = getattr(kind, kind.FUNCTION).__code__.co_varnames[1 : 1 + len(inputs(kind))]
        assert list(taken) == list(inputs(kind))


def test_a_batch_is_separated_with_strength_and_mask(nodes, toy):
    photos = torch.rand(2, 16, 20, 4, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(1, 16, 20)
    mask[:, :8] = 1
    node = nodes.ClearpaneRemoveReflection()
    transmission, reflection, confidence = node.run(photos, 1.0, "fast", str(toy), mask)
    assert transmission.shape == reflection.shape == (2, 16, 20, 3)
    torch.testing.assert_close(transmission[:, :8], 0.75 * photos[:, :8, :, :3])
    torch.testing.assert_close(transmission[:, 8:], photos[:, 8:, :, :3])
    torch.testing.assert_close(reflection, 0.25 * photos[..., :3])
    assert confidence is None  # with ComfyUI, a message for the nodes that use it


def test_compact_has_a_confidence(nodes):
    photo = torch.rand(1, 32, 32, 3, generator=torch.Generator().manual_seed(0))
    *_, confidence = nodes.ClearpaneRemoveReflection().run(photo, 1.0, "fast", "compact")
    assert confidence.shape == (1, 32, 32) and 0 <= confidence.min() <= confidence.max() <= 1
    assert confidence.std() > 0


def test_a_mask_of_another_size_is_one_line(nodes, toy):
    with pytest.raises(ClearpaneError, match="the mask is 64 x 64 pixels and the picture 16 x 16"):
        nodes.ClearpaneRemoveReflection().run(
            torch.zeros(1, 16, 16, 3), 1.0, "fast", str(toy), torch.zeros(1, 64, 64)
        )


def test_a_glass_scene_has_the_light_of_a_slab(nodes):
    """Even surfaces and a pane that faces the camera: closed form, of the infinite series of bounces."""
    node = nodes.ClearpaneGlassScene
    behind, before = (torch.full((1, 24, 32, 3), float(linear_to_srgb(np.array(x)))) for x in (0.4, 0.8))
    given = {**defaults(node), "yaw": 0.0, "reflected_brightness": 0.5}
    made = node().run(behind, before, **given)
    photo, transmission, reflection, background = (srgb_to_linear(x[0, 12, 16]).numpy() for x in made)
    bounced = ((given["index_of_refraction"] - 1) / (given["index_of_refraction"] + 1)) ** 2
    passed = np.exp(-np.array([4.0, 2.0, 3.0]) * given["thickness_mm"] / 1000)
    through = (1 - bounced) ** 2 * passed / (1 - bounced**2 * passed**2)
    np.testing.assert_allclose(background, 0.4, rtol=1e-3)
    np.testing.assert_allclose(transmission, 0.4 * through, rtol=2e-3)
    np.testing.assert_allclose(reflection, 0.5 * bounced * (1 + passed * through), rtol=2e-3)
    np.testing.assert_allclose(photo, transmission + reflection, rtol=1e-4)


def test_photographs_reach_the_reconstruction_and_the_asset_its_place(nodes, tmp_path, monkeypatch):
    from clearpane.reconstruction import reconstruct

    seen = {}

    def stand_in(views, settings, masks, on_progress):
        on_progress(0.5, 20.0)
        seen["steps"] = settings.refining.steps
        seen["photographs"] = [np.asarray(Image.open(p))[0, 0, 0] for p in sorted(Path(views).iterdir())]
        seen["masks"] = [np.asarray(Image.open(p))[0, 0, 0] for p in sorted(Path(masks).iterdir())]
        return SimpleNamespace(asset=triangle())

    monkeypatch.setattr(reconstruct, "reconstruct", stand_in)
    images = torch.stack([torch.full((16, 16, 3), x) for x in (0.0, 1.0)])
    target = tmp_path / "new" / "object.glb"
    (path,) = nodes.ClearpaneReconstruct().run(images, "draft", str(target), torch.ones(2, 16, 16))
    assert path == str(target) and target.read_bytes()[:4] == b"glTF"
    assert seen["steps"] == 400 and [int(x) > 0 for x in seen["photographs"]] == [False, True]
    assert len(seen["masks"]) == 2
    with pytest.raises(ClearpaneError, match="1 masks for 2 photographs"):
        nodes.ClearpaneReconstruct().run(images, "draft", str(target), torch.ones(1, 16, 16))


def triangle() -> Asset:
    mesh = Mesh(np.array([[-1.0, -1, 0], [1, -1, 0], [0, 1, 0]]), np.array([[0, 1, 2]]))
    flat, plain = np.tile([0.0, 0.0, 1.0], (3, 1)), np.full((2, 2), 0.5)
    normals = np.broadcast_to([0.0, 0.0, 1.0], (2, 2, 3))
    corners = np.array([[0.0, 0], [1, 0], [0, 1]])
    return Asset(mesh, corners, flat, np.full((2, 2, 3), 0.5), plain, plain, normals, plain)


def test_an_asset_is_shown_in_a_light(nodes, tmp_path):
    save_asset(triangle(), tmp_path / "a.glb")
    given = {**defaults(nodes.ClearpaneRelight), "asset": str(tmp_path / "a.glb"), "size": 16, "views": 2}
    pictures, coverage = nodes.ClearpaneRelight().run(**given)
    assert pictures.shape == (2, 16, 16, 3) and coverage.shape == (2, 16, 16)
    assert coverage[0, 8, 8] == 1 and coverage[0, 0, 0] == 0
    assert (pictures[0, 0, 0] > 0.9999).all() and pictures[0, 8, 8].max() < 1  # white around it


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_fit_the_nodes(nodes, path):
    workflow = json.loads(path.read_text())
    by_id = {node["id"]: node for node in workflow["nodes"]}
    own = sys.modules["clearpane_comfyui"].NODE_CLASS_MAPPINGS
    for node in workflow["nodes"]:
        if node["type"] not in own:
            assert [(o["name"], o["type"]) for o in node["outputs"]] == CORE[node["type"]]
            continue
        kind = own[node["type"]]
        outputs = list(zip(kind.RETURN_NAMES, kind.RETURN_TYPES, strict=True))
        assert [(o["name"], o["type"]) for o in node["outputs"]] == outputs
        assert all(inputs(kind)[i["name"]][0] == i["type"] for i in node["inputs"])
        assert len(node["widgets_values"]) == len(defaults(kind))
        for value, (name, default) in zip(node["widgets_values"], defaults(kind).items(), strict=True):
            assert type(value) is type(default), name
    for number, source, slot, target, place, kind in workflow["links"]:
        start, end = by_id[source]["outputs"][slot], by_id[target]["inputs"][place]
        assert start["type"] == end["type"] == kind and end["link"] == number and number in start["links"]
    needed = {(n["id"], i["name"]): i["link"] for n in workflow["nodes"] for i in n["inputs"]}
    optional = {"mask", "masks"}
    assert all(
        link is not None for (node, name), link in needed.items()
        if name not in optional or by_id[node]["type"] not in own
    )  # fmt: skip


def test_every_node_is_in_a_workflow(nodes):
    used = {node["type"] for path in WORKFLOWS for node in json.loads(path.read_text())["nodes"]}
    assert sys.modules["clearpane_comfyui"].NODE_CLASS_MAPPINGS.keys() <= used


def test_the_project_is_what_the_registry_asks_for():
    project = tomllib.loads((FOLDER / "pyproject.toml").read_text())
    assert project["project"]["version"] == __version__
    assert re.fullmatch(r"[a-z][a-z0-9-]*", project["project"]["name"])
    assert {"PublisherId", "DisplayName"} <= project["tool"]["comfy"].keys()
    assert project["project"]["dependencies"] == ["clearpane"]  # loose


def test_comfyui_itself_takes_the_nodes(nodes):
    """Runs where ComfyUI is on the path."""
    execution = pytest.importorskip("comfy_execution.validation")
    assert execution.validate_node_input("IMAGE", nodes.ClearpaneGlassScene.RETURN_TYPES[0])
    assert nodes.module._missing("no map") is not None
