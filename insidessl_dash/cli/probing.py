"""``probe phones`` and ``probe clusters``."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from insidessl_dash.cli.analysis import Seed, Source, _cards, _print_table, _write_results
from insidessl_dash.cli.output import check_target, out, progress_bar, warn, write_json
from insidessl_dash.core.errors import ConfigError
from insidessl_dash.core.settings import settings

if TYPE_CHECKING:
    from insidessl_dash.core.cards import ModelCard
    from insidessl_dash.corpora.alignment import Alignment
    from insidessl_dash.corpora.manifest import Corpus

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)

Train = Annotated[
    str, typer.Option("--train", help="Known corpus or manifest, with a speaker on every row.")
]
AlignmentFile = Annotated[
    Path | None, typer.Option(help="As `data align` wrote it. Default: where it puts that corpus.")
]
HeldOutOf = Annotated[
    str, typer.Option(help="A shipped model: its held-out speakers are never fitted on.")
]


@app.command("phones")
def phones(
    train: Train,
    model: Annotated[list[str], typer.Option("--model", help="Model, or mfcc; repeatable.")],
    test: Annotated[
        str | None, typer.Option(help="Corpus to test on. Default: the held-out speakers.")
    ] = None,
    alignment: AlignmentFile = None,
    held_out_of: HeldOutOf = "hubert-nano",
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="Also write the results as files here.")
    ] = None,
    train_frames: Annotated[int, typer.Option(min=1)] = 40_000,
    test_frames: Annotated[int, typer.Option(min=1)] = 20_000,
    seed: Seed = 0,
    source: Source = None,
) -> None:
    """Read the phone off single frames of every layer, on speakers the probe never heard."""
    from insidessl_dash.analyses.probing import ProbeConfig
    from insidessl_dash.engine.probing import probe_phones
    from insidessl_dash.notebook import Results, open_audio
    from insidessl_dash.results.store import Store

    cards = _cards_and_mfcc(model, source)
    fitting = open_audio(train)
    measuring = open_audio(test) if test else _held_out(fitting, held_out_of)
    aligned = _alignment(alignment, fitting)
    config = ProbeConfig(train_frames=train_frames, test_frames=test_frames)
    store = Store(settings().home, settings().precomputed)
    results = []
    for card in cards:
        with progress_bar() as progress:
            result, values = probe_phones(
                card, fitting, measuring, aligned, config, seed=seed, progress=progress,
                command=_command(card, train, test, held_out_of, config, seed),
            )  # fmt: skip
        store.put(result, values, private=seed != 0 or not _is_known(train))
        if out_folder:
            _write_results(Results([result]), out_folder)
        results.append(result)
    _print_table(Results(results))
    used = results[0].config
    out.print(
        f"{used['frames_fitted']} frames of {used['speakers_fitted']} speakers fitted, "
        f"{used['frames_measured']} of {len(used['speakers_measured'])} others measured; always "
        f"{used['majority_phone']}: {results[0].curve('majority').mean[0]:.4f}"
    )
    unread = [u for u in results[0].utterances if u.error]
    if unread:
        warn(f"{len(unread)} test utterances left out; the first: {unread[0].error}")


@app.command("clusters")
def clusters(
    train: Train,
    model: Annotated[str, typer.Option("--model")],
    layer: Annotated[
        list[str] | None, typer.Option(help="Layer by name; repeatable. Default: every layer.")
    ] = None,
    count: Annotated[int, typer.Option("--clusters", min=2)] = 200,
    alignment: AlignmentFile = None,
    held_out_of: HeldOutOf = "hubert-nano",
    frames: Annotated[int, typer.Option(help="For fitting, and for counting.", min=1)] = 60_000,
    json: Annotated[str | None, typer.Option(help="Write JSON here; - for stdout.")] = None,
    seed: Seed = 0,
    source: Source = None,
) -> None:
    """Which layer's k-means clusters know most of phones: where targets are best taken from."""
    from insidessl_dash.analyses.clusters import layer_purity
    from insidessl_dash.encoders.loading import load_encoder
    from insidessl_dash.notebook import open_audio

    if json is not None:
        check_target(json)
    (card,) = _cards_and_mfcc([model], source)
    corpus = open_audio(train)
    outside = _held_out_speakers(held_out_of)
    inside = corpus.select(lambda u: u.speaker not in outside)
    aligned = _alignment(alignment, corpus)
    encoder = load_encoder(card)
    names = layer or list(encoder.layers)
    if unknown := [name for name in names if name not in encoder.layers]:
        raise ConfigError(f"{model} has no layer {unknown[0]!r}: {', '.join(encoder.layers)}.")
    with progress_bar() as progress:
        rows = layer_purity(
            encoder, inside.utterances, aligned.phones, layers=names, clusters=count,
            frames=frames, seed=seed, progress=progress,
        )  # fmt: skip
    document = {
        "model": card.name,
        "weights_sha256": encoder.weights_sha256,
        "corpus": corpus.name,
        "left_out_speakers": sorted(outside & {u.speaker or "" for u in corpus.utterances}),
        "alignment": aligned.digest(),
        "clusters": count,
        "seed": seed,
        "layers": rows,
    }
    if json is not None:
        write_json(json, document)
    if json != "-":
        out.print("layer  phone purity  cluster purity    PNMI   (pauses counted)")
        for row in rows:
            out.print(
                f"{row['layer']:>5}  {row['phone']:12.4f}  {row['cluster']:14.4f}  "
                f"{row['pnmi']:6.4f}"
            )
        best = max(rows, key=lambda row: row["pnmi"])
        out.print(f"Highest PNMI: layer {best['layer']}.")


