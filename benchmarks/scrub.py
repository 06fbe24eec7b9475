"""Scrubbing on the Training Dynamics section: milliseconds a repaint, and requests meanwhile.

    python benchmarks/scrub.py

Needs Playwright and a Chromium (Debian's, or the one that CHROMIUM names). A synthetic run of 20
checkpoints and 13 layers, made for this and shown nowhere else, is scrubbed through, alone and with
a second one beside it. Wall time is from the slider's event to the end of the frame that shows it,
so at 60 Hz an idle machine reports up to 17 ms of waiting; CPU time is what the page's main thread
spends on it, whoever else uses the machine.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import CDPSession, Page, sync_playwright
from web import start

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from made_trajectories import write_run

UPDATES = (0, *(2**power for power in range(19)))
ROUNDS = 5
STEP = """async (step) => {
  const input = document.querySelector("#training-scrubber input");
  const began = performance.now();
  input.value = step;
  input.dispatchEvent(new Event("input", { bubbles: true }));
  await new Promise((done) => requestAnimationFrame(() => {
    const channel = new MessageChannel();
    channel.port1.onmessage = done;
    channel.port2.postMessage(0);
  }));
  return performance.now() - began;
}"""


def cpu_ms(session: CDPSession) -> float:
    """Milliseconds of CPU that the page's main thread has spent in tasks."""
    metrics = session.send("Performance.getMetrics")["metrics"]
    return 1000 * next(m["value"] for m in metrics if m["name"] == "TaskDuration")


def scrub(page: Page) -> dict[str, float]:
    """Every checkpoint in turn, several times."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.setTimeDomain", {"timeDomain": "threadTicks"})
    session.send("Performance.enable")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    wall, cpu = [], []
    for _ in range(ROUNDS):
        for step in range(len(UPDATES)):
            before = cpu_ms(session)
            wall.append(page.evaluate(STEP, step))
            cpu.append(cpu_ms(session) - before)
    page.wait_for_timeout(1000)
    return {
        "checkpoints": len(UPDATES),
        "repaints": len(wall),
        "wall_ms_median": round(statistics.median(wall), 1),
        "wall_ms_p95": round(statistics.quantiles(wall, n=20)[-1], 1),
        "cpu_ms_median": round(statistics.median(cpu), 1),
        "cpu_ms_p95": round(statistics.quantiles(cpu, n=20)[-1], 1),
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
                    page.set_default_timeout(180_000)
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
