"""``analyze``, ``precompute``, ``verify`` and ``dynamics``."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from insidessl_dash.cli.output import check_target, out, progress_bar, warn, write_json
from insidessl_dash.core.errors import ConfigError, ConflictError, InsideSSLError, ModelError
from insidessl_dash.core.settings import settings
from insidessl_dash.notebook import LENSES, Results
from insidessl_dash.results.schema import Result

if TYPE_CHECKING:
    from insidessl_dash.core.cards import ModelCard

DEFAULT_MODELS = ("melspec", "hubert-nano", "hubert-nano-init", "whisper-base")
MAX_DIFFERENCE = 1e-3

Model = Annotated[list[str] | None, typer.Option("--model", help="Model name; may be repeated.")]
Lens = Annotated[list[str] | None, typer.Option("--lens", help="Lens; may be repeated.")]
Perturbation = Annotated[
    list[str] | None,
    typer.Option(help="Perturbation of the invariance lens; may be repeated. Default: chain."),
]
Seed = Annotated[int, typer.Option(help="Seed of perturbations, groups and bootstrap.", min=0)]
Source = Annotated[
    list[str] | None,
    typer.Option("--source", help="NAME=FOLDER: read a model from a local copy."),
]


def analyze(
    audio: Annotated[
        list[str], typer.Argument(help="Files, folders, manifests, or a known corpus.")
    ],
    model: Model = None,
    lens: Lens = None,
    json: Annotated[str | None, typer.Option(help="Write JSON here; - for stdout.")] = None,
    perturbation: Perturbation = None,
    seed: Seed = 0,
    source: Source = None,
) -> None:
    """Compute lenses over every layer of models, on your audio."""
    if json is not None:
        check_target(json)
    results = _analyse(audio, _cards(model or ["hubert-nano"], source), lens, perturbation, seed)
    documents = results.documents()
    if json is not None:
        write_json(json, documents[0] if len(documents) == 1 else documents)
    if json != "-":
        _print_table(results)
    for utterance in results[0].utterances:
        if utterance.error:
            warn(utterance.error)


def precompute(
    model: Model = None,
    size: Annotated[
        str | None, typer.Option(help="Every registered model of a size: nano, base, large.")
    ] = None,
    corpus: Annotated[
        list[str] | None, typer.Option(help="Known corpus; may be repeated. Default: demo.")
    ] = None,
    lens: Lens = None,
    perturbation: Perturbation = None,
    seed: Seed = 0,
    source: Source = None,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="Also write the results as files here.")
    ] = None,
) -> None:
    """Compute what the dashboard shows, so that it is there when people come."""
    names = list(model or ([] if size else DEFAULT_MODELS))
    if size:
        from insidessl_dash.core.registry import registry
        from insidessl_dash.engine.at_hand import ships_without_weights

        sized = [c for c in registry().cards() if c.size == size]
        if not sized:
            raise ConfigError(f"No model of size {size!r}. Sizes: nano, base, large.")
        without = [c.name for c in sized if ships_without_weights(c, registry())]
        names += ["melspec", *(c.name for c in sized if c.name not in without)]
        if without:
            warn(f"{', '.join(without)}: results ship, weights do not; left out.")
    from insidessl_dash.corpora.known import known_corpus

    cards = _cards(names, source)
    failed = []
    for name in corpus or ["demo"]:
        known_corpus(name, settings())
        for card in cards:
            try:
                results = _analyse([name], [card], lens, perturbation, seed)
            except InsideSSLError as error:
                warn(f"{card.name} on {name}: {error}")
                failed.append(f"{card.name} on {name}")
                continue
            out.print(f"{card.name} on {name}: {len(results)} results")
            if out_folder:
                _write_results(results, out_folder)
    if failed:
        raise InsideSSLError(f"{len(failed)} not computed: {', '.join(failed)}. The rest is kept.")


def verify(
    source: Source = None,
    json: Annotated[str | None, typer.Option(help="Write JSON here; - for stdout.")] = None,
) -> None:
    """Compute the shipped results on the demo corpus again, and compare."""
    if json is not None:
        check_target(json)
    import tempfile

    from insidessl_dash.corpora.known import known_corpus
    from insidessl_dash.results.compare import largest_difference
    from insidessl_dash.results.store import Store

    rows: list[dict[str, Any]] = []
    given = dict(_pairs(source))
    with tempfile.TemporaryDirectory() as empty:
        shipped = Store(Path(empty) / "unused", settings().precomputed).find(corpus="demo")
        if not shipped:
            raise InsideSSLError("This installation ships no results to verify.")
        fresh = Store(Path(empty) / "fresh", Path(empty) / "none")
        for name, seed in dict.fromkeys((r.model.name, r.provenance.seed) for r in shipped):
            mine = [r for r in shipped if (r.model.name, r.provenance.seed) == (name, seed)]
            local = [f"{name}={given[name]}"] if name in given else None
            try:
                again = _analyse(
                    known_corpus("demo", settings()), _cards([name], local),
                    [(r.lens, r.config) for r in mine], None, seed, store=fresh,
                )  # fmt: skip
            except InsideSSLError as error:
                warn(f"{name}: not verified: {error}")
                rows.append({"model": name, "verified": False, "reason": str(error)})
                continue
            for old, new in zip(mine, again, strict=True):
                difference, where = largest_difference(old, new)
                rows.append(
                    {
                        "model": name,
                        "lens": old.lens,
                        "config": old.config,
                        "verified": True,
                        "largest_relative_difference": difference,
                        "where": where,
                        "same_key": old.key == new.key,
                    }
                )
    verified = [row for row in rows if row["verified"]]
    if not verified:
        raise InsideSSLError("No shipped result could be computed again; the warnings say why.")
    largest = max(row["largest_relative_difference"] for row in verified)
    if json is not None:
        finite = [{**row, **_finite(row)} for row in rows]
        write_json(json, {"results": finite, **_finite({"largest_relative_difference": largest})})
    if json != "-":
        for row in verified:
            out.print(
                f"{row['model']:20} {row['lens']:12} {row['config'].get('perturbation', ''):16}"
                f"{row['largest_relative_difference']:.2e}  {row['where']}"
            )
        out.print(f"largest relative difference {largest:.2e} over {len(verified)} results")
    if largest > MAX_DIFFERENCE:
        raise InsideSSLError(
            f"The results differ from the shipped ones by up to {largest:.1e}, more than "
            f"{MAX_DIFFERENCE:g}. Other library versions may explain it."
        )


def dynamics(
    checkpoints: Annotated[Path, typer.Option(help="Folder of update-NNNNNN folders.")],
    corpus: Annotated[str, typer.Option(help="Files or a known corpus.")] = "demo",
    name: Annotated[
        str, typer.Option(help="What to call the run; default: the name of its folder.")
    ] = "",
    family: Annotated[str, typer.Option(help="Family of the model; default: read.")] = "",
    lens: Lens = None,
    seed: Seed = 0,
    out_folder: Annotated[
        Path | None,
        typer.Option("--out", help="Where the results go; default: where the dashboard shows them"),
    ] = None,
) -> None:
    """The lenses at every checkpoint of a pre-training run; the dashboard then shows them."""
    folders = _checkpoints(checkpoints)
    run = _run_name(name or _folder_name(checkpoints))
    cards = _checkpoint_cards(run, folders, family)
    target = out_folder or settings().home / "dynamics"
    for (update, _folder), card in zip(folders, cards, strict=True):
        results = _analyse([corpus], [card], lens, None, seed, listed=False)
        _refuse_another_run(results, target)
        _write_results(results, target)
        out.print(f"update {update}: done")
    if out_folder is None:
        out.print(f"{run}: {len(folders)} checkpoints, under Training Dynamics on the dashboard")


def _checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """Updates and folders of a run's checkpoints, ascending."""
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder. --checkpoints names one of update-NNNNNN.")
    found = [(re.fullmatch(r"update-(\d+)", path.name), path) for path in folder.iterdir()]
    folders = sorted((int(match.group(1)), path) for match, path in found if match)
    if not folders:
        raise ConfigError(f"{folder}: no update-NNNNNN folder in it.")
    return folders


