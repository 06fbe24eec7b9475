"""The page without a browser: layout, callbacks, the address, and what a visitor may see."""

from __future__ import annotations

import gzip
import json
import runpy
import threading
import time
from collections.abc import Iterator
from functools import partial
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dash
import pytest
from dash import html, no_update
from flask.testing import FlaskClient
from made_results import make_result, make_values, shipped_results
from made_services import ROOT, SCREEN, catalogue_of, fire, make_services, make_settings

from insidessl_dash.core.lenses import LENSES
from insidessl_dash.dashboard import factory, ids, urls
from insidessl_dash.dashboard.callbacks import dynamics
from insidessl_dash.dashboard.callbacks.choice import Catalogue
from insidessl_dash.dashboard.factory import create_app
from insidessl_dash.dashboard.pages.markup import markup
from insidessl_dash.dashboard.urls import View


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """One dashboard on synthetic results for all tests that only read."""
    settings = make_settings(tmp_path_factory.mktemp("installation"))
    services = make_services(settings)
    app = create_app(settings, services)
    yield SimpleNamespace(settings=settings, services=services, app=app)
    services.close()


@pytest.fixture
def app(shared: SimpleNamespace) -> dash.Dash:
    return shared.app


@pytest.fixture
def client(app: dash.Dash) -> FlaskClient:
    return app.server.test_client()


@pytest.fixture
def catalogue(shared: SimpleNamespace) -> Catalogue:
    return catalogue_of(shared.services)


def controls(**changes: Any) -> dict[str, Any]:
    """Values of the controls as the layout starts them, with changes."""
    view = View(corpus="demo")
    start = {name: getattr(view, name) for name in vars(view)}
    start = {k: list(v) if isinstance(v, tuple) else v for k, v in start.items()}
    return {**start, "measure": "normalised", **changes}


def shown(catalogue: Catalogue, search: str = "", **changes: Any) -> dict[str, Any]:
    asked = None if changes else search
    return dynamics.update(catalogue, controls(**changes), SCREEN, asked)


def drawn(figure: dict[str, Any]) -> set[str]:
    return {trace["meta"]["model"] for trace in figure["data"] if "meta" in trace}


def browser_values(**changes: Any) -> dict[str, Any]:
    places = dynamics._CONTROLS
    start = controls(**changes)
    return {
        **{f"{id}.{prop}": start[name] for name, (id, prop) in places.items()},
        f"{ids.ASKED}.data": {"search": "", "visit": 1},
        f"{ids.SCREEN}.data": SCREEN,
        f"{ids.REFRESH}.data": 0,
    }


# -- the document -----------------------------------------------------------------------------


def test_the_document_can_be_read_without_scripts(client: FlaskClient) -> None:
    page = client.get("/")
    text = page.get_data(as_text=True)
    assert page.status_code == 200
    assert "<html lang=" in text
    assert "10.21437/Interspeech.2026-733" in text
    assert "2607.06392" in text
    assert "@inproceedings" in text
    assert 'href="#main"' in text
    assert "<noscript>" in text
    assert text.count("<main") == text.count('<header class="site-header"') == 1


def test_nothing_is_asked_of_another_host(client: FlaskClient) -> None:
    text = client.get("/").get_data(as_text=True)
    for part in text.replace("'", '"').split('"'):
        if part.startswith(("http://", "https://", "//")):
            before = text.split(part)[0]
            assert before.endswith('href="'), part
            assert before.rsplit("<", 1)[1].startswith("a "), f"only links may leave: {part}"


def test_the_layout_holds_every_component_that_callbacks_name(app: dash.Dash) -> None:
    layout = json.dumps(app.layout(), default=lambda c: c.to_plotly_json())
    for name, value in vars(ids).items():
        if name.isupper() and value not in (ids.ERROR, ids.ANNOUNCE, ids.SCHEME, ids.FORGET):
            assert f'"id": "{value}"' in layout, name


