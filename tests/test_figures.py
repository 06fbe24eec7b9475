"""Figures: what is drawn is what was computed, and can be told apart by everybody."""

from __future__ import annotations

import math
import re
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pytest
from made_results import MODELS, make_result, make_values, shipped_results
from sklearn.isotonic import IsotonicRegression

from insidessl_dash.core.lenses import LENSES, lens
from insidessl_dash.dashboard import theme
from insidessl_dash.dashboard.figures.lens import lens_figure
from insidessl_dash.dashboard.figures.notes import spread
from insidessl_dash.dashboard.figures.own import own_caption, utterance_table
from insidessl_dash.dashboard.figures.points import Line
from insidessl_dash.dashboard.figures.style import styles
from insidessl_dash.dashboard.figures.words import Layered, caption, layer_notes, layer_table
from insidessl_dash.results.schema import ModelInfo, Result

ENTROPY = lens("entropy")
SCHEMES: tuple[theme.Scheme, ...] = ("light", "dark")
# Machado, Oliveira and Fernandes 2009, full severity.
DEFICIENCIES = {
    "none": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def entropies(*models: str) -> list[Result]:
    return [make_result(model) for model in models]


def curves(figure: dict) -> dict[str, dict]:
    """Traces that are curves, by model."""
    return {trace["meta"]["model"]: trace for trace in figure["data"] if "meta" in trace}


def test_every_result_is_a_curve_with_its_numbers() -> None:
    results = entropies("hubert-nano", "whisper-base")
    drawn = curves(lens_figure(results))
    for result in results:
        trace = drawn[result.model.name]
        assert trace["y"] == result.curve().mean
        assert trace["x"] == list(range(len(result.layers)))


def test_plotly_accepts_the_figure() -> None:
    for info in LENSES:
        for scheme in SCHEMES:
            results = [make_result(model, info.name) for model in MODELS]
            for measure in info.measures:
                go.Figure(lens_figure(results, measure.name, scheme=scheme, depth="percent"))
    go.Figure(lens_figure([]))


def test_the_baseline_is_a_dashed_horizontal_line_across_the_axis() -> None:
    results = entropies("hubert-nano", "melspec")
    trace = curves(lens_figure(results))["melspec"]
    assert set(trace["y"]) == {results[1].curve().mean[0]}
    assert (trace["x"][0], trace["x"][-1]) == (0, 12)
    assert trace["mode"] == "lines"
    assert trace["line"]["dash"] == theme.BASELINE_DASH


def test_depth_in_percent_puts_every_last_layer_at_the_end() -> None:
    drawn = curves(lens_figure(entropies("hubert-nano", "whisper-base"), depth="percent"))
    for trace in drawn.values():
        assert (trace["x"][0], trace["x"][-1]) == (0, 100)


@pytest.mark.parametrize("band", ["ci95", "std"])
def test_the_band_is_the_interval(band: str) -> None:
    result = make_result()
    figure = lens_figure([result], band=band)
    polygon = next(trace for trace in figure["data"] if trace.get("fill") == "toself")
    curve = result.curve()
    if band == "ci95":
        expected = [both for both in curve.ci95 if both]
    else:
        expected = [(m - s, m + s) for m, s in zip(curve.mean, curve.std, strict=True)]
    layers = len(result.layers)
    upper, lower = polygon["y"][:layers], polygon["y"][layers:][::-1]
    np.testing.assert_allclose(list(zip(lower, upper, strict=True)), expected)


def test_only_other_curves_make_another_revision() -> None:
    def revision(**options) -> str:
        return lens_figure(results, **options)["layout"]["datarevision"]

    results = entropies("hubert-nano", "whisper-base")
    assert revision() == revision()
    others = [revision(band="std"), revision(depth="percent"), revision(scheme="dark")]
    assert len({revision(), *others}) == 4


def test_a_figure_without_a_curve_says_so() -> None:
    for results in ([], [make_result(lens="invariance", n=1)]):
        notes = lens_figure(results)["layout"]["annotations"]
        assert any(note["text"] == "No curve for this choice" for note in notes)


def test_no_band_where_none_is_asked_for_or_known() -> None:
    assert not [t for t in lens_figure([make_result()], band="none")["data"] if "fill" in t]
    alone = [t for t in lens_figure([make_result(n=1)])["data"] if "fill" in t]
    assert [trace["x"] for trace in alone] == [[]]


def test_a_gap_in_the_layers_is_a_gap_in_curve_and_band() -> None:
    result = make_result()
    curve = result.curve()
    holes = {
        "mean": [None if i == 4 else v for i, v in enumerate(curve.mean)],
        "ci95": [None if i == 4 else v for i, v in enumerate(curve.ci95)],
    }
    gapped = result.model_copy(
        update={"measures": {"normalised": curve.model_copy(update=holes)}},
    )
    figure = lens_figure([gapped])
    polygon = next(trace for trace in figure["data"] if "fill" in trace)
    assert polygon["x"].count(None) == 1
    assert 4 not in polygon["x"]
    assert curves(figure)["hubert-nano"]["y"][4] is None


def test_hover_names_value_interval_and_count() -> None:
    result = make_result()
    text = curves(lens_figure([result]))["hubert-nano"]["text"][3]
    curve = result.curve()
    low, high = curve.ci95[3] or (0, 0)
    assert f"{curve.mean[3]:.3f}" in text
    assert f"{low:.3f} to {high:.3f}" in text
    assert re.search(r"n +40", text)
    assert "layer 3, 25% depth" in text


def test_the_axis_holds_every_curve_and_band() -> None:
    figure = lens_figure(entropies(*MODELS), band="std")
    low, high = figure["layout"]["yaxis"]["range"]
    for trace in figure["data"]:
        for value in trace["y"]:
            assert value is None or low <= value <= high


def test_spread_is_the_closest_arrangement() -> None:
    rng = np.random.default_rng(3)
    for count in range(1, 18):
        wished = rng.uniform(0, 400, count)
        placed = np.array(spread(wished, 18, -1e9, 1e9))
        order = np.argsort(wished, kind="stable")
        steps = 18.0 * np.arange(count)
        flat = IsotonicRegression().fit_transform(np.arange(count), wished[order] - steps)
        np.testing.assert_allclose(placed[order], flat + steps, atol=1e-9)


def test_labels_at_the_line_ends_never_touch_and_stay_inside() -> None:
    figure = lens_figure(entropies(*MODELS), depth="percent", height=580)
    layout = figure["layout"]
    plot = 580 - layout["margin"]["t"] - layout["margin"]["b"]
    low, high = layout["yaxis"]["range"]
    places = sorted(
        plot * (high - note["y"]) / (high - low) + note["ay"]
        for note in layout["annotations"]
        if note.get("showarrow")
    )
    assert len(places) == len(MODELS)
    assert min(b - a for a, b in pairwise(places)) >= 18 - 1e-6
    assert places[0] >= 0
    assert places[-1] <= plot


def test_a_narrow_screen_has_no_labels_at_the_line_ends() -> None:
    layout = lens_figure(entropies(*MODELS), compact=True)["layout"]
    assert not [note for note in layout["annotations"] if note.get("showarrow")]
    assert layout["dragmode"] is False, "a finger must be able to scroll past the figure"


def test_references_are_muted_below_ones_own() -> None:
    own, reference = make_result(corpus="upload", n=2), make_result()
    figure = lens_figure([Line(own, "own"), Line(reference, "reference")])
    traces = [trace for trace in figure["data"] if "meta" in trace]
    assert [trace["meta"]["role"] for trace in traces] == ["reference", "own"]
    assert traces[0]["line"]["width"] < traces[1]["line"]["width"]
    assert traces[0]["line"]["color"] == traces[1]["line"]["color"], "a family keeps its hue"
    assert len([trace for trace in figure["data"] if "fill" in trace]) == 1


def test_what_theory_gives_is_marked_where_the_axis_reaches_it() -> None:
    result = make_result(lens="curvature")
    flat = [1.5 + 0.1 * i for i in range(13)]
    curve = result.curve().model_copy(update={"mean": flat})
    figure = lens_figure([result.model_copy(update={"measures": {"signed": curve}})], "signed")
    marked = [shape["y0"] for shape in figure["layout"]["shapes"]]
    assert marked == [math.pi / 2, 2 * math.pi / 3]


# -- telling models apart ---------------------------------------------------------------------


def linear(colour: str) -> np.ndarray:
    srgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    """WCAG 2: ratio of relative luminances."""
    bright, dim = sorted(
        (float(linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (one, other)), reverse=True
    )
    return (bright + 0.05) / (dim + 0.05)


def lab(rgb: np.ndarray) -> np.ndarray:
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175],
              [0.0193339, 0.119192, 0.9503041]]  # fmt: skip
    xyz = np.array(to_xyz) @ np.clip(rgb, 0, 1) / [0.95047, 1, 1.08883]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("scheme", SCHEMES)
