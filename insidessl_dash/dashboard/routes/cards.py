"""``/models``: the list of models and a card for each, with the figures of the cards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flask import Flask, Response, jsonify, make_response, request, send_file
from werkzeug.exceptions import NotFound

from insidessl_dash.core.cards import ModelCard
from insidessl_dash.core.errors import UnknownModelError
from insidessl_dash.core.lenses import LENSES
from insidessl_dash.dashboard import theme, urls
from insidessl_dash.dashboard.callbacks.choice import Catalogue
from insidessl_dash.dashboard.figures.cards import held_out_figure, loss_figure
from insidessl_dash.dashboard.figures.probes import PROBES, probe_figure
from insidessl_dash.dashboard.figures.style import is_baseline
from insidessl_dash.dashboard.pages import card as card_page
from insidessl_dash.dashboard.pages import models, shell
from insidessl_dash.dashboard.pages.markup import markup
from insidessl_dash.engine.at_hand import ships_without_weights
from insidessl_dash.results.schema import Result
from insidessl_dash.results.training_card import FILE, read_training_card

_SHEETS = ("1-tokens", "2-base", "3-shell", "4-controls", "5-figures", "6-analyze")
_SCRIPTS = (
    "vendor/plotly-cartesian.min.js",
    "js/1-page.js",
    "js/2-figures.js",
    "cards/card.js",
)
_HTML = {"Content-Type": "text/html; charset=utf-8"}


def register_cards(server: Flask, catalogue: Catalogue, asset: Callable[[str], str]) -> None:
    """Serve the pages.

    Args:
        server: Of the dashboard.
        catalogue: What there is to show.
        asset: The address of an asset.
    """
    registry = catalogue.registry

    def head() -> str:
        sheets = [*(f"css/{name}.css" for name in _SHEETS), "cards/card.css"]
        return (
            f'<link rel="icon" type="image/svg+xml" href="{asset("mark.svg")}">'
            f'<script src="{asset("boot.js")}"></script>'
            + "".join(f'<link rel="stylesheet" href="{asset(name)}">' for name in sheets)
        )

    def tail(*, figures: bool) -> str:
        names = _SCRIPTS if figures else ("js/1-page.js",)
        return "".join(f'<script src="{asset(name)}" defer></script>' for name in names)

    def entry_of(card: ModelCard) -> models.Entry:
        training = read_training_card(registry.precomputed / "models" / card.name)
        lenses = {lens.name for lens in LENSES}
        own = catalogue.store.find(model=card.name)
        return models.Entry(
            card=card,
            training=training,
            results={p.lens: found for p in PROBES if (found := probed(p.lens, card, own))},
            lenses=sum(result.lens in lenses for result in own),
            without_weights=ships_without_weights(card, registry),
        )

    def probed(lens: str, card: ModelCard, own: Sequence[Result]) -> list[Result]:
        """The newest result of a probe, over the baselines and the initialisation it has."""
        mine = [result for result in own if result.lens == lens]
        if not mine:
            return []
        newest = max(mine, key=lambda result: result.provenance.created)
        untrained = [c for c in catalogue.cards() if c.kind == "random"]
        random = {c.name for c in untrained if c.base == card.name} or {
            c.name
            for c in untrained
            if (c.family, c.size) == (card.family, card.size)
            and c.layers == card.layers
            and frame_rates(c.name, newest) in (None, newest.frame_rates_hz)
        }
        beside: dict[str, Result] = {}
        for result in catalogue.store.find(corpus=newest.corpus.name, lens=lens):
            name = result.model.name
            comparable = result.corpus.digest == newest.corpus.digest and name != card.name
            if comparable and (name in random or is_baseline(result.model)):
                before = beside.get(name, result)
                later = before.provenance.created <= result.provenance.created
                beside[name] = result if later else before
        return [newest, *beside.values()]

    def frame_rates(model: str, like: Result) -> list[float] | None:
        """Of a model's result of the same probe and corpus; None where there is none."""
        same = catalogue.store.find(corpus=like.corpus.name, model=model, lens=like.lens)
        return same[0].frame_rates_hz if same else None

    def known(name: str) -> ModelCard:
        return registry.get(name[:64])

    @server.route(urls.MODELS, strict_slashes=False)
    def list_of_models() -> Response:
        looks = {scheme: catalogue.looks(scheme) for scheme in theme.PALETTES}
        main = markup(models.index([entry_of(card) for card in catalogue.cards()], looks))
        return make_response(shell.plain("Models", main, head(), tail(figures=False)), 200, _HTML)

    @server.route(f"{urls.MODELS}/<name>")
    def model_card(name: str) -> Response:
        try:
            card = known(name)
        except UnknownModelError as error:
            main = markup(models.unknown(str(error)))
            text = shell.plain("Not found", main, head(), tail(figures=False))
            return make_response(text, 404, _HTML)
        looks = {scheme: catalogue.looks(scheme) for scheme in theme.PALETTES}
        main = markup(card_page.page(entry_of(card), looks))
        text = shell.plain(
            card.title, main, head(), tail(figures=True), figures=urls.card_figures(card.name)
        )
        return make_response(text, 200, _HTML)

    @server.route(f"{urls.MODELS}/<name>/figures.json")
    def card_figures(name: str) -> Response:
        try:
            entry = entry_of(known(name))
        except UnknownModelError as error:
            raise NotFound(str(error)) from error
        scheme: theme.Scheme = "dark" if request.args.get("scheme") == "dark" else "light"
        compact = request.args.get("compact") == "1"
        looks = catalogue.looks(scheme)
        figures: dict[str, Any] = {
            probe.lens: probe_figure(
                probe, entry.results[probe.lens], looks, scheme=scheme, compact=compact
            )
            for probe in PROBES
            if probe.lens in entry.results
        }
        training = entry.training
        if training:
            style, score = looks[entry.card.name], training.scored()
            if score and training.curve(score.metric):
                figures[card_page.HELD_OUT] = held_out_figure(
                    training, score, style, scheme=scheme, compact=compact
                )
            if training.loss():
                figures[card_page.LOSS] = loss_figure(
                    training, style, scheme=scheme, compact=compact
                )
        return jsonify(figures)

    @server.route(f"{urls.MODELS}/<name>/card.json")
    def training_card_file(name: str) -> Response:
        try:
            folder = registry.precomputed / "models" / known(name).name
        except UnknownModelError as error:
            raise NotFound(str(error)) from error
        if not (folder / FILE).is_file():
            raise NotFound(f"{name} was not trained by this project: it has no such card.")
        return send_file((folder / FILE).resolve(), mimetype="application/json")