@pytest.mark.parametrize("path", ["/nowhere", "/some/<script>alert(1)</script>"])
def test_a_wrong_address_is_a_404_that_says_so(client: FlaskClient, path: str) -> None:
    answer = client.get(path)
    text = answer.get_data(as_text=True)
    assert answer.status_code == 404
    assert "There is no layer here" in text
    assert "<script>alert" not in text


def test_the_first_load_is_small(client: FlaskClient) -> None:
    """Everything the document names, as a browser that takes gzip receives it."""
    text = client.get("/").get_data(as_text=True)
    places = [p for p in text.split('"') if p.startswith(("/assets/", "/_dash-component-suites/"))]
    assert any("plotly-cartesian" in place for place in places)
    assert not any("plotly.min.js" in place for place in places)
    total = sum(
        len(client.get(place, headers={"Accept-Encoding": "gzip"}).data) for place in set(places)
    )
    assert total < 2.2e6


def test_an_asset_is_compressed_once_and_again_when_it_changes(tmp_path: Path) -> None:
    import flask_compress.flask_compress as flask_compress

    settings = make_settings(tmp_path, [])
    changed = tmp_path / "own" / "css"
    changed.mkdir(parents=True)
    for name in ("boot.js", "mark.svg"):
        (tmp_path / "own" / name).write_text("x")
    sheet = changed / "1-tokens.css"
    sheet.write_text("a { color: red; }\n" * 500)
    services = make_services(settings.model_copy(update={"assets": tmp_path / "own"}))
    app = create_app(services.uploads.settings, services)
    client, place = app.server.test_client(), "/assets/css/1-tokens.css?m=1"
    done = []
    with pytest.MonkeyPatch.context() as patch:
        plain = flask_compress._compress_data
        patch.setattr(flask_compress, "_compress_data", lambda *a: done.append(a[2]) or plain(*a))
        for kind in ("br", "gzip", "br", "gzip"):
            answer = client.get(place, headers={"Accept-Encoding": kind})
            assert answer.headers["Content-Encoding"] == kind
            assert int(answer.headers["Content-Length"]) == len(answer.data) < 500
            assert "immutable" in answer.headers["Cache-Control"]
        assert done == ["br", "gzip"]
        sheet.write_text("a { color: blue; }\n" * 500)
        new = client.get(place, headers={"Accept-Encoding": "gzip"}).data
    assert b"blue" in gzip.decompress(new)
    services.close()


def test_uploads_past_their_time_go_under_any_server(tmp_path: Path, monkeypatch: Any) -> None:
    """``gunicorn app:server`` reads app.py; nobody asks anything of it here."""
    services = make_services(make_settings(tmp_path, []))
    often = partial(services.uploads.keep_clean, every_s=0.01)
    expired = threading.Event()
    monkeypatch.setattr(services.uploads, "keep_clean", often)
    monkeypatch.setattr(factory, "create_services", lambda: services)
    monkeypatch.setattr(factory, "create_app", lambda **_: SimpleNamespace(server=None))
    monkeypatch.setattr(services.uploads, "expire", expired.set)
    runpy.run_path(str(ROOT / "app.py"), run_name="app")
    assert expired.wait(10)
    services.close()
    assert "expire" not in {thread.name for thread in threading.enumerate()}


# -- the address --------------------------------------------------------------------------------


def test_every_view_survives_the_address() -> None:
    for info, depth, band, sizes, hide in product(
        LENSES, urls.DEPTHS, urls.BANDS, [(), ("nano",), urls.SIZES], [(), ("a", "b")]
    ):
        for measure in info.measures:
            view = View(
                lens=info.name, measure=measure.name, depth=depth, band=band, sizes=sizes,
                hide=hide, corpus="my corpus & more", perturbation="gain",
            ).tidy()  # fmt: skip
            assert urls.parse(urls.query(urls.parameters(view))) == view


def test_a_wrong_address_still_shows_something(catalogue: Catalogue) -> None:
    for search in (
        "?lens=nonsense&depth=7&band=&measure=x",
        "?%%%",
        "?sizes=huge",
        "?lens=" + "x" * 9999,
    ):
        update = shown(catalogue, search)
        assert drawn(update["figure"])


