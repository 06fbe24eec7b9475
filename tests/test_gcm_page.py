"""Compatibility matrices and the audio explorer without a browser: figures, cards, API, sounds."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dash
import plotly.graph_objects as go
import pytest
import soundfile
from flask.testing import FlaskClient
from made_matrices import (
    NOT_MEASURABLE,
    WAVLM,
    content,
    make_example,
    make_matrix,
    speaker,
    write_made_example,
    write_made_matrix,
)
from made_services import SCREEN, catalogue_of, fire, make_services, make_settings

from insidessl_dash.core.errors import NotFoundError
from insidessl_dash.dashboard import ids, theme, urls
from insidessl_dash.dashboard.callbacks import gcm
from insidessl_dash.dashboard.factory import create_app
from insidessl_dash.dashboard.figures.gcm import matrix_figure
from insidessl_dash.dashboard.figures.gcm_insights import blocks, insights
from insidessl_dash.dashboard.figures.gcm_sheets import DROP, KINDS, Matrix, choices, sheet
from insidessl_dash.dashboard.figures.gcm_words import caption, cell_table, summary_table
from insidessl_dash.dashboard.figures.training_runs import VALUES
from insidessl_dash.results.copy_synthesis import CopySynthesis, Measure, Scores, VocoderScores
from insidessl_dash.results.explorer import Examples
from insidessl_dash.results.matrix import Group, MatrixResult, VocoderInfo
from insidessl_dash.results.matrix_files import Matrices
from insidessl_dash.results.schema import CorpusInfo

METRICS: dict[Group, str] = {
    "content": "content", "identity": "speaker", "prosody": "f0_rmse_cents", "function": DROP,
}  # fmt: skip
START = dict.fromkeys(("matrix", "beside", "content", "identity", "prosody", "function"))
MISSING = {"7": "its training was stopped"}
SOUNDS = {(0, 0), (3, 7), (12, 12)}
AT = "/api/v1/examples/wav2vec2-nano/voice-one"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """An installation with two matrices that ship, one of its own, and two examples."""
    settings = make_settings(tmp_path_factory.mktemp("installation"))
    write_made_matrix(settings.precomputed)
    write_made_matrix(settings.precomputed, make_matrix(WAVLM, missing=MISSING))
    write_made_matrix(settings.home, make_matrix(preset="regression"), "wav2vec2-nano.regression")
    write_made_example(settings.precomputed, cells=lambda i, j: (i, j) in SOUNDS)
    write_made_example(
        settings.precomputed, "voice-two", make_example(WAVLM, missing=MISSING),
        cells=lambda i, j: False,
    )  # fmt: skip
    services = make_services(settings)
    yield SimpleNamespace(
        settings=settings,
        services=services,
        matrices=Matrices(settings.home, settings.precomputed),
        examples=Examples(settings.home, settings.precomputed),
        catalogue=catalogue_of(services),
    )
    services.close()


@pytest.fixture(scope="module")
def app(place: SimpleNamespace) -> dash.Dash:
    return create_app(place.settings, place.services)


@pytest.fixture(scope="module")
def client(app: dash.Dash) -> FlaskClient:
    return app.server.test_client()


def drawn(result: MatrixResult | None = None, title: str = "wav2vec 2.0 Nano") -> Matrix:
    return Matrix(result or make_matrix(), title, "wav2vec2-nano")


def heat(figure: dict[str, Any], kind: str, index: int = 0) -> dict[str, Any]:
    return next(t for t in figure["data"] if t["uid"] == f"gcm-{kind}-{index}")


def shown(place: SimpleNamespace, search: str | None = "", **controls: Any) -> dict[str, Any]:
    return gcm.update(
        place.catalogue, place.matrices, {**START, **controls}, SCREEN,
        search=None if controls else search,
    )  # fmt: skip


# -- the figures ----------------------------------------------------------------------------------


def test_a_row_is_a_decoder_and_a_column_a_token_layer() -> None:
    figure = matrix_figure([drawn()], METRICS)
    for kind, form in (("content", content), ("identity", speaker)):
        assert heat(figure, kind)["z"] == [[form(i, j) for j in range(13)] for i in range(13)]
    text = heat(figure, "content")["text"][3][7]
    assert "decoder 3, tokens of layer 7" in text
    assert f"{content(3, 7):.3f}" in text
    assert figure["layout"]["yaxis"]["range"] == [12.5, -0.5], "the first decoder is on top"


def test_better_is_the_same_end_of_every_scale() -> None:
    for scheme in ("light", "dark"):
        figure = matrix_figure([drawn()], METRICS, scheme=scheme)
        for kind in KINDS:
            trace = heat(figure, kind)
            found = sheet(make_matrix(), kind, METRICS[kind])
            assert found
            best = trace["colorscale"][-1 if found.higher_is_better else 0][1]
            assert best == VALUES[scheme][-1]
            assert trace["colorbar"]["title"]["text"].startswith("better")
            assert (
                found.direction in figure["layout"]["annotations"][list(KINDS).index(kind)]["text"]
            )


def test_the_rupture_is_what_content_loses_from_the_column_before() -> None:
    z = heat(matrix_figure([drawn()], METRICS), "function")["z"]
    assert [row[0] for row in z] == [None] * 13
    assert z[4][11] == pytest.approx(content(4, 10) - content(4, 11))
    other = heat(matrix_figure([drawn()], {**METRICS, "function": "stoi"}), "function")
    assert other["z"][2][2] == pytest.approx(0.8)


def test_the_diagonal_is_marked_where_there_is_a_value() -> None:
    figure = matrix_figure([drawn(make_matrix(missing=MISSING))], METRICS)
    ring = next(t for t in figure["data"] if t["uid"] == "gcm-diagonal-content-0")
    assert ring["x"] == ring["y"] == [k for k in range(13) if k != 7]


def test_what_has_no_value_is_left_empty_and_says_so() -> None:
    matrix = drawn(make_matrix(missing=MISSING))
    figure = matrix_figure([matrix], METRICS)
    i, j = NOT_MEASURABLE
    assert heat(figure, "prosody")["z"][i][j] is None
    assert heat(figure, "prosody")["customdata"][i][j] == "–"
    assert heat(figure, "content")["z"][7] == [None] * 13
    cross = next(t for t in figure["data"] if t["uid"] == "gcm-empty-prosody-0")
    assert (cross["y"], cross["x"]) == ([i], [j])
    assert cross["text"] == ["not measurable: no frame voiced in both"]
    assert [n["text"] for n in figure["layout"]["annotations"]].count("no decoder") == 4
    assert "Layer 7 has no decoder: its training was stopped." in " ".join(caption([matrix]))


def test_a_mean_over_few_utterances_is_not_drawn() -> None:
    result = make_matrix()
    measure = result.metrics["f0_rmse_cents"]
    n = [list(row) for row in measure.n]
    n[5][6], n[6][5] = 9, 10
    few = measure.model_copy(update={"n": n})
    found = sheet(
        result.model_copy(update={"metrics": {**result.metrics, "f0_rmse_cents": few}}),
        "prosody",
        "f0_rmse_cents",
    )
    assert found.grid[5][6] is None
    assert found.why[5][6] == "only in 9 of 40 utterances"
    assert found.grid[6][5] == measure.mean[6][5]


def test_two_models_share_each_scale_and_every_heatmap_has_an_outline() -> None:
    weak = make_matrix(WAVLM, shapes={"content": lambda i, j: 0.3 + 0.01 * j})
    figure = matrix_figure([drawn(), drawn(weak, "WavLM Nano")], METRICS)
    one, two = (heat(figure, "content", index) for index in (0, 1))
    assert (one["zmin"], one["zmax"]) == (two["zmin"], two["zmax"]) == (0.3, 0.9)
    assert [t["showscale"] for t in (one, two)] == [False, True]
    assert len(figure["layout"]["shapes"]) == 8
    places = [(t["xaxis"], t["yaxis"]) for t in figure["data"] if t["type"] == "heatmap"]
    assert [(s["xref"], s["yref"]) for s in figure["layout"]["shapes"]] == places


@pytest.mark.parametrize("compact", [False, True])
def test_plotly_accepts_the_figures(compact: bool) -> None:
    both = [drawn(), drawn(make_matrix(WAVLM, missing=MISSING), "WavLM Nano")]
    schemes: tuple[theme.Scheme, ...] = ("light", "dark")
    for panels in ([], both[:1], both):
        for scheme in schemes:
            go.Figure(matrix_figure(panels, METRICS, scheme=scheme, compact=compact))


def test_the_style_sheet_has_the_colours_of_the_heatmaps(place: SimpleNamespace) -> None:
    text = (place.settings.assets / "css" / "1-tokens.css").read_text()
    light, dark = text.split('[data-mantine-color-scheme="dark"]', 1)
    for part, scheme in ((light, "light"), (dark, "dark")):
        for step, shade in enumerate(VALUES[scheme]):
            assert f"--v{step}: {shade};" in part


def test_choices_are_the_metrics_of_a_group() -> None:
    both = [make_matrix()]
    assert [name for name, _ in choices(both, "content")] == ["content", "content_recall"]
    assert [name for name, _ in choices(both, "function")] == [DROP, "stoi", "mel_l1"]


def test_tables_have_every_number() -> None:
    matrix = make_matrix(missing=MISSING)
    found = sheet(matrix, "content", "content")
    assert found
    table = cell_table(matrix, found)
    assert table.columns[7] == "z(7)"
    assert table.rows[3] == ("D(3)", [f"{content(3, j):.3f}" for j in range(13)])
    assert table.rows[7][1][0] == "no decoder"
    rows = dict(summary_table(matrix).rows)
    cents = rows["F0 error (cents)"]
    assert cents[0] == "lower"
    assert cents[-1] == "lower"
    assert rows["SpeechBERTScore (precision)"][1] == "0.900"


# -- the cards ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("heard", "says"), [("Fine", "has the highest"), ("Rough", "not the highest")]
)
def test_what_vocoders_keep_stands_beside_the_numbers(heard: str, says: str) -> None:
    def scores(mean: float) -> Scores:
        return Scores(mean=mean, std=0.01, n=1, values=[mean], reasons={})

    report = CopySynthesis(
        corpus=CorpusInfo(name="made", digest="d" * 64, utterances=1, seconds=2.0),
        speakers="all speakers of the corpus",
        ids=["u"],
        measures={"stoi": Measure(title="STOI", unit="", higher_is_better=True)},
        vocoders=[
            VocoderScores(name=name, source="", weights_sha256="", measures={"stoi": scores(mean)})
            for name, mean in (("Fine", 0.91), ("Rough", 0.72))
        ],
        own_phases={"stoi": scores(0.98)},
        utterances=[],
        provenance=make_matrix().provenance,
    )
    heard_here = make_matrix().model_copy(
        update={"vocoder": VocoderInfo(name=heard, weights_sha256="")}
    )
    painted = gcm.render([drawn(heard_here)], METRICS, [], SCREEN, report)["paint"]
    html = painted[ids.GCM_NUMBERS]
    assert says in html
    assert [value in html for value in ("0.91", "0.72", "0.98")] == [True] * 3
    without = gcm.render([drawn()], METRICS, [], SCREEN)["paint"]
    assert "What the vocoder keeps" not in without[ids.GCM_NUMBERS]


def cards(result: MatrixResult) -> dict[str, Any]:
    return {card.name: card for card in insights(result)}


def test_core_and_rupture_of_wav2vec2_in_closed_form() -> None:
    card = cards(make_matrix())["core"]
    columns = [sum(content(i, j) for i in range(13)) / 13 for j in range(13)]
    assert f"reach {min(columns[1:11]):.3f} to {max(columns[1:11]):.3f}" in card.sentences[0]
    assert f"layer 11 reach {columns[11]:.3f}" in card.sentences[0]
    assert f"{columns[10] - columns[11]:.3f}, from layer 10 to 11" in card.sentences[1]
    assert card.holds is True
    assert "0.80" in card.paper


@pytest.mark.parametrize(
    "form",
    [lambda i, j: 0.85, lambda i, j: 0.79 if j < 11 else 0.5, lambda i, j: 0.9 - 0.005 * j],
    ids=["no rupture", "core too low", "slow decay"],
)
def test_a_core_without_both_halves_is_not_as_in_the_paper(form: Any) -> None:
    assert cards(make_matrix(shapes={"content": form}))["core"].holds is False


def two_blocks(at: int) -> Any:
    return lambda i, j: 0.9 if max(i, j) <= at or min(i, j) >= at else 0.6


@pytest.mark.parametrize(("at", "holds"), [(6, True), (5, True), (9, False)])
def test_the_blocks_of_wavlm_are_found_where_they_are(at: int, holds: bool) -> None:
    card = cards(make_matrix(WAVLM, shapes={"content": two_blocks(at)}))["core"]
    assert card.value == f"layer {at}"
    assert "0.900 within their block and 0.600 across" in card.sentences[0]
    assert card.holds is holds


def test_a_flat_matrix_has_no_blocks() -> None:
    found = blocks([[0.5] * 13 for _ in range(13)])
    assert found
    assert found.gap == 0
    flat = make_matrix(WAVLM, shapes={"content": lambda i, j: 0.5})
    assert cards(flat)["core"].holds is False
    assert blocks([[0.5] * 5 for _ in range(5)]) is None


def test_identity_needs_both_blocks_and_fading() -> None:
    card = cards(make_matrix())["identity"]
    columns = [sum(speaker(i, j) for i in range(13)) / 13 for j in range(13)]
    shallow, deep = sum(columns[:5]) / 5, sum(columns[8:]) / 5
    assert card.value == f"−{shallow - deep:.3f}"
    assert card.holds is True
    for form in (lambda i, j: 0.8 - 0.02 * j, lambda i, j: 0.8 - 0.03 * abs(i - j)):
        assert cards(make_matrix(shapes={"speaker": form}))["identity"].holds is False


def test_asymmetry_is_judged_only_where_the_interval_excludes_zero() -> None:
    assert cards(make_matrix())["asymmetry"].holds is True
    upper = make_matrix(shapes={"content": lambda i, j: 0.8 + (0.1 if j > i else 0.0)})
    assert cards(upper)["asymmetry"].holds is False
    open_ = cards(make_matrix(clear=False))["asymmetry"]
    assert open_.holds is None
    assert "includes zero" in open_.why


def test_a_family_that_the_paper_says_nothing_of_is_not_judged() -> None:
    hubert = make_matrix(WAVLM.model_copy(update={"family": "hubert"}))
    card = cards(hubert)["core"]
    assert (card.paper, card.holds) == ("", None)


# -- the section ----------------------------------------------------------------------------------


def test_the_first_view_is_wav2vec2_alone(place: SimpleNamespace) -> None:
    update = shown(place)
    assert update["matrix"] == "made-corpus/wav2vec2-nano"
    assert len([t for t in update["figure"]["data"] if t["type"] == "heatmap"]) == 4
    assert update["shown"]["values"] == dict.fromkeys(update["shown"]["values"])
    assert [entry["label"] for entry in update["matrices"]] == [
        "wav2vec 2.0 Nano", "WavLM Nano", "wav2vec 2.0 Nano (regression, yours)",
    ]  # fmt: skip
    insights_html = update["paint"][ids.GCM_INSIGHTS]
    assert "As in the paper" in insights_html
    assert "arXiv 2607.06392" in insights_html


def test_a_view_survives_the_address(place: SimpleNamespace) -> None:
    update = shown(place, matrix="made-corpus/wavlm-nano", beside="made-corpus/wav2vec2-nano",
                   content="content_recall", function="stoi")  # fmt: skip
    search = urls.query(update["shown"]["values"])
    again = shown(place, search)
    assert again["figure"] == update["figure"]
    assert len([t for t in again["figure"]["data"] if t["type"] == "heatmap"]) == 8


@pytest.mark.parametrize("search", ["?matrix=made-corpus/nothing", "?matrix=../../etc/passwd"])
def test_a_matrix_that_is_not_here_says_so(place: SimpleNamespace, search: str) -> None:
    update = shown(place, search)
    assert not update["figure"]["data"]
    assert "gcm evaluate" in update["paint"][ids.GCM_MISSING]


def test_an_unknown_metric_falls_back(place: SimpleNamespace) -> None:
    assert shown(place, "?content=nonsense")["content"] == "content"


def test_an_installation_without_matrices_says_how(tmp_path: Path) -> None:
    services = make_services(make_settings(tmp_path, []))
    update = gcm.update(
        catalogue_of(services), Matrices(tmp_path, tmp_path), START, SCREEN, search=""
    )
    assert update["view_hidden"]
    for command in ("insidessl-dash gcm train", "insidessl-dash gcm evaluate"):
        assert command in update["paint"][ids.GCM_MISSING]
    services.close()


def test_the_callback_waits_for_the_section_to_be_near(client: FlaskClient) -> None:
    values = {f"{ids.SCREEN}.data": SCREEN}
    output = f"{ids.GCM_GRAPH}.figure"
    assert fire(client, output, values, f"{ids.SCREEN}.data").status_code == 204
    values[f"{ids.GCM_ASKED}.data"] = {"search": "", "visit": 1}
    answer = fire(client, output, values, f"{ids.GCM_ASKED}.data").json["response"]
    uids = [trace["uid"] for trace in answer[ids.GCM_GRAPH]["figure"]["data"]]
    assert [uid for uid in uids if uid.endswith("-0")] == uids
    assert len(uids) == 9


# -- the API --------------------------------------------------------------------------------------


def test_matrices_are_listed_and_exported(client: FlaskClient) -> None:
    found = client.get("/api/v1/matrices").json["matrices"]
    assert [(m["name"], m["own"]) for m in found] == [
        ("wav2vec2-nano", False), ("wavlm-nano", False), ("wav2vec2-nano.regression", True),
    ]  # fmt: skip
    assert len(client.get("/api/v1/matrices?model=wavlm-nano").json["matrices"]) == 1
    one = client.get(found[0]["url"])
    assert one.json["metrics"]["content"]["mean"][3][7] == pytest.approx(content(3, 7))
    rows = list(csv.DictReader(io.StringIO(
        client.get(found[0]["url"].replace(".json", ".csv")).get_data(as_text=True)
    )))  # fmt: skip
    assert len(rows) == 7 * 13 * 13
    cell = next(r for r in rows if (r["metric"], r["decoder_layer"], r["token_layer"]) ==
                ("f0_rmse_cents", *map(str, NOT_MEASURABLE)))  # fmt: skip
    assert (cell["mean"], cell["why"]) == ("", "no frame voiced in both")


@pytest.mark.parametrize("path", ["made-corpus/none", "..%2F..%2Fresults/x", "%2e%2e/gcm"])
def test_unknown_matrices_are_404(client: FlaskClient, path: str) -> None:
    assert client.get(f"/api/v1/matrices/{path}.json").status_code == 404


def test_examples_are_listed_and_shown(client: FlaskClient) -> None:
    first, second = client.get("/api/v1/examples").json["examples"]
    assert (first["model"], first["name"], first["url"]) == ("wav2vec2-nano", "voice-one", AT)
    one = client.get(first["url"]).json
    assert one["metrics"]["content"]["cells"][3][7] == pytest.approx(content(3, 7))
    assert one["config"]["gain_db"] == -1.5
    assert client.get(second["url"]).json["missing"] == MISSING
    assert json.dumps(one).count("/home/") == 0


# -- the sounds -----------------------------------------------------------------------------------


def test_a_cell_is_sent_whole_in_parts_and_not_again(client: FlaskClient) -> None:
    whole = client.get(f"{AT}/cells/3/7.opus")
    assert (whole.status_code, whole.mimetype) == (200, "audio/ogg")
    assert whole.headers["Accept-Ranges"] == "bytes"
    part = client.get(f"{AT}/cells/3/7.opus", headers={"Range": "bytes=10-99"})
    assert part.status_code == 206
    assert part.headers["Content-Range"] == f"bytes 10-99/{len(whole.data)}"
    assert part.data == whole.data[10:100]
    beyond = client.get(f"{AT}/cells/3/7.opus", headers={"Range": "bytes=9999999-"})
    assert beyond.status_code == 416
    again = client.get(f"{AT}/cells/3/7.opus", headers={"If-None-Match": whole.headers["ETag"]})
    assert again.status_code == 304


def test_a_sound_is_kept_only_under_its_version(client: FlaskClient) -> None:
    version = client.get(AT).json["version"]
    assert client.get(f"{AT}/original.opus").headers["Cache-Control"] == "no-cache"
    kept = client.get(f"{AT}/original.opus?v={version}").headers["Cache-Control"]
    assert "immutable" in kept


def test_what_anybodys_cache_may_keep_sets_no_cookie(client: FlaskClient) -> None:
    version = client.get(AT).json["version"]
    stranger = client.application.test_client()
    answer = stranger.get(f"{AT}/cells/3/7.opus?v={version}")
    assert "public" in answer.headers["Cache-Control"]
    assert "Set-Cookie" not in answer.headers
    assert "Set-Cookie" in stranger.get(AT).headers


def test_wav_is_what_the_opus_decodes_to(client: FlaskClient) -> None:
    for at in ("original", "vocoder", "cells/12/12"):
        answer = client.get(f"{AT}/{at}.wav")
        samples, rate = soundfile.read(io.BytesIO(answer.data))
        opus, _ = soundfile.read(io.BytesIO(client.get(f"{AT}/{at}.opus").data))
        assert rate == 16_000
        assert len(samples) == 19_200
        assert abs(samples - opus).max() < 1e-4
        assert "attachment" in answer.headers["Content-Disposition"]
    part = client.get(f"{AT}/original.wav", headers={"Range": "bytes=0-43"})
    assert (part.status_code, part.data[:4]) == (206, b"RIFF")


@pytest.mark.parametrize(
    "path",
    [
        f"{AT}/cells/13/0.opus", f"{AT}/cells/1/1.opus", f"{AT}/example.json",
        "/api/v1/examples/wavlm-nano/voice-two/cells/7/0.opus",
        "/api/v1/examples/nobody/voice-one", "/api/v1/examples/wav2vec2-nano/nothing/original.opus",
        "/api/v1/examples/..%2F..%2Fresults/voice-one/original.opus",
        "/api/v1/examples/%2e%2e/%2e%2e/original.opus",
        f"{AT}/cells/..%2F..%2Fvoice-two/0.opus",
    ],
)  # fmt: skip
def test_what_is_no_sound_is_refused(client: FlaskClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code in (404, 422)
    assert answer.json["error"]["message"]


@pytest.mark.parametrize("cell", ["-1/0", "x/0", "0/1e1", "100/0", "٣/0"])
def test_a_cell_is_two_small_whole_numbers(client: FlaskClient, cell: str) -> None:
    assert client.get(f"{AT}/cells/{cell}.opus").status_code in (404, 422)
    assert client.get(f"/gcm/wav2vec2-nano/voice-one/{cell}").status_code == 404


def test_names_never_become_paths(place: SimpleNamespace) -> None:
    for model, name in (("..", "examples"), ("wav2vec2-nano/voice-one", ""), ("", ""), (".", ".")):
        with pytest.raises(NotFoundError):
            place.examples.get(model, name)


# -- the page of a cell ---------------------------------------------------------------------------


def test_a_deep_link_is_a_page_at_its_cell(client: FlaskClient) -> None:
    answer = client.get("/gcm/wav2vec2-nano/voice-one/3/7")
    text = unescape(answer.get_data(as_text=True))
    assert answer.status_code == 200
    for part in ('data-i="3"', 'data-j="7"', "wav2vec 2.0 Nano", "js/6-explorer.js",
                 f'href="{AT}/cells/3/7.wav"'):  # fmt: skip
        assert part in text
    assert client.get("/gcm/wav2vec2-nano/voice-one").status_code == 200


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("wav2vec2-nano/voice-one/3/13", "its layers go from 0 to 12"),
        ("wavlm-nano/voice-two/7/0", "1 have no decoder"),
        ("wav2vec2-nano/voice-nine/0/0", "No example"),
        ("<script>/x/0/0", "No example"),
    ],
)
def test_an_unknown_cell_leads_back(client: FlaskClient, path: str, says: str) -> None:
    answer = client.get(f"/gcm/{path}")
    raw = answer.get_data(as_text=True)
    assert answer.status_code == 404
    assert says in unescape(raw)
    assert 'href="/#explorer"' in raw
    assert "<script>/x" not in raw
    assert "'<script>'" not in raw
