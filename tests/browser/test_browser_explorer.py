"""Matrices and the audio explorer in a browser: one cursor, keys, one sound at a time, links.

How long a click takes to become sound is measured by benchmarks/click_to_sound.py, not here.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

expect = pytest.importorskip("playwright.sync_api").expect
pytestmark = pytest.mark.browser

CELL = '.cell[data-i="{}"][data-j="{}"]'
# What was started and stopped on the audio clock, whatever the page says of it.
RECORD = """
window.spans = [];
const { start, stop } = AudioBufferSourceNode.prototype;
AudioBufferSourceNode.prototype.start = function (when, offset) {
  this.span = { from: when, offset: offset, to: null, length: this.buffer.duration };
  window.spans.push(this.span);
  this.addEventListener("ended", () => (this.span.ended = true));
  return start.call(this, when, offset);
};
AudioBufferSourceNode.prototype.stop = function (when) {
  this.span.to = when;
  return stop.call(this, when);
};
"""


@pytest.fixture(scope="module")
def address(chromium, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a dashboard with two synthetic matrices and examples is served."""
    import waitress
    from made_matrices import WAVLM, make_example, make_matrix, write_made_example
    from made_matrices import write_made_matrix as write_matrix
    from made_services import make_services, make_settings

    from insidessl_dash.dashboard.factory import create_app

    settings = make_settings(tmp_path_factory.mktemp("installation"))
    missing = {"7": "its training was stopped"}
    write_matrix(settings.precomputed)
    write_matrix(settings.precomputed, make_matrix(WAVLM, missing=missing))
    write_made_example(settings.precomputed, example=make_example(seconds=4.0))
    other = make_example(WAVLM, voice="Voice two", gender="male", missing=missing)
    write_made_example(settings.precomputed, "voice-two", other)
    services = make_services(settings)
    app = create_app(settings, services)
    listener = socket.create_server(("127.0.0.1", 0))
    server = waitress.create_server(app.server, sockets=[listener], threads=8)
    threading.Thread(target=server.run, daemon=True).start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.close()
    services.close()


def at_cell(visitor, path: str = "wav2vec2-nano/voice-one/3/7"):
    """The page of a cell, ready."""
    page = visitor.page
    page.add_init_script(RECORD)
    page.goto(f"{visitor.address}/gcm/{path}")
    expect(page.locator(".cell.chosen")).to_be_visible()
    return page


def spans(page) -> list[dict[str, Any]]:
    return page.evaluate("window.spans")


def sounding(page):
    return page.locator('.cell[aria-pressed="true"]')


def test_keys_move_play_and_stop(visit) -> None:
    page = at_cell(visit())
    expect(page.locator('.cell[tabindex="0"]')).to_have_count(1)
    expect(page.locator("button.cell")).to_have_count(169)
    cell = page.locator(CELL.format(3, 7))
    expect(cell).to_have_attribute(
        "aria-label", "Decoder 3, tokens of layer 7: SpeechBERTScore (precision) 0.860"
    )
    cell.focus()
    for key, place in (
        ("ArrowRight", (3, 8)), ("ArrowDown", (4, 8)), ("Home", (4, 0)), ("ArrowLeft", (4, 0)),
        ("End", (4, 12)), ("ArrowUp", (3, 12)), ("Control+End", (12, 12)), ("ArrowDown", (12, 12)),
        ("Control+Home", (0, 0)),
    ):  # fmt: skip
        page.keyboard.press(key)
        expect(page.locator(CELL.format(*place))).to_be_focused()
        expect(page.locator('.cell[tabindex="0"]')).to_have_count(1)
    assert spans(page) == []
    page.keyboard.press("Enter")
    expect(sounding(page)).to_have_attribute("aria-label", re.compile("^Decoder 0, tokens of lay"))
    expect(page.locator(".now-name")).to_have_text("D(0) · z(0)")
    expect(page.locator("#announce")).to_have_text("Playing: Decoder 0, tokens of layer 0.")
    expect(page).to_have_url(re.compile("/gcm/wav2vec2-nano/voice-one/0/0$"))
    page.keyboard.press("Escape")
    expect(sounding(page)).to_have_count(0)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    expect(page.locator(CELL.format(0, 1))).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Space")
    expect(sounding(page)).to_have_count(0)
    first, second = spans(page)
    assert (first["offset"], second["offset"]) == (0, 0)
    assert first["to"] is not None
    assert second["to"] is not None


