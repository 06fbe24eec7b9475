"""Model cards in a browser: reached from the dashboard, drawn in both schemes, on a phone."""

from __future__ import annotations

import pytest

expect = pytest.importorskip("playwright.sync_api").expect
pytestmark = pytest.mark.browser

HELD_OUT = "#card-held-out .main-svg"


def test_the_dashboard_leads_to_a_card_and_back(visit) -> None:
    page = visit().open().page
    page.get_by_role("link", name="Card of HuBERT Nano", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("HuBERT Nano")
    expect(page.locator(HELD_OUT).first).to_be_visible()
    expect(page.locator("#card-loss .main-svg").first).to_be_visible()
    expect(page.locator(".score .is-score")).to_contain_text("Accuracy on masked frames")
    ground = page.locator(HELD_OUT).first
    page.get_by_role("button", name="Dark colour scheme").click()
    expect(ground).to_have_css("background-color", "rgb(20, 24, 29)")
    page.get_by_role("link", name="All models").click()
    page.get_by_role("link", name="WavLM Large").click()
    expect(page.get_by_text("Trained elsewhere")).to_be_visible()
    page.get_by_role("link", name="Dynamics").click()
    page.wait_for_selector("#layers-graph .main-svg")


def test_a_card_fits_a_phone(visit) -> None:
    visitor = visit(viewport={"width": 390, "height": 844})
    for path in ("models", "models/hubert-nano"):
        visitor.page.goto(f"{visitor.address}/{path}")
        expect(visitor.page.get_by_role("heading", level=1)).to_be_visible()
        wide = visitor.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert wide <= 0
    expect(visitor.page.locator(HELD_OUT).first).to_be_visible()
