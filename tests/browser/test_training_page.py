"""The slider in a browser: it repaints by itself, by mouse and by key, and asks the server nothing.

How long a repaint takes is measured by benchmarks/scrub.py, not here.
"""

from __future__ import annotations

import csv
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

expect = pytest.importorskip("playwright.sync_api").expect
pytestmark = pytest.mark.browser

SLIDER = "#training-scrubber input"
BOLD = "#training-curves .scatterlayer .tracebold-0-"
MARK = "#training-map .shapelayer path"


@pytest.fixture(scope="module")
def address(chromium, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a dashboard with two synthetic training runs is served."""
    import waitress
    from made_services import make_services, make_settings
    from made_trajectories import write_run

    from insidessl_dash.dashboard.factory import create_app

    settings = make_settings(tmp_path_factory.mktemp("installation"))
    write_run(settings.precomputed)
    write_run(settings.home, "mine", updates=(0, 4, 16))
    services = make_services(settings)
    app = create_app(settings, services)
    listener = socket.create_server(("127.0.0.1", 0))
    server = waitress.create_server(app.server, sockets=[listener], threads=8)
    threading.Thread(target=server.run, daemon=True).start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.close()
    services.close()


IDLE = """async () => {
  for (let time = 0; time < 2; time += 1) await new Promise((done) => requestIdleCallback(done));
}"""


def opened(visitor, search: str = ""):
    """The page, once the section is drawn and nothing that opening it caused is under way."""
    page = visitor.page
    started: list[str] = []
    ended: list[str] = []
    page.on("request", lambda request: started.append(request.url))
    page.on("requestfinished", lambda request: ended.append(request.url))
    visitor.open(search)
    expect(page.locator(SLIDER)).to_be_visible()
    expect(page.locator(MARK).first).to_be_attached()
    expect(page.locator(f"{BOLD}0")).to_be_attached()
    while True:  # what an answer changes may ask again, once the page has drawn it
        before = len(started)
        page.evaluate(IDLE)
        if before == len(started) <= len(ended):
            return page


def opaque(page) -> list[int]:
    """Which bold curves of the first panel can be seen."""
    return page.evaluate(
        """() => [...Array(9).keys()].filter((row) => {
          const node = document.querySelector(`#training-curves .tracebold-0-${row}`);
          return node && Number(getComputedStyle(node).opacity) > 0.5;
        })"""
    )


def middle(page) -> float:
    """Where the outline on the map is."""
    box = page.locator(MARK).first.bounding_box()
    return box["x"] + box["width"] / 2


def test_scrubbing_and_playing_ask_the_server_nothing(visit) -> None:
    page = opened(visit())
    asked: list[str] = []
    page.on(
        "request",
        lambda request: "/assets/" in request.url or asked.append(request.post_data or request.url),
    )
    expect(page.locator(".scrub-title")).to_have_text("Update 100")
    assert opaque(page) == [8]
    last = middle(page)
    page.locator(SLIDER).focus()
    page.keyboard.press("Home")
    expect(page.locator(".scrub-title")).to_have_text("Initialisation")
    assert opaque(page) == [0]
    first = middle(page)
    assert first < last
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    expect(page.locator(".scrub-title")).to_have_text("Update 8")
    expect(page.locator(".scrub-reading")).to_have_text("mean 1.400, shallow 1.400, deep 1.400 rad")
    expect(page.locator(SLIDER)).to_have_attribute("aria-valuetext", re.compile("^Update 8. mean"))
    assert opaque(page) == [4]
    assert middle(page) == pytest.approx((first + last) / 2, abs=1)
    expect(page).to_have_url(re.compile(r"\?update=8$"))
    page.get_by_role("button", name="Play through the checkpoints").click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    expect(page.locator(".scrub-title")).to_have_text("Update 100")
    expect(page.get_by_role("button", name="Play through the checkpoints")).to_be_visible()
    expect(page).not_to_have_url(re.compile("update="))
    assert asked == []


def test_the_chosen_checkpoint_stays_through_a_change_of_lens_and_a_link(visit) -> None:
    page = opened(visit(), "?update=4")
    expect(page.locator(".scrub-title")).to_have_text("Update 4")
    assert opaque(page) == [3]
    page.locator("#training-lens label", has_text="Entropy").click()
    expect(page.locator("#training-curves .annotation-text").last).to_have_text(
        "Normalised matrix entropy"
    )
    expect(page.locator(".scrub-title")).to_have_text("Update 4")
    expect(page).to_have_url(re.compile("training=entropy"))
    page.go_back()
    expect(page.locator("#training-curves .annotation-text").last).to_have_text(
        "Folded curvature (rad)"
    )


def test_a_click_on_the_map_goes_there(visit) -> None:
    page = opened(visit())
    page.locator("#training-map").scroll_into_view_if_needed()
    page.locator("#training-map .nsewdrag").first.click(position={"x": 8, "y": 40})
    expect(page.locator(".scrub-title")).to_have_text("Initialisation")


def test_two_runs_move_together(visit) -> None:
    page = opened(visit(), "?beside=~mine&update=16")
    expect(page.locator(MARK)).to_have_count(2)
    expect(page.locator(".scrub-reading")).to_contain_text("mine (your run)")
    assert opaque(page) == [5]
    page.locator(SLIDER).focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".scrub-reading")).to_contain_text("mine (your run): update 4, mean")


def test_a_saved_figure_shows_the_chosen_checkpoint(visit, tmp_path: Path) -> None:
    page = opened(visit(accept_downloads=True))
    page.locator(SLIDER).focus()
    page.keyboard.press("Home")
    expect(page.locator(".scrub-title")).to_have_text("Initialisation")
    export = page.locator("#training-export")
    with page.expect_download() as waiting:
        export.get_by_role("button", name="Save as SVG").click()
    assert waiting.value.suggested_filename == "training-hubert-nano-curvature-folded.svg"
    text = Path(waiting.value.path()).read_text()
    bold = {
        row: float(re.search(rf'tracebold-0-{row}"[^>]*opacity: ([\d.]+)', text)[1])
        for row in (0, 8)
    }
    assert bold == {0: 1, 8: 0}
    with page.expect_download() as waiting:
        export.get_by_role("button", name="Save as CSV").click()
    rows = list(csv.DictReader(Path(waiting.value.path()).read_text().splitlines()))
    assert {row["update"] for row in rows} >= {"0", "100"}


def test_motion_is_not_offered_to_those_who_ask_for_none(visit) -> None:
    page = opened(visit(reduced_motion="reduce"))
    expect(page.get_by_role("button", name="Play through the checkpoints")).to_be_hidden()
    page.locator(SLIDER).focus()
    page.keyboard.press("Space")
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".scrub-title")).to_have_text("Update 64")


@pytest.mark.parametrize("width", [390, 1440])
def test_no_width_scrolls_sideways(visit, width: int) -> None:
    visitor = visit(viewport={"width": width, "height": 844}, color_scheme="dark")
    page = opened(visitor, "?beside=~mine")
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    plots = [page.locator(f"#{name} .main-svg").first.bounding_box()
             for name in ("training-curves", "training-map")]  # fmt: skip
    for plot in plots:
        assert plot["x"] >= 0
        assert plot["x"] + plot["width"] <= width


def test_the_first_figure_does_not_wait_for_this_section(chromium, address: str) -> None:
    page = chromium.new_page()
    told: list[str] = []

    def note(moment: str):
        def add(exchange) -> None:
            body = getattr(exchange, "request", exchange).post_data or ""
            if output := re.search(r"(layers-graph|training-curves)\.figure", body):
                told.append(f"{moment} {output[1]}")

        return add

    page.on("request", note("asked"))
    page.on("response", note("answered"))
    page.goto(address)
    expect(page.locator("#training-curves .scatterlayer .trace").first).to_be_attached()
    page.close()
    assert told.index("answered layers-graph") < told.index("asked training-curves")
