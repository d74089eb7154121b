import io
import json
import tarfile
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pytest
import webdataset
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from clearpane.errors import ClearpaneError
from clearpane.optics.color import srgb_to_linear
from clearpane.synthesis.dataset.shards import (
    PANEL_CAPTION,
    Format,
    StoredSample,
    decode_sample,
    encode_sample,
    panel_caption,
    read_shards,
    sample_key,
    write_shard,
)
from clearpane.synthesis.glass.scene import Background, GlassScene, Light, Pane, Post, ReflectedWorld


def sample(index: int = 0, letters: str = "I T R B MR", size: int = 6) -> StoredSample:
    rng = np.random.default_rng(index)
    lights = (Light("disc", 0.5, 0.25, 0.1, 0.1, (3.0, 2.0, 1.0)),)
    scene = GlassScene(
        Background("a.png"),
        ReflectedWorld("b.png", lights=lights),
        Pane("wedged", thickness=0.004),
        post=Post(jpeg_quality=90),
        seed=index,
    )
    names = letters.split()
    layers = {n: rng.uniform(0, 1.6, (size, size + 2, 3)).astype(np.float32) for n in names if n != "I"}
    photograph = rng.integers(0, 256, (size, size + 2, 3)).astype(np.float32) / 255 if "I" in names else None
    return StoredSample(sample_key(index), scene, photograph, layers, panel_caption(names))


@pytest.mark.parametrize("format", get_args(Format))
def test_a_sample_comes_back(format: Format) -> None:
    before = sample()
    encoded = encode_sample(before, format)
    after = decode_sample({"__key__": before.key, **encoded.files})
    assert (after.key, after.scene, after.caption) == ("00000000", before.scene, PANEL_CAPTION)
    assert after.photograph is not None and before.photograph is not None
    np.testing.assert_allclose(after.photograph, before.photograph, atol=1e-6)
    assert list(after.layers) == ["T", "R", "B", "MR"]
    for letter, layer in before.layers.items():
        if format == "png16":
            np.testing.assert_allclose(after.layers[letter], np.clip(layer, 0, 1), atol=2e-5)
        else:
            np.testing.assert_allclose(after.layers[letter], layer, rtol=2**-11, atol=1e-6)
            assert after.layers[letter].max() > 1, "EXR layers are not clipped"


def test_pngs_are_what_the_page_says() -> None:
    before = sample()
    files = encode_sample(before, "png16").files
    assert set(files) == {"i.png", "t.png", "r.png", "b.png", "mr.png", "json", "txt"}
    stored = Image.open(io.BytesIO(files["t.png"]))
    assert files["t.png"][24:26] == b"\x10\x02", "16 bits, RGB"
    values = np.asarray(stored.convert("RGB"), np.float32) / 255  # Pillow keeps the upper 8 bits
    expected = np.clip(before.layers["T"], 0, 1)
    np.testing.assert_allclose(srgb_to_linear(values), expected, atol=0.01)
    assert GlassScene.from_json(files["json"].decode()) == before.scene


def test_the_caption_is_there_where_its_panels_are() -> None:
    assert panel_caption("ITR") == PANEL_CAPTION
    assert panel_caption(["T", "R", "B", "MR"]) is None
    assert "txt" not in encode_sample(sample(letters="I T"), "png16").files
    assert len(PANEL_CAPTION.split()) < 60, "CLIP's text encoder takes 77 tokens"


def test_facts_about_a_sample() -> None:
    before = sample(letters="T R")
    encoded = encode_sample(before, "png16")
    assert (encoded.pane, encoded.world) == ("wedged", "screen")
    assert encoded.light["T"] == pytest.approx(before.layers["T"].mean())


def test_what_is_not_finite_is_not_stored() -> None:
    before = sample(letters="T R")
    before.layers["R"][0, 0, 0] = np.nan
    with pytest.raises(ValueError, match=r'sample 00000000: R is not finite; .*"seed": 0'):
        encode_sample(before, "png16")


