"""The log-mel baseline: what is in the signal before anything has been learned."""

from __future__ import annotations

import torch
from torch import Tensor

from insidessl_dash.audio import torchaudio_cpu  # noqa: F401  must precede torchaudio
from insidessl_dash.core.cards import ModelCard
from insidessl_dash.core.types import SAMPLE_RATE
from insidessl_dash.encoders.inputs import check_waveforms

N_MELS = 80
WINDOW = 400
HOP = 160
N_FFT = 2048
F_MIN_HZ = 50.0
PRE_EMPHASIS = 0.97
RANGE_DB = 80.0
_FLOOR = 1e-5


class MelSpecEncoder:
    """80 log-mel bands, 100 frames a second, as in layer-wise analyses (Pasad et al., 2107.04734).

    Pre-emphasis y[t] = x[t] - 0.97 x[t-1]; 25 ms Hann window every 10 ms, without padding, so
    frame j covers samples 160 j to 160 j + 400 and every second frame covers exactly the samples
    of one frame of a 50 Hz encoder; magnitudes of a 2048-point FFT; triangular filters of equal
    area (Slaney) from 50 Hz to 8 kHz; natural logarithm, floored 80 dB below the loudest band of
    the utterance.
    """

    def __init__(self, card: ModelCard, device: str) -> None:
        import torchaudio

        self.card = card
        self.device = device
        self.layers: tuple[str, ...] = ("mel",)
        self.dims: tuple[int, ...] = (N_MELS,)
        self.frame_rates_hz: tuple[float, ...] = (SAMPLE_RATE / HOP,)
        self.weights_sha256 = ""
        self.revision = ""
        self.layer_policy: dict[str, str | bool | int | float] = {
            "mels": N_MELS,
            "window": WINDOW,
            "hop": HOP,
            "n_fft": N_FFT,
            "f_min_hz": F_MIN_HZ,
            "pre_emphasis": PRE_EMPHASIS,
            "range_db": RANGE_DB,
            "padding": "none",
        }
        self._window = torch.hann_window(WINDOW, periodic=True, device=device)
        self._filters = torchaudio.functional.melscale_fbanks(
            n_freqs=N_FFT // 2 + 1,
            f_min=F_MIN_HZ,
            f_max=SAMPLE_RATE / 2,
            n_mels=N_MELS,
            sample_rate=SAMPLE_RATE,
            norm="slaney",
            mel_scale="slaney",
        ).to(device)

    def __call__(self, waveforms: Tensor) -> list[Tensor]:
        """Log-mel bands, [float32 (B, (n - 400) // 160 + 1, 80)].

        Args:
            waveforms: float32 (B, n), 16 kHz.

        Raises:
            ModelError: Shorter than one window.
        """
        check_waveforms(waveforms, WINDOW, self.card.name)
        with torch.no_grad():
            waves = waveforms.to(self.device, torch.float32)
            emphasised = torch.cat(
                [waves[:, :1], waves[:, 1:] - PRE_EMPHASIS * waves[:, :-1]], dim=-1
            )
            frames = emphasised.unfold(-1, WINDOW, HOP) * self._window
            mel = torch.fft.rfft(frames, n=N_FFT).abs() @ self._filters
            loudest = mel.amax(dim=(1, 2), keepdim=True)
            floor = (loudest * 10 ** (-RANGE_DB / 20)).clamp(min=_FLOOR)
            return [torch.maximum(mel, floor).log()]
