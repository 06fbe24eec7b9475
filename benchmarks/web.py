"""The dashboard as a visitor meets it: start, first load, switching, an upload.

    python benchmarks/web.py

Starts `insidessl-dash` on a free port with an empty home and drives it with a headless Chromium
(Debian's, or the one that CHROMIUM names). Every figure is of this one run.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import soundfile
from playwright.sync_api import Page, sync_playwright

from insidessl_dash.core.settings import Settings

SWITCHES = 200


def start(home: Path) -> tuple[subprocess.Popen[str], str, float]:
    """Start the dashboard; returns its process, its address, and seconds to the first 200."""
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "insidessl_dash", "serve", "--port", "0", "--no-browser"],
        stderr=subprocess.PIPE, text=True, env={**os.environ, "INSIDESSL_HOME": str(home)},
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(r"http://\S+/", line):
            url = found.group()
            break
    while True:
        try:
            with urllib.request.urlopen(url) as answer:
                assert answer.status == 200
                return process, url, time.monotonic() - began
        except urllib.error.URLError:
            time.sleep(0.01)


def wait_for_worker(url: str) -> None:
    """Until the worker has loaded the default model."""
    while True:
        with urllib.request.urlopen(f"{url}api/v1/health") as answer:
            if json.load(answer)["worker"] == "ready":
                return
        time.sleep(0.2)


def ten_seconds(folder: Path) -> Path:
    """A 10 s file of two demo sentences."""
    files = sorted((Settings().precomputed / "demo" / "audio").glob("*.flac"))
    parts = [soundfile.read(f, dtype="float32")[0] for f in files[:2]]
    samples = [x for part in parts for x in part][: 10 * 16_000]
    target = folder / "ten-seconds.wav"
    soundfile.write(target, samples, 16_000)
    return target


def first_load(page: Page, url: str) -> dict[str, float]:
    """Bytes over the wire and seconds until the figure is drawn."""
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    received = [0.0]
    session.on(
        "Network.loadingFinished",
        lambda e: received.__setitem__(0, received[0] + e["encodedDataLength"]),
    )
    began = time.monotonic()
    page.goto(url)
    page.wait_for_selector("#layers-graph .scatterlayer .trace")
    drawn = time.monotonic() - began
    page.wait_for_load_state("networkidle")
    return {
        "seconds_to_figure": round(drawn, 2),
        "megabytes_transferred": round(received[0] / 1e6, 3),
    }


def switching(page: Page) -> dict[str, float]:
    """Server time of switching the lens, from the browser's own timing of each callback."""
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    waits: list[float] = []

    def note(event: dict) -> None:
        if "_dash-update-component" in event["response"]["url"]:
            timing = event["response"]["timing"]
            waits.append(timing["receiveHeadersEnd"] - timing["sendEnd"])

    session.on("Network.responseReceived", note)
    names = ("Curvature", "Invariance", "Entropy")
    for count in range(SWITCHES):
        with page.expect_response(lambda r: "_dash-update-component" in r.url):
            page.get_by_text(names[count % 3], exact=True).first.click()
    page.wait_for_load_state("networkidle")
    return {
        "switches": SWITCHES,
        "server_ms_median": round(statistics.median(waits), 1),
        "server_ms_p95": round(statistics.quantiles(waits, n=20)[-1], 1),
    }


def upload(page: Page, file: Path) -> dict[str, float]:
    """Seconds from the click on Analyze to the drawn curves, first time and again."""
    page.set_input_files("input[type=file]", str(file))
    page.wait_for_selector("#run:not([disabled])")
    seconds = []
    for _ in range(2):
        began = time.monotonic()
        with page.expect_response(lambda r: "_dash-update-component" in r.url):
            page.click("#run")
        page.wait_for_selector("#own-graph .scatterlayer .trace")
        page.evaluate(
            "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )
        seconds.append(time.monotonic() - began)
        page.wait_for_load_state("networkidle")
    return {"click_to_curves_s": round(seconds[0], 2), "the_same_again_s": round(seconds[1], 2)}


def main() -> None:
    """Print every figure as JSON."""
    figures: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as temporary:
        process, url, seconds = start(Path(temporary) / "home")
        try:
            figures["seconds_to_first_200"] = round(seconds, 2)
            wait_for_worker(url)
            time.sleep(10)  # the warm-up that follows the connection
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(
                    executable_path=os.environ.get("CHROMIUM") or shutil.which("chromium"),
                    args=["--no-sandbox"],
                )
                page = browser.new_page(viewport={"width": 1440, "height": 900})
                figures["first_load"] = first_load(page, url)
                figures["switching"] = switching(page)
                figures["upload_10_s"] = upload(page, ten_seconds(Path(temporary)))
                browser.close()
            figures["web_process_mib"] = round(
                psutil.Process(process.pid).memory_info().rss / 2**20
            )
        finally:
            process.terminate()
            process.wait(20)
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