def test_a_sound_that_ends_leaves_nothing_pressed(visit) -> None:
    page = at_cell(visit(), "wavlm-nano/voice-two/3/7")
    page.locator(CELL.format(3, 7)).click()
    expect(sounding(page)).to_have_count(1)
    expect(sounding(page)).to_have_count(0)
    assert spans(page)[0]["ended"]


def test_switching_keeps_the_position_and_never_overlaps(visit) -> None:
    page = at_cell(visit())
    page.locator(CELL.format(3, 7)).click()
    expect(sounding(page)).to_have_count(1)
    page.get_by_role("button", name="Keep B as A").click()
    page.locator(CELL.format(9, 2)).click()
    expect(sounding(page)).to_have_attribute("data-i", "9")
    expect(page.locator(".now-time")).to_have_text(re.compile(r"^(0\.[3-9]|[1-9]\.)"))
    page.keyboard.press("x")
    expect(sounding(page)).to_have_attribute("data-i", "3")
    expect(page.locator(".now-name")).to_have_text("D(3) · z(7)")
    expect(page.locator('[data-slot="a"]')).to_have_attribute("aria-pressed", "true")
    page.locator('[data-slot="b"]').click()
    expect(sounding(page)).to_have_attribute("data-i", "9")
    page.get_by_role("button", name="Original", exact=True).click()
    expect(page.locator(".now-name")).to_have_text("Original")
    expect(page.locator('[data-sound="original"]')).to_have_attribute("aria-pressed", "true")
    found = spans(page)
    for before, after in pairwise(found):
        assert before["to"] is not None
        assert before["to"] <= after["from"] + 1e-9
        assert after["from"] - before["to"] < 0.02
    chosen, second, a, b, original = found
    assert (chosen["offset"], second["offset"], original["offset"]) == (0, 0, 0)
    assert a["offset"] >= 0.25
    assert a["offset"] == pytest.approx(a["from"] - second["from"], abs=0.001)
    assert b["offset"] - a["offset"] == pytest.approx(b["from"] - a["from"], abs=0.001)


def test_only_the_last_of_hasty_clicks_sounds(visit) -> None:
    page = at_cell(visit())
    page.evaluate(
        """() => { for (const at of [[1, 1], [2, 2], [5, 8]])
          document.querySelector(`.cell[data-i="${at[0]}"][data-j="${at[1]}"]`).click(); }"""
    )
    expect(sounding(page)).to_have_attribute("data-j", "8")
    alive = [span for span in spans(page) if span["to"] is None]
    assert len(alive) == 1


def test_escape_stops_a_sound_that_is_still_loading(visit) -> None:
    page = at_cell(visit())
    held: list[Any] = []
    page.route("**/cells/11/5.opus*", lambda route: held.append(route))
    page.evaluate("window.insidessl.sound.prepare()")
    with page.expect_request("**/cells/11/5.opus*"):
        page.locator(CELL.format(11, 5)).click()
    page.keyboard.press("Escape")
    with page.expect_response("**/cells/11/5.opus*"):
        held[0].continue_()
    page.locator(CELL.format(1, 1)).click()  # by the time this sounds, the other would have
    expect(sounding(page)).to_have_attribute("data-i", "1")
    assert len(spans(page)) == 1


