import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file

from clearpane.app.inputs import UsageError
from clearpane.app.serve import Serve, offered_models, read_account, run
from clearpane.errors import ClearpaneError
from clearpane.images.reading import read_picture
from clearpane.images.writing import write_picture
from clearpane.separation.pictures import Edit, edit_picture
from clearpane.separation.separator import load_separator
from clearpane.web.settings import PageSettings


@pytest.fixture(scope="module")
def client(page):
    made = Client(page.url, verbose=False)
    yield made
    made.close()


def made_by_the_library(photo, folder, edit=None, kind="transmission"):
    picture = read_picture(photo)
    results, _ = edit_picture(picture, load_separator(), edit or Edit(), [kind])
    return write_picture(folder / f"library{photo.suffix}", results[kind]).read_bytes()


def test_three_lines_of_a_program_give_the_librarys_own_file(draw, client, tmp_path):
    photo = draw(tmp_path / "window.jpg")
    path = client.predict(handle_file(str(photo)), api_name="/remove")
    assert os.path.basename(path) == "window_transmission.jpg"  # noqa: PTH119
    with open(path, "rb") as file:  # noqa: PTH123
        assert file.read() == made_by_the_library(photo, tmp_path)


def test_strength_mask_and_kind_by_the_api(draw, client, tmp_path):
    from PIL import Image

    photo, mask = draw(tmp_path / "window.png"), tmp_path / "mask.png"
    half = np.zeros((64, 96), np.uint8)
    half[:, :40] = 255
    Image.fromarray(half).save(mask)
    path = client.predict(
        handle_file(str(photo)), strength=0.5, mask=handle_file(str(mask)), api_name="/remove"
    )
    edit = Edit(0.5, (half / 255).astype(np.float32))
    with open(path, "rb") as file:  # noqa: PTH123
        assert file.read() == made_by_the_library(photo, tmp_path, edit)


def test_models_are_listed_and_loaded_only_when_asked_for(client, page):
    assert [model["usable"] for model in client.predict(api_name="/models")] == [True, False]
    assert "panel" not in httpx.get(f"{page.url}/health").json()["models_loaded"]
    with pytest.raises(Exception, match="panel"):
        client.predict(handle_file(__file__), model="panel", api_name="/remove")


def test_an_object_by_the_api_and_in_another_light(client, ball_views, coarse):
    import trimesh
    from PIL import Image

    archive = shutil.make_archive(str(ball_views), "zip", ball_views)
    asset = client.predict([handle_file(archive)], quality="draft", api_name="/reconstruct")
    low, high = trimesh.load(asset, force="mesh").bounds
    np.testing.assert_allclose(high - low, 2, rtol=0.2)
    lit = client.predict(handle_file(asset), light="low sun", api_name="/relight")
    with Image.open(lit) as picture:
        assert picture.size == (48, 48)
    with pytest.raises(Exception, match="holds a single photograph"):
        client.predict([handle_file(str(ball_views / "0.png"))], quality="draft", api_name="/reconstruct")


def test_a_program_that_hangs_up_ends_its_object(page, ball_views, coarse):
    archive = Path(shutil.make_archive(str(ball_views), "zip", ball_views))
    event = call(page.url, "reconstruct", [[upload(page.url, archive)], "fine", "hull", None])
    running = lambda: httpx.get(f"{page.url}/health").json()["running"]  # noqa: E731
    with httpx.stream("GET", f"{page.url}/gradio_api/call/reconstruct/{event}", timeout=60):
        wait_for(lambda: running() == 1)
    wait_for(lambda: running() == 0)


@pytest.mark.parametrize("path", ["/etc/passwd", __file__])
def test_no_file_of_the_computer_is_read(page, path):
    event = call_remove(page.url, {"path": path, "meta": {"_type": "gradio.FileData"}})
    answer = httpx.get(f"{page.url}/gradio_api/call/remove/{event}", timeout=60).text
    assert "event: error" in answer and "not uploaded" in answer
    for address in (f"/gradio_api/file={path}", f"/gradio_api/file={page.root}/../..{path}"):
        assert httpx.get(page.url + address).status_code in (403, 404)


