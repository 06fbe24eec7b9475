"""What a Generative Compatibility Matrix says: numbers, sentences, and the paper's claims.

Three cards, all on means over utterances. A column is a token layer j over every decoder, a row a
decoder; C is the content metric, S that of identity.

core
    Columns 1 to 10 of C, column 11, and the largest drop between neighbouring columns. Of WavLM,
    and of families that the paper says nothing of, where C falls into two blocks: over the
    divisions d from 3 to L - 3 the largest mean of C within the blocks (both layers from 1 to d,
    or both from d to L) less that across them.
identity
    S of pairs at most `NEAR` layers apart less that of pairs at least `FAR` apart, and the mean of
    the columns in the first third of the depth less that in the last.
asymmetry
    The lower triangle (i > j) less the upper one, over the same pairs of layers, with its bootstrap
    interval over speakers.

InsideSSL (arXiv 2607.06392) reports for content above 0.80 at layers 1 to 10 of wav2vec 2.0 and
about 0.60 at layer 11, two blocks of WavLM, layers 1 to 6 and 6 to 12; a similarity of speakers in
blocks that fades in deep layers; and that the lower triangle is better. Each judgement is a
predicate on the shown numbers:

- core holds for wav2vec 2.0 where each of columns 1 to 10 exceeds `PAPER_CORE` and column 11 lies
  below the lowest of them by at least half of the paper's fall; for WavLM where the blocks part at
  layer 6, give or take one, by at least `APART`;
- identity holds where near pairs exceed far ones, and shallow columns deep ones, by `APART` each;
- asymmetry holds where the lower triangle of the content metric is better and the interval of the
  difference excludes zero; where it includes zero nothing is judged.

The paper's models are Base ones of 12 blocks: with another depth the core is not judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from insidessl_dash.dashboard.figures.insights import Insight, signed_number
from insidessl_dash.dashboard.figures.points import number
from insidessl_dash.results.matrix import MatrixMeasure, MatrixResult

PAPER_CORE = 0.80
PAPER_RUPTURE = 0.60
PAPER_DEPTH = 12
PAPER_SPLIT = 6
APART = 0.05
NEAR = 2
FAR = 6
_CORE = range(1, 11)
_BROKEN = 11

Judgement = tuple[bool | None, str]


@dataclass(frozen=True)
class Blocks:
    """Where a matrix falls into two blocks of layers.

    Attributes:
        at: The layer in both, by place.
        within, across: Means of the cells in and between the blocks.
    """

    at: int
    within: float
    across: float

    @property
    def gap(self) -> float:
        """How much better a layer goes with its own block; negative where it does not."""
        return self.within - self.across


def insights(result: MatrixResult) -> list[Insight]:
    """The cards of a matrix; one that lacks its metric is left out.

    Args:
        result: Its main metrics of content and identity are read.
    """
    cards = []
    content = next(iter(result.in_group("content").items()), None)
    identity = next(iter(result.in_group("identity").items()), None)
    if content:
        cards.append(_core(result, *content))
    if identity:
        cards.append(_identity(result, *identity))
    if content:
        cards.append(_asymmetry(result, *content))
    return [card for card in cards if card is not None]


def blocks(grid: Sequence[Sequence[float | None]]) -> Blocks | None:
    """The best division of a square grid into two blocks; None of fewer than seven layers.

    >>> found = blocks([[1.0 if (i <= 4) == (j <= 4) or 4 in (i, j) else 0.5 for j in range(9)]
    ...                 for i in range(9)])
    >>> found.at, found.within, found.across
    (4, 1.0, 0.5)
    """
    last = len(grid) - 1
    best: Blocks | None = None
    for at in range(3, last - 2):
        groups: dict[bool, list[float]] = {True: [], False: []}
        for i, j, value in _cells(grid):
            if i and j:
                groups[max(i, j) <= at or min(i, j) >= at].append(value)
        if not groups[True] or not groups[False]:
            continue
        within, across = (sum(g) / len(g) for g in (groups[True], groups[False]))
        if best is None or within - across > best.gap:
            best = Blocks(at, within, across)
    return best


def _core(result: MatrixResult, name: str, measure: MatrixMeasure) -> Insight | None:
    columns = result.by_token(name)
    known = [value for value in columns if value is not None]
    if not known:
        return None
    scored = f"{measure.title}, scored by {measure.scored_by}"
    found = blocks(result.full(measure.mean))
    rupture = result.rupture(name)
    broken = "no column is worse than the one before"
    if rupture:
        broken = (
            f"the largest drop between neighbouring columns is {number(rupture.drop)}, from layer "
            f"{rupture.before} to {rupture.after}"
        )
    family, deep = result.model.family, len(result.layers) == PAPER_DEPTH + 1
    core = [columns[k] for k in _CORE] if deep else []
    whole = [value for value in core if value is not None]
    if family == "wav2vec2" or found is None:
        if len(whole) == len(_CORE):
            low, high = min(whole), max(whole)
            after = columns[_BROKEN]
            tail = "" if after is None else f"; tokens of layer {_BROKEN} reach {number(after)}"
            text = (
                f"Over all decoders, tokens of layers 1 to 10 reach {number(low)} to "
                f"{number(high)}{tail}."
            )
            value = number(sum(whole) / len(whole))
        else:
            text = (
                f"Over all decoders, the token layers reach {number(min(known))} to "
                f"{number(max(known))}."
            )
            value = number(sum(known) / len(known))
    else:
        split = result.layers[found.at]
        text = (
            f"Divided at layer {split}, where the two blocks are most apart, layers reach "
            f"{number(found.within)} within their block and {number(found.across)} across."
        )
        value = f"layer {split}"
    sentences = (text, f"By {scored}; {broken}.")
    if family == "wav2vec2":
        paper = (
            f"wav2vec 2.0 keeps content above {PAPER_CORE:.2f} at layers 1 to 10, and about "
            f"{PAPER_RUPTURE:.2f} at layer {_BROKEN}."
        )
        holds, why = _judge_core(columns) if deep else _other_depth(result)
    elif family == "wavlm":
        paper = "WavLM splits into two blocks, layers 1 to 6 and 6 to 12."
        holds, why = _judge_blocks(found, result) if deep else _other_depth(result)
    else:
        return Insight("core", "Two blocks" if found else "Core", value, sentences)
    title = "Core and rupture" if family == "wav2vec2" else "Two blocks"
    return Insight("core", title, value, sentences, paper, holds, why)


def _judge_core(columns: Sequence[float | None]) -> Judgement:
    core = [columns[k] for k in _CORE]
    after = columns[_BROKEN]
    whole = [value for value in core if value is not None]
    if len(whole) < len(core) or after is None:
        return None, "Not judged: a column of layers 1 to 11 has no value."
    low, fall = min(whole), (PAPER_CORE - PAPER_RUPTURE) / 2
    high, broken = low > PAPER_CORE, low - after >= fall
    return high and broken, (
        f"The lowest of layers 1 to 10 is {number(low)} (above {PAPER_CORE:.2f} is asked), and "
        f"layer {_BROKEN} lies {number(low - after)} below it (at least {fall:.2f} is asked). The "
        "paper scored with another model, so levels compare loosely."
    )


def _judge_blocks(found: Blocks | None, result: MatrixResult) -> Judgement:
    if found is None:
        return None, "Not judged: too few layers have decoders."
    placed = abs(found.at - PAPER_SPLIT) <= 1
    return placed and found.gap >= APART, (
        f"The blocks part at layer {result.layers[found.at]} (5 to 7 is asked) by "
        f"{number(found.gap)} (at least {APART:.2f} is asked)."
    )


def _other_depth(result: MatrixResult) -> Judgement:
    return None, (
        f"Not judged: the paper's layers are those of {PAPER_DEPTH} blocks, and there are "
        f"{len(result.layers) - 1} here."
    )


def _identity(result: MatrixResult, name: str, measure: MatrixMeasure) -> Insight | None:
    grid = result.full(measure.mean)
    near = _mean(v for i, j, v in _cells(grid) if abs(i - j) <= NEAR)
    far = _mean(v for i, j, v in _cells(grid) if abs(i - j) >= FAR)
    columns = result.by_token(name)
    third = (len(columns) - 1) / 3
    shallow = _mean(v for k, v in enumerate(columns) if v is not None and k <= third)
    deep = _mean(v for k, v in enumerate(columns) if v is not None and k >= 2 * third)
    if near is None or far is None or shallow is None or deep is None:
        return None
    sign = 1.0 if measure.higher_is_better else -1.0
    block, fade = sign * (near - far), sign * (shallow - deep)
    first, last = int(third), -int(-2 * third // 1)
    text = (
        f"Tokens of layers {result.layers[0]} to {result.layers[first]} keep {number(shallow)} "
        f"over all decoders, those of {result.layers[last]} to {result.layers[-1]} {number(deep)}."
    )
    more = (
        f"Decoder and tokens at most {NEAR} layers apart reach {number(near)}, those at least "
        f"{FAR} apart {number(far)}. {measure.title}, scored by {measure.scored_by}."
    )
    return Insight(
        "identity",
        "Identity over depth",
        signed_number(deep - shallow),
        (text, more),
        "Similarity of speakers is block-like and fades in deep layers.",
        block >= APART and fade >= APART,
        f"Near pairs lie {number(block)} above far ones and shallow tokens {number(fade)} above "
        f"deep ones; at least {APART:.2f} is asked of each.",
    )


def _asymmetry(result: MatrixResult, name: str, measure: MatrixMeasure) -> Insight | None:
    sides = measure.asymmetry
    lower, upper, difference = sides.lower.mean, sides.upper.mean, sides.difference
    if lower is None or upper is None or difference.mean is None or difference.ci95 is None:
        return None
    low, high = difference.ci95
    chance = "" if sides.p is None else f"; signed-rank p = {sides.p:.2g}"
    text = (
        f"Deep decoders on shallower tokens (lower triangle) reach {number(lower)}, shallow "
        f"decoders on deeper tokens {number(upper)}: {signed_number(difference.mean)}, 95% "
        f"interval {signed_number(low)} to {signed_number(high)}{chance}, over {sides.speakers} "
        "speakers."
    )
    better: dict[str, list[str]] = {"lower": [], "upper": []}
    open_: list[str] = []
    for other, entry in result.metrics.items():
        if other == name:
            continue
        (better[entry.asymmetry.better] if entry.asymmetry.better else open_).append(entry.title)
    parts = [f"{side} is better in {_listed(titles)}" for side, titles in better.items() if titles]
    if open_:
        parts.append(f"no difference is clear in {_listed(open_)}")
    more = f"Of the other metrics, {'; '.join(parts)}." if parts else ""
    holds = {"lower": True, "upper": False, None: None}[sides.better]
    why = {
        True: "The interval of the difference excludes zero, on the lower triangle's side.",
        False: "The upper triangle is better, and the interval of the difference excludes zero.",
        None: "Not judged: the interval of the difference includes zero.",
    }[holds]
    return Insight(
        "asymmetry",
        "Lower against upper triangle",
        signed_number(difference.mean),
        (text, more) if more else (text,),
        "Deep decoders read shallow layers, not the reverse: the lower triangle is better.",
        holds,
        why,
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + (" and " if len(names) > 1 else "") + names[-1]


def _cells(grid: Sequence[Sequence[float | None]]) -> Iterator[tuple[int, int, float]]:
    for i, row in enumerate(grid):
        for j, value in enumerate(row):
            if value is not None:
                yield i, j, value


def _mean(values: Iterator[float]) -> float | None:
    found = list(values)
    return sum(found) / len(found) if found else None
