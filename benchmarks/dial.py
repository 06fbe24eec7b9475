"""From letting go of the Signal Lab's dial to the figure of that place, in milliseconds.

    python benchmarks/dial.py

Needs Playwright and a Chromium (Debian's, or the one that CHROMIUM names). Two shipped Nano models
(HuBERT Nano, trained and untrained) on an utterance of the demo corpus, on loopback, in a home made
for this. Each perturbation is put to places where it was not before, and then to the first of them
again, which is known by then. Time is from the dial's ``change`` until the browser has had a chance
to paint the new figure.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright
from web import start

PLACES = {
    "noise": (0, 8, 16, 24),
    "pitch": (-4, -2, 2, 4),
    "gain": (-15, -5, 5, 15),
    "mask": (5, 10, 20, 30),
    "speed": (0.85, 0.9, 1.15, 1.2),
    "low-pass": (10, 40, 60, 80),
    "reverb": (0.2, 0.5, 0.7, 0.9),
}
"""Of the control; that of the low-pass moves in ratios, from 0 to 100."""
TURN = """
([place]) => new Promise((done) => {
  const dial = document.getElementById("lab-strength");
  const figure = document.querySelector("#lab-root figure");
  dial.value = place;
  dial.dispatchEvent(new Event("input", { bubbles: true }));
  const began = performance.now();
  new MutationObserver((_changes, observer) => {
    observer.disconnect();
    requestAnimationFrame(() => setTimeout(() => done(performance.now() - began)));
  }).observe(figure, { attributeFilter: ["data-question"] });
  dial.dispatchEvent(new Event("change", { bubbles: true }));
})
"""


def choose(page: Page, name: str) -> None:
    """Take a perturbation, and wait for its default place to be drawn."""
    with page.expect_response(lambda r: "/figure?" in r.url):
        page.locator(f'[data-dial="{name}"]').evaluate("(one) => one.click()")
    page.wait_for_selector("#lab-root:not(.is-busy)")


def said(ms: list[float]) -> dict[str, float]:
    """What some turns of the dial say."""
    return {
        "turns": len(ms),
        "ms_median": round(statistics.median(ms), 1),
        "ms_p95": round(statistics.quantiles(ms, n=20)[-1], 1),
        "ms_most": round(max(ms), 1),
    }


def measure(page: Page) -> dict[str, Any]:
    """Turn every dial; the first question loads the models and is given by itself."""
    new: dict[str, list[float]] = {}
    again = []
    names = list(PLACES)
    for name in [*names[1:], names[0]]:  # the first stands on the page already
        choose(page, name)
        new[name] = [page.evaluate(TURN, [place]) for place in PLACES[name]]
        again.append(page.evaluate(TURN, [PLACES[name][0]]))
    every = [ms for found in new.values() for ms in found]
    medians = {name: round(statistics.median(found), 1) for name, found in new.items()}
    return {"new": said(every), "known": said(again), "new_ms_median_by_dial": medians}


def main() -> None:
    """Print the figures as JSON."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        server, address, _seconds = start(Path(scratch) / "home")
        try:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.goto(f"{address}?lab=demo-f1-01,noise,10,hubert-nano,hubert-nano-init#lab")
            page.locator("#lab").scroll_into_view_if_needed()
            page.wait_for_selector("#lab-caption strong", timeout=60_000)
            print(json.dumps(measure(page), indent=1))
            browser.close()
        finally:
            server.terminate()
            server.wait(20)


if __name__ == "__main__":
    main()