def test_errors_are_one_line_without_the_servers_folders(draw, client, page, tmp_path):
    bad, large = tmp_path / "bad.jpg", draw(tmp_path / "large.png", (1200, 900))
    bad.write_bytes(b"no picture")
    for file, words in ((bad, "is not a picture that can be read"), (large, "limit of 1 megapixels")):
        with pytest.raises(Exception, match=words) as raised:
            client.predict(handle_file(str(file)), api_name="/remove")
        assert str(page.root) not in str(raised.value)


def test_too_large_uploads_are_refused(page):
    post = lambda size: httpx.post(f"{page.url}/gradio_api/upload", files={"files": ("a.jpg", bytes(size))})  # noqa: E731
    assert post(1000).status_code == 200
    assert post(3_000_000).status_code == 413
    assert post(7_000_000).status_code == 413


def test_health_and_headers(page):
    answer = httpx.get(f"{page.url}/health")
    assert answer.json()["status"] == "ok" and answer.json()["waiting"] == 0
    policy = httpx.get(page.url).headers["content-security-policy"]
    assert "default-src 'self'" in policy and "http" not in policy


def test_a_password_is_asked_for(monkeypatch, models):
    from fastapi.testclient import TestClient

    from clearpane.web.server import make_app
    from clearpane.web.studio import Studio

    monkeypatch.setenv("GRADIO_TEMP_DIR", os.environ.get("GRADIO_TEMP_DIR", ""))
    studio = Studio(PageSettings(account=("alice", "secret"), models=models))
    try:
        visitor = TestClient(make_app(studio))
        assert visitor.get("/gradio_api/info").status_code == 401
        assert visitor.post("/login", data={"username": "alice", "password": "x"}).status_code == 400
        assert visitor.post("/login", data={"username": "alice", "password": "secret"}).status_code == 200
        assert visitor.get("/gradio_api/info").status_code == 200
        assert TestClient(visitor.app).get("/health").status_code == 200
    finally:
        studio.visits.close()


def test_the_account_is_read_from_a_file(tmp_path):
    (tmp_path / "password").write_text("secret\n")
    assert read_account(f"alice:{tmp_path / 'password'}") == ("alice", "secret")
    for wrong in ("alice", ":x", f"alice:{tmp_path / 'missing'}"):
        with pytest.raises(UsageError):
            read_account(wrong)


def test_options_are_checked_and_a_taken_port_is_one_line():
    with pytest.raises(UsageError, match="--files 0"):
        run(Serve(files=0))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ClearpaneError, match="cannot listen on"):
            run(Serve(port=taken.getsockname()[1]))


def test_unusable_models_say_what_they_need():
    compact, *editors = offered_models(Serve())
    assert compact.options is not None
    assert all(model.options is None and "needs" in model.needs for model in editors)


_SLOW = """
import sys, time
from clearpane.app import cli
from clearpane.separation.layers import Layers
from clearpane.web import work
class Slow:
    def separate(self, image, *, quality="fast", confidence=False):
        time.sleep(3)
        return Layers(image * 0.5, image * 0.25)
work.load_separator = lambda *chosen: Slow()
sys.exit(cli.main(["serve", "--port", sys.argv[1]]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM")
def test_sigterm_ends_after_the_running_picture(draw, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    process = subprocess.Popen([sys.executable, "-c", _SLOW, str(port)], env=environment)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: httpx.get(f"{url}/health").status_code == 200)
        photo = draw(tmp_path / "a.png")
        job = call_remove(url, upload(url, photo))
        wait_for(lambda: httpx.get(f"{url}/health").json()["running"] == 1)
        process.send_signal(signal.SIGTERM)
        events = httpx.get(f"{url}/gradio_api/call/remove/{job}", timeout=60).text
        assert "event: complete" in events
        assert process.wait(30) == 0
        assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    finally:
        process.kill()


def upload(url, file):
    files = {"files": (file.name, file.read_bytes())}
    (path,) = httpx.post(f"{url}/gradio_api/upload", files=files, timeout=60).json()
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


def call_remove(url, photo):
    return call(url, "remove", [photo, 1, "fast", "transmission", "original", None, "compact"])


def call(url, endpoint, data):
    answer = httpx.post(f"{url}/gradio_api/call/{endpoint}", json={"data": data}, timeout=60)
    return json.loads(answer.text)["event_id"]


def wait_for(true, seconds=120):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if true():
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    raise AssertionError("it did not happen in time")
