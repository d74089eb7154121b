"""The page in a real browser: Debian's Chromium, driven by Playwright."""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clearpane.images.reading import read_picture
from clearpane.images.writing import write_picture
from clearpane.separation.pictures import Edit, edit_picture
from clearpane.separation.separator import load_separator

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no chromium here (apt-get install chromium)"
)
_FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --enable-unsafe-swiftshader"
)
_PATIENCE = 120_000  # milliseconds; the machine may be busy


@pytest.fixture(scope="module")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=_FLAGS.split())
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium, page):
    contexts = []

    def begin(**options):
        context = chromium.new_context(
            **{"viewport": {"width": 1280, "height": 900}, "locale": "en", **options}
        )
        context.set_default_timeout(_PATIENCE)
        contexts.append(context)
        tab = context.new_page()
        tab.outside = []
        tab.on("request", lambda request: tab.outside.append(request.url))
        tab.goto(page.url)
        tab.wait_for_selector("#photo input[type=file]", state="attached")
        return tab

    yield begin
    for context in contexts:
        context.close()


def wanted(photo: Path, folder: Path, edit: Edit = Edit()) -> bytes:  # noqa: B008
    picture = read_picture(photo)
    results, _ = edit_picture(picture, load_separator(), edit, ["transmission"])
    return write_picture(folder / f"library{photo.suffix}", results["transmission"]).read_bytes()


def upload(tab, photo: Path) -> None:
    tab.set_input_files("#photo input[type=file]", str(photo))
    tab.wait_for_selector("#facts strong")


def downloaded(tab, selector: str) -> bytes:
    with tab.expect_download() as download:
        tab.click(selector)
    return Path(download.value.path()).read_bytes()


def shown(tab) -> list[str]:
    return [image.get_attribute("src") for image in tab.locator("#slider img").all()]


def set_strength(tab, value: float) -> None:
    before = shown(tab)
    number = tab.locator("#strength input[type=number]")
    number.fill(str(value))
    number.press("Enter")
    tab.wait_for_function(
        "before => [...document.querySelectorAll('#slider img')].some(i => !before.includes(i.src))",
        arg=before,
    )


def test_a_photograph_is_tuned_and_downloaded_as_the_library_writes_it(draw, visit, page, tmp_path):
    photo = draw(tmp_path / "window.jpg", (240, 160))
    tab = visit()
    upload(tab, photo)
    assert "window.jpg" in tab.inner_text("#facts") and "240 × 160" in tab.inner_text("#facts")
    set_strength(tab, 0.5)
    assert downloaded(tab, "#prepare") == wanted(photo, tmp_path, Edit(0.5))
    assert {url for url in tab.outside if url.startswith("http") and not url.startswith(page.url)} == set()


def test_a_painted_region_is_all_that_changes(draw, visit, tmp_path):
    photo = draw(tmp_path / "window.png", (240, 160))
    tab = visit()
    upload(tab, photo)
    tab.click("#mask button")
    canvas = tab.locator("#editor canvas").first
    canvas.wait_for()
    tab.wait_for_timeout(2000)
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    tab.mouse.move(x, y)
    tab.mouse.down()
    for step in range(5):
        tab.mouse.move(x + step, y + step)
        tab.wait_for_timeout(100)
    tab.mouse.up()
    tab.wait_for_function("document.querySelector('#region input:checked').value === 'only'")
    (tmp_path / "result.png").write_bytes(downloaded(tab, "#prepare"))
    changed = (np.asarray(Image.open(tmp_path / "result.png")) != np.asarray(Image.open(photo))).any(axis=2)
    assert changed[60:100, 100:140].any()
    assert not changed[:10].any() and not changed[:, :10].any() and not changed[-10:].any()


def test_a_batch_comes_back_as_a_zip_and_the_bad_file_is_named(draw, visit, tmp_path):
    good = [draw(tmp_path / f"{name}.png", seed=n) for n, name in enumerate("ab")]
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    tab = visit()
    tab.get_by_role("tab", name="Many photographs").click()
    tab.set_input_files("#batch-files input[type=file]", [str(path) for path in (*good, bad)])
    tab.wait_for_selector("#batch-files >> text=bad")
    tab.click("#batch-start")
    tab.wait_for_selector("#batch-download")
    assert "bad.png" in tab.inner_text("#batch-failed")
    archive = tmp_path / "results.zip"
    archive.write_bytes(downloaded(tab, "#batch-download"))
    with zipfile.ZipFile(archive) as results:
        assert results.namelist() == ["a_transmission.png", "b_transmission.png"]
        assert results.read("a_transmission.png") == wanted(good[0], tmp_path)


