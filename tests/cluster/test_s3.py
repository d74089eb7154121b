"""`remove` and `synthesize` with inputs and outputs on S3, as moto's server imitates it on this machine."""

import json
from pathlib import Path

import pytest

pytest.importorskip("s3fs")
server = pytest.importorskip("moto.server")

import fsspec  # noqa: E402

from clearpane.app.cli import main  # noqa: E402
from clearpane.cluster import addresses  # noqa: E402

from .conftest import PLAIN, contents  # noqa: E402

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture(scope="module")
def endpoint():
    """An S3 server of this process, on a free port."""
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def bucket(endpoint: str, photos: Path, tmp_path: Path, monkeypatch):
    """A file system whose bucket `shop` holds the photographs under photos/."""
    credentials = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in {"AWS_ENDPOINT_URL": endpoint, **credentials}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(addresses.tempfile, "tempdir", str(tmp_path))
    fsspec.filesystem("s3").clear_instance_cache()
    system = fsspec.filesystem("s3")
    system.mkdir("shop")
    system.put(f"{photos}/", "shop/photos/", recursive=True)
    yield system
    system.rm("shop", recursive=True)


def stored(system, folder: str) -> dict[str, bytes]:
    system.invalidate_cache()
    return {path.rpartition("/")[2]: system.cat(path) for path in system.find(folder)}


def test_photographs_on_s3_get_the_same_results_as_files(
    bucket, photos: Path, in_process: list[str], tmp_path: Path, capsys
) -> None:
    command = ["remove", "s3://shop/photos", "--output", "s3://shop/clean", "--ray", "auto"]
    assert main(command) == 0
    assert capsys.readouterr().out.count("s3://shop/clean/") == 3
    assert main(["remove", str(photos), "--output", str(tmp_path / "out")]) == 0
    assert stored(bucket, "shop/clean") == contents(tmp_path / "out")

    in_process.clear()
    bucket.rm("shop/clean/1_transmission.png")
    assert main(command) == 0
    assert [json.loads(item)["source"] for item in in_process] == ["s3:/shop/photos/1.png"]
    assert stored(bucket, "shop/clean") == contents(tmp_path / "out")


def test_a_data_set_on_s3_has_the_same_bytes(bucket, photos: Path, in_process, tmp_path: Path) -> None:
    (tmp_path / "ranges.json").write_text(json.dumps(PLAIN))
    options = f"--count 3 --ranges {tmp_path / 'ranges.json'} --size 16 --samples-per-shard 2".split()
    sources = ["--backgrounds", "s3://shop/photos", "--ray", "auto"]
    assert main(["synthesize", "--output", "s3://shop/glass", *sources, *options]) == 0
    bucket.pipe("shop/glass/shard-000000.tar", b"damaged")
    assert main(["synthesize", "--output", "s3://shop/glass", *sources, *options]) == 0
    assert len(in_process) == 2 + 1
    local = ["synthesize", "--output", str(tmp_path / "out"), "--backgrounds", str(photos), "--workers", "1"]
    assert main([*local, *options]) == 0
    there = stored(bucket, "shop/glass")
    assert there == contents(tmp_path / "out") and len(there) == 4


def test_what_s3_refuses_is_one_line(bucket, in_process, capsys) -> None:
    command = ["remove", "s3://no-such-bucket/photos", "--output", "s3://shop/clean", "--ray", "auto"]
    assert main(command) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("error: s3://no-such-bucket/photos: ") and "Traceback" not in printed
