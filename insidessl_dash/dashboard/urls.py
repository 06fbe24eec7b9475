"""Every address the page uses: the API's, the project's, and the page's own state.

The state of the page lives in its query string, so a link shows what its sender saw.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from insidessl_dash.core.lenses import LENSES, LensInfo

API = "/api/v1"
UPLOADS = f"{API}/uploads"
JOBS = f"{API}/jobs"
OPENAPI = "/openapi"
MODELS = "/models"
GCM = "/gcm"
EXAMPLES = f"{API}/examples"
OWN_MATRICES = f"{API}/own-matrices"
OWN = "own"

PAPER_DOI = "https://doi.org/10.21437/Interspeech.2026-733"
PAPER_ARXIV = "https://arxiv.org/abs/2607.06392"
PROJECT = "https://inside-ssl.github.io/"

SIZES = ("nano", "base", "large")
DEPTHS = ("index", "percent")
BANDS = ("ci95", "std", "none")


def result_export(key: str, kind: str) -> str:
    """Where one result is exported as ``csv`` or ``json``.

    >>> result_export("abc", "csv")
    '/api/v1/results/abc.csv'
    """
    return f"{API}/results/{quote(key, safe='')}.{kind}"


def trajectory_export(corpus: str, run: str, lens: str, kind: str) -> str:
    """Where one lens of a training run is exported as ``csv`` or ``json``.

    >>> trajectory_export("demo", "~my-run", "curvature", "json")
    '/api/v1/trajectories/demo/~my-run/curvature.json'
    """
    place = "/".join(quote(part, safe="~") for part in (corpus, run, lens))
    return f"{API}/trajectories/{place}.{kind}"


def matrix_export(corpus: str, name: str, kind: str) -> str:
    """Where one matrix is exported as ``csv`` or ``json``.

    >>> matrix_export("demo", "wav2vec2-nano", "csv")
    '/api/v1/matrices/demo/wav2vec2-nano.csv'
    """
    return f"{API}/matrices/{quote(corpus, safe='')}/{quote(name, safe='')}.{kind}"


def lab_export(id: str, kind: str) -> str:
    """Where an answer of the Signal Lab is exported as ``csv`` or ``json``.

    >>> lab_export("0f", "csv")
    '/api/v1/lab/0f.csv'
    """
    return f"{API}/lab/{quote(id, safe='')}.{kind}"


def example(model: str, name: str) -> str:
    """Where an example of the audio explorer is; its sounds are below.

    >>> example("wav2vec2-nano", "voice-one")
    '/api/v1/examples/wav2vec2-nano/voice-one'
    """
    return f"{EXAMPLES}/{quote(model, safe='')}/{quote(name, safe='')}"


def cell_page(model: str, name: str, i: int | None = None, j: int | None = None) -> str:
    """The page of an example, or of one of its cells.

    >>> cell_page("wav2vec2-nano", "voice-one", 3, 7)
    '/gcm/wav2vec2-nano/voice-one/3/7'
    """
    place = f"{GCM}/{quote(model, safe='')}/{quote(name, safe='')}"
    return place if i is None or j is None else f"{place}/{i}/{j}"


def own_matrix(key: str) -> str:
    """Where a matrix of a visitor's own recording is; its sounds are below.

    >>> own_matrix("0f")
    '/api/v1/own-matrices/0f'
    """
    return f"{OWN_MATRICES}/{quote(key, safe='')}"


def own_page(key: str) -> str:
    """The page of a matrix of a visitor's own; a cell of it is below ``/i/j``.

    >>> own_page("0f")
    '/gcm/own/0f'
    """
    return cell_page(OWN, key)


def model_card(name: str) -> str:
    """Where a model's card is.

    >>> model_card("hubert-nano")
    '/models/hubert-nano'
    """
    return f"{MODELS}/{quote(name, safe='')}"


def training_card(name: str) -> str:
    """Where the card of a model that was trained here is, as JSON."""
    return f"{model_card(name)}/card.json"


def card_figures(name: str) -> str:
    """Where the figures of a model's card are; ``scheme`` and ``compact`` are added."""
    return f"{model_card(name)}/figures.json"


def results(**query: str) -> str:
    """Where results are listed by ``model``, ``corpus`` and ``lens``."""
    return f"{API}/results?{urlencode({k: v for k, v in query.items() if v})}"


@dataclass(frozen=True)
class View:
    """What Layer-wise Dynamics shows.

    Attributes:
        lens: Name of the lens.
        measure: Name of the measure; "" is the lens's first.
        sizes: Model sizes shown.
        corpus: Name of the corpus; "" is the first there is.
        perturbation: Of the lenses that have one.
        depth: ``index`` or ``percent``.
        band: ``ci95``, ``std`` or ``none``.
        hide: Models switched off.
    """

    lens: str = "entropy"
    measure: str = ""
    sizes: tuple[str, ...] = SIZES
    corpus: str = ""
    perturbation: str = "chain"
    depth: str = "index"
    band: str = "ci95"
    hide: tuple[str, ...] = ()

    def tidy(self) -> View:
        """The same with everything unknown replaced by its default.

        >>> View(lens="nonsense", measure="folded", depth="metres").tidy()
        View(lens='entropy', measure='', sizes=('nano', 'base', 'large'), corpus='', \
perturbation='chain', depth='index', band='ci95', hide=())
        """
        info = lens_or_first(self.lens)
        measure = info.measure(self.measure).name
        choices = {name for option in info.options for name, _title in option.choices}
        return replace(
            self,
            lens=info.name,
            measure="" if measure == info.measures[0].name else measure,
            sizes=tuple(size for size in SIZES if size in self.sizes),
            perturbation=self.perturbation if self.perturbation in choices else "chain",
            depth=self.depth if self.depth in DEPTHS else "index",
            band=self.band if self.band in BANDS else "ci95",
            hide=tuple(sorted(set(self.hide))),
        )


