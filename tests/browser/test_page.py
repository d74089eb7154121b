"""The page in a real browser: each control, a phone, offline, and files that cannot be separated."""

import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from imagecodecs import png_decode, png_encode
from PIL import Image

from clearpane.images.picture import to_8bit
from clearpane.images.profiles import display_p3_profile
from clearpane.separation.compact.runtime import CompactSeparator
from clearpane.separation.strength import apply_strength

EXAMPLES = Path(__file__).parents[2] / "examples"
SHOP = EXAMPLES / "shop_input.jpg"
DONE = "Nothing was uploaded."


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a picture that is separated quickly, for the tests that do not compare a whole result."""
    path = tmp_path_factory.mktemp("pictures") / "small.jpg"
    with Image.open(SHOP) as picture:
        picture.resize((320, 240)).save(path, quality=95)
    return path


@pytest.fixture(scope="module")
def context(browser: Any, page_address: str) -> Iterator[Any]:
    """Open a profile in which the page was visited before, so that its service worker runs."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    page = context.new_page()
    page.goto(page_address)
    page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    page.close()
    yield context
    context.close()


@pytest.fixture(scope="module")
def loaded_page(context: Any, page_address: str) -> Iterator[Any]:
    """Open the page once: compiling the runtime and loading the model take longer than a small picture."""
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.goto(page_address)
    yield page
    page.close()


@pytest.fixture
def page(loaded_page: Any) -> Iterator[Any]:
    """Return the page with its controls as at the start."""
    if loaded_page.is_visible("#strength"):
        choose_view(loaded_page, "compare")
        set_strength(loaded_page, 1)
    yield loaded_page
    assert not loaded_page.errors


def open_picture(page: Any, path: Path | dict[str, Any]) -> str:
    page.evaluate("document.querySelector('#status').replaceChildren()")  # what the last picture left
    page.set_input_files("#file", path)
    page.wait_for_function(
        "() => {"
        "  const status = document.querySelector('#status');"
        "  return status.textContent.includes('uploaded') || status.classList.contains('error');"
        "}"
    )
    text: str = page.text_content("#status")
    return text


def save(page: Any, format: str = "image/png") -> bytes:
    page.select_option("#format", format)
    with page.expect_download() as download:
        page.click("#save")
    return Path(download.value.path()).read_bytes()


def choose_view(page: Any, view: str) -> None:
    page.check(f'input[name="view"][value="{view}"]')


def set_strength(page: Any, value: float) -> None:
    page.fill("#strength", str(value))


def decoded(file: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))


def as_python_sees(path: Path) -> tuple[np.ndarray, Any]:
    image = np.asarray(Image.open(path).convert("RGB"), np.float32) / 255
    return image, CompactSeparator().separate(image, confidence=True)


def test_the_result_is_that_of_the_program(page: Any) -> None:
    _, layers = as_python_sees(SHOP)
    assert DONE in open_picture(page, SHOP)
    assert np.abs(decoded(save(page)).astype(int) - to_8bit(layers.transmission)).max() <= 1


def test_every_view_and_strength_is_that_of_the_program(page: Any, small: Path) -> None:
    image, layers = as_python_sees(small)
    assert DONE in open_picture(page, small)
    choose_view(page, "reflection")
    assert np.abs(decoded(save(page)).astype(int) - to_8bit(layers.reflection)).max() <= 1
    choose_view(page, "confidence")
    assert np.abs(decoded(save(page))[..., 0] / 255 - layers.confidence).max() <= 1.5 / 255
    choose_view(page, "compare")
    for strength in (0.5, -0.4):
        set_strength(page, strength)
        expected = to_8bit(apply_strength(image, layers, strength))
        assert np.abs(decoded(save(page)).astype(int) - expected).max() <= 1
    set_strength(page, 0)
    assert (decoded(save(page)) == decoded(small.read_bytes())).all()


def test_what_is_shown_follows_the_controls(page: Any, small: Path) -> None:
    open_picture(page, small)

    def shown() -> bytes:
        script = """async () => {
            const root = document.querySelector('clear-pane').shadowRoot;
            const single = root.querySelector('.single');
            const image = single.hidden ? root.querySelector('[slot=second]') : single;
            await image.decode();
            const blob = await (await fetch(image.src)).blob();
            return Array.from(new Uint8Array(await blob.arrayBuffer()));
        }"""
        return bytes(page.evaluate(script))

    before = shown()
    set_strength(page, -1)
    assert page.text_content("#percent") == "-100 %"
    deadline = time.monotonic() + 60
    while shown() == before and time.monotonic() < deadline:
        page.wait_for_timeout(200)
    assert np.abs(decoded(shown()).astype(int) - decoded(before)).mean() > 5
    choose_view(page, "confidence")
    page.wait_for_function("!document.querySelector('clear-pane').shadowRoot.querySelector('.single').hidden")
    grey = decoded(shown())
    assert (grey[..., 0] == grey[..., 1]).all()


def test_threads_are_used_once_the_service_worker_runs(page: Any, small: Path) -> None:
    assert page.evaluate("self.crossOriginIsolated")
    assert "threads" in open_picture(page, small)