def test_the_position_can_be_set_and_the_panel_describes_the_sound(visit) -> None:
    page = at_cell(visit(reduced_motion="reduce"))
    page.get_by_role("slider", name="Position").fill("1.5")
    page.get_by_role("button", name="Play Decoder 3, tokens of layer 7").click()
    expect(sounding(page)).to_have_count(1)
    assert spans(page)[0]["offset"] == 1.5
    scores = page.locator(".now-scores")
    expect(scores).to_contain_text("F0 error, lower is better")
    expect(scores).to_contain_text("156.0 cents")
    painted = page.evaluate(
        """() => [...document.querySelectorAll(".now canvas")].map((canvas) => {
          const all = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
          return new Set(all.filter((_x, k) => k % 4 === 0)).size;
        })"""
    )
    assert all(shades > 1 for shades in painted)
    with page.expect_download() as waiting:
        page.get_by_role("link", name="Download WAV").click()
    assert waiting.value.suggested_filename == "wav2vec2-nano-voice-one-decoder-3-tokens-7.wav"


def test_missing_decoders_and_values_say_so(visit) -> None:
    page = at_cell(visit(), "wavlm-nano/voice-two/6/0")
    expect(page.locator(".cells-missing")).to_have_text("no decoder: its training was stopped")
    page.locator(CELL.format(6, 0)).focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator(CELL.format(8, 0))).to_be_focused()
    page.get_by_label("Colour by").select_option("f0_rmse_cents")
    expect(page.locator(CELL.format(2, 3))).to_have_attribute(
        "aria-label", "Decoder 2, tokens of layer 3: F0 error not measurable"
    )
    page.get_by_label("Model").select_option("wav2vec2-nano")
    expect(page.locator("button.cell")).to_have_count(169)


def test_a_wrong_link_leads_back(visit) -> None:
    visitor = visit()
    visitor.forgiven.append("404")
    visitor.page.goto(f"{visitor.address}/gcm/wav2vec2-nano/voice-one/3/13")
    back = visitor.page.get_by_role("link", name="Open the audio explorer")
    expect(back).to_have_attribute("href", "/#explorer")


def test_one_cursor_for_all_heatmaps_leads_to_the_sound(visit) -> None:
    visitor = visit(reduced_motion="reduce")
    asked: list[str] = []
    visitor.page.on(
        "request", lambda request: asked.append(request.url + (request.post_data or ""))
    )
    page = visitor.open("?matrix-beside=made-corpus/wavlm-nano").page
    assert not [one for one in asked if "/examples" in one or '["gcm-asked.data"]' in one]
    page.locator("#gcm").scroll_into_view_if_needed()
    outlines = page.locator("#gcm-graph .shapelayer path")
    expect(outlines).to_have_count(8)
    reading = page.locator("#gcm-reading")
    expect(reading).to_contain_text("Point at a cell")
    reading.focus()
    for _ in range(4):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".reading-cell")).to_have_text("Decoder 3, tokens of layer 1")
    expect(page.locator(".reading-values")).to_have_count(2)
    expect(page.locator(".reading-values").first).to_contain_text("SpeechBERTScore (precision) 0.8")
    moved = outlines.evaluate_all(
        """(all) => all.map((one) => {
          const { e, f } = new DOMMatrix(getComputedStyle(one).transform);
          return [e, f, Number(one.style.opacity)];
        })"""
    )
    for across, down, opacity in moved:
        assert across == pytest.approx(moved[0][0], abs=1)
        assert down == pytest.approx(moved[0][1], abs=1)
        assert down > 2 * across > 0
        assert opacity == 1
    page.keyboard.press("Enter")
    expect(page.locator("#explorer-root .cell.chosen")).to_have_attribute("data-i", "3")
    expect(page).to_have_url(re.compile("cell=wav2vec2-nano,voice-one,3,1"))


@pytest.mark.parametrize("width", [375, 1440])
def test_no_width_scrolls_sideways(visit, width: int) -> None:
    page = at_cell(visit(viewport={"width": width, "height": 800}, color_scheme="dark"))
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    box = page.locator("button.cell").first.bounding_box()
    assert min(box["width"], box["height"]) >= 23
