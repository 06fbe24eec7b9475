r"""Speaker verification: do two utterances come from one speaker, judged by each layer.

Every utterance is one vector a layer, the mean of its frames. A trial is a pair of utterances, its
score the cosine of their vectors. At a threshold t a trial of two speakers with a score of t or
more is a false acceptance, one of a single speaker with less a false rejection. Between the
distinct scores both rates are taken to change linearly (the receiver operating characteristic as
straight pieces); the equal error rate is where they meet.

The interval is the percentile bootstrap over speakers (Efron 1979), since trials that share a
speaker are not independent: a speaker drawn w times counts w times in each own trial, and
:math:`w_a w_b` times in each trial between a and b.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from insidessl_dash.analyses.per_utterance import LensConfig
from insidessl_dash.core.errors import CorpusError
from insidessl_dash.core.lenses import LensInfo, MeasureInfo
from insidessl_dash.core.types import Utterance, stable_seed

VERSION = 1
"""Raised when the numbers change; part of the result key."""

INFO = LensInfo(
    name="verification",
    title="Speaker verification",
    short="Verification",
    summary=(
        "How well the cosine between two utterances' means tells whether one speaker said both: "
        "the error rate where false acceptances and false rejections are equally frequent."
    ),
    measures=(
        MeasureInfo(
            "eer",
            "Equal error rate",
            "EER",
            "",
            "Lower means that a layer tells speakers apart; chance is 0.5.",
        ),
        MeasureInfo(
            "same",
            "Cosine of two utterances of one speaker",
            "Same speaker",
            "",
            "Beside the cosine of two speakers: the gap between the two is what decides.",
            diverging=True,
        ),
        MeasureInfo(
            "different",
            "Cosine of utterances of two speakers",
            "Two speakers",
            "",
            "Near 1 in layers whose vectors all point one way.",
            diverging=True,
        ),
    ),
)

_NO_MEAN = 1e-5  # of the frames' size: features whose mean was taken away keep less, as rounding


class VerificationConfig(LensConfig):
    """Options of the trial list.

    Attributes:
        pairs_per_speaker: Most trials of one speaker with itself; as many between speakers are
            drawn as there are of these in all.
        resamples: Draws of the bootstrap.
    """

    pairs_per_speaker: int = Field(200, ge=1)
    resamples: int = Field(1000, ge=1)


class Trials(NamedTuple):
    """Pairs of utterances, by place in the list that they were drawn from.

    Attributes:
        first, second: int64 (n,).
        same: bool (n,): whether one speaker said both.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    same: NDArray[np.bool_]


def draw_trials(utterances: Sequence[Utterance], pairs_per_speaker: int, seed: int) -> Trials:
    """A balanced list: pairs of one speaker, and as many of two speakers of the same corpus.

    What is drawn follows from the seed and the ids, not from the order of the utterances. Pairs
    of two speakers are drawn evenly from all there are, whatever gender or age the speakers have.

    Args:
        utterances: With a speaker each.
        pairs_per_speaker: Most from one speaker; all its pairs where it has no more.
        seed: Of the draw.

    Raises:
        CorpusError: No two speakers with two utterances each within one corpus.
    """
    order = sorted(range(len(utterances)), key=lambda place: utterances[place].id)
    own: dict[tuple[str, str], list[int]] = {}
    for place in order:
        utterance = utterances[place]
        if not utterance.speaker:
            raise CorpusError(
                f"Utterance {utterance.id!r} has no speaker: verification needs one on every row."
            )
        own.setdefault((utterance.corpus, utterance.speaker), []).append(place)
    own = {who: places for who, places in own.items() if len(places) > 1}
    kept: list[tuple[int, int]] = []
    for who in sorted(own):
        pairs = np.array(np.triu_indices(len(own[who]), 1)).T
        rng = np.random.default_rng(stable_seed("same", seed, *who))
        chosen = np.sort(rng.permutation(len(pairs))[:pairs_per_speaker])
        kept += [(own[who][a], own[who][b]) for a, b in pairs[chosen].tolist()]
    places = [
        (corpus, speaker, place)
        for corpus, speaker in sorted(own)
        for place in own[corpus, speaker]
    ]
    across = _across(places, len(kept), np.random.default_rng(stable_seed("different", seed)))
    pairs = np.array(kept + across, dtype=np.int64)
    same = np.arange(len(pairs)) < len(kept)
    return Trials(pairs[:, 0], pairs[:, 1], same)


