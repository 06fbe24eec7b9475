"""Training dynamics without a browser: the figures, what the slider gets, the page, the address."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dash
import numpy as np
import plotly.graph_objects as go
import pytest
from made_results import make_result
from made_services import SCREEN, catalogue_of, fire, make_services, make_settings
from made_trajectories import UPDATES, value, write_run

from insidessl_dash.dashboard import ids, theme, urls
from insidessl_dash.dashboard.callbacks import training
from insidessl_dash.dashboard.factory import create_app
from insidessl_dash.dashboard.figures.training import curves_figure, frames, map_figure
from insidessl_dash.dashboard.figures.training_runs import (
    UPDATES as SCALE,
)
from insidessl_dash.dashboard.figures.training_runs import (
    VALUES,
    Panel,
    captions,
    colour,
    step_of,
    steps,
    update_table,
)
from insidessl_dash.results.trajectories import Trajectories

SCHEMES: tuple[theme.Scheme, ...] = ("light", "dark")
START = {"lens": "curvature", "measure": "folded", "run": None, "beside": None, "corpus": None}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """An installation with a shipped run of nine checkpoints and an own one of three."""
    settings = make_settings(tmp_path_factory.mktemp("installation"))
    write_run(settings.precomputed)
    write_run(settings.home, "mine", updates=(0, 4, 300), lenses=("curvature", "entropy"))
    services = make_services(settings)
    known = Trajectories(settings.home, settings.precomputed)
    yield SimpleNamespace(
        settings=settings, services=services, known=known, catalogue=catalogue_of(services)
    )
    services.close()


@pytest.fixture(scope="module")
def app(place: SimpleNamespace) -> dash.Dash:
    return create_app(place.settings, place.services)


def panel(place: SimpleNamespace, run: str = "hubert-nano", lens: str = "curvature") -> Panel:
    baseline = make_result("melspec", lens).measures["folded"] if lens == "curvature" else None
    return Panel(place.known.get("demo", run, lens), run, baseline)


def traces(figure: dict[str, Any], role: str, index: int = 0) -> list[dict[str, Any]]:
    found = [t for t in figure["data"] if t.get("meta", {}).get("role") == role]
    return [t for t in found if t["meta"]["panel"] == index]


def shown(place: SimpleNamespace, search: str | None = None, at: int | None = None,
          **changes: Any) -> dict[str, Any]:  # fmt: skip
    controls = {**START, **changes}
    return training.update(
        place.catalogue, place.known, controls, SCREEN, at=at,
        search=search if changes or search is not None else "",
    )  # fmt: skip


# -- the figures ----------------------------------------------------------------------------------


def test_every_checkpoint_is_a_thin_curve_and_a_bold_one(place: SimpleNamespace) -> None:
    figure = curves_figure([panel(place)], "folded", step=3)
    for role in ("checkpoint", "chosen"):
        found = traces(figure, role)
        assert [t["meta"]["update"] for t in found] == list(UPDATES)
        for row, trace in enumerate(found):
            assert trace["y"] == [value(row, layer) for layer in range(13)]
    assert [t["opacity"] for t in traces(figure, "chosen")] == [0, 0, 0, 1, 0, 0, 0, 0, 0]
    assert all(t["opacity"] < 1 for t in traces(figure, "checkpoint"))


def test_plotly_accepts_the_figures(place: SimpleNamespace) -> None:
    both = [panel(place), panel(place, "~mine")]
    for shown_panels in ([], both[:1], both):
        for scheme in SCHEMES:
            for compact in (False, True):
                for draw in (curves_figure, map_figure):
                    go.Figure(draw(shown_panels, "folded", step=0, scheme=scheme, compact=compact))


def test_initialisation_looks_unlike_every_update(place: SimpleNamespace) -> None:
    for scheme in SCHEMES:
        figure = curves_figure([panel(place)], "folded", step=0, scheme=scheme)
        first, *rest = traces(figure, "checkpoint")
        assert first["line"]["dash"] == theme.RANDOM_DASH
        assert {t["line"]["dash"] for t in rest} == {"solid"}
        assert first["line"]["color"] not in {t["line"]["color"] for t in rest}


def test_colour_follows_the_logarithm_of_the_update() -> None:
    for scheme in SCHEMES:
        assert colour(1, 4096, scheme) == SCALE[scheme][0]
        assert colour(64, 4096, scheme) == SCALE[scheme][4]
        assert colour(4096, 4096, scheme) == SCALE[scheme][-1]


def luminance(shade: str) -> float:
    channels = [int(shade[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_later_is_further_from_the_ground_and_every_curve_can_be_seen() -> None:
    for scheme in SCHEMES:
        ground = luminance(theme.PALETTES[scheme].surface)
        for scale in (SCALE[scheme], VALUES[scheme]):
            away = [abs(luminance(shade) - ground) for shade in scale]
            assert all(a < b for a, b in pairwise(away))
        for shade in SCALE[scheme]:
            light, dark = sorted((luminance(shade), ground), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 3


def test_two_runs_have_the_same_scales(place: SimpleNamespace) -> None:
    both = [panel(place), panel(place, "~mine")]
    layout = curves_figure(both, "folded", step=0)["layout"]
    assert layout["yaxis"]["range"] == layout["yaxis2"]["range"]
    mapped = map_figure(both, "folded", step=0)
    assert {trace["coloraxis"] for trace in mapped["data"]} == {"coloraxis"}
    colours = [
        {t["meta"]["update"]: t["line"]["color"]
         for t in traces(curves_figure(both, "folded", step=0), "checkpoint", index)}
        for index in (0, 1)
    ]  # fmt: skip
    assert colours[0][4] == colours[1][4]


def test_the_map_is_the_same_values_and_marks_the_column(place: SimpleNamespace) -> None:
    figure = map_figure([panel(place)], "folded", step=2)
    trace = figure["data"][0]
    assert trace["z"][7] == [value(row, 7) for row in range(len(UPDATES))]
    shape = figure["layout"]["shapes"][0]
    assert (shape["x0"], shape["x1"], shape["opacity"]) == (1.5, 2.5, 1)


def test_the_baseline_is_a_thin_line_across(place: SimpleNamespace) -> None:
    drawn = panel(place)
    trace = traces(curves_figure([drawn], "folded", step=0), "baseline")[0]
    assert drawn.baseline
    assert set(trace["y"]) == {drawn.baseline.mean[0]}
    assert (trace["x"][0], trace["x"][-1]) == (0, 12)


def test_the_slider_knows_the_curve_and_column_of_every_stop(place: SimpleNamespace) -> None:
    both = [panel(place), panel(place, "~mine")]
    found = frames(both, "folded", step=0)
    figure = curves_figure(both, "folded", step=0)
    assert [stop["update"] for stop in found["stops"]] == [*UPDATES, 300]
    for stop in found["stops"]:
        for index, row in enumerate(stop["rows"]):
            trace = figure["data"][found["traces"][index][row]]
            assert trace["meta"]["role"] == "chosen"
            assert trace["meta"]["panel"] == index
            known = [u for u in both[index].trajectory.updates if u <= stop["update"]]
            assert trace["meta"]["update"] == known[-1]
    json.dumps(found, allow_nan=False)


def test_a_run_that_starts_later_has_no_curve_before(place: SimpleNamespace, home: Path) -> None:
    write_run(home, "late", updates=(8, 16), lenses=("curvature",))
    late = Panel(Trajectories(home, home).get("demo", "~late", "curvature"), "late")
    both = [panel(place), late]
    found = frames(both, "folded", step=0)
    assert found["stops"][0]["rows"] == [0, None]
    assert found["stops"][0]["reading"][1] == "late: not yet saved"
    assert map_figure(both, "folded", step=0)["layout"]["shapes"][1]["opacity"] == 0
    assert not any(t["opacity"] for t in traces(curves_figure(both, "folded", step=0), "chosen", 1))


def test_the_reading_is_the_numbers_of_the_checkpoint(place: SimpleNamespace) -> None:
    reading = frames([panel(place)], "folded", step=0)["stops"][4]["reading"]
    assert reading == ["mean 1.400, shallow 1.400, deep 1.400 rad"]


def test_a_stop_is_found_by_its_update(place: SimpleNamespace) -> None:
    drawn = [panel(place)]
    assert steps(drawn) == list(UPDATES)
    assert step_of(drawn, None) == len(UPDATES) - 1
    assert step_of(drawn, 16) == UPDATES.index(16)
    assert step_of(drawn, 17) == UPDATES.index(16)
    assert step_of(drawn, 10**9) == len(UPDATES) - 1


def test_the_caption_says_what_and_over_what(place: SimpleNamespace) -> None:
    said = " ".join(captions([panel(place)], "folded")[0])
    assert "at 9 checkpoints from initialisation to update 100" in said
    assert "40 utterances of the demo corpus" in said
    assert "MelSpec" in said
    assert captions([], "folded") == ([], [])


def test_the_update_is_written_at_the_last_layer_that_has_a_value(
    place: SimpleNamespace,
) -> None:
    drawn = panel(place)
    mean = drawn.surface("folded").mean.copy()
    mean[:, -1] = np.nan  # as of a last layer that is one vector an utterance
    surface = replace(drawn.surface("folded"), mean=mean)
    measures = {**drawn.trajectory.measures, "folded": surface}
    short = replace(drawn, trajectory=replace(drawn.trajectory, measures=measures))
    for shown, place_of_text in ((drawn, 12), (short, 11)):
        bold = traces(curves_figure([shown], "folded", step=0), "chosen")
        assert {[bool(text) for text in t["text"]].index(True) for t in bold} == {place_of_text}


def test_layers_with_fewer_frames_say_so(place: SimpleNamespace) -> None:
    drawn = panel(place)
    assert "frame every" not in " ".join(captions([drawn], "folded")[0])
    rates = [50.0] * 4 + [25.0] * 2 + [50.0] * 7
    slow = replace(drawn, trajectory=replace(drawn.trajectory, frame_rates_hz=rates))
    said = " ".join(captions([slow], "folded")[0])
    assert f"Layers 4, 5 of {drawn.title} have a frame every 40 ms" in said
    hovers = traces(curves_figure([slow], "folded", step=0), "checkpoint")[0]["text"]
    assert ["a frame every 40 ms" in text for text in hovers] == [rate < 50 for rate in rates]


def test_the_table_has_every_number(place: SimpleNamespace) -> None:
    table = update_table(panel(place), "folded")
    assert [name for name, _cells in table.rows][:2] == ["init", "1"]
    assert table.rows[4][1][0] == "1.400"
    assert len(table.columns) == 13


# -- the page -------------------------------------------------------------------------------------


def test_the_first_view_is_the_shipped_run_at_its_end(place: SimpleNamespace) -> None:
    update = shown(place)
    assert (update["run"], update["beside"], update["corpus"]) == ("hubert-nano", "none", "demo")
    assert update["frames"]["step"] == len(UPDATES) - 1
    assert traces(update["curves"], "chosen")[-1]["opacity"] == 1
    assert update["paint"][ids.TRAINING_MISSING] == ""
    assert traces(update["curves"], "baseline"), "MelSpec was computed on the same audio"


def test_runs_can_be_chosen_and_put_beside_each_other(place: SimpleNamespace) -> None:
    update = shown(place)
    assert [option["value"] for option in update["runs"]] == ["hubert-nano", "~mine"]
    assert update["runs"][1]["label"] == "mine (your run)"
    assert [option["value"] for option in update["besides"]] == ["none", "~mine"]
    pair = shown(place, run="hubert-nano", beside="~mine", corpus="demo")
    assert len(pair["frames"]["traces"]) == 2
    assert "is-pair" in pair["panel"]
    assert pair["shown"]["values"]["beside"] == "~mine"


def test_a_model_is_not_put_beside_itself(place: SimpleNamespace) -> None:
    update = shown(place, run="~mine", beside="~mine", corpus="demo")
    assert update["beside"] == "none"
    assert len(update["frames"]["traces"]) == 1


def test_the_view_survives_the_address(place: SimpleNamespace) -> None:
    first = shown(place, lens="entropy", measure="nats", run="~mine", corpus="demo")
    search = urls.query(first["shown"]["values"])
    again = shown(place, search=search)
    assert (again["lens"], again["measure"], again["run"]) == ("entropy", "nats", "~mine")
    assert again["shown"]["values"] == first["shown"]["values"]
    assert (first["shown"]["replace"], again["shown"]["replace"]) == (False, True)


def test_the_plain_view_has_a_plain_address(place: SimpleNamespace) -> None:
    assert set(shown(place)["shown"]["values"].values()) == {None}


def test_the_checkpoint_of_the_address_or_the_slider_is_kept(place: SimpleNamespace) -> None:
    assert shown(place, search="?update=8")["frames"]["step"] == UPDATES.index(8)
    moved = shown(place, at=8, lens="entropy", measure="normalised", run="hubert-nano")
    assert moved["frames"]["step"] == UPDATES.index(8)


@pytest.mark.parametrize(
    "search", ["?training=x&reading=y&update=-3", "?update=1e9", "?%%%&update="]
)
def test_a_wrong_address_still_shows_something(place: SimpleNamespace, search: str) -> None:
    update = shown(place, search=search)
    assert update["frames"]["stops"]
    assert update["run"] == "hubert-nano"


def test_a_run_that_is_not_here_says_so(place: SimpleNamespace) -> None:
    update = shown(place, search="?run=somebody-elses")
    assert update["frames"] is None
    assert update["panel"] == "panel training-panel is-empty"
    text = update["paint"][ids.TRAINING_MISSING]
    assert "somebody-elses on demo" in text
    assert "insidessl-dash dynamics" in text
    assert "somebody-elses" in {option["value"] for option in update["runs"]}


def test_a_corpus_that_is_not_here_says_so(place: SimpleNamespace) -> None:
    update = shown(place, search="?heard=somebody-elses")
    assert update["frames"] is None
    assert update["corpus"] == "somebody-elses"
    assert "--corpus somebody-elses" in update["paint"][ids.TRAINING_MISSING]


def test_a_lens_that_was_not_computed_says_so_beside_what_was(place: SimpleNamespace) -> None:
    update = shown(place, search="?training=invariance&beside=~mine")
    assert len(update["frames"]["traces"]) == 1
    assert "~mine on demo: no invariance of it here" in update["paint"][ids.TRAINING_MISSING]


def test_results_that_do_not_belong_together_are_not_drawn(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    folder = write_run(settings.precomputed)
    path = folder / "hubert-nano.update-8__curvature.json"
    content = json.loads(path.read_text())
    content["corpus"]["digest"] = "e" * 64
    path.write_text(json.dumps(content))
    services = make_services(settings)
    known = Trajectories(settings.home, settings.precomputed)
    update = training.update(catalogue_of(services), known, START, SCREEN, search="")
    assert update["frames"] is None
    assert "measured with another audio" in update["paint"][ids.TRAINING_MISSING]
    services.close()


def test_an_installation_without_runs_says_so(tmp_path: Path) -> None:
    services = make_services(make_settings(tmp_path))
    known = Trajectories(tmp_path / "home", tmp_path / "precomputed")
    update = training.update(catalogue_of(services), known, START, SCREEN, search="")
    assert update["view_hidden"] is True
    text = update["paint"][ids.TRAINING_MISSING]
    assert "No training run has been computed" in text
    assert "insidessl-dash dynamics --checkpoints" in text
    services.close()


def test_the_cards_judge_curvature_and_keep_the_paper_apart(place: SimpleNamespace) -> None:
    text = shown(place)["paint"][ids.TRAINING_INSIGHTS]
    assert text.count('class="verdict verdict-holds"') == 3
    assert "2607.06392" in text
    assert "10.21437/Interspeech.2026-733" in text
    assert text.count("In the paper: ") == 3
    plain = shown(place, search="?training=entropy")["paint"][ids.TRAINING_INSIGHTS]
    assert "verdict" not in plain
    assert "2607.06392" not in plain
    assert plain.count('class="insight"') == 3


def test_exports_and_provenance_lead_to_the_numbers(place: SimpleNamespace, app: dash.Dash) -> None:
    painted = shown(place, search="?beside=~mine")["paint"]
    client = app.server.test_client()
    for name in (ids.TRAINING_EXPORT, ids.TRAINING_MAP_EXPORT):
        for kind in ("csv", "json"):
            part = painted[name].split(f'data-export="{kind}"')[1]
            for address in part.split('data-urls="')[1].split('"')[0].split():
                assert client.get(address).status_code == 200
    assert "9 checkpoints, updates 0 to 100" in painted[ids.TRAINING_PROVENANCE]
    assert "/api/v1/trajectories/demo/~mine/curvature.json" in painted[ids.TRAINING_PROVENANCE]


def test_the_callback_answers_once_to_a_visit(app: dash.Dash) -> None:
    client = app.server.test_client()
    values = {
        f"{ids.TRAINING_LENS}.value": "curvature",
        f"{ids.TRAINING_MEASURE}.value": "folded",
        f"{ids.SCREEN}.data": SCREEN,
        f"{ids.TRAINING_ASKED}.data": {"search": "?run=~mine", "visit": 1},
    }
    output, changed = f"{ids.TRAINING_CURVES}.figure", f"{ids.TRAINING_ASKED}.data"
    first = fire(client, output, values, changed).get_json()["response"]
    assert first[ids.TRAINING_RUN]["value"] == "~mine"
    followed = first[ids.TRAINING_FOLLOWED]["data"]
    assert followed["visit"] == 1
    values[f"{ids.TRAINING_FOLLOWED}.data"] = followed
    for id in (ids.TRAINING_RUN, ids.TRAINING_BESIDE, ids.TRAINING_CORPUS):
        values[f"{id}.value"] = first[id]["value"]
    echo = fire(client, output, values, f"{ids.TRAINING_RUN}.value")
    assert echo.status_code == 204, "what was set by the answer asks for nothing new"
    values[f"{ids.TRAINING_RUN}.value"] = "hubert-nano"
    second = fire(client, output, values, f"{ids.TRAINING_RUN}.value").get_json()["response"]
    assert ids.TRAINING_RUN not in second or "value" not in second[ids.TRAINING_RUN]
    assert second[ids.TRAINING_SHOWN]["data"]["values"]["run"] is None


def test_nothing_on_the_page_listens_to_the_slider(app: dash.Dash) -> None:
    """Scrubbing must not reach the server: what it writes is only read with something else."""
    for entry in app.server.test_client().get("/_dash-dependencies").json:
        if entry.get("clientside_function") is None:
            assert ids.TRAINING_AT not in {item["id"] for item in entry["inputs"]}
