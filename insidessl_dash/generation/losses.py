"""Losses of vocoder and decoder training that need no second network."""

from __future__ import annotations

import torch
from torch import Tensor

from insidessl_dash.core.errors import AudioError
from insidessl_dash.generation.mel import QUIET, check_waveforms

RESOLUTIONS: tuple[tuple[int, int, int], ...] = (
    (1024, 120, 600),
    (2048, 240, 1200),
    (512, 50, 240),
)
"""FFT length, hop and Hann window, in samples (1910.11480, table 1)."""

_FLOOR = 1e-7
"""Lower bound of the power: of a silent target both terms stay finite."""


def multi_resolution_stft(predicted: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """How far spectra differ at three resolutions (Yamamoto et al., 1910.11480, eqs. 4-6).

    With S and P the magnitudes of target and prediction, a row's spectral convergence is
    ||S - P||_F / ||S||_F and its log-magnitude distance mean |ln S - ln P|. Both are averaged
    over resolutions and rows: a quiet row counts as much as a loud one, and a batch is the mean
    of its rows. Magnitudes are floored at sqrt(1e-7).

    Args:
        predicted: float (B, n), n at least 1025.
        target: As `predicted`.

    Returns:
        Spectral convergence and log-magnitude distance, two scalars; the loss is their sum.

    Raises:
        AudioError: Shapes differ, or too short for the longest FFT.
    """
    _same_shape(predicted, target)
    check_waveforms(target, max(size for size, _, _ in RESOLUTIONS) // 2 + 1, "the STFT loss")
    convergence, distance = [], []
    for size, hop, window in RESOLUTIONS:
        made, wanted = (_magnitudes(x, size, hop, window) for x in (predicted, target))
        error = torch.linalg.vector_norm(wanted - made, dim=(1, 2))
        convergence.append((error / torch.linalg.vector_norm(wanted, dim=(1, 2))).mean())
        distance.append((wanted.log() - made.log()).abs().mean())
    return torch.stack(convergence).mean(), torch.stack(distance).mean()


def mel_l1(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of log10-mels, a scalar; 0.05 is 1 dB.

    Below `mel.QUIET` both count as equally silent.

    Args:
        predicted: float (B, T, 80).
        target: As `predicted`.

    Raises:
        AudioError: Shapes differ.
    """
    _same_shape(predicted, target)
    return (predicted.clamp(min=QUIET) - target.clamp(min=QUIET)).abs().mean()


def _magnitudes(waveforms: Tensor, size: int, hop: int, window: int) -> Tensor:
    spectrum = torch.stft(
        waveforms.float(),
        size,
        hop,
        window,
        torch.hann_window(window, device=waveforms.device),
        return_complex=True,
    )
    power = spectrum.real.square() + spectrum.imag.square()
    return power.clamp(min=_FLOOR).sqrt()


def _same_shape(predicted: Tensor, target: Tensor) -> None:
    if predicted.shape != target.shape:
        raise AudioError(
            f"Prediction {tuple(predicted.shape)} and target {tuple(target.shape)} differ in "
            "shape: cut both to the shorter one."
        )