def test_a_section_writes_only_its_own_parameters(catalogue: Catalogue) -> None:
    wanted = shown(catalogue, lens="curvature")["shown"]
    assert set(wanted["values"]) == set(vars(View()))
    assert urls.query(wanted["values"]) == "?lens=curvature"
    assert wanted["replace"] is False


def test_an_address_sets_the_controls(catalogue: Catalogue) -> None:
    update = shown(catalogue, "?lens=curvature&measure=folded&sizes=nano&depth=percent&band=std")
    assert (update["lens"], update["measure"]) == ("curvature", "folded")
    assert update["sizes"] == ["nano"]
    assert (update["depth"], update["band"]) == ("percent", "std")
    assert update["corpus"] is no_update
    assert update["shown"]["replace"] is True, "going back must not lead to the same again"


# -- layer-wise dynamics ------------------------------------------------------------------------


def test_sizes_choose_models_and_the_baseline_stays(catalogue: Catalogue) -> None:
    assert drawn(shown(catalogue)["figure"]) == {
        "hubert-nano", "hubert-nano-init", "whisper-base", "melspec",
    }  # fmt: skip
    assert drawn(shown(catalogue, sizes=["base"])["figure"]) == {"whisper-base", "melspec"}
    assert drawn(shown(catalogue, sizes=[])["figure"]) == {"melspec"}


def test_a_hidden_curve_is_not_drawn_but_can_be_shown_again(catalogue: Catalogue) -> None:
    update = shown(catalogue, hide=["whisper-base"])
    assert "whisper-base" not in drawn(update["figure"])
    legend = update["paint"][ids.LEGEND]
    assert 'aria-pressed="false" class="curve" data-model="whisper-base"' in legend
    assert update["shown"]["values"]["hide"] == "whisper-base"


def test_another_lens_has_its_own_measures(catalogue: Catalogue) -> None:
    update = shown(catalogue, lens="invariance", measure="normalised")
    assert [m["value"] for m in update["measures"]] == [m.name for m in LENSES[2].measures]
    assert update["measure"] == "infonce"
    assert update["perturbation_hidden"] is False
    assert shown(catalogue)["perturbation_hidden"] is True


def test_what_was_not_computed_says_so_with_command_and_button(catalogue: Catalogue) -> None:
    text = shown(catalogue, sizes=["large"])["paint"][ids.MISSING]
    assert "insidessl-dash precompute --size large --corpus demo --lens entropy" in text
    assert 'data-compute="wavlm-large"' in text
    assert "hubert-nano" not in text


def test_another_perturbation_is_another_result(catalogue: Catalogue) -> None:
    update = shown(catalogue, lens="invariance", perturbation="gain")
    assert not drawn(update["figure"])
    assert update["panel"] == "panel is-empty"
    text = update["paint"][ids.MISSING]
    assert "Nothing computed for this choice yet" in text
    assert "--perturbation gain" in text
    assert 'data-perturbation="gain"' in text


def test_a_corpus_that_is_not_here_says_so(catalogue: Catalogue) -> None:
    update = shown(catalogue, "?corpus=somebody-elses")
    assert update["corpus"] == "somebody-elses"
    assert "somebody-elses" in {option["value"] for option in update["corpora"]}
    assert not drawn(update["figure"])
    assert "--corpus somebody-elses" in update["paint"][ids.MISSING]


def test_provenance_names_weights_versions_and_command(catalogue: Catalogue) -> None:
    text = shown(catalogue)["paint"][ids.PROVENANCE]
    result = next(r for r in shipped_results() if r.model.name == "hubert-nano")
    assert result.model.weights_sha256 in text
    assert "made up in tests/made_results.py" in text
    assert "test fixture" in text
    assert urls.result_export(result.key, "csv") in text


def test_exports_lead_to_every_curve_drawn(catalogue: Catalogue, client: FlaskClient) -> None:
    text = shown(catalogue, hide=["whisper-base"])["paint"][ids.EXPORT]
    for kind in ("csv", "json"):
        places = (
            text.split(f'data-export="{kind}"')[1].split('data-urls="')[1].split('"')[0].split()
        )
        assert len(places) == 3
        for place in places:
            assert client.get(place).status_code == 200


