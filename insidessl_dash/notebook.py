"""The notebook call: the command line, the API and the dashboard are thin over the same."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from insidessl_dash.core.errors import NotFoundError
from insidessl_dash.core.progress import ProgressHook, silent
from insidessl_dash.core.settings import settings
from insidessl_dash.results.export import to_document, to_rows
from insidessl_dash.results.schema import Provenance, Result
from insidessl_dash.results.store import Store

if TYPE_CHECKING:
    import pandas
    import plotly.graph_objects

    from insidessl_dash.core.cards import ModelCard
    from insidessl_dash.corpora.manifest import Corpus
    from insidessl_dash.engine.run import Executor

LENSES = ("entropy", "curvature", "invariance")


class Results(Sequence[Result]):
    """Results of one or more models and lenses, in the order asked for.

    Attributes:
        warning: Set where they could not be kept on disk.
    """

    def __init__(self, results: Sequence[Result], warning: str | None = None) -> None:
        self._results, self.warning = tuple(results), warning

    def __len__(self) -> int:
        return len(self._results)

    def __getitem__(self, index: Any) -> Any:
        found = self._results[index]
        return Results(found) if isinstance(index, slice) else found

    def __iter__(self) -> Iterator[Result]:
        return iter(self._results)

    def __repr__(self) -> str:
        pairs = ", ".join(f"{r.model.name}/{r.lens}" for r in self._results)
        return f"Results({pairs})"

    @property
    def provenance(self) -> dict[str, Provenance]:
        """How each came about, by ``model/lens``."""
        return {f"{r.model.name}/{r.lens}": r.provenance for r in self._results}

    def documents(self) -> list[dict[str, Any]]:
        """One JSON document a model, as `insidessl-dash analyze --json` writes."""
        models = dict.fromkeys(r.model.name for r in self._results)
        return [to_document([r for r in self._results if r.model.name == m]) for m in models]

    def to_frame(self) -> pandas.DataFrame:
        """One row a model, lens, measure and layer (needs pandas: the ``notebook`` extra)."""
        import pandas

        return pandas.DataFrame(to_rows(self._results))

    def figure(
        self, lens: str | None = None, measure: str | None = None
    ) -> plotly.graph_objects.Figure:
        """The curves of one lens over depth.

        Args:
            lens: Default: the first one.
            measure: Default: the primary one.
        """
        import plotly.graph_objects as go

        from insidessl_dash.dashboard.figures.lens import lens_figure

        lens = lens or self._results[0].lens
        shown = [r for r in self._results if r.lens == lens]
        return go.Figure(lens_figure(shown, measure=measure))


def analyze(
    audio: str | Path | Sequence[str | Path] | Corpus,
    models: str | Sequence[str | ModelCard] = "hubert-nano",
    lenses: str | Sequence[str | tuple[str, dict[str, Any]]] = LENSES,
    *,
    seed: int = 0,
    progress: ProgressHook = silent,
    executor: Executor | None = None,
    store: Store | None = None,
    corpus_name: str | None = None,
    listed: bool = True,
) -> Results:
    """Compute lenses of models on audio; what was computed before is looked up.

    Runs in this process, or on ``INSIDESSL_SCHEDULER`` where that is set.

    Args:
        audio: Files, folders, manifests, the name of a known corpus (``"demo"``), or a corpus.
        models: Names from the registry (``insidessl-dash models list``), or cards.
        lenses: ``"entropy"``, ``"curvature"``, ``"invariance"``, or pairs of a name and a
            configuration, e.g. ``("invariance", {"perturbation": "gain"})``.
        seed: Of perturbations, comparison groups and the bootstrap.
        progress: Told how far it is; may raise `Cancelled`.
        executor: Where to compute; default as above.
        store: Where to look up and keep; default this installation's.
        corpus_name: What to call the audio in the results.
        listed: Show the results on this installation's dashboard; only those of a known corpus
            with seed 0 ever are.

    Raises:
        CorpusError, AudioError, ModelError, ConfigError: With what to do.

    Example:
        >>> results = analyze("demo", models="melspec", lenses="curvature")
        >>> results[0].curve("signed").unit
        'rad'
    """
    from insidessl_dash.core.cards import ModelCard
    from insidessl_dash.core.registry import registry
    from insidessl_dash.engine.run import analyse
    from insidessl_dash.engine.spec import LensRequest

    corpus = open_audio(audio, corpus_name)
    # The page lists results by corpus name: only what everybody means by a name belongs there.
    public = listed and _known_name(audio) is not None and seed == 0
    names = [models] if isinstance(models, str | ModelCard) else list(models)
    cards = [n if isinstance(n, ModelCard) else registry().get(n) for n in names]
    asked = [lenses] if isinstance(lenses, str) else list(lenses)
    requests: list[LensRequest] = []
    for lens in asked:
        name, config = (lens, {}) if isinstance(lens, str) else lens
        request = LensRequest(name=name, config=config)
        if request not in requests:
            requests.append(request)
    store = store or Store(settings().home, settings().precomputed)
    executor = executor or default_executor()
    found: list[Result] = []
    warning = None
    for place, card in enumerate(cards):
        outcome = analyse(
            card,
            corpus,
            requests,
            store,
            executor,
            seed=seed,
            progress=partial(_report, progress, card.title, place, len(cards)),
            check=lambda: None,
            limits=False,
            private=not public,
            command=_in_words(audio),
        )
        found += outcome.results
        warning = warning or outcome.warning
    return Results(found, warning)


def load_result(key_or_path: str | Path) -> Results:
    """A stored result by key, or one saved as JSON.

    Raises:
        NotFoundError: Neither a stored key nor a file.
    """
    path = Path(key_or_path)
    if path.suffix == ".json" and path.is_file():
        return Results([Result.model_validate_json(path.read_bytes())])
    result = Store(settings().home, settings().precomputed).get(str(key_or_path))
    if result is None:
        raise NotFoundError(f"No result {str(key_or_path)!r}: not a stored key, nor a JSON file.")
    return Results([result])


def default_executor() -> Executor:
    """This process, or the cluster that ``INSIDESSL_SCHEDULER`` names."""
    if settings().scheduler:
        from insidessl_dash.engine.cluster import DaskExecutor

        return DaskExecutor(settings().scheduler)
    from insidessl_dash.engine.inline import InlineExecutor

    return InlineExecutor()


def open_audio(audio: Any, name: str | None = None) -> Corpus:
    """Files, folders, manifests, or the name of a corpus, as one corpus.

    Raises:
        NotFoundError: A corpus that can be had but is not here; the message says how to get it.
        CorpusError: No such file or folder.
    """
    from insidessl_dash.corpora.manifest import Corpus, open_corpus

    if isinstance(audio, Corpus):
        return audio
    known = _known_name(audio)
    if known is not None:
        from insidessl_dash.corpora.known import known_corpus

        return known_corpus(known, settings())
    return open_corpus(audio, name)


def _known_name(audio: Any) -> str | None:
    """The name of a corpus, if that is what was given; a path needs a separator or a suffix."""
    from insidessl_dash.corpora.downloads import DOWNLOADS
    from insidessl_dash.corpora.known import known_corpora

    single = audio[0] if isinstance(audio, list | tuple) and len(audio) == 1 else audio
    if not isinstance(single, str):
        return None
    if single in DOWNLOADS or single in {card.name for card in known_corpora(settings())}:
        return single
    return None


def _in_words(audio: Any) -> str:
    """How to name the audio on the command line."""
    from insidessl_dash.corpora.manifest import Corpus

    if isinstance(audio, Corpus):
        return "FILE..."
    parts = [audio] if isinstance(audio, str | Path) else audio
    return shlex.join(str(part) for part in parts)


def _report(
    progress: ProgressHook,
    title: str,
    place: int,
    models: int,
    step: str,
    completed: float,
    total: float,
) -> None:
    """Progress of one of several models as progress of all."""
    progress(f"{title}: {step}", place * total + completed, models * total)
