"""The Signal Lab in a browser: the dial, the figure, the sounds, and answers that come too late."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from test_browser_explorer import RECORD

expect = pytest.importorskip("playwright.sync_api").expect
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def executor():
    """What the module's dashboard computes with."""
    from made_lab import HeldExecutor

    return HeldExecutor()


@pytest.fixture(scope="module")
def address(chromium, executor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a dashboard is served whose lab answers when the test says so."""
    import waitress
    from made_services import ROOT, make_services, make_settings

    from insidessl_dash.dashboard.factory import create_app

    settings = make_settings(tmp_path_factory.mktemp("installation"))
    (settings.precomputed / "models").symlink_to(ROOT / "precomputed" / "models")
    services = make_services(settings)
    services.service.executor = executor
    app = create_app(settings, services)
    listener = socket.create_server(("127.0.0.1", 0))
    server = waitress.create_server(app.server, sockets=[listener], threads=8)
    threading.Thread(target=server.run, daemon=True).start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.close()
    services.close()


@pytest.fixture(autouse=True)
def let_go(executor) -> Iterator[None]:
    yield
    executor.hold.set()
    executor.run.set()
    executor.failure = None


def in_lab(visitor, lab: str = ""):
    """The section with its first answer drawn."""
    page = visitor.page
    page.add_init_script(RECORD)
    visitor.open(f"?lab={lab}" if lab else "")
    page.locator("#lab").scroll_into_view_if_needed()
    expect(page.locator("#lab-caption strong")).to_be_visible()
    return page


def turn(page, value: float) -> None:
    """Put the dial somewhere and let it go."""
    page.locator("#lab-strength").evaluate(
        """(dial, value) => {
          dial.value = value;
          dial.dispatchEvent(new Event("input", { bubbles: true }));
          dial.dispatchEvent(new Event("change", { bubbles: true }));
        }""",
        value,
    )


def curve(page) -> list[float]:
    """What Plotly has drawn of the first model."""
    return page.evaluate(
        """() => [...document.querySelector("#lab-graph .js-plotly-plot").data
          .find((trace) => trace.name).y]"""
    )


def spans(page) -> list[dict[str, Any]]:
    return page.evaluate("window.spans")


def test_letting_go_of_the_dial_changes_figure_sound_and_address(visit) -> None:
    page = in_lab(visit())
    expect(page.locator(".lab-value")).to_have_text("10 dB")
    expect(page.locator("#lab-caption")).to_contain_text("with white noise at 10 dB")
    before = curve(page)
    dial = page.get_by_role("slider", name="Signal-to-noise ratio")
    dial.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    expect(page.locator(".lab-value")).to_have_text("13 dB")
    expect(dial).to_have_attribute("aria-valuetext", "13 dB")
    expect(page.locator("#lab-caption")).to_contain_text("with white noise at 13 dB")
    assert curve(page)[0] == pytest.approx(18 / 35)
    assert before[0] == pytest.approx(15 / 35)
    expect(page.locator("#announce")).to_contain_text("with white noise at 13 dB")
    expect(page).to_have_url(re.compile("lab=demo-f1-01,noise,13,hubert-nano,hubert-nano-init"))
    page.get_by_role("radio", name="White noise").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("radio", name="Pitch shift")).to_be_focused()
    expect(page.locator("#lab-caption")).to_contain_text("shifted by +3 semitones")
    page.reload()
    page.locator("#lab").scroll_into_view_if_needed()
    expect(page.locator("#lab-caption")).to_contain_text("shifted by +3 semitones")
    page.get_by_label("Beside it", exact=True).select_option("")
    expect(page.locator("#lab-caption")).not_to_contain_text("untrained")
    page.get_by_label("Clip", exact=True).select_option("demo-m1-01")
    expect(page).to_have_url(re.compile("lab=demo-m1-01,pitch,3,hubert-nano$"))


def test_an_answer_that_was_overtaken_is_never_shown(visit, executor) -> None:
    page = in_lab(visit(), "demo-f1-01,mask,15,hubert-nano")
    executor.given.clear()
    executor.began.clear()
    page.evaluate(
        """() => {
          window.seen = [];
          const place = document.getElementById("lab-caption");
          new MutationObserver(() => window.seen.push(place.textContent))
            .observe(place, { childList: true });
        }"""
    )
    executor.run.clear()
    turn(page, 20)
    executor.until_begun(20)
    expect(page.locator(".lab-state")).to_contain_text("Computing time mask at 20 %")
    expect(page.locator("#lab-root figure")).to_have_attribute("aria-busy", "true")
    with page.expect_response(lambda r: r.request.method == "POST" and r.url.endswith("/lab")):
        turn(page, 30)
    with page.expect_response(lambda r: r.request.method == "POST" and r.url.endswith("/lab")):
        turn(page, 40)
    executor.run.set()
    expect(page.locator("#lab-caption")).to_contain_text("with 40 % of it silenced")
    expect(page.locator(".lab-state")).to_have_text("")
    assert curve(page)[0] == 1
    assert [task.strength for task in executor.began] == [20, 40]
    assert all("40 %" in text for text in page.evaluate("window.seen"))


def test_the_two_sounds_never_overlap_and_switch_at_one_position(visit) -> None:
    page = in_lab(visit(), "demo-f1-01,speed,1.25,hubert-nano")
    page.get_by_role("button", name="Play the original sound").click()
    original = page.locator('[data-sound="original"]')
    perturbed = page.locator('[data-sound="perturbed"]')
    expect(original).to_have_class(re.compile("is-playing"))
    expect(original.locator("output")).to_have_text(re.compile(r"^(0\.[3-9]|1\.)"))
    page.keyboard.press("x")
    expect(perturbed).to_have_class(re.compile("is-playing"))
    expect(original).not_to_have_class(re.compile("is-playing"))
    page.get_by_role("button", name="Play the original sound").click()
    expect(original).to_have_class(re.compile("is-playing"))
    page.keyboard.press("Escape")
    expect(original).not_to_have_class(re.compile("is-playing"))
    found = spans(page)
    assert [round(span["length"], 2) for span in found] == [2.0, 1.6, 2.0]
    for before, after in pairwise(found):
        assert before["to"] is not None
        assert before["to"] <= after["from"] + 1e-9
    first, second, _third = found
    moment = first["offset"] + second["from"] - first["from"]
    assert second["offset"] == pytest.approx(moment / 1.25, abs=0.03)


def test_a_sound_that_plays_goes_on_as_the_new_one(visit) -> None:
    page = in_lab(visit(), "demo-f1-01,noise,0,hubert-nano")
    page.get_by_role("button", name="Play the perturbed sound").click()
    expect(page.locator('[data-sound="perturbed"]')).to_have_class(re.compile("is-playing"))
    turn(page, 25)
    expect(page.locator("#lab-caption")).to_contain_text("at 25 dB")
    # Not wait_for_function: its polling is eval, which the page's own policy forbids.
    while len(spans(page)) < 2:  # ended by the test's own time limit
        page.wait_for_timeout(20)
    first, second = spans(page)
    assert first["to"] <= second["from"] + 1e-9
    assert second["offset"] > 0
    painted = page.evaluate(
        """() => [...document.querySelectorAll("#lab canvas")].map((canvas) => {
          const all = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
          return new Set(all.filter((_x, k) => k % 4 === 0)).size;
        })"""
    )
    assert len(painted) == 4
    assert all(shades > 1 for shades in painted)


def test_what_cannot_be_computed_says_so_and_can_be_asked_again(visit, executor) -> None:
    from insidessl_dash.core.errors import ModelError

    page = in_lab(visit(), "demo-f1-01,gain,-10,hubert-nano")
    executor.failure = ModelError("its weights are damaged. Install it again.")
    turn(page, 12)
    problem = page.locator(".lab-problem")
    expect(problem).to_contain_text("its weights are damaged. Install it again.")
    expect(problem).to_contain_text("figure and sounds are of the question before")
    expect(page.locator("#lab-caption")).to_contain_text("a gain of −10 dB")
    problem.get_by_role("button", name="Ask again").click()
    expect(page.locator("#lab-caption")).to_contain_text("a gain of +12 dB")
    expect(problem).to_be_empty()
    expect(page.locator(".lab-sound-note")).to_contain_text("3.0 dB softer")


def test_a_sound_that_cannot_be_fetched_is_not_passed_over(visit) -> None:
    visitor = visit()
    visitor.forgiven.append("Failed to load resource")
    page = in_lab(visitor, "demo-f1-01,reverb,0.4,hubert-nano")
    page.route("**/perturbed.wav*", lambda route: route.fulfill(status=404))
    turn(page, 0.8)
    problem = page.locator(".lab-problem")
    expect(problem).to_contain_text("Computed, but not all of it could be fetched")
    expect(page.locator("#lab-caption")).to_contain_text("in a room of 0.8 s")
    page.unroute("**/perturbed.wav*")
    problem.get_by_role("button", name="Ask again").click()
    expect(problem).to_be_empty()


def test_a_recording_of_ones_own_is_a_clip_and_nobody_elses(visit, address: str) -> None:
    from made_lab import tone

    visitor = visit()
    visitor.context.request.get(f"{address}/api/v1/uploads")  # sets the owner's cookie
    sent = visitor.context.request.post(
        f"{address}/api/v1/uploads",
        multipart={"files": {"name": "me.wav", "mimeType": "audio/wav", "buffer": tone(200, 1.0)}},
    )
    assert sent.ok, sent.text()
    id = visitor.context.request.get(f"{address}/api/v1/uploads").json()["uploads"][0]["id"]
    page = in_lab(visitor, f"~{id},mask,15,hubert-nano")
    clip = page.get_by_label("Clip", exact=True)
    expect(clip).to_have_value(f"~{id}")
    expect(clip.locator("option:checked")).to_contain_text("me.wav")
    turn(page, 25)
    expect(page.locator("#lab-caption")).to_contain_text("with 25 % of it silenced")
    expect(page).to_have_url(re.compile(f"lab=(~|%7E){id},mask,25"))
    other = in_lab(visit(), f"~{id},mask,25,hubert-nano")
    expect(other.get_by_label("Clip", exact=True)).to_have_value("demo-f1-01")
    expect(other.locator('#lab-clip option[value^="~"]')).to_have_count(0)


def test_measures_that_are_not_defined_cannot_be_chosen(visit) -> None:
    page = in_lab(visit(), "demo-f1-01,speed,1.25,hubert-nano")
    measures = page.get_by_role("group", name="Measure")
    expect(measures.get_by_role("button", name="Means")).to_have_attribute("aria-pressed", "true")
    expect(measures.get_by_role("button", name="CKA")).to_be_disabled()
    turn(page, 1)
    expect(measures.get_by_role("button", name="CKA")).to_be_enabled()
    measures.get_by_role("button", name="CKA").click()
    expect(page.locator("#lab-caption")).to_contain_text("Linear CKA over frames in every layer")
    expect(page).to_have_url(re.compile("lab-measure=cka"))
    with page.expect_download() as waiting:
        page.locator("#lab").get_by_role("button", name="Save as CSV").click()
    assert waiting.value.suggested_filename == "signal-lab-speed-1.csv"


@pytest.mark.parametrize("width", [375, 1440])
def test_no_width_scrolls_sideways(visit, width: int) -> None:
    page = in_lab(visit(viewport={"width": width, "height": 800}, color_scheme="dark"))
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    box = page.locator("#lab-strength").bounding_box()
    assert box["height"] >= 28