def test_a_result_with_other_options_is_not_mixed_in(tmp_path: Path) -> None:
    plain = make_result("hubert-nano")
    other = make_result("hubert-nano", config={"alpha": 2.0}, key="o" * 64)
    services = make_services(make_settings(tmp_path, [plain]))
    services.store.put(other, make_values(other))
    found = catalogue_of(services).results(LENSES[0], "demo", {})
    assert [result.key for result in found] == [plain.key]
    services.close()


def test_the_newest_result_of_a_model_is_shown(tmp_path: Path) -> None:
    old = make_result("hubert-nano")
    later = old.provenance.model_copy(update={"created": "2027-01-01T00:00:00Z"})
    new = old.model_copy(update={"key": "n" * 64, "provenance": later})
    services = make_services(make_settings(tmp_path, [old]))
    services.store.put(new, make_values(new))
    found = catalogue_of(services).results(LENSES[0], "demo", {})
    assert [result.key for result in found] == [new.key]
    services.close()


def test_an_empty_installation_has_a_page(tmp_path: Path) -> None:
    services = make_services(make_settings(tmp_path, []))
    update = shown(catalogue_of(services))
    assert not drawn(update["figure"])
    assert "Nothing computed for this choice yet" in update["paint"][ids.MISSING]
    services.close()


def test_switching_answers_within_100_ms(client: FlaskClient) -> None:
    times = []
    for index in range(200):
        lens = LENSES[index % 3]
        values = browser_values(
            lens=lens.name, measure=lens.measures[0].name, sizes=[urls.SIZES[index % 2]]
        )
        started = time.perf_counter()
        answer = fire(client, f"{ids.GRAPH}.figure", values, f"{ids.LENS}.value")
        times.append(time.perf_counter() - started)
        assert answer.status_code == 200
    assert sorted(times)[190] <= 0.1


def test_an_address_is_followed_until_it_was_answered(client: FlaskClient) -> None:
    """Dash drops the answer that a newer question overtakes, so the newer one has to follow too."""
    asked = {"search": "?lens=curvature", "visit": 3}
    values = {**browser_values(), f"{ids.ASKED}.data": asked, f"{ids.FOLLOWED}.data": 2}
    for changed in (f"{ids.ASKED}.data", f"{ids.SCREEN}.data", f"{ids.REFRESH}.data"):
        answer = fire(client, f"{ids.GRAPH}.figure", values, changed).json["response"]
        assert answer[ids.LENS]["value"] == "curvature"
        assert answer[ids.FOLLOWED] == {"data": 3}
    values[f"{ids.FOLLOWED}.data"] = 3
    answer = fire(client, f"{ids.GRAPH}.figure", values, f"{ids.SCREEN}.data").json["response"]
    assert ids.LENS not in answer, "now the controls decide"
    assert answer[ids.SHOWN]["data"]["values"]["lens"] is None


def test_before_the_browser_has_spoken_nothing_is_drawn(client: FlaskClient) -> None:
    for silent in (ids.ASKED, ids.SCREEN):
        values = {**browser_values(), f"{silent}.data": None}
        assert fire(client, f"{ids.GRAPH}.figure", values, f"{ids.HIDE}.data").status_code == 204


# -- HTML as text --------------------------------------------------------------------------------


def test_markup_escapes_and_refuses() -> None:
    content = html.Div(
        ["<&>", None, 3, [html.Img(src='a"b', alt="")]],
        className="c",
        hidden=False,
        **{"data-x": "<y>"},
    )
    assert markup(content) == (
        '<div class="c" data-x="&lt;y&gt;">&lt;&amp;&gt;3<img alt="" src="a&quot;b"></div>'
    )
    with pytest.raises(TypeError):
        markup(dash.dcc.Store(id="x"))
    with pytest.raises(TypeError):
        markup(object())
