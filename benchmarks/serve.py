"""The page's preview of a large photograph, and fifty clients at once: lost requests, waits and memory.

`python -m benchmarks.serve` starts `clearpane serve` and asks it by HTTP on loopback. Each client uploads a
picture of its own and waits for the result. As many clients join and leave at once; their places must be
free in the end.
"""

import argparse
import asyncio
import io
import os
import platform
import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

from benchmarks.common.measuring import reference_seconds
from benchmarks.common.pages import write_page
from clearpane.separation.separator import load_separator
from clearpane.web.photograph import open_photograph

ROOT = Path(__file__).parents[1]
_LEAVING = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--side", type=int, default=1000, help="longer side of the photographs, pixels")
    options = parser.parse_args()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    preview = preview_text()
    command = [sys.executable, "-m", "clearpane", "serve", "--port", str(port)]
    process = subprocess.Popen(command)
    try:
        text = asyncio.run(measure(f"http://127.0.0.1:{port}", process.pid, options)) + preview
    finally:
        process.terminate()
        process.wait(60)
    print(text)
    write_page(ROOT / "docs" / "figures" / "serve.md", text, "benchmarks.serve")


def preview_text() -> str:
    """Time what the page does before it shows a photograph of 12 megapixels, the network loaded."""
    separator = load_separator()
    reference, seconds = reference_seconds(), []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        picture = Image.open(ROOT / "examples" / "shop_input.jpg").resize((4000, 3000))
        picture.save(folder / "photo.jpg", quality=90)
        for number in range(6):
            visit = folder / str(number)
            visit.mkdir()
            started = time.perf_counter()
            open_photograph(folder / "photo.jpg", visit, separator, "fast", 10**8)
            seconds.append(time.perf_counter() - started)
    median = float(np.median(seconds[1:]))
    return (
        "\n## A preview\n\nA photograph of 4000 x 3000 pixels is read, shrunk to 1 MP, separated and kept in "
        f"{median:.2f} s\n(median of five; {median / reference:.0f} times a 2048 x 2048 real FFT in numpy, "
        f"which took {reference:.3f} s).\n"
    )


async def measure(url: str, pid: int, options: argparse.Namespace) -> str:
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=3600, limits=limits) as client:
        for _ in range(600):
            try:
                await client.get("/health")
                break
            except httpx.HTTPError:
                await asyncio.sleep(0.2)
        await one(client, photograph(options.side, 0))  # loads the model
        idle = memory(pid, "VmRSS")
        started = time.perf_counter()
        jobs = [one(client, photograph(options.side, 1 + n)) for n in range(options.clients)]
        leaving = [leave(client, photograph(options.side, 1000 + n)) for n in range(_LEAVING)]
        times, *_ = await asyncio.gather(asyncio.gather(*jobs, return_exceptions=True), *leaving)
        total = time.perf_counter() - started
        health = (await client.get("/health")).json()
    done = np.array([seconds for seconds in times if isinstance(seconds, float)])
    for problem in times:
        if not isinstance(problem, float):
            print(repr(problem), file=sys.stderr)
    median, high = np.percentile(done, [50, 95])
    load = os.getloadavg()[0]
    others = "running too" if load > 1.5 * (os.cpu_count() or 1) else "not in the way"
    return f"""# Fifty clients of the page

`python -m benchmarks.serve --clients {options.clients} --side {options.side}`: {options.clients} clients at
once on loopback, each with its own photograph of {options.side} pixels; {_LEAVING} more
leave at once.

| | |
|---|---:|
| requests answered | {len(done)} of {options.clients} |
| median | {median:.1f} s |
| 95th percentile | {high:.1f} s |
| all | {total:.1f} s, {len(done) / total:.2f} a second |
| jobs running and waiting at the end | {health["running"]} and {health["waiting"]} |
| memory, model loaded | {idle / 1e6:.0f} MB |
| memory, peak | {memory(pid, "VmHWM") / 1e6:.0f} MB |

<sub>{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}; load average {load:.1f}
at the end, so other programs were {others}.</sub>
"""


def photograph(side: int, seed: int) -> bytes:
    image = Image.open(ROOT / "examples" / "window_input.jpg")
    image.thumbnail((side, side))
    pixels = np.asarray(image).copy()
    pixels[0, :8] = np.random.default_rng(seed).integers(0, 256, (8, 3))  # each is a file of its own
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


async def join(client: httpx.AsyncClient, photo: bytes) -> str:
    (path,) = (await client.post("/gradio_api/upload", files={"files": ("window.png", photo)})).json()
    named = {"path": path, "meta": {"_type": "gradio.FileData"}}
    data = [named, 1, "fast", "transmission", "original", None, "compact"]
    answer = await client.post("/gradio_api/call/remove", json={"data": data})
    event: str = answer.json()["event_id"]
    return event


async def one(client: httpx.AsyncClient, photo: bytes) -> float:
    started = time.perf_counter()
    event = await join(client, photo)
    answer = await client.get(f"/gradio_api/call/remove/{event}")
    if "event: complete" not in answer.text:
        raise RuntimeError(answer.text[-300:])
    (address,) = re.findall(r'"url": "([^"]+)"', answer.text)
    result = await client.get(address)
    Image.open(io.BytesIO(result.content)).verify()
    return time.perf_counter() - started


async def leave(client: httpx.AsyncClient, photo: bytes) -> None:
    event = await join(client, photo)
    async with client.stream("GET", f"/gradio_api/call/remove/{event}"):
        await asyncio.sleep(0.5)


def memory(pid: int, name: str) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(rf"{name}:\s+(\d+) kB", status)
    return 1000.0 * int(found[1]) if found else 0.0


if __name__ == "__main__":
    main()