@pytest.mark.parametrize("format", get_args(Format))
def test_a_shard_is_the_same_whenever_and_wherever_it_is_written(
    format: Format, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    for name, clock in (("a.tar", 1.0e9), ("b.tar", 1.7e9)):
        monkeypatch.setattr("time.time", lambda now=clock: now)
        write_shard(tmp_path / name, [encode_sample(sample(i), format) for i in range(3)])
        written.append((tmp_path / name).read_bytes())
    assert written[0] == written[1]
    with tarfile.open(tmp_path / "a.tar") as tar:
        members = tar.getmembers()
    assert {(m.mtime, m.uname, m.gname, m.uid, m.gid) for m in members} == {(0, "", "", 0, 0)}
    assert [m.name for m in members[:3]] == [
        "00000000.b.exr" if format == "exr" else "00000000.b.png",
        "00000000.i.png",
        "00000000.json",
    ]


def test_exr_headers_hold_no_date() -> None:
    files = encode_sample(sample(), "exr").files
    assert b"capDate" not in files["t.exr"] or b"1970:01:01 00:00:00" in files["t.exr"]


def test_shards_are_read_in_order_and_in_part(tmp_path: Path) -> None:
    for number in range(2):
        samples = (encode_sample(sample(3 * number + i, "T R"), "png16") for i in range(3))
        write_shard(tmp_path / f"{number}.tar", samples)
    paths = [tmp_path / "0.tar", tmp_path / "1.tar"]
    assert [s.scene.seed for s in read_shards(paths)] == [0, 1, 2, 3, 4, 5]
    chosen = read_shards(paths, {sample_key(1), sample_key(5)}.__contains__)
    assert [s.key for s in chosen] == ["00000001", "00000005"]


class _Keys(Dataset[list[str]]):
    """Reads a whole shard, as any data set of a loader may."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> list[str]:
        return [s.key for s in read_shards([self.path])]


def test_every_worker_of_a_loader_reads_whole_shards_wherever_they_are(tmp_path: Path) -> None:
    path = tmp_path / "my:set #{1..2}" / "a.tar"
    path.parent.mkdir()
    write_shard(path, [encode_sample(sample(i, "T R"), "png16") for i in range(2)])
    loader = DataLoader(_Keys(path), batch_size=None, num_workers=2)
    assert list(loader) == [["00000000", "00000001"]] * 2


def test_the_stock_webdataset_reads_them(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.tar", [encode_sample(sample(i), "png16") for i in range(2)])
    raw = list(webdataset.WebDataset(str(tmp_path / "a.tar"), shardshuffle=False))
    assert [r["__key__"] for r in raw] == ["00000000", "00000001"]
    assert json.loads(raw[1]["json"])["seed"] == 1
    whole = webdataset.WebDataset(str(tmp_path / "a.tar"), shardshuffle=False).map(decode_sample)
    assert [s.layers["MR"].shape for s in whole] == [(6, 8, 3)] * 2
    stock = webdataset.WebDataset(str(tmp_path / "a.tar"), shardshuffle=False).decode("rgb")
    first = next(iter(stock.to_tuple("i.png", "txt")))
    np.testing.assert_allclose(first[0], sample().photograph, atol=1 / 255)
    assert first[1].strip() == PANEL_CAPTION


def test_what_is_no_shard_is_said_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "shard.tar"
    write_shard(path, [encode_sample(sample(), "png16")])
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ClearpaneError, match=r"shard\.tar: cannot be read as a shard"):
        list(read_shards([path]))
    with pytest.raises(ClearpaneError, match=r"none\.tar: cannot be read"):
        list(read_shards([tmp_path / "none.tar"]))


def test_a_foreign_or_damaged_sample_is_named() -> None:
    with pytest.raises(ClearpaneError, match=r"sample x: has no scene \(json\)"):
        decode_sample({"__key__": "x", "jpg": b""})
    files = dict(encode_sample(sample(), "png16").files)
    files["t.png"] = files["t.png"][:40]
    with pytest.raises(ClearpaneError, match=r"00000007\.t\.png"):
        decode_sample({"__key__": "00000007", **files})


def write_tar(path: Path, members: dict[str, bytes], mode: Literal["w", "w:gz"] = "w") -> Path:
    with tarfile.open(path, mode) as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize("folder", ["../../", "/tmp/", "a/", "a\\"])
def test_members_cannot_lead_out_of_their_folder(tmp_path: Path, folder: str) -> None:
    files = encode_sample(sample(), "png16").files
    members = {f"{folder}00000000.{name}": content for name, content in files.items()}
    before = sorted(tmp_path.rglob("*"))
    path = write_tar(tmp_path / "a.tar", members)
    with pytest.raises(ClearpaneError, match=r"a\.tar: sample .*: its name holds a folder"):
        list(read_shards([path]))
    assert sorted(tmp_path.rglob("*")) == [*before, path]


def test_compressed_and_sparse_shards_are_refused(tmp_path: Path) -> None:
    files = {f"00000000.{name}": content for name, content in encode_sample(sample(), "png16").files.items()}
    with pytest.raises(ClearpaneError, match=r"a\.tar: cannot be read as a shard"):
        list(read_shards([write_tar(tmp_path / "a.tar", files, "w:gz")]))
    member = tarfile.TarInfo("00000000.json")
    member.pax_headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.realsize": str(1 << 40),
    }
    content = b"0\n".ljust(512, b"\0")
    member.size = len(content)
    with tarfile.open(tmp_path / "b.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(member, io.BytesIO(content))
    with pytest.raises(ClearpaneError, match=r"b\.tar: cannot be read as a shard \(.*sparse"):
        list(read_shards([tmp_path / "b.tar"]))


@pytest.mark.parametrize("scene", [b"\xff", b"[" * 100_000, b'{"seed": ' + b"9" * 5000 + b"}"])
def test_a_damaged_scene_is_said_in_one_line(tmp_path: Path, scene: bytes) -> None:
    files = dict(encode_sample(sample(), "png16").files, json=scene)
    path = write_tar(tmp_path / "a.tar", {f"00000000.{name}": content for name, content in files.items()})
    with pytest.raises(ClearpaneError, match=r"a\.tar: "):
        list(read_shards([path]))