def alignment_file(corpus: Corpus) -> Path:
    """Where `data align` keeps the alignment of a corpus by default."""
    return settings().home / "alignments" / f"{corpus.name}.jsonl"


def _alignment(given: Path | None, corpus: Corpus) -> Alignment:
    from insidessl_dash.corpora.alignment import read_alignment

    return read_alignment(given or alignment_file(corpus))


def _cards_and_mfcc(names: list[str], sources: list[str] | None) -> list[ModelCard]:
    """Registered cards, and the MFCC baseline, which is not one of them."""
    from insidessl_dash.encoders.mfcc import CARD

    named = {card.name: card for card in _cards([n for n in names if n != CARD.name], sources)}
    return [CARD if name == CARD.name else named[name] for name in dict.fromkeys(names)]


def _held_out_speakers(model: str) -> set[str]:
    """Speakers that the training of a shipped model held out, by its card."""
    path = settings().precomputed / "models" / model / "card.json"
    try:
        return set(json.loads(path.read_text(encoding="utf-8"))["data"]["held_out_speakers"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"--held-out-of {model}: no shipped card of that name lists held-out speakers. "
            "Name a shipped member of the Nano family, or choose the speech without it (--help)."
        ) from error


def _held_out(corpus: Corpus, model: str) -> Corpus:
    speakers = _held_out_speakers(model)
    if not speakers & {u.speaker for u in corpus.utterances}:
        raise ConfigError(
            f"{corpus.name} has none of the speakers that {model} held out: name a corpus that "
            "has, or choose the speech without --held-out-of (--help)."
        )
    return corpus.select(lambda u: u.speaker in speakers, f"{corpus.name}-held-out")


def _is_known(name: str) -> bool:
    from insidessl_dash.corpora.known import known_corpora

    return name in {card.name for card in known_corpora(settings())}


def _command(
    card: ModelCard, train: str, test: str | None, held_out_of: str, config: Any, seed: int
) -> str:
    words = ["insidessl-dash", "probe", "phones", "--train", train, "--model", card.name]
    words += ["--test", test] if test else ["--held-out-of", held_out_of]
    for name, value in config.model_dump(exclude_defaults=True).items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(words + (["--seed", str(seed)] if seed else []))
