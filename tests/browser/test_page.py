"""The page in a browser: the figure, its controls, its address, and every width and scheme."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

expect = pytest.importorskip("playwright.sync_api").expect
pytestmark = pytest.mark.browser

TRACES = "#layers-graph .scatterlayer .trace:has(.js-line)"
TITLE = "#layers-graph .annotation-text"


def test_it_opens_with_the_figure_drawn(visit) -> None:
    page = visit().open().page
    expect(page).to_have_title(re.compile("insidessl_dash"))
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.get_by_role("figure", name=re.compile("Normalised matrix entropy"))).to_be_visible()
    expect(page.locator("#layers-legend .curve")).to_have_count(4)
    expect(page.locator(TITLE).first).to_have_text("Normalised matrix entropy")


def test_the_first_load_is_small_and_soon_usable(visit) -> None:
    visitor = visit()
    session = visitor.context.new_cdp_session(visitor.page)
    session.send("Network.enable")
    sizes: list[float] = []
    session.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    visitor.open()
    expect(visitor.page.locator("#layers-legend .curve")).to_have_count(4)
    assert sum(sizes) < 2.2e6
    scripts = visitor.page.evaluate(
        "performance.getEntriesByType('resource').map((entry) => entry.name)"
    )
    assert not [name for name in scripts if "plotly.min.js" in name], "only the small bundle"


def test_the_lens_is_switched_by_keyboard(visit) -> None:
    page = visit().open().page
    page.get_by_role("radiogroup", name="Lens", exact=True).get_by_role(
        "radio", name="Entropy"
    ).focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(TITLE).first).to_have_text("Curvature (rad)")
    expect(page).to_have_url(re.compile(r"\?lens=curvature$"))
    expect(page.locator("#lens-summary")).to_contain_text("turns from one frame to the next")
    expect(page.locator("#perturbation-field")).to_be_hidden()
    page.keyboard.press("ArrowRight")
    expect(page.locator(TITLE).first).to_have_text("InfoNCE loss (nats)")
    expect(page.locator("#perturbation-field")).to_be_visible()


def test_the_keyboard_finds_the_content_first(visit) -> None:
    page = visit().open().page
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()


def test_everything_that_can_be_pressed_has_a_name(visit) -> None:
    page = visit().open().page
    for role in ("button", "link", "radio", "checkbox", "textbox"):
        for element in page.get_by_role(role).all():
            name = element.evaluate(
                "(e) => e.getAttribute('aria-label') || e.textContent.trim()"
                " || [...(e.labels || [])].map((l) => l.textContent).join(' ').trim()"
            )
            assert name, element.evaluate("(e) => e.outerHTML")


def test_a_link_reproduces_the_view_and_back_returns(visit) -> None:
    visitor = visit().open("?lens=curvature&measure=folded&sizes=nano&depth=percent&band=none")
    page = visitor.page
    expect(page.locator(TITLE).first).to_have_text("Folded curvature (rad)")
    expect(page.get_by_role("radio", name="Percent")).to_be_checked()
    expect(page.get_by_role("checkbox", name="Base")).not_to_be_checked()
    expect(page.locator("#layers-legend .curve")).to_have_count(3)
    page.locator("#lens label", has_text="Entropy").click()
    expect(page.locator(TITLE).first).to_have_text("Normalised matrix entropy")
    expect(page).not_to_have_url(re.compile("lens=curvature"))
    page.go_back()
    expect(page.locator(TITLE).first).to_have_text("Folded curvature (rad)")
    expect(page.get_by_role("radio", name="Folded")).to_be_checked()


def test_going_back_is_never_a_trap(visit) -> None:
    page = visit().open().page
    page.goto(f"{page.url}?lens=entropy&depth=index")
    expect(page.locator("#layers-legend .curve")).to_have_count(4)
    expect(page).to_have_url(re.compile(r"/$"))
    page.go_back()
    expect(page.locator(TITLE).first).to_have_text("Normalised matrix entropy")
    page.get_by_role("link", name="Cite").click()
    page.locator("#lens label", has_text="Curvature").click()
    expect(page).to_have_url(re.compile(r"\?lens=curvature#cite$"))
    page.go_back()
    expect(page.locator(TITLE).first).to_have_text("Normalised matrix entropy")
    expect(page.get_by_role("radio", name="Entropy").first).to_be_checked()


def test_what_is_asked_while_an_answer_is_on_its_way_is_not_lost(visit) -> None:
    visitor = visit().open()
    page = visitor.page
    release = visitor.hold()
    page.locator("#lens label", has_text="Curvature").click()
    page.get_by_role("button", name="Dark colour scheme").click()
    page.get_by_role("link", name="Dynamics").click()
    release()
    expect(page.locator(TITLE).first).to_have_text("Curvature (rad)")
    ground = page.locator("#layers-graph .main-svg").first
    expect(ground).to_have_css("background-color", "rgb(20, 24, 29)")
    expect(page).to_have_url(re.compile(r"\?lens=curvature"))


def test_a_curve_is_hidden_and_shown_without_losing_the_place(visit) -> None:
    page = visit().open().page
    traces = page.locator("#layers-graph .scatterlayer .trace")
    before = traces.count()
    curve = page.locator('.curve[data-model="whisper-base"]')
    curve.focus()
    page.keyboard.press("Enter")
    expect(curve).to_have_attribute("aria-pressed", "false")
    expect(curve).to_be_focused()
    expect(traces).to_have_count(before - 2)
    expect(page).to_have_url(re.compile("hide=whisper-base"))
    page.keyboard.press("Enter")
    expect(traces).to_have_count(before)
    expect(page).not_to_have_url(re.compile("hide="))


def test_dark_is_designed_and_remembered(visit) -> None:
    page = visit(color_scheme="light").open().page
    ground = page.locator("#layers-graph .main-svg").first
    expect(ground).to_have_css("background-color", "rgb(253, 252, 249)")
    page.get_by_role("button", name="Dark colour scheme").click()
    expect(page.locator("html")).to_have_attribute("data-mantine-color-scheme", "dark")
    expect(page.locator("body")).to_have_css("background-color", "rgb(13, 16, 20)")
    expect(ground).to_have_css("background-color", "rgb(20, 24, 29)")
    page.reload()
    expect(page.locator("body")).to_have_css("background-color", "rgb(13, 16, 20)")
    expect(page.get_by_role("button", name="Dark colour scheme")).to_have_attribute(
        "aria-pressed", "true"
    )


def test_the_system_scheme_is_followed(visit) -> None:
    page = visit(color_scheme="dark").open().page
    expect(page.locator("body")).to_have_css("background-color", "rgb(13, 16, 20)")
    ground = page.locator("#layers-graph .main-svg").first
    expect(ground).to_have_css("background-color", "rgb(20, 24, 29)")


@pytest.mark.parametrize("width", [390, 768, 1024, 1440, 1920])
def test_no_width_scrolls_sideways(visit, width: int) -> None:
    page = visit(viewport={"width": width, "height": 844}).open("?lens=invariance").page
    expect(page.locator("#layers-legend .curve")).to_have_count(4)
    for summary in page.locator("details > summary").all():
        if summary.is_visible():
            summary.click()
    wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    assert wide <= 0
    plot = page.locator("#layers-graph .main-svg").first.bounding_box()
    assert plot
    assert plot["x"] >= 0
    assert plot["x"] + plot["width"] <= width
    assert plot["width"] >= 0.6 * min(width, 1480)


def test_motion_stops_for_those_who_ask(visit) -> None:
    page = visit(reduced_motion="reduce").open().page
    expect(page.locator("html")).to_have_css("scroll-behavior", "auto")
    moving = page.evaluate("document.getAnimations().length")
    assert moving == 0


@pytest.mark.parametrize("kind", ["svg", "png", "csv", "json"])
def test_the_figure_and_its_numbers_are_saved(visit, kind: str, tmp_path: Path) -> None:
    page = visit(accept_downloads=True).open("?lens=curvature").page
    button = page.locator("#layers-export").get_by_role("button", name=f"Save as {kind.upper()}")
    with page.expect_download() as waiting:
        button.click()
    saved = tmp_path / waiting.value.suggested_filename
    waiting.value.save_as(saved)
    assert saved.name == f"curvature-signed-demo.{kind}"
    content = saved.read_bytes()
    if kind == "svg":
        assert ElementTree.fromstring(content).tag.endswith("svg")
        assert b"HuBERT Nano" in content
    elif kind == "png":
        assert content.startswith(b"\x89PNG")
    elif kind == "csv":
        rows = list(csv.DictReader(content.decode().splitlines()))
        assert {row["model"] for row in rows} == {
            "hubert-nano", "hubert-nano-init", "whisper-base", "melspec",
        }  # fmt: skip
        assert {row["lens"] for row in rows} == {"curvature"}
    else:
        assert len(json.loads(content)) == 4


def test_a_model_that_was_not_computed_is_computed_on_request(visit) -> None:
    page = visit().open().page
    page.locator("#layers-missing summary").click()
    page.get_by_role("button", name="Compute HuBERT Base on the demo corpus").click()
    expect(page.locator('.curve[data-model="hubert-base"]')).to_be_visible(timeout=20_000)
    expect(page.get_by_role("button", name="Compute HuBERT Base on the demo corpus")).to_have_count(
        0
    )


def test_a_model_that_cannot_be_computed_says_why(visit) -> None:
    page = visit().open().page
    page.locator("#layers-missing summary").click()
    page.get_by_role("button", name="Compute WavLM Large on the demo corpus").click()
    expect(page.locator("#layers-missing .is-failed")).to_contain_text(
        "its weights are not on this machine"
    )


def test_a_server_that_is_gone_is_said_and_forgiven(visit) -> None:
    visitor = visit().open()
    visitor.forgiven += ["ERR_FAILED", "ERR_CONNECTION", "Callback failed", "Failed to fetch"]
    page = visitor.page
    callbacks = re.compile("_dash-update-component")
    page.route(callbacks, lambda route: route.abort())
    page.locator("#lens label", has_text="Curvature").click()
    expect(page.get_by_role("alert")).to_contain_text("The server does not answer")
    page.unroute(callbacks)
    page.locator("#lens label", has_text="Invariance").click()
    expect(page.locator(TITLE).first).to_have_text("InfoNCE loss (nats)")
    expect(page.get_by_role("alert")).to_be_empty()


def test_the_citation_is_copied(visit) -> None:
    visitor = visit(permissions=["clipboard-read", "clipboard-write"]).open()
    visitor.page.get_by_role("button", name="Copy BibTeX").click()
    expect(visitor.page.get_by_text("Copied", exact=True)).to_be_visible()
    copied = visitor.page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("@inproceedings{sadok2026insidessl")
    assert "10.21437/Interspeech.2026-733" in copied


def test_a_wrong_address_is_a_page_of_ours(visit) -> None:
    visitor = visit()
    visitor.forgiven.append("404")
    answer = visitor.page.goto(f"{visitor.address}/nowhere")
    assert answer
    assert answer.status == 404
    expect(visitor.page.get_by_role("heading", name="There is no layer here")).to_be_visible()
    visitor.page.get_by_role("link", name="Open the dashboard").click()
    visitor.page.wait_for_selector("#layers-graph .main-svg")
