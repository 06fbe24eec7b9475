"""A matrix of a visitor's own recording: plan it, decode what is missing, keep each row.

Nothing here imports torch: what is on disk says what can be decoded, who judges it, and under which
key it is kept, so that what was decoded before is found while the worker is busy.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass

from insidessl_dash.core.cards import ModelCard
from insidessl_dash.core.errors import NotFoundError
from insidessl_dash.core.progress import ProgressHook
from insidessl_dash.core.registry import Registry
from insidessl_dash.core.types import stable_hash
from insidessl_dash.engine.own_spec import HEAD, LONGEST_S, MatrixPart, MatrixTask
from insidessl_dash.engine.run import Executor
from insidessl_dash.engine.spec import MatrixSpec
from insidessl_dash.engine.uploads import Uploads
from insidessl_dash.results.decoder_banks import WEIGHTS, Bank, DecoderBanks, weights_digest
from insidessl_dash.results.matrix import VERSION, MatrixConfig, matrix_key
from insidessl_dash.results.own_matrices import OwnHead, OwnMatrices, OwnRow
from insidessl_dash.results.provenance import now

VOCODER = "fourier-vocoder"
"""What one hears, where it ships; Griffin-Lim otherwise."""

_CONTENT = ("hubert-nano-it2", "wavlm-nano", "hubert-nano", "wav2vec2-nano")
_VOICE = ("ecapa-nano", "wavlm-nano", "hubert-nano-it2", "hubert-nano", "wav2vec2-nano")


@dataclass(frozen=True)
class Ears:
    """What a matrix is heard through and judged by, all of it on this machine.

    Attributes:
        vocoder: ``shipped:NAME``, or "" for Griffin-Lim.
        content, voice: Models that judge words and voice by their last layer.
    """

    vocoder: str
    content: ModelCard
    voice: ModelCard

    @property
    def vocoder_title(self) -> str:
        """What one hears, as the loaded vocoder calls itself."""
        return "Fourier vocoder, then Griffin-Lim" if self.vocoder else "Griffin-Lim"


@dataclass(frozen=True)
class MatrixPlan:
    """A matrix to decode.

    Attributes:
        key: Under which it is kept: the same audio, models and settings give the same key.
        upload: The recording.
        bank: The decoders.
        task: Its head; rows are copies with another index.
    """

    key: str
    upload: str
    bank: Bank
    task: MatrixTask

    @property
    def cells(self) -> int:
        """How many there are."""
        return len(self.bank.decoder_layers) * len(self.bank.layers)


def ears(bank: Bank, registry: Registry) -> Ears:
    """The vocoder and the judges of a model's own matrices.

    Nobody should have to fetch weights to hear their own voice, so judges are models that ship: the
    second iteration of HuBERT Nano for words and ECAPA Nano for the voice where their weights are
    here, else other members of the Nano family, each by its last layer. A model never judges
    itself, under whatever name its weights are known. A matrix says who judged it, and its numbers
    compare with those of the page only where the judges are the same.

    Raises:
        NotFoundError: No weights of a judge are on this machine.
    """
    folder = registry.precomputed / "models"
    studied = {bank.model, bank.trained_on["name"]}

    def first(names: tuple[str, ...], but: str = "") -> str:
        for name in names:
            if name in studied or name == but or not (folder / name / WEIGHTS).is_file():
                continue
            if weights_digest(folder / name) != bank.trained_on["weights_sha256"]:
                return name
        return ""

    content = first(_CONTENT)
    voice = first(_VOICE, but=content) or content
    if not content:
        raise NotFoundError(
            f"No weights of the Nano family are in this installation beside {bank.model}, and what "
            "it says has to be judged by another model: install the whole of precomputed/models."
        )
    sounds = all((folder / VOCODER / file).is_file() for file in ("config.json", WEIGHTS))
    return Ears(f"shipped:{VOCODER}" if sounds else "", registry.get(content), registry.get(voice))


def plan_matrix(spec: MatrixSpec, owner: str, registry: Registry, uploads: Uploads) -> MatrixPlan:
    """What decoding a recording takes.

    Raises:
        UnknownModelError: No such model.
        NotFoundError: It has no decoders here, or the upload is not there.
    """
    card = registry.get(spec.model)
    bank = DecoderBanks(registry.home, registry.precomputed).get(card.name)
    upload = uploads.get(owner, spec.upload)
    found = ears(bank, registry)
    task = MatrixTask(
        run="",
        index=HEAD,
        card=card.model_dump(mode="json"),
        decoders=str(bank.folder),
        updates=bank.updates,
        vocoder=found.vocoder,
        content=found.content.model_dump(mode="json"),
        voice=found.voice.model_dump(mode="json"),
        audio=str(uploads.path(owner, spec.upload)),
        name=upload.name,
        config=MatrixConfig(),
    )
    models = registry.precomputed / "models"
    heard = weights_digest(models / VOCODER) if found.vocoder else "Griffin-Lim"
    key = matrix_key(
        audio=[upload.sha256, f"{LONGEST_S:g} s"],
        encoder={k: bank.trained_on[k] for k in ("weights_sha256", "layer_policy")},
        decoders=bank.weights_sha256,
        vocoder=heard,
        scorers=[weights_digest(models / c.name) for c in (found.content, found.voice)],
        config=task.config,
        version=VERSION,
    )
    # The name keeps apart what one file is called under two models of the same weights.
    return MatrixPlan(stable_hash([key, card.name])[:32], upload.id, bank, task)


def decode_matrix(
    plan: MatrixPlan,
    owner: str,
    matrices: OwnMatrices,
    executor: Executor,
    *,
    progress: ProgressHook,
    check: Callable[[], None],
    begun: Callable[[str], None],
) -> None:
    """Decode the rows that are missing, and keep each as it comes.

    Args:
        plan: What to decode.
        owner: Whose it is.
        matrices: Where it is kept.
        executor: Where it is decoded.
        progress: Told how many cells are done of all.
        check: Raises `Cancelled` to stop; what is done stays.
        begun: Told the key once there is something to hear.

    Raises:
        ModelError: Decoders of another encoder, or a recording too short for it.
        AudioError: The recording cannot be read.
        NotFoundError: It was deleted meanwhile.
        StorageError: The home cannot be written.
    """
    layers, columns = plan.bank.decoder_layers, len(plan.bank.layers)
    task = plan.task.model_copy(update={"run": uuid.uuid4().hex})
    try:
        done = set(matrices.get(owner, plan.key).done)
    except NotFoundError:
        done = set()
        for _task, part in executor.matrix([task], lambda index, cells: None, check):
            _begin(plan, owner, matrices, part, check)
    begun(plan.key)
    cells = {place: columns for place, layer in enumerate(layers) if layer in done}

    def advance(index: int, count: int) -> None:
        cells[index] = count
        progress("decoding and scoring cells", sum(cells.values()), plan.cells)

    progress("decoding and scoring cells", sum(cells.values()), plan.cells)
    rows = [
        task.model_copy(update={"index": place})
        for place, layer in enumerate(layers)
        if layer not in done
    ]
    for row, part in executor.matrix(rows, advance, check):
        matrices.add_row(
            owner,
            plan.key,
            plan.bank.layers.index(layers[row.index]),
            OwnRow(scores=part.scores, why=part.why, wall_s=round(part.wall_s, 3)),
            part.sounds,
            check,
        )
        advance(row.index, columns)


def _begin(
    plan: MatrixPlan,
    owner: str,
    matrices: OwnMatrices,
    part: MatrixPart,
    check: Callable[[], None],
) -> None:
    assert part.example is not None
    head = OwnHead(
        upload=plan.upload,
        created=now(),
        notes=part.notes,
        example=part.example,
        wall_s=round(part.wall_s, 3),
    )
    original, vocoder = part.sounds
    matrices.begin(owner, plan.key, head, {"original": original, "vocoder": vocoder}, check)