def _folder_name(checkpoints: Path) -> str:
    """The folder of the run: the one that holds ``checkpoints``, or the one that was given."""
    whole = checkpoints.resolve()
    return whole.parent.name if whole.name == "checkpoints" else whole.name


def _run_name(name: str) -> str:
    """A name that a result and a file can carry, with room for the update after it."""
    plain = re.sub(r"[^a-z0-9._-]+", "-", name.lower())[:40].strip("-._")
    if not plain:
        raise ConfigError(f"{name!r} has no letter or digit to name the run by. Give --name.")
    return plain


def _checkpoint_cards(run: str, folders: list[tuple[int, Path]], family: str) -> list[ModelCard]:
    """A card for each checkpoint; one run is one model, so they differ in nothing but weights."""
    from insidessl_dash.core.cards import ModelCard
    from insidessl_dash.encoders.loading import KNOWN_FAMILIES, family_and_kind, model_type

    cards, types = [], {}
    for update, folder in folders:
        card = ModelCard(
            name=f"{run}.update-{update}",
            title=f"update {update:,}",
            family=family or "unknown",
            size="nano",
            kind="transformers",
            source=str(folder),
        )
        types[card.title] = model_type(card)
        read, kind = family_and_kind(types[card.title])
        if family in KNOWN_FAMILIES and family != read:
            raise ConfigError(f"--family {family}: {folder.name} is of the family {read}.")
        cards.append(card.model_copy(update={"family": family or read, "kind": kind}))
    (usual, _count), *others = Counter(types.values()).most_common()
    if others:
        odd = next(title for title, kind in types.items() if kind != usual)
        raise ModelError(
            f"{odd} is a {types[odd]} and other checkpoints here are {usual}: they are of more "
            "than one run. Keep those of one run in the folder."
        )
    return cards


