"""Which results a view shows, and which models it lacks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from insidessl_dash.core.cards import ModelCard
from insidessl_dash.core.errors import InsideSSLError
from insidessl_dash.core.lenses import LENSES, LensInfo
from insidessl_dash.core.registry import Registry
from insidessl_dash.dashboard import theme
from insidessl_dash.dashboard.figures.style import Style, is_baseline, styles
from insidessl_dash.dashboard.urls import View
from insidessl_dash.engine.at_hand import ships_without_weights
from insidessl_dash.results.schema import ModelInfo, Result
from insidessl_dash.results.store import Store

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Catalogue:
    """What there is to show.

    Attributes:
        store: Results.
        registry: Models.
        corpora: Names of the corpora that a job can use.
        visible: Whether this visitor may see the result of a key.
    """

    store: Store
    registry: Registry
    corpora: Callable[[], Sequence[str]]
    visible: Callable[[str], bool]

    def cards(self) -> list[ModelCard]:
        """Every model; none where the list of added ones is damaged, which the log then says."""
        try:
            return self.registry.cards()
        except InsideSSLError as error:
            log.warning("%s", error)
            return []

    def usable(self) -> list[ModelCard]:
        """Models that a visitor's audio can go through; their weights may have to be fetched."""
        return [card for card in self.cards() if not ships_without_weights(card, self.registry)]

    def corpus_names(self) -> list[str]:
        """Corpora with results of a lens first, the demo corpus before the others."""
        lenses = {lens.name for lens in LENSES}
        computed = sorted(
            {result.corpus.name for result in self.store.results() if result.lens in lenses}
        )
        names = dict.fromkeys([*computed, *self.corpora()])
        return sorted(names, key=lambda name: (name not in computed, name != "demo"))

    def looks(self, scheme: theme.Scheme) -> dict[str, Style]:
        """A style for every model, computed or not: what is shown changes no colour."""
        known = [
            ModelInfo(
                name=c.name, title=c.title, family=c.family, size=c.size, supervised=c.supervised
            )
            for c in self.cards()
        ]
        return styles([*known, *(result.model for result in self.store.results())], scheme)

    def results(
        self,
        lens: LensInfo,
        corpus: str,
        options: dict[str, str],
        sizes: Sequence[str] | None = None,
    ) -> list[Result]:
        """The newest result of each model for a lens, corpus and options; baselines always.

        Args:
            lens: Which lens.
            corpus: Name of the corpus.
            options: Its options; the rest must be at their defaults.
            sizes: Of the models; None for any.
        """
        newest: dict[str, Result] = {}
        for result in self.store.find(corpus=corpus, lens=lens.name):
            model = result.model
            fits = sizes is None or is_baseline(model) or model.size in sizes
            if not fits or not lens.matches(result.config, options):
                continue
            known = newest.get(model.name)
            if known is None or known.provenance.created < result.provenance.created:
                newest[model.name] = result
        return list(newest.values())

    def beside(self, own: Sequence[Result], results: Sequence[Result]) -> list[Result]:
        """Of results on other audio what to see one's own over.

        The same models, trained and as initialised, and baselines.
        """
        names = {result.model.name for result in own}
        names |= {card.name for card in self.cards() if card.base in names}
        return [r for r in results if r.model.name in names or is_baseline(r.model)]

    def lacking(self, found: Sequence[Result], sizes: Sequence[str]) -> list[ModelCard]:
        """Usable models of these sizes, and baselines, that are not among the results."""
        names = {result.model.name for result in found}
        return [
            card
            for card in self.usable()
            if card.name not in names and (card.size in sizes or card.size == "baseline")
        ]


def options(lens: LensInfo, view: View) -> dict[str, str]:
    """The options of a view that its lens has."""
    return {option.name: view.perturbation for option in lens.options}
