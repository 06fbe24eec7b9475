"""The visitor's own audio in a browser: from a file or the microphone to cells that play."""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

expect = pytest.importorskip("playwright.sync_api").expect
pytestmark = pytest.mark.browser

CELL = '.cell[data-i="{}"][data-j="{}"]'
MISSING = "7"


@pytest.fixture(scope="module")
def place(chromium, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A dashboard with made decoders of every layer but one, and who decodes with them."""
    import waitress
    from made_matrices import LAYERS, make_example, write_made_example
    from made_own import MadeDecoder, write_made_bank
    from made_services import ROOT, make_services, make_settings

    from insidessl_dash.dashboard.factory import create_app

    settings = make_settings(tmp_path_factory.mktemp("installation"), [])
    (settings.precomputed / "models").symlink_to(ROOT / "precomputed" / "models")
    layers = [x for x in LAYERS if x != MISSING]
    write_made_bank(settings.home, decoder_layers=layers)
    write_made_example(settings.precomputed, example=make_example(seconds=1.0))
    services = make_services(settings)
    decoder = services.service.executor = MadeDecoder(layers)
    app = create_app(settings, services)
    listener = socket.create_server(("127.0.0.1", 0))
    server = waitress.create_server(app.server, sockets=[listener], threads=8)
    threading.Thread(target=server.run, daemon=True).start()
    yield SimpleNamespace(
        address=f"http://127.0.0.1:{listener.getsockname()[1]}", decoder=decoder, settings=settings
    )
    server.close()
    services.close()


@pytest.fixture(scope="module")
def address(place: SimpleNamespace) -> str:
    return place.address


@pytest.fixture
def gate(place: SimpleNamespace) -> Iterator[threading.Semaphore]:
    """Rows wait until they are let through."""
    place.decoder.gate = threading.Semaphore(0)
    yield place.decoder.gate
    place.decoder.gate.release(100)
    place.decoder.gate = None


def recording(
    folder: Path, name: str = "my voice.wav", seed: int = 0, seconds: float = 1.0
) -> Path:
    noise = 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * 16_000))
    soundfile.write(folder / name, noise, 16_000)
    return folder / name


def at_explorer(visitor):
    page = visitor.page
    page.goto(f"{visitor.address}/#explorer")
    expect(page.locator("#own-run")).to_be_visible()
    expect(page.locator(".cell.chosen")).to_be_visible()
    return page


def decode(page, path: Path) -> None:
    page.locator("#files input").set_input_files(path)
    expect(page.locator("#own-upload")).to_contain_text(path.name)
    expect(page.locator("#own-run")).to_be_enabled()
    page.locator("#own-run").click()


def test_rows_become_playable_as_they_arrive(
    visit, place: SimpleNamespace, gate: threading.Semaphore, tmp_path: Path
) -> None:
    page = at_explorer(visit())
    expect(page.locator("#own-run")).to_be_disabled()
    expect(page.locator("#own-note")).to_have_text("Add a recording first.")
    page.locator("#files input").set_input_files(recording(tmp_path, seconds=12.0))
    note = page.locator("#own-note")
    expect(note).to_contain_text("12 × 13 cells of the first 10 s of 12 s")
    expect(note).to_contain_text("words judged by HuBERT Nano, iteration 2")
    expect(note).to_contain_text("Layers without a decoder: 7.")
    page.locator("#own-run").click()
    expect(page.locator(".voice[aria-pressed=true]")).to_contain_text("my voice.wav")
    expect(page.locator(".cell.pending")).to_have_count(156)
    expect(page.locator(".cells-missing")).to_have_text("no decoder: no decoder")
    pending = page.locator(CELL.format(0, 3))
    expect(pending).to_have_attribute("aria-label", re.compile("not decoded yet$"))
    expect(pending).to_have_attribute("aria-disabled", "true")
    pending.click(force=True)
    expect(page.locator('.cell[aria-pressed="true"]')).to_have_count(0)
    page.locator(CELL.format(1, 2)).hover()
    expect(page.locator(".cells-reading")).to_have_text(
        "Decoder 1, tokens of layer 2: not decoded yet"
    )
    gate.release(2)
    expect(page.locator(".cell.pending")).to_have_count(130)
    expect(page.locator(".cells-reading")).to_contain_text("layer 2: SpeechBERTScore")
    expect(page.locator("#own-job")).to_contain_text(re.compile("31 of 156, .* left"))
    expect(page.locator("#own-job [role=progressbar]")).to_have_attribute("aria-valuenow", "20")
    cell = page.locator(CELL.format(1, 4))
    expect(cell).to_have_attribute("aria-label", re.compile("SpeechBERTScore .* 1.040$"))
    cell.click()
    expect(cell).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".now-name")).to_have_text("D(1) · z(4)")
    expect(page.locator(".now-made")).to_contain_text("yours, seen by nobody else; made")
    page.get_by_label("Colour by").select_option("stoi")
    page.locator(CELL.format(1, 5)).hover()
    expect(page.locator(".cells-reading")).to_contain_text("not measurable (0.30 s: STOI needs")
    gate.release(10)
    expect(page.locator("#own-job")).to_contain_text("Decoded.")
    expect(page.locator(".cell.pending")).to_have_count(0)
    # A link to a cell of it, and the matrix itself, are there again after a reload.
    page.locator(CELL.format(12, 2)).click()
    expect(page).to_have_url(re.compile("cell=wav2vec2-nano,[0-9a-f]{32},12,2"))
    page.reload()
    expect(page.locator(CELL.format(12, 2))).to_have_class(re.compile("chosen"))
    expect(page.locator(".voice[aria-pressed=true]")).to_contain_text("yours")


def test_a_cancel_keeps_the_rows_and_going_on_needs_only_the_rest(
    visit, place: SimpleNamespace, gate: threading.Semaphore, tmp_path: Path
) -> None:
    page = at_explorer(visit())
    decode(page, recording(tmp_path, seed=1))
    gate.release(3)
    expect(page.locator(".cell.pending")).to_have_count(117)
    page.locator("#own-job").get_by_role("button", name="Cancel").click()
    expect(page.locator("#own-job")).to_contain_text("Cancelled. Rows that are done stay")
    expect(page.locator(".cell:not(.pending)")).to_have_count(39)
    place.decoder.asked.clear()
    gate.release(9)
    page.locator("#own-run").click()
    expect(page.locator("#own-job")).to_contain_text("Decoded.")
    assert place.decoder.asked == list(range(3, 12))


def test_a_matrix_under_way_is_watched_again_after_a_reload(
    visit, gate: threading.Semaphore, tmp_path: Path
) -> None:
    page = at_explorer(visit())
    decode(page, recording(tmp_path, seed=2))
    gate.release(1)
    expect(page.locator(".cell.pending")).to_have_count(143)
    page.reload()
    expect(page.locator("#own-job")).to_contain_text("of 156")
    expect(page.locator(".cell.pending")).to_have_count(143)
    gate.release(11)
    expect(page.locator("#own-job")).to_contain_text("Decoded.")


def test_a_deleted_recording_is_gone_from_the_explorer(visit, tmp_path: Path) -> None:
    visitor = visit()
    page = at_explorer(visitor)
    decode(page, recording(tmp_path, seed=3))
    expect(page.locator("#own-job")).to_contain_text("Decoded.")
    page.locator(".now-page").evaluate("(link) => window.kept = link.href")
    kept = page.evaluate("window.kept")
    page.get_by_role("button", name="Delete my voice.wav").click()
    expect(page.locator(".voice")).to_have_count(1)
    expect(page.locator(".voice")).to_contain_text("Voice one")
    expect(page.locator("#own-upload")).to_be_disabled()
    visitor.forgiven.append("404")
    page.goto(kept)
    expect(page.get_by_role("link", name="Open the audio explorer")).to_be_visible()


def test_a_lost_worker_leaves_what_is_done(visit, place: SimpleNamespace, tmp_path: Path) -> None:
    place.decoder.lost = 2
    try:
        page = at_explorer(visit())
        decode(page, recording(tmp_path, seed=4))
        expect(page.locator("#own-job")).to_contain_text("The worker died repeatedly")
        expect(page.locator(".cell:not(.pending)")).to_have_count(26)
        expect(page.locator("#own-run")).to_be_enabled()
    finally:
        place.decoder.lost = None


def test_a_file_that_is_refused_says_why_where_it_was_chosen(visit, tmp_path: Path) -> None:
    visitor = visit()
    visitor.forgiven.append("422")
    page = at_explorer(visitor)
    soundfile.write(tmp_path / "nothing.wav", np.zeros(16_000), 16_000)
    page.locator("#files input").set_input_files(tmp_path / "nothing.wav")
    expect(page.locator(".own-source-note")).to_contain_text("nothing.wav: silent")
    expect(page.locator("#own-run")).to_be_disabled()
    page.locator("#files input").set_input_files(recording(tmp_path))
    expect(page.locator("#own-run")).to_be_enabled()
    page.get_by_role("button", name="Dismiss nothing.wav").click()
    expect(page.locator(".own-source-note")).to_have_text(re.compile("^Its first 10 s"))


def test_a_model_without_decoders_says_how_they_are_trained(visit, tmp_path: Path) -> None:
    page = at_explorer(visit())
    page.locator("#own-model").select_option("wavlm-nano")
    expect(page.locator("#own-note")).to_contain_text("WavLM Nano has no decoders on this installa")
    expect(page.locator("#own-note code")).to_contain_text("gcm train --model wavlm-nano")
    expect(page.locator("#own-run")).to_be_disabled()


def test_its_own_page_plays_too(visit, tmp_path: Path) -> None:
    page = at_explorer(visit())
    decode(page, recording(tmp_path, seed=5))
    expect(page.locator("#own-job")).to_contain_text("Decoded.")
    page.locator(CELL.format(3, 4)).click()
    page.locator(".now-page").click()
    expect(page).to_have_url(re.compile("/gcm/own/[0-9a-f]{32}/3/4$"))
    cell = page.locator(CELL.format(3, 4))
    cell.click()
    expect(cell).to_have_attribute("aria-pressed", "true")


@pytest.fixture(scope="module")
def microphone(chromium) -> Iterator:
    """A Chromium that hears a beep, and is always allowed to."""
    flags = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    flags += ["--no-sandbox"] if os.geteuid() == 0 else []
    browser = chromium.browser_type.launch(executable_path=chromium.found, args=flags)
    yield browser
    browser.close()


def test_a_recording_from_the_microphone_is_a_wav_file(microphone, place: SimpleNamespace) -> None:
    page = microphone.new_page(viewport={"width": 1440, "height": 900})
    page.goto(f"{place.address}/#explorer")
    page.get_by_role("button", name="Record", exact=True).click()
    stop = page.get_by_role("button", name="Stop", exact=True)
    expect(stop).to_be_focused()
    expect(page.locator(".own-time")).to_have_text(re.compile(r"^[1-9]\.\d of 10 s$"))
    loud = re.compile("width: [1-9]")
    expect(page.locator(".own-level > span")).to_have_attribute("style", loud)
    stop.click()
    expect(page.locator("#own-upload")).to_contain_text(re.compile(r"recording \d\d-\d\d-\d\d.wav"))
    expect(page.get_by_role("button", name="Record", exact=True)).to_be_focused()
    found = place.settings.home.glob("uploads/*/*.wav")
    samples, rate = soundfile.read(max(found, key=lambda path: path.stat().st_mtime_ns))
    assert rate in (44_100, 48_000)
    assert samples.ndim == 1
    assert len(samples) / rate >= 1.0
    assert np.abs(samples).max() > 0.01, "the beep of the made device"
    page.locator("#own-run").click()
    expect(page.locator("#own-job")).to_contain_text("Decoded.")
    page.close()


def test_a_recording_stops_by_itself_at_its_longest(microphone, place: SimpleNamespace) -> None:
    page = microphone.new_page()
    page.route(
        "**/api/v1/decoders",
        lambda route: route.fulfill(
            json={**route.fetch().json(), "longest_s": 1.5}, content_type="application/json"
        ),
    )
    page.goto(f"{place.address}/#explorer")
    page.get_by_role("button", name="Record", exact=True).click()
    expect(page.locator("#own-upload")).to_contain_text(re.compile(r"recording .*, 1\.5 s"))
    expect(page.locator(".own-live")).to_be_hidden()
    page.close()


def test_without_permission_it_says_so(visit) -> None:
    visitor = visit()
    visitor.page.add_init_script(
        "navigator.mediaDevices.getUserMedia = () => "
        "Promise.reject(new DOMException('no', 'NotAllowedError'));"
    )
    page = at_explorer(visitor)
    page.get_by_role("button", name="Record", exact=True).click()
    note = page.locator(".own-source-note")
    expect(note).to_contain_text("may not use the microphone: allow it for this page, or choose")
    expect(page.get_by_role("button", name="Record", exact=True)).to_be_enabled()


@pytest.mark.parametrize("width", [375, 1440])
def test_no_width_scrolls_sideways(visit, width: int) -> None:
    page = at_explorer(visit(viewport={"width": width, "height": 800}, color_scheme="dark"))
    assert page.evaluate(
        """() => [...document.querySelectorAll("#explorer *")]
          .filter((one) => one.getBoundingClientRect().right > window.innerWidth + 0.5).length"""
    ) == 0  # fmt: skip
    for name in ("#own-run", ".own-record"):
        assert page.locator(name).bounding_box()["height"] >= 30