_FIELDS = tuple(field.name for field in fields(View))
_LISTS = ("sizes", "hide")


def parse(search: str | None) -> View:
    """The view a query string asks for; what it does not say, or says wrongly, is the default.

    >>> parse("?lens=curvature&measure=folded&sizes=nano").measure
    'folded'
    """
    found: dict[str, Any] = {}
    for name, value in _pairs(search):
        if name in _LISTS:
            found[name] = tuple(part for part in value.split(",") if part)
        elif name in _FIELDS:
            found[name] = value
    return View(**found).tidy()


def parameters(view: View) -> dict[str, str | None]:
    """The parameters that name a view; None where it is the default one.

    >>> query(parameters(View(lens="curvature", sizes=("nano",))))
    '?lens=curvature&sizes=nano'
    """
    default, view = View(), view.tidy()
    texts: dict[str, str | None] = {}
    for name in _FIELDS:
        value = getattr(view, name)
        text = ",".join(value) if name in _LISTS else value
        texts[name] = None if value == getattr(default, name) else text
    return texts


@dataclass(frozen=True)
class TrainingView:
    """What Training Dynamics shows.

    Attributes:
        lens: Name of the lens.
        measure: Name of the measure; "" is the one that `training_measure` names.
        run: Id of the run; "" is the first there is.
        beside: Id of another run; "" for none.
        corpus: Name of the held-out corpus; "" is the first that has a run.
        update: The chosen checkpoint; None is the last.
    """

    lens: str = "curvature"
    measure: str = ""
    run: str = ""
    beside: str = ""
    corpus: str = ""
    update: int | None = None


_TRAINING = {"lens": "training", "measure": "reading", "run": "run", "beside": "beside",
             "corpus": "heard"}  # fmt: skip
UPDATE = "update"


def training_measure(lens: str, name: str | None) -> str:
    """The measure of a name; else the folded curvature, which the paper's figure suggests, or the
    lens's first.

    >>> training_measure("curvature", ""), training_measure("entropy", "folded")
    ('folded', 'normalised')
    """
    names = [measure.name for measure in lens_or_first(lens).measures]
    if name in names:
        return str(name)
    return "folded" if lens == "curvature" else names[0]


def parse_training(search: str | None) -> TrainingView:
    """The training view that a query string asks for; what it says wrongly is the default.

    >>> parse_training("?training=entropy&run=~mine&update=64").update
    64
    """
    said = dict(_pairs(search))
    found = {name: said.get(parameter, "") for name, parameter in _TRAINING.items()}
    known = {info.name for info in LENSES}
    found["lens"] = found["lens"] if found["lens"] in known else TrainingView.lens
    update = said.get(UPDATE, "")
    digits = update.isascii() and update.isdigit() and len(update) < 12
    return TrainingView(**found, update=int(update) if digits else None)


def training_parameters(view: TrainingView) -> dict[str, str | None]:
    """The parameters that name a training view, but for its update, which the browser keeps.

    >>> query(training_parameters(TrainingView(lens="entropy", run="wavlm-nano")))
    '?training=entropy&run=wavlm-nano'
    """
    plain = {
        "lens": "" if view.lens == TrainingView.lens else view.lens,
        "measure": "" if view.measure == training_measure(view.lens, "") else view.measure,
        "run": view.run,
        "beside": view.beside,
        "corpus": view.corpus,
    }
    return {_TRAINING[name]: value or None for name, value in plain.items()}


@dataclass(frozen=True)
class GcmView:
    """What the Generative Compatibility Matrix shows.

    Attributes:
        matrix: ``<corpus>/<name>`` of the matrix; "" is the first there is.
        beside: Of another one; "" for none.
        content, identity, prosody, function: Metric of each heatmap; "" is its first.
    """

    matrix: str = ""
    beside: str = ""
    content: str = ""
    identity: str = ""
    prosody: str = ""
    function: str = ""


_GCM = {"matrix": "matrix", "beside": "matrix-beside", "content": "content",
        "identity": "identity", "prosody": "prosody", "function": "function"}  # fmt: skip


def parse_gcm(search: str | None) -> GcmView:
    """The view of the matrices that a query string asks for.

    >>> parse_gcm("?matrix=demo/wav2vec2-nano&function=stoi").function
    'stoi'
    """
    said = dict(_pairs(search))
    return GcmView(**{name: said.get(parameter, "") for name, parameter in _GCM.items()})


def gcm_parameters(view: GcmView) -> dict[str, str | None]:
    """The parameters that name a view of the matrices; None where it is the default one.

    >>> query(gcm_parameters(GcmView(function="stoi")))
    '?function=stoi'
    """
    return {parameter: getattr(view, name) or None for name, parameter in _GCM.items()}


def parameter(search: str | None, name: str) -> str:
    """One parameter of a query string, "" if it is not there.

    >>> parameter("?job=12", "job")
    '12'
    """
    return dict(_pairs(search)).get(name, "")


def query(values: Mapping[str, str | None]) -> str:
    """The query string of some parameters, without those that are None.

    >>> query({"lens": "curvature", "job": None})
    '?lens=curvature'
    """
    text = urlencode([(k, v) for k, v in values.items() if v is not None], safe=",")
    return f"?{text}" if text else ""


def lens_or_first(name: str) -> LensInfo:
    """The lens of a name, or the first one: a wrong link still shows something."""
    return next((info for info in LENSES if info.name == name), LENSES[0])


def _pairs(search: str | None) -> list[tuple[str, str]]:
    return parse_qsl((search or "").lstrip("?"), keep_blank_values=True)