def test_contrast(scheme: theme.Scheme) -> None:
    palette = theme.PALETTES[scheme]
    for shades in theme.FAMILY_COLOURS[scheme].values():
        ratios = [contrast(shade, palette.surface) for shade in shades]
        assert ratios == sorted(ratios), "a larger model stands further from the ground"
        assert ratios[0] >= 3
    for ground in (palette.paper, palette.surface):
        assert contrast(palette.ink, ground) >= 7
        assert contrast(palette.soft, ground) >= 4.5
        assert contrast(palette.faint, ground) >= 4.5


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_families_differ_for_every_kind_of_vision(scheme: theme.Scheme, deficiency: str) -> None:
    seen_as = np.array(DEFICIENCIES[deficiency])
    hues = {
        k: v for k, v in theme.FAMILY_COLOURS[scheme].items() if k not in ("whisper", "melspec")
    }
    for size in range(3):
        for one, other in combinations(hues.values(), 2):
            a, b = (lab(seen_as @ linear(shades[size])) for shades in (one, other))
            assert np.linalg.norm(a - b) >= 12


def test_no_two_models_share_colour_and_dash_or_family_markers() -> None:
    for scheme in SCHEMES:
        looks = styles(MODELS.values(), scheme)
        pairs = [(look.colour, look.dash) for look in looks.values()]
        assert len(set(pairs)) == len(pairs)
    assert len(set(theme.SYMBOLS.values())) == len(theme.SYMBOLS)