def test_without_threads(browser: Any, page_address: str, small: Path) -> None:
    context = browser.new_context(service_workers="block")
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(page_address)
    assert not page.evaluate("self.crossOriginIsolated")
    text = open_picture(page, small)
    assert DONE in text and "threads" not in text
    _, layers = as_python_sees(small)
    assert np.abs(decoded(save(page)).astype(int) - to_8bit(layers.transmission)).max() <= 1
    context.close()


def test_it_works_offline_after_the_first_visit(context: Any, page_address: str, small: Path) -> None:
    context.set_offline(True)
    page = context.new_page()
    page.set_default_timeout(60_000)
    try:
        page.goto(page_address)
        assert DONE in open_picture(page, small)
    finally:
        context.set_offline(False)
        page.close()


def test_a_phone_shows_everything_without_scrolling_sideways(
    browser: Any, page_address: str, small: Path
) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True)
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(page_address)
    page.wait_for_function("self.crossOriginIsolated")  # the service worker has reloaded the page once
    assert DONE in open_picture(page, small)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    for control in ("#strength", "#save", "#format"):
        box = page.locator(control).bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 360 and box["height"] >= 32
    context.close()


def test_every_control_can_be_reached_with_the_keyboard(page: Any, small: Path) -> None:
    open_picture(page, small)
    page.evaluate("document.activeElement.blur()")
    reached = set()
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.name"))
    assert {"file", "camera", "view", "strength", "format", "save"} <= reached


def test_the_orientation_of_a_photograph_is_kept(page: Any, tmp_path: Path, small: Path) -> None:
    picture = Image.open(small)
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "turned.jpg"
    picture.save(path, quality=95, exif=exif)
    open_picture(page, path)
    assert decoded(save(page)).shape[:2] == picture.size


def test_16_bits_stay(page: Any, tmp_path: Path, small: Path) -> None:
    image, _ = as_python_sees(small)
    deep = np.round(np.clip(image + 0.3 / 255, 0, 1) * 65535).astype(np.uint16)
    path = tmp_path / "deep.png"
    path.write_bytes(png_encode(deep))
    layers = CompactSeparator().separate(deep.astype(np.float32) / 65535)
    open_picture(page, path)
    result = png_decode(save(page, "image/png;depth=16"))
    assert result.dtype == np.uint16
    assert np.abs(result[..., :3] / 65535 - layers.transmission).max() < 1e-3


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_wide_colours_stay_wide(page: Any, tmp_path: Path, suffix: str) -> None:
    # A red that sRGB does not hold, under a profile that names itself as cameras do.
    pixels = np.full((64, 96, 3), (230, 20, 20), np.uint8)
    described = "RGB built-in".encode("utf-16-be"), "Display P3  ".encode("utf-16-be")
    profile = display_p3_profile()
    assert described[0] in profile
    path = tmp_path / f"wide{suffix}"
    Image.fromarray(pixels).save(path, icc_profile=profile.replace(*described), quality=95)
    assert DONE in open_picture(page, path)
    set_strength(page, 0)
    saved = Image.open(io.BytesIO(save(page)))
    assert b"P3" in saved.info["icc_profile"].replace(b"\0", b"")
    assert np.abs(np.asarray(saved.convert("RGB")).astype(int) - pixels).max() <= 3


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("notes.txt", b"not a picture", "not a picture that the browser can read"),
        ("cut.jpg", SHOP.read_bytes()[:200], "not a picture that the browser can read"),
    ],
)
def test_a_file_that_is_no_picture_is_named_so(
    page: Any, name: str, content: bytes, sentence: str, small: Path
) -> None:
    text = open_picture(page, {"name": name, "mimeType": "image/jpeg", "buffer": content})
    assert sentence in text and "\n" not in text
    assert DONE in open_picture(page, small)  # the next one works


def test_a_picture_that_is_too_large_is_refused(page: Any, tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    Image.new("RGB", (6000, 5000), "grey").save(path, quality=60)
    assert "30 megapixels and the page can hold 24" in open_picture(page, path)


def test_a_picture_of_a_few_pixels_is_refused(page: Any, tmp_path: Path, small: Path) -> None:
    path = tmp_path / "small.png"
    Image.new("RGB", (8, 40)).save(path)
    assert "8 x 40 pixels" in open_picture(page, path)


def test_the_element_works_in_another_page(
    browser: Any, page_folder: Path, page_address: str, small: Path
) -> None:
    (page_folder / "embedding.html").write_text(
        '<script type="module" src="clear-pane.js"></script>'
        '<clear-pane src="photo.jpg" strength="0.5"></clear-pane><clear-pane src="absent.jpg"></clear-pane>'
    )
    (page_folder / "photo.jpg").write_bytes(small.read_bytes())
    context = browser.new_context()
    page = context.new_page()
    page.add_init_script(
        "window.told = [];"
        "for (const name of ['clearpane-result', 'clearpane-error'])"
        "  document.addEventListener(name, (event) => told.push([name, event.detail]), true);"
    )
    page.goto(page_address + "embedding.html")
    page.wait_for_function("told.length === 2", timeout=60_000)
    results = dict(page.evaluate("told"))
    assert results["clearpane-result"]["width"] == Image.open(small).width
    assert "404" in results["clearpane-error"]
    context.close()
