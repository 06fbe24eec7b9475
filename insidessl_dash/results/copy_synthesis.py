"""How well vocoders give back speech from its mel: the result file of ``gcm vocoders``."""

from __future__ import annotations

import logging
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from insidessl_dash.core.files import whole_file
from insidessl_dash.results.schema import CorpusInfo, Provenance, UtteranceInfo

log = logging.getLogger(__name__)


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Measure(_Frozen):
    """What was measured.

    Attributes:
        title: In words.
        unit: "" where it has none.
        higher_is_better: Whether more is better.
    """

    title: str
    unit: str
    higher_is_better: bool


class Scores(_Frozen):
    """One measure of one vocoder.

    Attributes:
        mean: Over the utterances where it could be measured; None where there was none.
        std: Sample deviation (n - 1) over them; None below two.
        n: How many there were.
        values: One an utterance of `CopySynthesis.ids`; None where it could not be measured.
        reasons: Utterance id -> why it could not be measured.
    """

    mean: float | None
    std: float | None
    n: int
    values: list[float | None]
    reasons: dict[str, str]


class VocoderScores(_Frozen):
    """One vocoder.

    Attributes:
        name: For people.
        source: Where it was loaded from: a hub id or a folder's name; "" where nothing was learned.
        weights_sha256: Digest of its weights; "" where nothing was learned.
        measures: Name -> scores.
    """

    name: str
    source: str
    weights_sha256: str
    measures: dict[str, Scores]


class CopySynthesis(_Frozen):
    """Vocoders on the mels of the same utterances.

    Attributes:
        corpus: The audio that was measured.
        speakers: Whose speech it is, in words: held out of which training, or everybody's.
        ids: Of the utterances behind the values, in their order.
        measures: Name -> what it is.
        vocoders: Their scores.
        own_phases: Measure -> scores without a vocoder: the magnitudes that Griffin-Lim starts
            from, with the phases of the recording. What the mel keeps when no phase has to be
            guessed.
        utterances: What went in, and what was left out and why.
    """

    schema_version: int = 1
    corpus: CorpusInfo
    speakers: str
    ids: list[str]
    measures: dict[str, Measure]
    vocoders: list[VocoderScores]
    own_phases: dict[str, Scores]
    utterances: list[UtteranceInfo]
    provenance: Provenance

    @field_validator("schema_version")
    @classmethod
    def _known(cls, version: int) -> int:
        if version != 1:
            raise ValueError(f"schema version {version} is not 1: made by another release")
        return version

    def best(self, measure: str) -> VocoderScores | None:
        """The vocoder with the best mean; None where nobody has one.

        Raises:
            KeyError: No such measure.
        """
        sign = 1 if self.measures[measure].higher_is_better else -1
        means = [(v.measures[measure].mean, v) for v in self.vocoders]
        return max(
            ((sign * mean, v) for mean, v in means if mean is not None),
            key=lambda pair: pair[0],
            default=(0.0, None),
        )[1]


def write_copy_synthesis(result: CopySynthesis, path: Path) -> None:
    """Write the file, whole or not at all.

    Raises:
        StorageError: It cannot be written.
    """
    with whole_file(path) as temporary:
        temporary.write_text(result.model_dump_json(indent=1) + "\n")


def read_copy_synthesis(path: Path) -> CopySynthesis | None:
    """The result in a file; None where there is none, or (logged) it is not one."""
    try:
        return CopySynthesis.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        log.warning("%s is no copy-synthesis result: %s", path, error)
        return None
