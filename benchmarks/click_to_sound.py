"""From a click on a cell of the audio explorer to its sound, in milliseconds.

    python benchmarks/click_to_sound.py

Needs Playwright and a Chromium (Debian's, or the one that CHROMIUM names). Cells of the first
example of wav2vec 2.0 Nano that ships are clicked one after another on loopback: with the mouse,
which points at a cell before it clicks, so that the sound is fetched and decoded by then; and
without pointing, so that both happen after the click. The first click of all makes the audio device
ready and is given by itself. Time is from the click until the audio clock, looked at every few
milliseconds, has passed the start of the sound; the output latency that the browser states comes on
top. Nothing here has a loudspeaker. Overlap is how long two sounds were both scheduled to sound.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright
from web import start

MODEL = "wav2vec2-nano"
CLICKS = 40
RECORD = """
window.spans = [];
let clicked = 0;
addEventListener("click", () => (clicked = performance.now()), true);
const { start, stop } = AudioBufferSourceNode.prototype;
AudioBufferSourceNode.prototype.start = function (when, offset) {
  const { baseLatency, outputLatency } = this.context;
  const [began, span] = [clicked, { from: when, to: null, ms: null,
                                    latency_ms: 1000 * (outputLatency || baseLatency) }];
  this.span = span;
  const look = setInterval(() => {
    if (this.context.currentTime <= when) return;
    clearInterval(look);
    span.ms = performance.now() - began;
  }, 1);
  window.spans.push(this.span);
  return start.call(this, when, offset);
};
AudioBufferSourceNode.prototype.stop = function (when) {
  this.span.to = when;
  return stop.call(this, when);
};
"""


def clicks(page: Page, *, pointed: bool, cells: list[tuple[int, int]]) -> list[dict[str, Any]]:
    """Click cells, each a moment after the one before, which still sounds then."""
    before = page.evaluate("window.spans.length")
    for i, j in cells:
        button = page.locator(f'.cell[data-i="{i}"][data-j="{j}"]')
        if pointed:
            button.hover()
            page.wait_for_timeout(80)  # a hand is slower
            button.click()
        else:
            button.evaluate("(one) => one.click()")
        page.wait_for_timeout(250)
    return page.evaluate("window.spans")[before:]


def said(found: list[dict[str, Any]]) -> dict[str, float]:
    """What the spans of some clicks say."""
    ms = [span["ms"] for span in found]
    return {
        "clicks": len(ms),
        "ms_median": round(statistics.median(ms), 1),
        "ms_p95": round(statistics.quantiles(ms, n=20)[-1], 1),
        "ms_most": round(max(ms), 1),
        "output_latency_ms": round(statistics.median(span["latency_ms"] for span in found), 1),
    }


def main() -> None:
    """Print the figures as JSON."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        server, address, _seconds = start(Path(scratch) / "home")
        try:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = browser.new_page()
            page.add_init_script(RECORD)
            found = page.request.get(f"{address}api/v1/examples?model={MODEL}").json()
            example = found["examples"][0]
            page.goto(address.rstrip("/") + example["page"])
            page.wait_for_selector(".cell.chosen")
            places = [(i, j) for i in range(13) for j in range(13)]
            pointed = clicks(page, pointed=True, cells=places[: CLICKS + 1])
            cold = clicks(page, pointed=False, cells=places[-CLICKS:])
            spans = page.evaluate("window.spans")
            overlap = max(one["to"] - two["from"] for one, two in pairwise(spans))
            print(
                json.dumps(
                    {
                        "example_s": example["seconds"],
                        "first_click_ms": round(pointed[0]["ms"], 1),
                        "pointed_at": said(pointed[1:]),
                        "not_pointed_at": said(cold),
                        "overlap_ms_most": round(max(0.0, 1000 * overlap), 3),
                    },
                    indent=1,
                )
            )
            browser.close()
        finally:
            server.terminate()
            server.wait(20)


if __name__ == "__main__":
    main()
