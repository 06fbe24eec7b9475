"""Perturbed views of an utterance: what a robust representation should not care about.

What is random in a view follows from the audio's digest, the perturbation's name and the seed of
the run, never from order, sharding or the process: parameters and noise are drawn here, and
audiomentations (whose own draws come from the global generators of Python and NumPy) is handed
them. Nothing clips: samples may leave [-1, 1], and encoders take them as they are.

Importing this module is cheap; audiomentations (which imports librosa) is loaded on first use.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from insidessl_dash.audio.decode import resample
from insidessl_dash.core.errors import ConfigError
from insidessl_dash.core.types import SAMPLE_RATE, stable_seed

Samples = NDArray[np.float32]
Step = Callable[[Samples, np.random.Generator], Samples]

NOISE_AMPLITUDE = (0.001, 0.015)
"""Standard deviation of the noise; full scale is 1."""
PITCH_SEMITONES = (-4.0, 4.0)
GAIN_DB = (-12.0, 12.0)
MASKED_SHARE = (0.01, 0.2)
"""Of the utterance's duration."""
CHAIN_PROBABILITY = 0.7
"""With which each step of the chain is taken."""


@dataclass(frozen=True)
class Perturbation:
    """One way to change an utterance.

    Attributes:
        name: As requested, e.g. ``chain``.
        title: As shown.
        description: What is done, with its ranges and units.
        apply: From samples and a generator to new samples.
        libraries: Distributions whose version the numbers depend on.
        keeps_length: False where the result is longer or shorter.
    """

    name: str
    title: str
    description: str
    apply: Step
    libraries: tuple[str, ...] = ()
    keeps_length: bool = True

    def versions(self) -> dict[str, str]:
        """Installed versions of `libraries`."""
        return {library: metadata.version(library) for library in self.libraries}


def perturb(samples: Samples, name: str, seed: int) -> Samples:
    """A perturbed copy of an utterance.

    Args:
        samples: float32 (n,), 16 kHz.
        name: One of `PERTURBATIONS`.
        seed: Same samples, name and seed: same result. `view_seed` makes one for an utterance.

    Returns:
        float32 (n,); for ``speed_...`` of another length. Not clipped.

    Raises:
        ConfigError: No such perturbation.
    """
    if name not in PERTURBATIONS:
        raise ConfigError(unknown(name))
    changed = PERTURBATIONS[name].apply(samples, np.random.default_rng(seed))
    return np.ascontiguousarray(changed, dtype=np.float32)


def view_seed(sha256: str, name: str, seed: int) -> int:
    """Seed of one view: of this audio, this perturbation and this run."""
    return stable_seed("perturb", sha256, name, seed)


def unknown(name: str) -> str:
    """What to say about a name that is not in `PERTURBATIONS`."""
    return f"There is no perturbation named {name!r}. There are: {', '.join(PERTURBATIONS)}."


def _gaussian_noise(samples: Samples, rng: np.random.Generator) -> Samples:
    amplitude = np.float32(rng.uniform(*NOISE_AMPLITUDE))
    return samples + amplitude * rng.standard_normal(len(samples), dtype=np.float32)


def _pitch_shift(samples: Samples, rng: np.random.Generator) -> Samples:
    from audiomentations import PitchShift

    return transformed(PitchShift, samples, num_semitones=rng.uniform(*PITCH_SEMITONES))


def _gain(samples: Samples, rng: np.random.Generator) -> Samples:
    return samples * np.float32(10.0 ** (rng.uniform(*GAIN_DB) / 20.0))


def _time_mask(samples: Samples, rng: np.random.Generator) -> Samples:
    from audiomentations import TimeMask

    least, most = (int(share * len(samples)) for share in MASKED_SHARE)
    length = int(rng.integers(least, most, endpoint=True))
    start = int(rng.integers(0, len(samples) - length, endpoint=True))
    return transformed(TimeMask, samples, t=length, t0=start)


def transformed(transform: Any, samples: Samples, **parameters: Any) -> Samples:
    """Run a transform of audiomentations with parameters drawn here."""
    fixed = transform(p=1.0)
    fixed.parameters = {"should_apply": True, **parameters}
    fixed.freeze_parameters()
    return fixed(samples, SAMPLE_RATE)


def _chain(samples: Samples, rng: np.random.Generator, *, steps: Sequence[Step]) -> Samples:
    for step in steps:
        if rng.random() < CHAIN_PROBABILITY:
            samples = step(samples, rng)
    return samples


def noise_at(samples: Samples, rng: np.random.Generator, *, snr_db: float) -> Samples:
    """White noise at a ratio of mean powers over the whole utterance."""
    noise = rng.standard_normal(len(samples))
    power = np.mean(np.square(samples, dtype=np.float64)) / 10.0 ** (snr_db / 10.0)
    noise *= np.sqrt(power / np.mean(np.square(noise)))
    return samples + noise.astype(np.float32)


def speed(samples: Samples, rng: np.random.Generator, *, factor: float) -> Samples:
    """Played at `factor` times the speed: ceil(n / factor) samples."""
    return resample(samples, round(factor * SAMPLE_RATE))


_AUDIOMENTATIONS = ("audiomentations", "python-stretch")

_ALL = (
    Perturbation(
        "chain",
        "The paper's chain",
        "Gaussian noise, pitch shift, gain and time mask in this order, each with probability 0.7.",
        partial(_chain, steps=(_gaussian_noise, _pitch_shift, _gain, _time_mask)),
        _AUDIOMENTATIONS,
    ),
    Perturbation(
        "gaussian_noise",
        "Gaussian noise",
        "White noise of standard deviation 0.001 to 0.015 of full scale.",
        _gaussian_noise,
    ),
    Perturbation(
        "pitch_shift",
        "Pitch shift",
        "Up or down by as much as 4 semitones; durations stay.",
        _pitch_shift,
        _AUDIOMENTATIONS,
    ),
    Perturbation(
        "gain",
        "Gain",
        "Louder or softer by as much as 12 dB, without clipping; encoders that normalise their "
        "input never see it.",
        _gain,
    ),
    Perturbation(
        "time_mask",
        "Time mask",
        "One stretch of 1% to 20% of the utterance is silenced, with fades of 5 ms.",
        _time_mask,
        ("audiomentations",),
    ),
    *(
        Perturbation(
            f"noise_{snr_db}db",
            f"Noise at {snr_db} dB",
            f"White noise at a signal-to-noise ratio of {snr_db} dB over the whole utterance.",
            partial(noise_at, snr_db=float(snr_db)),
        )
        for snr_db in (20, 10, 5, 0)
    ),
    *(
        Perturbation(
            name,
            title,
            f"Played at {factor:g} times the speed: duration and pitch change together, so frames "
            "no longer match and only utterance means can be compared.",
            partial(speed, factor=factor),
            ("torchaudio",),
            keeps_length=False,
        )
        for name, title, factor in (
            ("speed_0.9", "10% slower", 0.9),
            ("speed_1.1", "10% faster", 1.1),
        )
    ),
)

PERTURBATIONS: dict[str, Perturbation] = {entry.name: entry for entry in _ALL}
"""By the name that a request uses."""
