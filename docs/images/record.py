"""Records the demo's page while it loads, as the animated picture at the top of the README.

    $ pip install --group pictures --requirement testproject/requirements.txt
    $ python docs/images/record.py docs/images/dashboard.gif

It starts the demo with a database of its own, opens the page in Chromium, and writes each frame
that the browser paints, for as long as the browser showed it. Nothing is sped up or slowed down,
so run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import base64
import io
import itertools
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

TREE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TREE))

from tests.support.browser import FLAGS, find_browser  # noqa: E402

WIDTH, HEIGHT = 1200, 860
SHOWN = 800  # pixels across in the picture
COLOURS = 64
SHORTEST = 80  # milliseconds of a frame; painting more often makes a large file
PATIENCE = 120  # seconds
LAST_FRAME = 4_000  # milliseconds, in which the reader sees the whole before it begins again


def serve(directory: str) -> tuple[subprocess.Popen[bytes], str]:
    """Start the demo on a free port, and wait until it answers."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, TREE / "testproject" / "manage.py", "demo", "--port", str(port)],
        env={
            **os.environ,
            "PYTHONPATH": str(TREE),
            "DATABASE_URL": f"sqlite:///{directory}/shop.sqlite3",
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}/"
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"{address}api/dashboard/").close()
            return process, address
        except OSError:
            time.sleep(0.2)
    process.kill()
    raise SystemExit("The demo does not start.")


def record(address: str) -> list[tuple[float, bytes]]:
    """What the browser paints from the moment that the page opens: (seconds, PNG)."""
    frames: list[tuple[float, bytes]] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=FLAGS)
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.goto(f"{address}admin/login/")  # The browser has started, and the frame is white.
        page.evaluate("document.body.replaceChildren()")
        session = page.context.new_cdp_session(page)

        def keep(event: dict[str, Any]) -> None:
            frames.append((event["metadata"]["timestamp"], base64.b64decode(event["data"])))
            session.send("Page.screencastFrameAck", {"sessionId": event["sessionId"]})

        session.on("Page.screencastFrame", keep)
        session.send("Page.startScreencast", {"format": "png", "everyNthFrame": 1})
        page.goto(address, wait_until="commit")
        page.wait_for_selector("#next:not([hidden])", timeout=PATIENCE * 1000)
        page.wait_for_selector('#one[data-state="done"]', timeout=PATIENCE * 1000)
        page.wait_for_timeout(500)
        session.send("Page.stopScreencast")
        browser.close()
    return frames


def write(frames: list[tuple[float, bytes]], path: Path) -> None:
    """Write the frames as an animation, each with the time until the next one."""
    kept = [frames[0]]
    for frame in frames[1:]:
        if (frame[0] - kept[-1][0]) * 1000 >= SHORTEST:
            kept.append(frame)
    if kept[-1] is not frames[-1]:
        kept.append(frames[-1])
    size = (SHOWN, round(SHOWN * HEIGHT / WIDTH))
    images = [
        Image.open(io.BytesIO(data)).convert("RGB").resize(size, Image.Resampling.LANCZOS)
        for _, data in kept
    ]
    # One palette for all: that of the last frame, which has all colours.
    palette = images[-1].quantize(COLOURS)
    images = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    times = [moment for moment, _ in kept]
    durations = [round((end - start) * 1000) for start, end in itertools.pairwise(times)]
    images[0].save(
        path,
        save_all=True,
        append_images=images[1:],
        duration=[*durations, LAST_FRAME],
        loop=0,
        optimize=True,
    )


def main() -> None:
    """Record, and say what was written."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("picture", type=Path, help="the file to write, a .gif or .webp")
    path = parser.parse_args().picture
    with tempfile.TemporaryDirectory(prefix="record-") as directory:
        server, address = serve(directory)
        try:
            frames = record(address)
        finally:
            server.terminate()
            server.wait(PATIENCE)
    write(frames, path)
    seconds = frames[-1][0] - frames[0][0]
    print(f"{path}: {seconds:.1f} s, {path.stat().st_size / 1024:.0f} KB")


if __name__ == "__main__":
    main()
