"""Analyze in a browser: from a file to curves, and everything that can stop on the way."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect
pytestmark = pytest.mark.browser

OWN = "#own-graph .scatterlayer .trace"


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two short sounds: the answers are made up, so what they say does not matter."""
    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(5)
    made = []
    for name in ("first take.wav", "second take.flac"):
        soundfile.write(folder / name, 0.1 * rng.standard_normal(24_000), 16_000)
        made.append(folder / name)
    return made


def choose(page, *files: Path) -> None:
    page.locator("#files input").set_input_files(list(files))


def analyze(page) -> None:
    expect(page.locator("#run")).to_be_enabled()
    page.locator("#run").click()
    expect(page.locator("#job")).to_contain_text("Done.")
    expect(page.locator("#own-view")).to_be_visible()
    expect(page.locator(OWN).first).to_be_attached()


def pick(page, title: str) -> None:
    """Choose a model; the list closes when the page fills in its options, and is opened again."""
    models = page.get_by_role("listbox", name="Models")
    option = models.get_by_role("option", name=title, exact=True)
    for _ in range(10):
        page.get_by_role("textbox", name="Models").click()
        try:
            option.click(timeout=3000)
        except playwright.TimeoutError:
            continue
        return page.keyboard.press("Escape")
    raise AssertionError(f"{title} could not be chosen")


def test_a_recording_becomes_curves_a_table_and_a_link(visit, recordings) -> None:
    visitor = visit().open()
    page = visitor.page
    expect(page.locator("#own-empty")).to_be_visible()
    expect(page.locator("#run")).to_be_disabled()
    choose(page, *recordings)
    expect(page.locator("#file-list .file-facts").first).to_have_text("1.5 s")
    expect(page.locator("#run-note")).to_have_text("2 recordings, 1 model, 3 lenses.")
    analyze(page)
    expect(page.locator("#own-empty")).to_be_hidden()
    expect(page.locator("#own-graph .annotation-text", has_text="your audio")).to_be_attached()
    expect(page.locator("#own-caption")).to_contain_text("your 2 recordings")
    expect(page.locator("#own-table")).to_contain_text("first take.wav")
    expect(page.locator("#own-table")).to_contain_text("second take.flac")
    expect(page).to_have_url(re.compile("job="))
    page.locator("#own-lens label", has_text="Curvature").click()
    expect(page.locator("#own-caption")).to_contain_text("Curvature of every layer")
    expect(page).to_have_url(re.compile("own=curvature"))
    page.reload()
    expect(page.locator("#own-caption")).to_contain_text("Curvature of every layer")
    expect(page.locator("#file-list")).to_contain_text("first take.wav")


def test_somebody_else_sees_nothing_of_it(visit, recordings) -> None:
    owner = visit().open().page
    choose(owner, recordings[0])
    analyze(owner)
    expect(owner).to_have_url(re.compile("job="))
    stranger = visit()
    stranger.forgiven.append("404")
    stranger.open(owner.url.rsplit("/", 1)[1])
    expect(stranger.page.locator("#job")).to_contain_text("somebody else's")
    expect(stranger.page.locator("#own-view")).to_be_hidden()
    expect(stranger.page.locator("#file-list li")).to_have_count(0)


def test_a_link_that_fails_while_the_figure_is_on_its_way_leaves_the_figure(visit) -> None:
    visitor = visit()
    visitor.forgiven.append("404")
    release = visitor.hold()
    visitor.page.goto(f"{visitor.address}/?lens=curvature&job=0123")
    expect(visitor.page.locator("#job")).to_contain_text("somebody else's")
    expect(visitor.page).to_have_url(re.compile(r"\?lens=curvature$"))
    release()
    expect(visitor.page.locator("#layers-graph .main-svg").first).to_be_visible()
    expect(visitor.page.locator("#layers-legend .curve")).to_have_count(4)
    expect(visitor.page.get_by_role("radio", name="Curvature").first).to_be_checked()


def test_a_link_to_an_analysis_keeps_what_it_says_of_both_sections(visit, recordings) -> None:
    page = visit().open().page
    choose(page, recordings[0])
    analyze(page)
    job = re.search(r"job=(\w+)", page.url)
    assert job
    page.goto(f"{page.url.split('?')[0]}?depth=percent&job={job[1]}&own=curvature&at=3")
    expect(page.locator("#own-caption")).to_contain_text("Curvature of every layer")
    expect(page.locator("#own-layer")).to_have_value("layer 3")
    expect(page.get_by_role("radio", name="Percent")).to_be_checked()
    for part in ("depth=percent", job[1], "own=curvature", "at=3"):
        expect(page).to_have_url(re.compile(part))