def test_a_models_look_does_not_depend_on_what_else_is_shown() -> None:
    everything = styles(MODELS.values(), "light")
    mine = ModelInfo(name="mine", title="Mine", family="mine", size="base")
    larger = styles([*MODELS.values(), mine], "light")
    assert all(larger[name] == look for name, look in everything.items())


def test_supervised_and_untrained_models_are_drawn_hollow() -> None:
    looks = styles(MODELS.values(), "light")
    assert looks["whisper-base"].symbol.endswith("-open")
    assert looks["hubert-nano-init"].symbol.endswith("-open")
    assert looks["hubert-nano-init"].dash == theme.RANDOM_DASH
    assert looks["hubert-nano"].dash == "solid"


def test_the_style_sheet_has_the_same_colours_and_fonts() -> None:
    sheet = Path(__file__).parents[1].joinpath("assets/css/1-tokens.css").read_text()
    light, dark = sheet.split('[data-mantine-color-scheme="dark"]', 1)
    for text, scheme in ((light, "light"), (dark, "dark")):
        for name, colour in vars(theme.PALETTES[scheme]).items():
            assert f"--{name}: {colour};" in text
    for name, stack in (("serif", theme.SERIF), ("sans", theme.SANS), ("mono", theme.MONO)):
        assert f"--{name}: {stack};" in re.sub(r"\s+", " ", sheet)


# -- words and tables ---------------------------------------------------------------------------


def test_the_caption_says_what_was_computed() -> None:
    results = [r for r in shipped_results() if r.lens == "entropy"]
    text = " ".join(caption(results, ENTROPY, ENTROPY.measures[0]))
    first = results[0].curve().mean
    assert "averaged over 40 utterances of the demo corpus (4 min 48 s, 8 speakers)" in text
    assert f"HuBERT Nano goes from {first[0]:.3f} at layer 0 to {first[-1]:.3f} at layer 12" in text
    assert "trained with labels" in text
    assert "bootstrap 95% interval" in text
    level = next(r for r in results if r.model.name == "melspec").curve().mean[0]
    means = [m for r in results if r.model.name != "melspec" for m in r.curve().mean]
    above = sum(m > level for m in means)
    assert f"{above} of the {len(means)} layer means shown lie above it" in text


def test_the_caption_claims_no_course_that_the_interval_does_not_show() -> None:
    result = make_result("hubert-nano")
    curve = result.curve()
    for rise, words in (
        (0.01, "is flat over depth"),
        (0.2, "varies by less than its own interval"),
    ):
        mean = [1 + rise * i / 12 for i in range(13)]
        wide = curve.model_copy(update={"mean": mean, "ci95": [(m - 0.2, m + 0.2) for m in mean]})
        shown = result.model_copy(update={"measures": {"normalised": wide}})
        assert words in " ".join(caption([shown], ENTROPY, ENTROPY.measures[0]))


def test_the_caption_of_many_models_names_those_that_stand_out() -> None:
    results = entropies(*MODELS)
    sentences = caption(results, ENTROPY, ENTROPY.measures[0])
    assert len(sentences) <= 7
    ends = {r.model.title: r.curve().mean[-1] for r in results if r.model.name != "melspec"}
    assert f"({max(ends, key=ends.get)})" in " ".join(sentences)
    assert f"({min(ends, key=ends.get)})" in " ".join(sentences)


