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
            "search": "",
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
    done = {**done, "search": search}
    return analysis.update(
        catalogue_of(services, visible), done, start, screen=SCREEN, fresh=not changes
    )


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
    assert update["shown"]["values"]["job"] == "0123"


def test_references_are_of_the_models_that_were_asked(mine: Any) -> None:
    services, done = mine
    of_whisper = [key for key in done["results"] if "whisper" in services.store.get(key).model.name]
    drawn = own((services, {**done, "results": of_whisper}))["figure"]["data"]
    models = {t["meta"]["model"] for t in drawn if t.get("meta", {}).get("role") == "reference"}
    assert models == {"whisper-base", "melspec"}


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
    again = own(mine, urls.query(first["shown"]["values"]))
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
    update = analysis.update(catalogue_of(mine[0]), None, {}, screen=SCREEN)
    assert (update["view_hidden"], update["empty_hidden"]) == (True, False)
    assert set(update["shown"]["values"]) == {"job", "own", "own_measure", "reference", "at"}
    assert set(update["shown"]["values"].values()) == {None}


def test_the_address_is_read_until_the_analysis_was_shown(mine: Any) -> None:
    """Depth and scheme are set while the first answer is on its way; Dash then drops that one."""
    services, done = mine
    client = create_app(services.uploads.settings, services).server.test_client()
    values = {f"{ids.SCREEN}.data": SCREEN, f"{ids.DEPTH}.value": "percent",
              f"{ids.BAND}.value": "ci95", f"{ids.OWN_LENS}.value": "entropy"}  # fmt: skip
    place, changed = f"{ids.OWN_GRAPH}.figure", f"{ids.DEPTH}.value"
    assert fire(client, place, values, changed).status_code == 204, "the link is still to be read"
    public = [result.key for result in services.store.results() if result.model.size != "baseline"]
    link = {**done, "results": public, "search": "?own=curvature"}
    values[f"{ids.ANALYSIS}.data"] = link
    answer = fire(client, place, values, changed).json["response"]
    assert answer[ids.OWN_LENS]["value"] == "curvature"
    assert answer[ids.OWN_FOLLOWED] == {"data": "0123"}
    values[f"{ids.OWN_FOLLOWED}.data"] = "0123"
    answer = fire(client, place, values, changed).json["response"]
    assert "value" not in answer[ids.OWN_LENS], "now the controls decide"
