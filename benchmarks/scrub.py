"""Scrubbing on the Training Dynamics section: milliseconds a repaint, and requests meanwhile.

    python benchmarks/scrub.py

Needs Playwright and a Chromium (Debian's, or the one that CHROMIUM names). A synthetic run of 20
checkpoints and 13 layers, made for this and shown nowhere else, is scrubbed through, alone and with
a second one beside it. Wall time is from the slider's event to the end of the frame that shows it,
so at 60 Hz an idle machine reports up to 17 ms of waiting, and a busy one its queue; CPU time is
what all of the browser's processes spend on a repaint, whoever else uses the machine.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

import psutil
from playwright.sync_api import Page, sync_playwright
from web import start

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from made_trajectories import write_run

UPDATES = (0, *(2**power for power in range(19)))
ROUNDS = 5
SCRUB = """async (rounds) => {
  const input = document.querySelector("#training-scrubber input");
  const times = [];
  for (let round = 0; round < rounds; round += 1) {
    for (let step = 0; step <= Number(input.max); step += 1) {
      const began = performance.now();
      input.value = step;
      input.dispatchEvent(new Event("input", { bubbles: true }));
      await new Promise((done) => requestAnimationFrame(() => {
        const channel = new MessageChannel();
        channel.port1.onmessage = done;
        channel.port2.postMessage(0);
      }));
      times.push(performance.now() - began);
    }
  }
  return times;
}"""


def cpu_ms() -> float:
    """Milliseconds of CPU that the browser has used: page, painting and compositing together."""
    total = 0.0
    for process in psutil.Process().children(recursive=True):
        if "chrom" in process.name():
            spent = process.cpu_times()
            total += 1000 * (spent.user + spent.system)
    return total


def scrub(page: Page) -> dict[str, float]:
    """Every checkpoint in turn, several times."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    before = cpu_ms()
    wall = page.evaluate(SCRUB, ROUNDS)
    spent = cpu_ms() - before
    page.wait_for_timeout(1000)
    return {
        "checkpoints": len(UPDATES),
        "repaints": len(wall),
        "wall_ms_median": round(statistics.median(wall), 1),
        "wall_ms_p95": round(statistics.quantiles(wall, n=20)[-1], 1),
        "cpu_ms_mean": round(spent / len(wall), 1),
        "requests": len(asked),
    }


def main() -> None:
    """Print the figures as JSON."""
    figures = {}
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary) / "home"
        for name in ("first", "second"):
            write_run(home, name, UPDATES, ["curvature"])
        process, url, _seconds = start(home)
        try:
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(
                    executable_path=os.environ.get("CHROMIUM") or shutil.which("chromium"),
                    args=["--no-sandbox"],
                )
                for name, search in (("alone", "?run=~first"),
                                     ("beside", "?run=~first&beside=~second")):  # fmt: skip
                    page = browser.new_page(viewport={"width": 1440, "height": 900})
                    page.set_default_timeout(600_000)
                    page.goto(url + search)
                    page.wait_for_selector("#training-map .heatmaplayer image")
                    page.wait_for_selector("#training-scrubber input")
                    page.wait_for_load_state("networkidle")
                    page.wait_for_timeout(2000)
                    figures[name] = scrub(page)
                    page.close()
                browser.close()
        finally:
            process.terminate()
            process.wait(20)
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
