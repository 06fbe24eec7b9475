"""Model cards: the list, a card of each kind, its figures, and what an unfinished run says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flask.testing import FlaskClient
from made_results import make_result, make_values
from made_services import make_services, make_settings

from insidessl_dash.core.catalogue import BUILT_IN
from insidessl_dash.dashboard import theme, urls
from insidessl_dash.dashboard.factory import create_app
from insidessl_dash.dashboard.figures import cards as figures
from insidessl_dash.dashboard.figures import probes
from insidessl_dash.dashboard.figures.style import Style
from insidessl_dash.results.schema import Curve, Result
from insidessl_dash.results.training_card import Score, TrainingCard, read_training_card

SCORE = {
    "metric": "contrastive_accuracy",
    "title": "Contrastive accuracy",
    "value": 0.42,
    "chance": 0.0099,
    "chance_is": "picking at random",
    "higher_is_better": True,
    "at_initialisation": 0.0102,
}
CARD: dict[str, Any] = {
    "name": "hubert-nano",
    "objective": "made up in tests/test_cards.py",
    "not_for": "Not for <anything>: a test fixture.",
    "data": {
        "corpora": {"made up": 3},
        "licence": "CC0",
        "train_seconds": 90.0,
        "held_out_seconds": 30.0,
        "train_speakers": 9,
        "held_out_speakers": ["a", "b"],
    },
    "settings": {"seed": 7, "updates": 64, "betas": [0.9, 0.98]},
    "updates": 64,
    "finished": True,
    "seconds_of_audio_seen": 7200.0,
    "wall_s": 90.0,
    "device": "a test fixture",
    "score": SCORE,
    "held_out_curve": [
        {"update": u, "contrastive_accuracy": a, "codes": None}
        for u, a in ((0, 0.0102), (1, 0.011), (8, 0.2), (64, 0.42))
    ],
    "training_curve": [{"update": u, "loss": 5.0 - u / 32} for u in (8, 16, 32, 64)],
}
STYLE = Style("#123456", "solid", "circle", 2.0, 6.0)


def probed(
    model: str, level: float, lens: str = "phone_probe", measure: str = "accuracy"
) -> Result:
    """A made-up probe: rises to the middle of the model; the commonest phone is 9%."""
    made = make_result(model)
    count = len(made.layers)
    mean = [level + 0.2 * min(i, 4) / 4 if count > 1 else level for i in range(count)]

    def curve(values: list[float]) -> Curve:
        none = [None] * count
        return Curve(title=measure, unit="", mean=values, std=none, ci95=none, n=40)

    measures = {measure: curve(mean)}
    if lens == "phone_probe":
        measures["majority"] = curve([0.09] * count)
    return made.model_copy(
        update={
            "key": f"{lens}-{model}", "lens": lens, "config": {}, "primary": measure,
            "measures": measures,
        }
    )  # fmt: skip


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[SimpleNamespace]:
    settings = make_settings(tmp_path, [make_result("hubert-nano")])
    services = make_services(settings)
    folder = settings.precomputed / "models" / "hubert-nano"
    folder.mkdir(parents=True)
    client = create_app(settings, services).server.test_client()
    yield SimpleNamespace(services=services, client=client, folder=folder)
    services.close()


def write(folder: Path, **changes: Any) -> None:
    (folder / "card.json").write_text(json.dumps({**CARD, **changes}))


def text(client: FlaskClient, path: str, status: int = 200) -> str:
    answer = client.get(path)
    assert answer.status_code == status
    assert answer.mimetype == "text/html"
    return answer.get_data(as_text=True)


def test_every_model_has_a_card_and_the_list_leads_to_it(installation: SimpleNamespace) -> None:
    listed = text(installation.client, urls.MODELS)
    for card in BUILT_IN:
        place = urls.model_card(card.name)
        assert f'href="{place}"' in listed
        said = text(installation.client, place)
        assert f"<h1>{card.title.replace('&', '&amp;')}" in said
        assert card.licence in said
        assert "#dynamics" in said


def test_a_card_says_how_its_model_learned(installation: SimpleNamespace) -> None:
    write(installation.folder)
    said = text(installation.client, "/models/hubert-nano")
    for part in (
        "42.0%", "1.0%", "Picking at random", "42.4 times what picking at random gives (1.0%)",
        "up from 1.0% before the first update", "Finished: all 64 planned updates were made.",
        "1 min 30 s of 9 speakers; held out 30.0 s of 2 others", "a test fixture", "2 h",
        "Not for &lt;anything&gt;", "insidessl-dash models rebuild hubert-nano", "0.9, 0.98",
    ):  # fmt: skip
        assert part in said, part
    assert "Contrastive accuracy 42.0%".lower() in text(installation.client, urls.MODELS)
    assert installation.client.get(urls.training_card("hubert-nano")).json == CARD


def test_a_run_that_ended_early_says_so(installation: SimpleNamespace) -> None:
    write(installation.folder, finished=False, updates=40)
    said = text(installation.client, "/models/hubert-nano")
    assert "Ended early: 40 of 64 planned updates were made." in said
    assert "is-early" in said


def test_figures_come_for_the_scheme_and_the_width(installation: SimpleNamespace) -> None:
    write(installation.folder)
    place = urls.card_figures("hubert-nano")
    light = installation.client.get(place).json
    dark = installation.client.get(f"{place}?scheme=dark&compact=1").json
    assert set(light) == {"held-out", "loss"}
    for found, scheme in ((light, "light"), (dark, "dark")):
        ground = found["loss"]["layout"]["template"]["layout"]["paper_bgcolor"]
        assert ground == theme.PALETTES[scheme].surface
    held_out = light["held-out"]
    assert held_out["data"][0]["x"] == [1, 2, 9, 65], "update + 1, so that update 0 has a place"
    assert held_out["data"][0]["y"] == pytest.approx([1.02, 1.1, 20, 42])
    assert [shape["y0"] for shape in held_out["layout"]["shapes"]] == pytest.approx([0.99, 1.02])
    assert dark["loss"]["layout"]["margin"]["r"] < light["held-out"]["layout"]["margin"]["r"]
    assert light["loss"]["data"][0]["y"] == [4.75, 4.5, 4.0, 3.0]


def test_the_line_is_of_one_set_and_what_is_of_all_stands_apart(
    installation: SimpleNamespace,
) -> None:
    curve = [
        {"update": update, "contrastive_accuracy": value, "utterances": count}
        for update, value, count in (
            (0, 0.02, 60), (0, 0.0102, 480), (8, 0.2, 60), (64, 0.40, 60), (64, 0.42, 480)
        )
    ]  # fmt: skip
    note = "Its targets move."
    write(installation.folder, held_out_curve=curve, score={**SCORE, "note": note})
    line, ends = installation.client.get(urls.card_figures("hubert-nano")).json["held-out"]["data"]
    assert (line["x"], ends["x"]) == ([1, 9, 65], [1, 65])
    assert line["y"] == pytest.approx([2, 20, 40])
    assert ends["y"] == pytest.approx([1.02, 42])
    said = text(installation.client, "/models/hubert-nano")
    assert "The line is of 60 of their utterances" in said
    assert "the diamonds are of all 480" in said
    assert ">480<" in said, "a count is a whole number"
    assert note in said


def test_of_a_member_without_weights_no_audio_is_asked(installation: SimpleNamespace) -> None:
    folder = installation.folder.parent / "mr-hubert-nano-b4a"
    assert "Your audio through it" in text(installation.client, "/models/mr-hubert-nano-b4a")
    folder.mkdir()
    write(folder)
    said = text(installation.client, "/models/mr-hubert-nano-b4a")
    assert "Your audio through it" not in said
    assert "models rebuild" in said


def test_what_was_not_computed_says_so(installation: SimpleNamespace) -> None:
    write(installation.folder)
    assert "Phones, read off single frames: not computed here" in text(
        installation.client, "/models/hubert-nano"
    )
    assert "Who speaks" not in text(installation.client, "/models/hubert-nano")


def test_what_its_layers_hold_is_shown_over_what_learned_nothing(
    installation: SimpleNamespace,
) -> None:
    write(installation.folder)
    store = installation.services.store
    for model, level in (("hubert-nano", 0.3), ("hubert-nano-init", 0.25), ("melspec", 0.31)):
        result = probed(model, level)
        store.put(result, make_values(result))
    other = probed("whisper-base", 0.6)
    store.put(other, make_values(other))
    said = text(installation.client, "/models/hubert-nano")
    assert "Best at layer 4: 50.0%; the same architecture as initialised 45.0%" in said
    assert "MelSpec (log-mel) 31.0%, always the commonest phone 9.0%." in said
    assert "not computed here" not in said
    figure = installation.client.get(urls.card_figures("hubert-nano")).json["phone_probe"]
    drawn = {trace["meta"]["model"] for trace in figure["data"] if "meta" in trace}
    assert drawn == {"hubert-nano", "hubert-nano-init", "melspec"}
    assert figure["layout"]["shapes"][-1]["y0"] == 0.09
    low, high = figure["layout"]["yaxis"]["range"]
    assert low < 0.09 < 0.5 < high
    assert "always the commonest phone, 9.0%" in {
        a["text"] for a in figure["layout"]["annotations"]
    }


def test_equal_error_rates_are_better_when_low() -> None:
    probe = next(p for p in probes.PROBES if p.lens == "verification")
    own = probed("hubert-nano", 0.1, "verification", "eer")
    flat = probed("melspec", 0.35, "verification", "eer")
    said = probes.probe_sentences(probe, "hubert-nano", [own, flat])
    assert said[1] == "Best at layer 0: 10.0%; MelSpec (log-mel) 35.0%, a coin toss 50.0%."
    looks = dict.fromkeys(("hubert-nano", "melspec"), STYLE)
    level = probes.probe_figure(probe, [own, flat], looks)["layout"]["shapes"][-1]["y0"]
    assert level == 0.5


@pytest.mark.parametrize(
    ("score", "says"),
    [
        ({"value": 0.02, "at_initialisation": 0.02}, "no better than 2.0%"),
        ({"metric": "held_out_loss", "title": "Loss", "value": 0.5, "chance": None,
          "higher_is_better": False, "at_initialisation": 2.0}, "down from 2.000"),
        ({"metric": "held_out_loss", "title": "Loss", "value": 2.5, "chance": None,
          "higher_is_better": False, "at_initialisation": 2.0}, "no better than 2.000"),
        ({"metric": "eer", "title": "EER", "value": 0.2, "chance": 0.5,
          "chance_is": "a coin toss", "higher_is_better": False}, "against what a coin toss gives"),
    ],
)  # fmt: skip
def test_a_score_is_never_flattered(score: dict[str, Any], says: str) -> None:
    assert says in " ".join(figures.score_sentences(Score(**{**SCORE, **score})))


def test_a_card_from_before_scores_is_read_by_its_masked_accuracy(tmp_path: Path) -> None:
    old = {
        "name": "old", "updates": 2, "finished": True,
        "held_out": {"masked_accuracy": 0.14, "majority_rate": 0.035},
        "held_out_curve": [{"update": 0, "masked_accuracy": 0.005, "majority_rate": 0.039}],
    }  # fmt: skip
    (tmp_path / "card.json").write_text(json.dumps(old))
    card = read_training_card(tmp_path)
    assert card
    score = card.scored()
    assert score
    assert (score.value, score.chance, score.at_initialisation) == (0.14, 0.035, 0.005)


def test_damaged_and_absent_cards_cost_the_page_nothing(
    installation: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    (installation.folder / "card.json").write_text("{")
    assert "training card is not in this installation" in text(
        installation.client, "/models/hubert-nano"
    )
    assert "is not a training card" in caplog.text
    assert read_training_card(installation.folder / "nowhere") is None
    assert TrainingCard(name="empty").scored() is None
    assert installation.client.get(urls.training_card("wavlm-base")).status_code == 404


def test_the_list_is_there_with_a_slash_too(installation: SimpleNamespace) -> None:
    assert text(installation.client, f"{urls.MODELS}/") == text(installation.client, urls.MODELS)


def test_an_unknown_model_has_a_page_and_a_way_back(installation: SimpleNamespace) -> None:
    said = text(installation.client, "/models/hubert-nanoo", 404)
    assert "Did you mean hubert-nano" in said
    assert f'href="{urls.MODELS}"' in said
    hostile = text(installation.client, "/models/%3Cscript%3Ealert(1)", 404)
    assert "<script>alert" not in hostile
    for place in (urls.card_figures("nope"), urls.training_card("nope")):
        assert installation.client.get(place).status_code == 404


def test_the_dashboard_leads_to_the_cards(installation: SimpleNamespace) -> None:
    assert f'href="{urls.MODELS}"' in text(installation.client, "/")
    assert 'href="/#dynamics"' in text(installation.client, urls.MODELS)
