"""Take the README's screenshots again, from the dashboard as it is.

    python tools/screenshots.py

Needs Playwright and a Chromium (Debian's, or the one that CHROMIUM names).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
CARD = "mr-hubert-nano"
DEMO = ROOT / "precomputed" / "demo" / "audio"


def open_page(browser: Browser, url: str, width: int, scheme: str) -> Page:
    """The page with its first figure drawn."""
    page = browser.new_page(
        viewport={"width": width, "height": 900},
        color_scheme=scheme,  # type: ignore[arg-type]
        reduced_motion="reduce",
    )
    page.goto(url)
    page.wait_for_selector("#layers-graph .scatterlayer .trace")
    page.wait_for_load_state("networkidle")
    return page


def top_of(page: Page, selector: str) -> float:
    """Pixels from the top of the page to where an element begins."""
    box = page.locator(selector).bounding_box()
    assert box
    return box["y"]


def analysed(page: Page) -> None:
    """Upload two recordings and wait for their curves."""
    files = [str(DEMO / "demo-f1-01.flac"), str(DEMO / "demo-m1-01.flac")]
    page.set_input_files("input[type=file]", files)
    page.wait_for_selector("#run:not([disabled])")
    page.click("#run")
    page.wait_for_selector("#own-graph .scatterlayer .trace", timeout=120_000)
    page.wait_for_load_state("networkidle")


def matrices(page: Page) -> None:
    """Both matrices side by side, and a cell that is pointed at."""
    page.locator("#gcm").scroll_into_view_if_needed()
    page.wait_for_selector("#gcm-graph .heatmaplayer image")
    page.click("#gcm-beside")
    offered = page.get_by_role("listbox", name="Another model's matrix beside")
    offered.get_by_role("option", name="WavLM Nano").click()
    page.locator("#gcm-graph .heatmaplayer image").nth(7).wait_for(state="attached")
    page.wait_for_load_state("networkidle")


def explored(page: Page) -> None:
    """A cell of the audio explorer, its sound drawn."""
    page.locator("#explorer").scroll_into_view_if_needed()
    page.wait_for_selector(".cell.chosen")
    page.locator('.cell[data-i="4"][data-j="7"]').click()
    page.wait_for_selector('.cell[aria-pressed="true"]')
    page.keyboard.press("Escape")
    page.wait_for_load_state("networkidle")
    page.mouse.move(0, 0)  # no tooltip


def main() -> None:
    """Write `docs/images/*.png`."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        server = subprocess.Popen(
            [sys.executable, "-m", "insidessl_dash", "serve", "--port", "0", "--no-browser"],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "INSIDESSL_HOME": home},
        )
        try:
            assert server.stderr is not None
            line = next(x for x in server.stderr if "http://" in x)
            found = re.search(r"http://\S+/", line)
            assert found
            browser = playwright.chromium.launch(
                executable_path=os.environ.get("CHROMIUM") or shutil.which("chromium"),
                args=["--no-sandbox"],
            )
            for width in (1440, 390):
                for scheme in ("light", "dark"):
                    page = open_page(browser, found.group(), width, scheme)
                    page.screenshot(
                        path=IMAGES / f"dynamics-{width}-{scheme}.png",
                        full_page=True,
                        clip={"x": 0, "y": 0, "width": width, "height": top_of(page, "#training")},
                    )
                    # The bar that stays on top while scrolling would lie over the sections.
                    page.add_style_tag(content=".site-header, .skip { display: none !important }")
                    page.wait_for_selector("#training .scatterlayer .trace")
                    page.locator("#training").screenshot(
                        path=IMAGES / f"training-{width}-{scheme}.png"
                    )
                    matrices(page)
                    page.locator("#gcm .gcm-panel").screenshot(
                        path=IMAGES / f"gcm-{width}-{scheme}.png"
                    )
                    explored(page)
                    page.locator("#explorer").screenshot(
                        path=IMAGES / f"explorer-{width}-{scheme}.png"
                    )
                    if scheme == "light":
                        analysed(page)
                        page.locator("#analyze").screenshot(
                            path=IMAGES / f"analyze-{width}-{scheme}.png"
                        )
                    page.close()
                    if (width == 1440) != (scheme == "light"):
                        continue  # of a card the two that the README shows
                    page = browser.new_page(
                        viewport={"width": width, "height": 900},
                        color_scheme=scheme,  # type: ignore[arg-type]
                    )
                    page.goto(f"{found.group()}models/{CARD}")
                    page.wait_for_selector("#card-phone_probe .scatterlayer .trace")
                    page.wait_for_load_state("networkidle")
                    page.screenshot(path=IMAGES / f"card-{width}-{scheme}.png", full_page=True)
                    page.close()
            browser.close()
        finally:
            server.terminate()
            server.wait(20)


if __name__ == "__main__":
    main()
