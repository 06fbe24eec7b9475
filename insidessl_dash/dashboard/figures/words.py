"""What a figure shows, in full sentences computed from its results, and as a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from insidessl_dash.core.lenses import LensInfo, MeasureInfo
from insidessl_dash.dashboard.figures.points import interval, number, slower
from insidessl_dash.dashboard.figures.style import is_baseline, is_random, order
from insidessl_dash.results.schema import CorpusInfo, Curve, Result

_CORPORA = {
    "demo": "the demo corpus",
    "speechocean762-test": "the speechocean762 test set",
    "speechocean762-held-out": "speechocean762 (held-out speakers)",
    "librispeech-test-clean": "LibriSpeech test-clean",
    "librispeech-dev-clean": "LibriSpeech dev-clean",
    "librispeech-train-clean-100": "LibriSpeech train-clean-100",
    "librispeech-train-clean-100-excerpt": "a LibriSpeech train-clean-100 excerpt",
}
_ONE_BY_ONE = 4  # more curves than this are described together
_BANDS = {
    "ci95": "The shade is the bootstrap 95% interval of the mean over utterances.",
    "std": "The shade is one standard deviation over utterances, either side of the mean.",
    "none": "",
}


def corpus_title(name: str) -> str:
    """A corpus as it is called in a sentence.

    >>> corpus_title("demo"), corpus_title("my-corpus")
    ('the demo corpus', 'my-corpus')
    """
    return _CORPORA.get(name, name)


def first_up(text: str) -> str:
    """A text that begins with a capital.

    >>> first_up("accuracy on masked frames")
    'Accuracy on masked frames'
    """
    return text[:1].upper() + text[1:]


def duration(seconds: float) -> str:
    """Seconds in words short enough for a caption.

    >>> duration(9.96), duration(290), duration(9000)
    ('10.0 s', '4 min 50 s', '2 h 30 min')
    """
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def _extent(corpus: CorpusInfo) -> str:
    speakers = f", {_count(corpus.speakers, 'speaker')}" if corpus.speakers else ""
    return duration(corpus.seconds) + speakers


def caption(
    results: Sequence[Result], lens: LensInfo, measure: MeasureInfo, band: str = "ci95"
) -> list[str]:
    """The caption of a layer figure, one sentence an item; nothing for no result.

    Args:
        results: What is drawn.
        lens: Of the results.
        measure: The one drawn.
        band: Which band.
    """
    shown = [r for r in sorted(results, key=lambda r: order(r.model)) if measure.name in r.measures]
    layered = [r for r in shown if not is_baseline(r.model)]
    if not shown:
        return []
    counts = sorted({r.measures[measure.name].n for r in shown if r.measures[measure.name].n})
    sentences = [_opening(shown, measure, counts)]
    if len(layered) <= _ONE_BY_ONE:
        sentences += [text for r in layered if (text := _course(r, measure))]
    else:
        sentences += _together(layered, measure)
    sentences += _against_baseline(shown, layered, measure)
    learned = [r for r in layered if not is_random(r.model)]
    sentences += layer_notes(
        Layered(
            r.model.title,
            r.layers,
            r.frame_rates_hz,
            [value is not None for value in r.measures[measure.name].mean],
        )
        for r in learned
    )
    if band != "none" and any(n > 1 for n in counts):
        sentences.append(_BANDS[band])
    digests = {r.corpus.digest for r in shown}
    if len(digests) > 1:
        sentences.append(
            f"These curves come from {len(digests)} versions of the corpus, so compare them with "
            "care."
        )
    sentences += sorted({note for r in shown if (note := r.measures[measure.name].note)})
    return sentences


@dataclass(frozen=True)
class Layered:
    """A model's layers as a caption tells of them.

    Attributes:
        title: Of the model.
        layers: Names, shallow to deep.
        rates: Frames a second; 0 where a layer is one vector an utterance.
        defined: Whether a layer has a value of the measure that is shown.
    """

    title: str
    layers: Sequence[str]
    rates: Sequence[float]
    defined: Sequence[bool]


def layer_notes(models: Iterable[Layered]) -> list[str]:
    """Which layers have fewer frames than the others of their model, and which have no value.

    Models of which the same is to be said share a sentence.
    """
    slow: dict[tuple[tuple[str, ...], str], list[str]] = {}
    vectors: dict[tuple[str, ...], list[str]] = {}
    without: dict[tuple[str, ...], list[str]] = {}
    for model in models:
        rates = dict(zip(model.layers, model.rates, strict=True))
        shifts = dict(zip(model.layers, slower(model.rates), strict=True))
        for shift in dict.fromkeys(filter(None, shifts.values())):
            names = tuple(name for name, own in shifts.items() if own == shift)
            slow.setdefault((names, shift), []).append(model.title)
        there = zip(model.layers, model.defined, strict=True)
        absent = tuple(name for name, is_there in there if not is_there)
        if absent and any(model.defined):
            kind = vectors if all(rates[name] == 0 for name in absent) else without
            kind.setdefault(absent, []).append(model.title)
    return [
        *(
            f"{_layers(names)} of {_and(titles)} {_have(names)} {shift}: of those an utterance has "
            "fewer."
            for (names, shift), titles in slow.items()
        ),
        *(
            f"{_layers(names)} of {_and(titles)} is one vector an utterance, without a path or a "
            "spread."
            for names, titles in vectors.items()
        ),
        *(
            f"{_layers(names)} of {_and(titles)} {_have(names)} no value: not defined there."
            for names, titles in without.items()
        ),
    ]


def _layers(names: Sequence[str]) -> str:
    return f"Layer{'s' * (len(names) > 1)} {', '.join(names)}"


def _have(names: Sequence[str]) -> str:
    return "have" if len(names) > 1 else "has"


def _and(names: Sequence[str]) -> str:
    """A list as a sentence has it.

    >>> _and(["a"]), _and(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _opening(shown: Sequence[Result], measure: MeasureInfo, counts: list[int]) -> str:
    corpus = shown[0].corpus
    n = counts[-1] if counts else 0
    spread = "" if len(counts) < 2 else f" (from {counts[0]} for some models)"
    what = f"{measure.title} of every layer"
    if n == 1:
        return f"{what} for one utterance of {corpus_title(corpus.name)}."
    if n == 0:
        return f"{what} on {corpus_title(corpus.name)}."
    many = f"{_count(n, 'utterance')}{spread}"
    return f"{what}, averaged over {many} of {corpus_title(corpus.name)} ({_extent(corpus)})."


def _course(result: Result, measure: MeasureInfo) -> str:
    """Where one curve starts, turns and ends."""
    curve = result.measures[measure.name]
    known = [(i, mean) for i, mean in enumerate(curve.mean) if mean is not None]
    name = result.model.title + ("," if "," in result.model.title else "")
    if not known:
        return f"{name} has no value here."
    (first, start), (last, end) = known[0], known[-1]
    low, high = min(known, key=lambda p: p[1]), max(known, key=lambda p: p[1])
    names, typical = result.layers, _typical_interval(curve)
    kind = ", trained with labels," if result.model.supervised and name[-1] != "," else ""
    spread = high[1] - low[1]
    level = f"between {number(low[1])} and {number(high[1])}"
    if spread <= 0.03 * abs(high[1]) and (is_random(result.model) or spread <= typical):
        at = f"at {number(low[1])}" if number(low[1]) == number(high[1]) else level
        return f"{name}{kind} is flat over depth, {at}."
    if spread <= typical:
        return f"{name}{kind} varies by less than its own interval, {level}."
    text = (
        f"{name}{kind} goes from {number(start)} at layer {names[first]} to {number(end)} at "
        f"layer {names[last]}"
    )
    inner = [p for p in (low, high) if p[0] not in (first, last)]
    if inner:
        words = {low: "lowest", high: "highest"}
        turn = [f"{words[p]} at layer {names[p[0]]} ({number(p[1])})" for p in inner]
        text += ", with its " + " and its ".join(turn)
    return text + "."


def _together(layered: Sequence[Result], measure: MeasureInfo) -> list[str]:
    """What many curves have in common, and which of them stand out."""
    spans = []
    for result in layered:
        known = [m for m in result.measures[measure.name].mean if m is not None]
        if known:
            spans.append((result.model.title, known[0], known[-1]))
    if not spans:
        return ["No model has a value here."]
    starts, ends = [s[1] for s in spans], [s[2] for s in spans]
    top, bottom = max(spans, key=lambda s: s[2]), min(spans, key=lambda s: s[2])
    rise, fall = max(spans, key=lambda s: s[2] - s[1]), min(spans, key=lambda s: s[2] - s[1])
    found = [
        f"The {len(spans)} models start between {number(min(starts))} and {number(max(starts))} "
        f"and end between {number(min(ends))} ({bottom[0]}) and {number(max(ends))} ({top[0]})."
    ]
    if fall[2] < fall[1]:
        found.append(f"{fall[0]} falls most, from {number(fall[1])} to {number(fall[2])}.")
    if rise[2] > rise[1]:
        found.append(f"{rise[0]} rises most, from {number(rise[1])} to {number(rise[2])}.")
    return found


def _typical_interval(curve: Curve) -> float:
    widths = [both[1] - both[0] for both in curve.ci95 if both is not None]
    return sum(widths) / len(widths) if widths else 0.0


def _against_baseline(
    shown: Sequence[Result], layered: Sequence[Result], measure: MeasureInfo
) -> list[str]:
    sentences = []
    for result in shown:
        if not is_baseline(result.model):
            continue
        level = result.measures[measure.name].mean[0]
        if level is None:
            continue
        means = [m for r in layered for m in r.measures[measure.name].mean if m is not None]
        above = sum(m > level for m in means)
        where = ""
        if means and above == len(means):
            where = ": every layer shown lies above it"
        elif means and above == 0:
            where = ": every layer shown lies below it"
        elif means:
            where = f": {above} of the {len(means)} layer means shown lie above it"
        sentences.append(
            f"The dashed line is {result.model.title}, the log-mel input without a model, at "
            f"{number(level)}{where}."
        )
    return sentences


@dataclass(frozen=True)
class Table:
    """A table behind a figure: column heads, then rows of a head and cells."""

    columns: list[str]
    rows: list[tuple[str, list[str]]]


def layer_table(results: Sequence[Result], measure: str, band: str = "ci95") -> Table:
    """Rows are layers, columns models; a cell is the mean and its band."""
    shown = [r for r in sorted(results, key=lambda r: order(r.model)) if measure in r.measures]
    names: list[str] = []
    for result in shown:
        if not is_baseline(result.model):
            names += [name for name in result.layers if name not in names]
    rows = []
    for name in names or ["-"]:
        cells = []
        for result in shown:
            baseline = is_baseline(result.model)
            index = 0 if baseline else result.layers.index(name) if name in result.layers else None
            cells.append("" if index is None else _cell(result.measures[measure], index, band))
        rows.append((name, cells))
    return Table([r.model.title for r in shown], rows)


def _cell(curve: Curve, index: int, band: str) -> str:
    mean = curve.mean[index]
    if mean is None:
        return "not defined"
    both = interval(mean, curve.std[index], curve.ci95[index], band)
    return number(mean) + (f" [{number(both[0])}, {number(both[1])}]" if both else "")


def _count(n: int, noun: str) -> str:
    """A number and its noun.

    >>> _count(1, "speaker"), _count(1200, "utterance")
    ('1 speaker', '1,200 utterances')
    """
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