def test_an_object_is_made_lit_and_downloaded(visit, ball_views, coarse, tmp_path):
    tab = visit()
    tab.get_by_role("tab", name="3D object").click()
    views = [str(path) for path in sorted(ball_views.iterdir())]
    tab.set_input_files("#object-views input[type=file]", views)
    tab.wait_for_selector("#object-views >> text=transforms")
    tab.click("#object-quality >> text=draft")
    tab.click("#object-start")
    tab.wait_for_selector("#object-model canvas")
    assert downloaded(tab, "#object-download")[:4] == b"glTF"
    tab.click("#relight-picture")
    tab.wait_for_selector("#relit img")
    tab.click("#relight-film")
    tab.wait_for_selector("#turntable video")


def test_two_results_are_measured_and_judged(draw, visit, page, tmp_path):
    for name in ("pairs", "a", "b"):
        (tmp_path / name).mkdir()
    photo, truth = (
        draw(tmp_path / "pairs" / f"x_{kind}.png", seed=n) for n, kind in enumerate(("input", "transmission"))
    )
    shutil.copy(truth, tmp_path / "a" / "x.png")
    shutil.copy(photo, tmp_path / "b" / "x.png")
    tab = visit()
    tab.get_by_role("tab", name="Compare").click()
    for name in ("pairs", "a", "b"):
        files = [str(path) for path in (tmp_path / name).iterdir()]
        tab.set_input_files(f"#compare-{name} input[type=file]", files)
        tab.wait_for_selector(f"#compare-{name} >> text=KB")
    tab.click("#compare-start")
    link = tab.wait_for_selector("#judge-link a")
    assert "do nothing" in tab.inner_text("#compare-means")
    judge = tab.context.new_page()
    judge.goto(page.url + link.get_attribute("href"))
    for _ in range(3):
        judge.keyboard.press("y")
    with judge.expect_download(), judge.expect_response(lambda answer: answer.status == 204):
        judge.click("#save")
    tab.click("#judge-count")
    tab.locator("#judge-verdicts").get_by_text("1 / 1").locator("visible=true").first.wait_for()


def test_an_error_is_shown_in_a_line(visit, tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no picture")
    tab = visit()
    tab.set_input_files("#photo input[type=file]", str(bad))
    assert "bad.jpg: is not a picture" in tab.wait_for_selector("[data-testid=toast-body]").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_in_german_has_names_contrast_and_no_sideways_scroll(draw, visit, tmp_path, scheme):
    phone = {"viewport": {"width": 390, "height": 844}, "locale": "de-DE", "color_scheme": scheme}
    tab = visit(**phone)
    tab.wait_for_selector("text=Es bleibt auf diesem Rechner")
    upload(tab, draw(tmp_path / "a.png"))
    assert "getrennt" in tab.inner_text("#facts")
    tab.wait_for_timeout(1500)
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert tab.evaluate(_UNNAMED) == []
    assert tab.evaluate(_CONTRASTS) >= 4.5  # WCAG 2.2, level AA
    assert tab.evaluate("document.documentElement.lang") == "de"


def test_the_keyboard_reaches_the_strength_and_the_download(draw, visit, tmp_path):
    tab = visit()
    upload(tab, draw(tmp_path / "a.png"))
    tab.focus("#photo button")
    reached = set()
    for _ in range(60):
        tab.keyboard.press("Tab")
        reached.add(tab.evaluate("document.activeElement.closest('[id]')?.id ?? ''"))
        reached.update(tab.evaluate(_AROUND))
    assert {"strength", "view", "prepare", "kind"} <= reached


_AROUND = """() => {
  const ids = [];
  for (let part = document.activeElement; part; part = part.parentElement) if (part.id) ids.push(part.id);
  return ids;
}"""
_UNNAMED = """() => [...document.querySelectorAll("button, input, select, textarea, [role=slider]")]
  .filter(part => part.offsetParent && part.type !== "file" && part.type !== "hidden")
  .filter(part => !(part.getAttribute("aria-label") || part.title || part.textContent.trim() ||
    part.labels?.length || part.getAttribute("aria-labelledby")))
  .map(part => part.outerHTML.slice(0, 200))"""
# The least contrast of a visible text on a plain background.
_CONTRASTS = """() => {
  const parse = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = c => { const [r, g, b] = c.slice(0, 3).map(v => { v /= 255;
    return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  let least = 21;
  for (const part of document.querySelectorAll("h1, p, label span, button, #facts strong")) {
    if (!part.offsetParent || !part.textContent.trim() || part.disabled) continue;
    let ground = part, colour = [0, 0, 0, 0];
    while (ground && !(colour.length === 3 || colour[3] > 0.99)) {
      colour = parse(getComputedStyle(ground).backgroundColor); ground = ground.parentElement; }
    if (colour.length < 3) continue;
    const pair = [light(parse(getComputedStyle(part).color)), light(colour)].sort((a, b) => b - a);
    const contrast = (pair[0] + 0.05) / (pair[1] + 0.05);
    if (contrast < least) { least = contrast; window.worst = part.outerHTML.slice(0, 300); }
  }
  return least;
}"""
