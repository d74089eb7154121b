"""COLMAP's models: damaged counts, and names that lead elsewhere."""

import struct
from pathlib import Path

import pytest
from PIL import Image

from clearpane.errors import ClearpaneError
from clearpane.reconstruction.capture.colmap import read_colmap
from clearpane.reconstruction.capture.colmap_layout import check_binary_model

pycolmap = pytest.importorskip("pycolmap")


def write_model(folder: Path, *names: str, binary: bool = True) -> Path:
    """A model of pictures of these names; it has every kind of entry."""
    options = pycolmap.SyntheticDatasetOptions()
    options.num_rigs, options.num_cameras_per_rig = 1, 2
    options.num_frames_per_rig, options.num_points3D = 2, 6
    options.camera_width, options.camera_height = 8, 6
    options.camera_model_id, options.camera_params = pycolmap.CameraModelId.SIMPLE_PINHOLE, [7.0, 4.0, 3.0]
    made = pycolmap.synthesize_dataset(options)
    for index, image in enumerate(made.images.values()):
        image.name = names[index] if index < len(names) else f"{index}.png"
    model = folder / "model"
    model.mkdir(parents=True)
    (made.write_binary if binary else made.write_text)(str(model))
    (folder / "images").mkdir()
    for index in range(4):
        Image.new("RGB", (8, 6)).save(folder / "images" / f"{index}.png")
    return model


def test_an_intact_model_passes(tmp_path: Path) -> None:
    model = write_model(tmp_path)
    check_binary_model(model)
    assert len(read_colmap(model, tmp_path / "images").photographs) == 4


@pytest.mark.parametrize("kind", list(range(18)))
def test_every_lens_has_the_parameters_that_colmap_gives_it(kind: int) -> None:
    from clearpane.reconstruction.capture import colmap_layout

    camera = pycolmap.Camera.create_from_model_id(1, pycolmap.CameraModelId(kind), 10.0, 8, 6)
    assert colmap_layout._PARAMETERS[kind] == len(camera.params)


@pytest.mark.parametrize("name", ["cameras", "images", "points3D", "rigs", "frames"])
@pytest.mark.parametrize("count", [0, 5, 2**32, 2**63])
def test_counts_that_the_files_do_not_hold_are_refused_at_once(tmp_path: Path, name: str, count: int) -> None:
    model = write_model(tmp_path)
    path = model / f"{name}.bin"
    whole = path.read_bytes()
    (there,) = struct.unpack_from("<Q", whole)
    path.write_bytes(struct.pack("<Q", count if count != there else 7) + whole[8:])
    with pytest.raises(ClearpaneError, match="cannot be read as a COLMAP model"):
        read_colmap(model, tmp_path / "images")
    path.write_bytes(whole[:-3])
    with pytest.raises(ClearpaneError, match="cannot be read as a COLMAP model"):
        read_colmap(model, tmp_path / "images")


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("name", ["../secret.png", "a/../../secret.png", "..\\secret.png", "/etc/secret.png"])
def test_pictures_outside_their_folder_are_refused(tmp_path: Path, name: str, binary: bool) -> None:
    Image.new("RGB", (8, 6)).save(tmp_path / "secret.png")
    model = write_model(tmp_path, name, binary=binary)
    with pytest.raises(ClearpaneError, match=r"secret\.png: lies outside .*images.*; give its folder"):
        read_colmap(model, tmp_path / "images")


def test_links_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    Image.new("RGB", (8, 6)).save(tmp_path / "secret.png")
    model = write_model(tmp_path, "link.png")
    (tmp_path / "images" / "link.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(ClearpaneError, match=r"link\.png: lies outside"):
        read_colmap(model, tmp_path / "images")
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    (tmp_path / "images").symlink_to(tmp_path / "elsewhere")  # the folder itself may be a link
    (tmp_path / "elsewhere" / "link.png").unlink()
    assert len(read_colmap(model, tmp_path / "images").photographs) == 3