def _refuse_another_run(results: Results, folder: Path) -> None:
    """Keep two runs of one name apart: the same update of one run has the same weights."""
    for result in results:
        known = _target(result, folder)
        try:
            before = Result.model_validate_json(known.read_bytes())
        except (OSError, ValueError):
            continue  # none yet, or damaged: it is written anew
        if before.model.weights_sha256 != result.model.weights_sha256:
            raise ConflictError(
                f"{known.name} in {known.parent} is of other weights: of another run of this name, "
                "or of this one before it was trained again. Give this one a --name of its own, or "
                "remove the files of the old one."
            )


def _analyse(
    audio: Any,
    cards: list[ModelCard],
    lens: Any,
    perturbation: list[str] | None,
    seed: int,
    store: Any = None,
    listed: bool = True,
) -> Results:
    from insidessl_dash.notebook import analyze as run

    lenses: list[Any] = []
    for name in lens or LENSES:
        if name == "invariance" and perturbation:
            lenses += [(name, {"perturbation": kind}) for kind in perturbation]
        else:
            lenses.append(name)
    with progress_bar() as progress:
        results = run(
            audio, cards, lenses, seed=seed, progress=progress, store=store, listed=listed
        )
    if results.warning:
        warn(f"{results.warning} These results are not kept for the dashboard.")
    return results


def _finite(row: dict[str, Any]) -> dict[str, float | None]:
    """The difference of a row, with None for "other layers", which JSON cannot say as a number."""
    difference = row.get("largest_relative_difference")
    return {"largest_relative_difference": None if difference == float("inf") else difference}


def _cards(names: list[str], sources: list[str] | None) -> list[ModelCard]:
    from insidessl_dash.core.registry import registry

    local = dict(_pairs(sources))
    if others := set(local) - set(names):
        raise ConfigError(f"--source names {', '.join(sorted(others))}, which --model does not.")
    return [
        registry().get(name).model_copy(update={"local": local.get(name)})
        for name in dict.fromkeys(names)
    ]


def _pairs(sources: list[str] | None) -> list[tuple[str, str]]:
    pairs = []
    for pair in sources or []:
        name, equals, folder = pair.partition("=")
        if not equals or not folder or not Path(folder).is_dir():
            raise ConfigError(f"--source {pair}: give NAME=FOLDER with a folder that exists.")
        pairs.append((name, folder))
    return pairs


def _write_results(results: Results, folder: Path) -> None:
    from insidessl_dash.core.files import whole_file
    from insidessl_dash.results.store import Store, pack_values

    store = Store(settings().home, settings().precomputed)
    found = {result.key: store.values(result.key) for result in results}  # before files appear
    for result in results:
        target = _target(result, folder)
        with whole_file(target) as temporary:
            temporary.write_text(result.model_dump_json(indent=1) + "\n")
        values = found[result.key]
        if values is not None:
            with whole_file(target.with_suffix(".npz")) as temporary:
                temporary.write_bytes(pack_values(values))


def _target(result: Result, folder: Path) -> Path:
    """The file of a result below a folder; results/trajectories.py reads the names again."""
    options = result.config.get("perturbation", "")
    parts = [result.model.name, result.lens, *([options] if options else [])]
    stem = "__".join(re.sub(r"[^\w.-]+", "-", part) for part in parts)
    return folder / re.sub(r"[^\w.-]+", "-", result.corpus.name) / f"{stem}.json"


def _print_table(results: Results) -> None:
    """One table a lens: a row a layer, a column a model; the primary measure."""
    from rich.table import Table

    for lens in dict.fromkeys((r.lens, str(r.config)) for r in results):
        shown = [r for r in results if (r.lens, str(r.config)) == lens]
        curve = shown[0].curve()
        unit = f" ({curve.unit})" if curve.unit else ""
        options = shown[0].config.get("perturbation")
        table = Table(title=f"{curve.title}{unit}{f', {options}' if options else ''}")
        table.add_column("layer", justify="right")
        for result in shown:
            table.add_column(f"{result.model.name}\nn = {result.curve().n}", justify="right")
        named = dict.fromkeys(name for r in shown if len(r.layers) > 1 for name in r.layers)
        for row, layer in enumerate(named or shown[0].layers):
            table.add_row(layer, *[_cell(r, layer, row) for r in shown])
        out.print(table)
        if curve.note:
            out.print(f"  {curve.note}")


def _cell(result: Any, layer: str, row: int) -> str:
    """The value at the layer of this name; a baseline's one layer stands in the first row."""
    if len(result.layers) == 1 and row == 0:
        layer = result.layers[0]
    if layer not in result.layers:
        return ""
    index = result.layers.index(layer)
    mean, interval = result.curve().mean[index], result.curve().ci95[index]
    if mean is None:
        return "not defined"
    return f"{mean:.4f}" + (f" [{interval[0]:.4f}, {interval[1]:.4f}]" if interval else "")