def test_the_caption_tells_once_of_layers_that_are_unlike_the_others() -> None:
    layers = ["T0", "T1", "T2", "T3"]
    whole = [True] * 4
    notes = layer_notes(
        [
            Layered("Plain", layers, [50.0] * 4, whole),
            Layered("Two rates", layers, [50.0, 25.0, 25.0, 50.0], whole),
            Layered("And again", layers, [50.0, 25.0, 25.0, 50.0], whole),
            Layered("Three rates", layers, [100.0, 50.0, 25.0, 100.0], whole),
            Layered("Speaker", layers, [100.0, 100.0, 100.0, 0.0], [True, True, True, False]),
            Layered("Sister", layers, [100.0, 100.0, 100.0, 0.0], [True, True, True, False]),
            Layered("Odd", layers, [50.0] * 4, [False, True, True, True]),
            Layered("Not computed", layers, [50.0] * 4, [False] * 4),
        ]
    )
    assert notes == [
        "Layers T1, T2 of Two rates and And again have a frame every 40 ms: of those an utterance "
        "has fewer.",
        "Layer T1 of Three rates has a frame every 20 ms: of those an utterance has fewer.",
        "Layer T2 of Three rates has a frame every 40 ms: of those an utterance has fewer.",
        "Layer T3 of Speaker and Sister is one vector an utterance, without a path or a spread.",
        "Layer T0 of Odd has no value: not defined there.",
    ]


def test_the_caption_warns_of_different_audio() -> None:
    one, other = entropies("hubert-nano", "whisper-base")
    changed = other.model_copy(
        update={"corpus": other.corpus.model_copy(update={"digest": "e" * 64})}
    )
    assert "2 versions of the corpus" in " ".join(
        caption([one, changed], ENTROPY, ENTROPY.measures[0])
    )
    assert caption([], ENTROPY, ENTROPY.measures[0]) == []


def test_the_table_has_every_number_of_the_figure() -> None:
    results = entropies("hubert-nano", "whisper-base", "melspec")
    table = layer_table(results, "normalised")
    assert table.columns == [r.model.title for r in results]
    assert [name for name, _cells in table.rows] == results[0].layers
    low, high = results[0].curve().ci95[5] or (0, 0)
    assert table.rows[5][1][0] == f"{results[0].curve().mean[5]:.3f} [{low:.3f}, {high:.3f}]"
    assert table.rows[9][1][1] == "", "Whisper has no layer 9"
    assert table.rows[9][1][2] == table.rows[0][1][2], "the baseline is the same at any depth"


def test_the_utterance_table_shows_values_and_reasons() -> None:
    result = make_result(corpus="upload", n=2)
    broken = result.utterances[1].model_copy(update={"id": "bad", "error": "bad: silent."})
    result = result.model_copy(update={"utterances": [*result.utterances, broken]})
    values = make_values(result.model_copy(update={"utterances": result.utterances[:2]}))
    names = {"upload-000": "one.wav", "upload-001": "two.wav", "bad": "<b>.wav"}
    table = utterance_table(
        [result], {"hubert-nano": values}, "normalised", "3", names, {"<b>.wav": "<b>.wav: silent."}
    )
    rows = dict(table.rows)
    assert rows["one.wav"][1] == f"{values.measures['normalised'][0, 3]:.3f}"
    assert rows["<b>.wav"] == ["7.2 s", "", "Left out: <b>.wav: silent."]
    mean = utterance_table([result], {"hubert-nano": values}, "normalised", "mean", names, {})
    assert dict(mean.rows)["two.wav"][1] == f"{values.measures['normalised'][1].mean():.3f}"


def test_the_caption_of_ones_own_audio_compares_with_the_reference() -> None:
    own, reference = make_result(corpus="upload", n=1), make_result()
    raised = {"normalised": own.curve().model_copy(update={
        "mean": [m + 0.5 for m in reference.curve().mean]})}  # fmt: skip
    text = " ".join(own_caption([own.model_copy(update={"measures": raised})], [reference],
                                ENTROPY.measures[0], "demo"))  # fmt: skip
    assert "your recording" in text
    assert "lies above its curve on the demo corpus at every layer" in text
    assert "(+0.500)" in text


def test_descriptions_are_those_of_the_analyses() -> None:
    analyses = pytest.importorskip("insidessl_dash.analyses").ANALYSES
    assert {info.name for info in LENSES} <= set(analyses)
    for info in LENSES:
        analysis = analyses[info.name]
        assert info.title == analysis.title
        said = [(m.name, m.title, m.unit) for m in analysis.measures]
        assert [(m.name, m.title, m.unit) for m in info.measures] == said
        defaults = analysis.Config().model_dump()
        assert {**info.defaults(), **dict(info.settings)} == defaults