def test_a_dropped_file_is_taken(visit) -> None:
    visitor = visit().open()
    visitor.forgiven.append("422")
    # The sections above are filled as they come near; until then they move what is clicked.
    visitor.page.locator("#explorer").scroll_into_view_if_needed()
    expect(visitor.page.locator("#explorer .state")).to_be_visible()
    visitor.page.locator("#analyze").scroll_into_view_if_needed()
    visitor.page.evaluate(
        """() => {
          const data = new DataTransfer();
          data.items.add(new File(["not audio"], "<i>note</i>.wav"));
          document.querySelector("#analyze").dispatchEvent(
            new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
        }"""
    )
    row = visitor.page.locator("#file-list .is-error")
    expect(row).to_contain_text("<i>note</i>.wav")
    expect(row).to_contain_text("cannot be decoded")
    expect(visitor.page.locator("#run")).to_be_disabled()
    row.get_by_role("button", name="Dismiss").click()
    expect(visitor.page.locator("#file-list li")).to_have_count(0)


def test_a_bad_file_costs_the_others_nothing(visit, recordings, tmp_path: Path) -> None:
    visitor = visit().open()
    visitor.forgiven.append("422")
    (tmp_path / "empty.wav").touch()
    choose(visitor.page, tmp_path / "empty.wav", recordings[0])
    expect(visitor.page.locator("#file-list .is-error")).to_contain_text("empty.wav")
    analyze(visitor.page)
    expect(visitor.page.locator("#own-table")).to_contain_text("first take.wav")


def test_a_job_shows_its_progress_and_can_be_cancelled(visit, recordings) -> None:
    page = visit().open().page
    choose(page, recordings[1])
    pick(page, "HuBERT Nano, untrained")
    expect(page.locator("#run")).to_be_enabled()
    page.locator("#run").click()
    bar = page.locator("#job [role=progressbar]")
    expect(bar).to_be_visible()
    expect(page.locator("#job")).to_contain_text("left")
    expect(page.locator("#run")).to_be_disabled()
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#job")).to_contain_text("Cancelled")
    expect(page.locator("#announce")).to_contain_text("Cancelled")
    expect(page.locator("#run")).to_be_enabled()


def test_a_failed_job_says_why(visit, recordings) -> None:
    page = visit().open().page
    choose(page, recordings[0])
    pick(page, "WavLM Large")
    expect(page.locator("#run")).to_be_enabled()
    page.locator("#run").click()
    expect(page.locator("#job.is-failed")).to_contain_text("its weights are not on this machine")
    expect(page.locator("#run")).to_be_enabled()


def test_deleting_takes_everything_away(visit, recordings) -> None:
    page = visit().open().page
    choose(page, *recordings)
    analyze(page)
    page.get_by_role("button", name="Delete my data").click()
    expect(page.locator("#file-list li")).to_have_count(0)
    expect(page.locator("#own-view")).to_be_hidden()
    expect(page.locator("#own-empty")).to_be_visible()
    expect(page).not_to_have_url(re.compile("job="))
    page.reload()
    page.wait_for_selector("#layers-graph .main-svg")
    expect(page.locator("#file-list li")).to_have_count(0)


def test_the_same_again_is_answered_at_once(visit, recordings) -> None:
    page = visit().open().page
    choose(page, recordings[0])
    analyze(page)
    milliseconds = page.evaluate(
        """() => new Promise((done) => {
          const started = performance.now();
          const job = document.getElementById("job");
          const watch = new MutationObserver(() => {
            if (job.textContent.startsWith("Done.")) {
              watch.disconnect();
              done(performance.now() - started);
            }
          });
          job.replaceChildren();
          watch.observe(job, { childList: true, subtree: true, characterData: true });
          document.getElementById("run").click();
        })"""
    )
    assert milliseconds < 2000, "no second computing; the figure of the README is measured apart"


def test_on_a_phone(visit, recordings) -> None:
    page = visit(viewport={"width": 390, "height": 844}, has_touch=True).open().page
    choose(page, recordings[0])
    analyze(page)
    expect(page.locator("#own-graph .main-svg").first).to_be_in_viewport()
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
