"""Decoders D^(i) of an encoder's layers: from the states of a layer to a log-mel spectrogram.

Conditional flow matching (Lipman et al., 2210.02747) on the straight path between noise x_0 and
normalised mel x_1, x_t = (1 - t) x_0 + t x_1: the optimal-transport path with sigma_min = 0, also
called rectified flow (2209.03003). The network says which mel x_1 stands at the end, given x_t, t
and the states, and (x_1 - x_t) / (1 - t) is the velocity (Li & He, 2511.13720): a narrow network
can hold a mel, not the noise. The loss is the squared error of that mel: the squared error of the
velocity with the weight (1 - t)^2. So the beginning of the path, where only the states tell what
is said, counts as much as its end, where the mel itself does. Decoding follows the velocity from
noise to mel with the midpoint rule (see `solve`). No classifier-free guidance.

Encoders that normalise their input, by a group norm at the latest, do not know how loud speech
was. So decoders learn the mel of speech brought to one level (`mel.levelled`), and what they
decode is compared with the original at that level.

So that decoders differ by their layer alone, all of a bank start from the same numbers, see the
same crops in the same order, and the same noise and times; in decoding, every cell starts from
the same noise. D^(i) reads (z - m_i) / s_i with the mean vector m_i and one standard deviation s_i
of its own layer in training: constants of D^(i), whatever layer it is given. They make layers of
different size equally easy to learn from, and a linear layer could undo them; states of another
layer are not rescaled to fit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast, get_args

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.func import functional_call

from insidessl_dash.core.errors import ModelError
from insidessl_dash.core.files import whole_file, write_json
from insidessl_dash.core.settings import settings
from insidessl_dash.core.types import LEVEL_DBFS, stable_seed
from insidessl_dash.encoders.sources import SAFETENSORS, find_checkpoint
from insidessl_dash.encoders.weights import files_digest, load_plain, read_tensors, weight_files
from insidessl_dash.generation.decoder_networks import (
    DecoderSize,
    FlowNetwork,
    Preset,
    RegressionNetwork,
)
from insidessl_dash.generation.mel import CONVENTION, FRAME_RATE_HZ, N_MELS, QUIET
from insidessl_dash.generation.products import float32_products
from insidessl_dash.results.decoder_banks import MODEL_TYPE

STEPS = 4
"""Steps of the solver: two evaluations of the network in each but the last, one there."""

_LEAST_LEFT = 0.05
"""Of the path, in the velocity: shorter rests count as this much."""

_SCALES = ("mel_", "state_")  # of what is normalised: kept in float32
_ENCODER_SAYS = {"name", "weights_sha256", "layer_policy", "layers", "frame_rates_hz"} | {
    "first_frame_s"
}


class DecoderBank(nn.Module):
    """Decoders of one encoder, as stacked parameters: the leading axis of each is the decoder.

    Args:
        layers: Names of the layers that have a decoder, shallow to deep.
        width: Of these layers, the same for all.
        size: Of a decoder.
        preset: ``flow``, or ``regression`` for first looks.
        encoder: ``name``, ``weights_sha256`` and ``layer_policy`` of the encoder; ``layers`` and
            ``frame_rates_hz`` of all its layers; ``first_frame_s``, where the first frame has its
            centre.
        tokens: Clusters of a layer, where frames are replaced by the nearest centroid of the layer
            they come from; None for continuous states.

    Attributes:
        layers, preset, encoder, size, tokens: As given.
        dims: Width of each layer.
        mel_mean, mel_std: float32 (80,), of the training set's mel, raised to `mel.QUIET`.
        state_mean, state_std: float32 (N, D) and (N,), of each decoder's own layer.
        centroids: float32 (encoder layers, tokens, D), of all layers of the encoder.
        weights_sha256: Digest of the weights file; "" until loaded from one.
    """

    mel_mean: Tensor
    mel_std: Tensor
    state_mean: Tensor
    state_std: Tensor
    centroids: Tensor

    def __init__(
        self,
        layers: Sequence[str],
        width: int,
        size: DecoderSize,
        preset: Preset,
        encoder: dict[str, Any],
        tokens: int | None = None,
    ) -> None:
        super().__init__()
        self.layers, self.dims = tuple(layers), (width,) * len(layers)
        self.size, self.preset, self.encoder, self.tokens = size, preset, encoder, tokens
        self.weights_sha256 = ""
        kind = FlowNetwork if preset == "flow" else RegressionNetwork
        self.network: nn.Module = kind(len(layers), width, size)
        self.register_buffer("mel_mean", torch.zeros(N_MELS))
        self.register_buffer("mel_std", torch.ones(N_MELS))
        self.register_buffer("state_mean", torch.zeros(len(layers), width))
        self.register_buffer("state_std", torch.ones(len(layers)))
        if tokens:
            self.register_buffer("centroids", torch.zeros(len(encoder["layers"]), tokens, width))

    def decode(
        self,
        states: Tensor,
        decoders: Tensor | Sequence[int],
        frames: int,
        *,
        seed: int,
        steps: int = STEPS,
        sources: Sequence[str] | None = None,
    ) -> Tensor:
        """Log-mels of cells, each from states and by a decoder of its own.

        Every cell starts from the same noise, drawn with (seed, frames); its result does not
        depend on the others.

        Args:
            states: float32 (C, T, D), of any layers of this encoder with one frame rate.
            decoders: (C,), places in `layers`.
            frames: Of the mel.
            seed: Of the noise.
            steps: Of the solver; ``regression`` has none.
            sources: (C,), the layers that the states are of; needed where there are tokens.

        Returns:
            float32 (C, frames, 80), at least `mel.QUIET`.

        Raises:
            ModelError: States of another width, no such decoder or layer, or tokens without
                `sources`.
        """
        chosen = [int(place) for place in decoders]
        self._check(states, chosen)
        states = self._quantised(states.float(), sources)
        padded = frames + -frames % self.size.patch
        states = self.align(states, padded, seconds=frames / FRAME_RATE_HZ)
        generator = torch.Generator().manual_seed(stable_seed("decode", seed, frames))
        noise = torch.randn(padded, N_MELS, generator=generator).to(states.device)
        cells: dict[int, list[int]] = defaultdict(list)
        for cell, place in enumerate(chosen):
            cells[place].append(cell)
        alike: dict[int, list[int]] = defaultdict(list)
        for place, own in cells.items():
            alike[len(own)].append(place)
        mel = states.new_empty(len(states), padded, N_MELS)
        with float32_products():
            for places in alike.values():  # decoders with as many cells: one stack
                rows = torch.tensor([cells[place] for place in places], device=states.device)
                mel[rows] = self._decode(places, states[rows], noise, steps)
        return (mel[:, :frames] * self.mel_std + self.mel_mean).clamp(min=QUIET)

    def losses(self, states: Tensor, mel: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """Mean loss of each decoder, float32 (N,), with the same noise and times for all.

        ``flow``: squared error of the normalised mel at the path's end. ``regression``: absolute
        error of the normalised mel; noise and time have no meaning.

        Args:
            states: float32 (N, B, T, D), of each decoder's own layer, from `align`.
            mel: float32 (B, T, 80), from `normalise`; T divides by the patch.
            noise: float32 (B, T, 80).
            time: float32 (B,), 0 (noise) to 1 (mel).
        """
        states = self._standardised(states, slice(None))
        if self.preset == "regression":
            return (self.network(states).float() - mel).abs().mean(dim=(1, 2, 3))
        noisy = noise + time[:, None, None] * (mel - noise)
        found = self.network(noisy.expand(len(states), -1, -1, -1), time, states).float()
        return (found - mel).square().mean(dim=(1, 2, 3))

    def normalise(self, mel: Tensor) -> Tensor:
        """Log-mel (..., 80) as the networks see it: raised, then zero mean, unit variance."""
        return (mel.clamp(min=QUIET) - self.mel_mean) / self.mel_std

    def quantised(self, states: Tensor, layer: str) -> Tensor:
        """States (..., T, D) of a layer as its decoder reads them: centroids, if there are tokens.

        Raises:
            ModelError: Tokens, and no such layer in the encoder.
        """
        if not self.tokens:
            return states
        known = self.encoder["layers"]
        if layer not in known:
            raise ModelError(
                f"{self.encoder['name']} has no layer {layer!r}: it has {', '.join(known)}."
            )
        return nearest(states, self.centroids[known.index(layer)])

    def align(self, states: Tensor, frames: int, seconds: float | None = None) -> Tensor:
        """States at the centres of mel frames: linear between the two neighbours in time.

        Mel frame k is centred on sample 256 k; before the first centre of a state and after the
        last one, that state stands.

        Args:
            states: (..., T, D), of one of the encoder's frame rates: the one that fits T best.
            frames: Of the mel.
            seconds: Duration of the utterance; by default that of `frames`.

        Returns:
            (..., frames, D).
        """
        known, count = self.encoder["frame_rates_hz"], states.shape[-2]
        duration = frames / FRAME_RATE_HZ if seconds is None else seconds
        rate = min((r for r in known if r), key=lambda r: abs(count - duration * r))
        times = torch.arange(frames, device=states.device) / FRAME_RATE_HZ
        places = ((times - self.encoder["first_frame_s"]) * rate).clamp(0, count - 1)
        before = places.floor().long()
        after = (before + 1).clamp(max=count - 1)
        return torch.lerp(
            states[..., before, :],
            states[..., after, :],
            (places - before)[:, None].to(states.dtype),
        )

    def save(self, folder: Path) -> None:
        """Write config.json and the weights in float16 (what normalises stays in float32).

        Raises:
            ModelError: Weights that are not finite in float16.
            StorageError: The folder cannot be written.
        """
        stored = {
            name: (tensor if name.startswith(_SCALES) else tensor.half()).cpu().contiguous()
            for name, tensor in self.state_dict().items()
        }
        broken = sorted(name for name, tensor in stored.items() if not tensor.isfinite().all())
        if broken:
            raise ModelError(
                f"{len(broken)} tensors of these decoders ({broken[0]}) are not finite in float16: "
                "training diverged; go back to an earlier checkpoint."
            )
        with whole_file(folder / SAFETENSORS) as temporary:
            save_file(stored, temporary, metadata={"format": "pt"})
        write_json(
            folder / "config.json",
            {
                "model_type": MODEL_TYPE,
                "encoder": self.encoder,
                "layers": list(self.layers),
                "width": self.dims[0],
                "preset": self.preset,
                "size": asdict(self.size),
                "tokens": self.tokens,
                "mel": CONVENTION,
                "level_dbfs": LEVEL_DBFS,
            },
        )

    def _decode(self, places: list[int], states: Tensor, noise: Tensor, steps: int) -> Tensor:
        """Normalised mels, (n, m, T, 80), of aligned states (n, m, T, D), by n decoders."""
        weights = {name: tensor[places] for name, tensor in self.network.state_dict().items()}
        states = self._standardised(states, places)
        if self.preset == "regression":
            return functional_call(self.network, weights, (states,)).float()

        def velocity(x: Tensor, time: float) -> Tensor:
            times = x.new_full((x.shape[1],), time)
            end = functional_call(self.network, weights, (x, times, states)).float()
            return (end - x) / max(1 - time, _LEAST_LEFT)

        return solve(velocity, noise.expand(*states.shape[:2], -1, -1), steps)

    def _standardised(self, states: Tensor, places: list[int] | slice) -> Tensor:
        mean, std = self.state_mean[places], self.state_std[places]
        return (states - mean[:, None, None]) / std[:, None, None, None]

    def _quantised(self, states: Tensor, sources: Sequence[str] | None) -> Tensor:
        if not self.tokens:
            return states
        if sources is None or len(sources) != len(states):
            raise ModelError(
                "These decoders read tokens, which are of one layer: name the layer that the "
                "states of each cell come from (`sources`)."
            )
        rows = [self.quantised(x, layer) for x, layer in zip(states, sources, strict=True)]
        return torch.stack(rows)

    def _check(self, states: Tensor, chosen: list[int]) -> None:
        if states.dim() != 3 or states.shape[-1] != self.dims[0] or len(states) != len(chosen):
            raise ModelError(
                f"These decoders were trained on {self.encoder['name']}, whose layers have "
                f"{self.dims[0]} channels: {len(chosen)} cells cannot be decoded from states of "
                f"shape {tuple(states.shape)}. Take states of that encoder, (cells, frames, "
                f"{self.dims[0]})."
            )
        outside = [place for place in chosen if not 0 <= place < len(self.layers)]
        if outside:
            raise ModelError(
                f"There is no decoder {outside[0]}: this bank has {len(self.layers)}, for the "
                f"layers {', '.join(self.layers)}."
            )


def solve(velocity: Callable[[Tensor, float], Tensor], start: Tensor, steps: int) -> Tensor:
    """Follow dx/dt = velocity(x, t) from t = 0 to 1: midpoint rule, Euler in the last step.

    With a velocity that heads for an estimate of the end, (x_1 - x) / (1 - t), Euler's last step
    arrives at that estimate; the midpoint rule would go beyond it, by the difference of the last
    two. The error falls with the square of the number of equal `steps`.
    """
    x, step = start, 1.0 / steps
    for k in range(steps):
        here = velocity(x, k * step)
        if k < steps - 1:
            here = velocity(x + 0.5 * step * here, (k + 0.5) * step)
        x = x + step * here
    return x


def nearest(frames: Tensor, centroids: Tensor) -> Tensor:
    """The nearest centroid (of (k, D)) of each frame, (..., D)."""
    distances = centroids.square().sum(-1) - 2 * frames @ centroids.T
    return centroids[distances.argmin(-1)]


def load_decoders(
    source: str, *, device: str = "cpu", precomputed: Path | None = None
) -> DecoderBank:
    """Load the decoders that `DecoderBank.save` wrote, float32, without gradients.

    Args:
        source: Folder or ``shipped:NAME``.
        device: Where they run.
        precomputed: Folder of what ships; by default the one of this installation.

    Raises:
        ModelError: Not found, no decoders, trained with another mel, or weights that do not belong
            to their ``config.json``.
    """
    checkpoint = find_checkpoint(source, precomputed=precomputed or settings().precomputed)
    config, folder = checkpoint.config, checkpoint.folder
    if checkpoint.model_type != MODEL_TYPE:
        raise ModelError(
            f"{folder} holds a model of type {checkpoint.model_type!r}, not {MODEL_TYPE!r}: name "
            "the folder that `insidessl-dash gcm train` wrote."
        )
    trained, here = (config.get("mel"), config.get("level_dbfs")), (CONVENTION, LEVEL_DBFS)
    if trained != here:
        raise ModelError(
            f"The decoders in {folder} were trained with another mel or level {trained} than this "
            f"version makes {here}: train them again."
        )
    try:
        bank = _bank(config)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"config.json in {folder} does not describe decoders ({error}): copy the whole folder "
            "again."
        ) from error
    files = weight_files(folder)
    load_plain(bank, read_tensors(files), folder)
    bank.weights_sha256 = files_digest(files)
    return bank.to(device)


def _bank(config: dict[str, Any]) -> DecoderBank:
    """An empty bank as config.json says; any error of Python's own if it says something else."""
    size, encoder, tokens = config["size"], config["encoder"], config["tokens"]
    numbers = [*size.values(), config["width"], *([] if tokens is None else [tokens])]
    if not all(type(value) is int and 1 <= value <= 65_000 for value in numbers):
        raise ValueError("sizes that are not positive integers")
    if config["preset"] not in get_args(Preset):
        raise ValueError(f"preset {config['preset']!r}")
    if not encoder.keys() >= _ENCODER_SAYS or not config["layers"]:
        raise ValueError("nothing of the encoder that they were trained on")
    return DecoderBank(
        cast("list[str]", config["layers"]),
        config["width"],
        DecoderSize(**size),
        config["preset"],
        encoder,
        tokens,
    )
