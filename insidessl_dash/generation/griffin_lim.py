"""Phases by consistency: Griffin-Lim, from random phases or from those of a network.

torchaudio's function of this name starts from random phases only; else this is the same. It has a
transform of its own because almost all of the time of vocoding is spent here: the hop is a quarter
of the window, so frames are added up in four shifts, and nothing is transposed, which takes half
the time of `torch.istft` and `torch.stft`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from insidessl_dash.generation import fourier
from insidessl_dash.generation.fourier import FourierVocoder
from insidessl_dash.generation.mel import HOP, WINDOW, mel_filters

_MOMENTUM = 0.99


class GriffinLim:
    """Phases that agree with each other: fast Griffin-Lim (Perraudin et al., WASPAA 2013).

    Magnitudes are the mel times the pseudo-inverse of its filters, negative ones set to 0. Phases
    start from those of a trained network, or from seeded random ones, the same for every row: then
    nothing is learned, and it is the floor that others must beat.

    Args:
        iterations: Of the algorithm.
        seed: Of random phases.
        start: A vocoder whose phases are the start.

    Attributes:
        iterations, seed, start: As given.
        name, weights_sha256: See `Vocoder`.
    """

    def __init__(
        self, iterations: int = 60, seed: int = 0, start: FourierVocoder | None = None
    ) -> None:
        self.iterations, self.seed, self.start = iterations, seed, start
        self.name = "Griffin-Lim" if start is None else f"{start.name}, then Griffin-Lim"
        self.weights_sha256 = "" if start is None else start.weights_sha256

    def __call__(self, mel: Tensor) -> Tensor:
        """Waveforms, float32 (B, 256 T), of log-mels (B, T, 80).

        Raises:
            ModelError: Not of that shape, or fewer than 3 frames (513 samples have 3).
        """
        fourier.check_mel(mel, shortest=3)
        inverse = torch.linalg.pinv(mel_filters(mel.device))
        magnitudes = ((10.0 ** mel.double()) @ inverse).clamp(min=0).float()
        # One frame more, so that the samples behind the last frame's middle are estimated too.
        magnitudes = torch.cat([magnitudes, magnitudes[:, -1:]], dim=1)
        window = torch.hann_window(WINDOW, device=mel.device)
        with torch.no_grad():
            directions = self._start(mel, magnitudes, window)
            before, share = torch.zeros_like(directions), _MOMENTUM / (1 + _MOMENTUM)
            for _ in range(self.iterations):
                found = _spectrum(_waveforms(magnitudes * directions, window), window)
                directions, before = _directions(found - share * before), found
            return _waveforms(magnitudes * directions, window)

    def _start(self, mel: Tensor, magnitudes: Tensor, window: Tensor) -> Tensor:
        """Complex numbers (B, T + 1, 513), of length 1 where a network says the phase."""
        if self.start is not None:
            known = self.start(mel)
            known = torch.cat([known, torch.zeros_like(known[:, :HOP])], dim=1)
            return _directions(_spectrum(known, window)[:, : magnitudes.shape[1]])
        generator = torch.Generator().manual_seed(self.seed)
        shape = magnitudes.shape[:0:-1]
        drawn = torch.rand(shape, dtype=torch.complex64, generator=generator)
        return drawn.T.to(mel.device)[None]


def _spectrum(waveforms: Tensor, window: Tensor) -> Tensor:
    """STFT of (B, n), as of the mel, with frames before bins: complex (B, 1 + n // 256, 513)."""
    padded = functional.pad(waveforms, (WINDOW // 2, WINDOW // 2), mode="reflect")
    return torch.fft.rfft(padded.unfold(-1, WINDOW, HOP) * window)


def _waveforms(spectrum: Tensor, window: Tensor) -> Tensor:
    """Its least-squares inverse, (B, 256 (T - 1)): windowed frames added up, each hop in place."""
    frames = torch.fft.irfft(spectrum) * window
    weight = window.square().expand(1, spectrum.shape[1], -1)
    added = _added(frames) / _added(weight).clamp(min=1e-11)
    return added[:, WINDOW // 2 : -WINDOW // 2]


def _added(frames: Tensor) -> Tensor:
    """Overlapping frames (B, T, 1024) as one signal (B, 256 (T + 3))."""
    parts = WINDOW // HOP
    batch, count, _ = frames.shape
    signal = frames.new_zeros(batch, count + parts - 1, HOP)
    for part, piece in enumerate(frames.view(batch, count, parts, HOP).unbind(2)):
        signal[:, part : part + count] += piece
    return signal.flatten(1)


def _directions(spectrum: Tensor) -> Tensor:
    """Each number at length 1; 0 where it is 0."""
    real, imaginary = torch.view_as_real(spectrum).unbind(-1)
    return spectrum * (real.square() + imaginary.square()).clamp(min=1e-30).rsqrt()