def _across(
    places: Sequence[tuple[str, str, int]], count: int, rng: np.random.Generator
) -> list[tuple[int, int]]:
    """Different pairs of two speakers of one corpus, at most `count`, in order.

    Args:
        places: Corpus, speaker and place of each utterance.
        count: How many are wanted.
        rng: Draws them, evenly from all.
    """
    sizes = Counter((corpus, speaker) for corpus, speaker, _ in places)
    of_corpus = Counter(corpus for corpus, _, _ in places)
    squares = sum(n * n for n in of_corpus.values()) - sum(n * n for n in sizes.values())
    if not squares:
        raise CorpusError(
            "Verification needs at least two speakers of one corpus with two utterances each: "
            "name other speech."
        )
    drawn: set[tuple[int, int]] = set()
    while len(drawn) < min(count, squares // 2):
        for a, b in np.sort(rng.integers(len(places), size=(count, 2)), axis=1).tolist():
            one, other = places[a], places[b]
            if one[0] == other[0] and one[1] != other[1] and len(drawn) < count:
                drawn.add((one[2], other[2]))
    return sorted(drawn)


def unit_mean(frames: NDArray[np.floating]) -> NDArray[np.float64]:
    """The mean of the frames, scaled to length 1.

    Args:
        frames: (T, D) of one utterance and layer.

    Returns:
        float64 (D,); NaN where the mean has no direction: it is zero, or rounding beside the
        frames.
    """
    mean = frames.mean(axis=0, dtype=np.float64)
    length = np.linalg.norm(mean)
    size = np.linalg.norm(frames) / len(frames) ** 0.5
    if not np.isfinite(length) or length <= _NO_MEAN * size:
        return np.full(len(mean), np.nan)
    return mean / length


def equal_error_rate(
    scores: NDArray[np.floating],
    same: NDArray[np.bool_],
    weights: NDArray[np.floating] | None = None,
) -> float:
    """Where false acceptances and false rejections are equally frequent.

    Args:
        scores: (n,), higher for one speaker.
        same: bool (n,).
        weights: (n,), how much each trial counts; None: all alike.

    Returns:
        From 0 to 1; NaN where a score is NaN, or trials of one of the two kinds count nothing.

    Example:
        >>> scores = np.array([0.9, 0.8, 0.4, 0.6, 0.2, 0.1])
        >>> equal_error_rate(scores, np.array([True, True, True, False, False, False]))
        0.3333333333333333
    """
    weights = np.ones(len(scores)) if weights is None else weights
    return float(_rates(_Sorted.of(scores, same), weights[None])[0])


class _Sorted(NamedTuple):
    """Trials by rising score.

    Attributes:
        order: Places of the trials.
        same: Of each, in that order.
        ends: Place of the last trial of each distinct score.
    """

    order: NDArray[np.int64]
    same: NDArray[np.bool_]
    ends: NDArray[np.int64]

    @classmethod
    def of(cls, scores: NDArray[np.floating], same: NDArray[np.bool_]) -> _Sorted | None:
        """None where a score is not finite."""
        if not np.isfinite(scores).all():
            return None
        order = np.argsort(scores, kind="stable")
        sorted_scores = scores[order]
        ends = np.flatnonzero(np.append(sorted_scores[1:] != sorted_scores[:-1], True))
        return cls(order, same[order], ends)


def _rates(trials: _Sorted | None, weights: NDArray[np.floating]) -> NDArray[np.float64]:
    """The equal error rate of each weighting, (draws, n) to float64 (draws,)."""
    if trials is None:
        return np.full(len(weights), np.nan)
    weights = weights[:, trials.order]
    none = np.zeros((len(weights), 1))
    below = {}
    for kind in (True, False):
        counted = np.cumsum(weights * (trials.same == kind), axis=1)[:, trials.ends]
        with np.errstate(invalid="ignore"):
            below[kind] = np.concatenate([none, counted / counted[:, -1:]], axis=1)
    rejected, accepted = below[True], 1.0 - below[False]
    gap = rejected - accepted  # from -1 below all scores to 1 above them, never falling
    after = np.argmax(gap >= 0, axis=1)
    row = np.arange(len(weights))
    low, high = gap[row, after - 1], gap[row, after]
    share = -low / (high - low)
    return rejected[row, after - 1] * (1 - share) + rejected[row, after] * share


class Verdict(NamedTuple):
    """One entry a layer; None where a layer gives no score.

    Attributes:
        eer: The equal error rate.
        ci95: Percentile bootstrap interval over speakers.
    """

    eer: list[float | None]
    ci95: list[tuple[float, float] | None]


def verify(
    scores: NDArray[np.float64],
    trials: Trials,
    speakers: Sequence[str],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Verdict:
    """The equal error rate of every layer, and how sure it is.

    Draws of the bootstrap in which trials of one of the two kinds count nothing are left out.

    Args:
        scores: float64 (trials, layers).
        trials: Of `draw_trials`.
        speakers: Of each utterance that the trials name by place.
        resamples, seed: Of the bootstrap.
    """
    names, who = np.unique(np.asarray(speakers), return_inverse=True)
    rng = np.random.default_rng(stable_seed("bootstrap", seed))
    drawn = rng.integers(len(names), size=(resamples, len(names)))
    drawn += len(names) * np.arange(resamples)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=resamples * len(names))
    counts = counts.reshape(resamples, len(names)).astype(np.float64)
    first, second = counts[:, who[trials.first]], counts[:, who[trials.second]]
    weights = np.where(trials.same, first, first * second)
    verdict = Verdict([], [])
    for of_layer in scores.T:
        sorted_trials = _Sorted.of(of_layer, trials.same)
        if sorted_trials is None:
            verdict.eer.append(None)
            verdict.ci95.append(None)
            continue
        everything = np.ones((1, len(of_layer)))
        verdict.eer.append(float(_rates(sorted_trials, everything)[0]))
        rates = np.concatenate(
            [_rates(sorted_trials, part) for part in np.array_split(weights, 50)]
        )
        low, high = np.nanpercentile(rates, [2.5, 97.5])
        verdict.ci95.append((float(low), float(high)))
    return verdict


def cosines(
    means: Mapping[str, Sequence[NDArray[np.float64]]], ids: Sequence[str], trials: Trials
) -> NDArray[np.float64]:
    """The score of every trial at every layer.

    Args:
        means: Utterance id -> its `unit_mean` at each layer.
        ids: Of each utterance that the trials name by place.
        trials: Of `draw_trials`.

    Returns:
        float64 (trials, layers); NaN where one of the two has no mean.
    """
    layers = []
    for of_layer in zip(*(means[id] for id in ids), strict=True):
        vectors = np.stack(of_layer)
        layers.append(np.einsum("td,td->t", vectors[trials.first], vectors[trials.second]))
    return np.stack(layers, axis=1)
