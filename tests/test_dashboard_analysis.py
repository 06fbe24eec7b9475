"""Analyze without a browser: what is drawn of an ended job, and who may see it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dash import no_update
from made_results import make_result, make_values
from made_services import SCREEN, catalogue_of, fire, make_services, make_settings

from insidessl_dash.core.lenses import LENSES
from insidessl_dash.dashboard import ids, urls
from insidessl_dash.dashboard.callbacks import analysis
from insidessl_dash.dashboard.factory import Services, create_app


@pytest.fixture
def mine(tmp_path: Path) -> Iterator[tuple[Services, analysis.Analysis]]:
    """Services that hold a private analysis of one recording with two models."""
    services = make_services(make_settings(tmp_path))
    results = [
        make_result(model, lens.name, corpus="upload", n=1)
        for model in ("hubert-nano", "whisper-base")
        for lens in LENSES
    ]
    for result in results:
        services.store.put(result, make_values(result), private=True)
    yield (
        services,
        {
            "job": "0123",
            "results": [result.key for result in results],
            "names": {"upload-000": '<img src=x onerror="alert(1)">.wav'},
            "skipped": {"broken.wav": "broken.wav: cannot be decoded."},
        },
    )
    services.close()


def own(
    made: tuple[Services, analysis.Analysis], search: str = "", visible: bool = True, **changes: Any
) -> dict[str, Any]:
    services, done = made
    start = {"lens": "entropy", "measure": None, "corpus": None, "layer": None, **changes}
    return analysis.update(
        catalogue_of(services, visible), done, start, screen=SCREEN, search=search,
        fresh=not changes,
    )  # fmt: skip


def test_an_analysis_is_drawn_over_the_references(mine: Any) -> None:
    update = own(mine)
    roles = [
        (trace["meta"]["role"], trace["meta"]["model"])
        for trace in update["figure"]["data"]
        if "meta" in trace
    ]
    assert ("own", "hubert-nano") in roles
    assert ("own", "whisper-base") in roles
    assert {model for role, model in roles if role == "reference"} == {
        "hubert-nano", "hubert-nano-init", "whisper-base", "melspec",
    }  # fmt: skip
    assert update["view_hidden"] is False
    assert update["empty_hidden"] is True
    assert urls.parameter(update["search"], "job") == "0123"


def test_names_of_files_are_text_never_markup(mine: Any) -> None:
    table = own(mine)["paint"][ids.OWN_TABLE]
    assert "<img" not in table
    assert "&lt;img src=x" in table
    assert "broken.wav: cannot be decoded." in table


def test_where_the_first_measure_is_not_defined_another_is_shown_and_why(mine: Any) -> None:
    update = own(mine, "?own=invariance")
    assert update["lens"] == "invariance"
    assert update["measure"] == "cosine"
    caption = update["paint"][ids.OWN_CAPTION]
    assert "InfoNCE loss is not defined here." in caption
    assert "One utterance has no other" in caption


def test_the_address_reproduces_the_analysis(mine: Any) -> None:
    first = own(mine, lens="curvature", measure="folded", layer="3")
    again = own(mine, first["search"])
    assert (again["lens"], again["measure"], again["layer"]) == ("curvature", "folded", "3")
    assert again["paint"] == first["paint"]


def test_somebody_elses_analysis_shows_nothing(mine: Any) -> None:
    update = own(mine, visible=False)
    assert update["view_hidden"] is True
    assert update["figure"] is no_update


def test_a_private_result_needs_its_owner(mine: Any) -> None:
    services, done = mine
    settings = services.uploads.settings
    client = create_app(settings, services).server.test_client()
    values = {
        f"{ids.ANALYSIS}.data": done,
        f"{ids.OWN_LENS}.value": "entropy",
        f"{ids.SCREEN}.data": SCREEN,
        f"{ids.DEPTH}.value": "index",
        f"{ids.BAND}.value": "ci95",
    }
    answer = fire(client, f"{ids.OWN_GRAPH}.figure", values, f"{ids.ANALYSIS}.data").json
    assert answer["response"][ids.OWN_VIEW] == {"hidden": True}
    assert ids.OWN_GRAPH not in answer["response"]


def test_deleting_ones_data_empties_the_view(mine: Any) -> None:
    update = analysis.update(
        catalogue_of(mine[0]), None, {}, screen=SCREEN, search="?lens=curvature&job=0123&at=3"
    )
    assert (update["view_hidden"], update["empty_hidden"]) == (True, False)
    assert update["search"] == "?lens=curvature"
