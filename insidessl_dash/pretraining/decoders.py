"""Decoders of a frozen encoder's layers, all in one run, on one forward pass a batch.

So that decoders differ by their layer alone, they start from the same numbers, but for a
regression on their own layer, and get the same crops, noise, times and number of updates, and
gradients are not clipped: a norm over all of them would let one decoder shorten the steps of the
others. What a decoder becomes does not depend on which others are trained beside it.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from insidessl_dash.analyses.clusters import fit_clusters
from insidessl_dash.analyses.probing import frame_centre_s
from insidessl_dash.core.errors import TrainingError
from insidessl_dash.core.files import whole_file
from insidessl_dash.core.progress import ProgressHook
from insidessl_dash.core.types import LEVEL_DBFS, SAMPLE_RATE, stable_hash, stable_seed
from insidessl_dash.encoders.base import Encoder
from insidessl_dash.encoders.loading import load_encoder
from insidessl_dash.generation.decoder_networks import SIZES, FlowNetwork, Preset
from insidessl_dash.generation.decoders import STEPS, DecoderBank
from insidessl_dash.generation.mel import CONVENTION, QUIET, frames_of, levelled, log_mel
from insidessl_dash.pretraining.data import SpeechData
from insidessl_dash.pretraining.recipe import Batch, Recipe, RunSettings

_STATISTICS_SECONDS = 600.0
_HELD_OUT_UTTERANCES = 12
_HELD_OUT_SECONDS = 4.0
_HELD_OUT_TIMES = 4
_RIDGE = 0.1


class DecoderSettings(RunSettings):
    """Whose layers, and what decodes them.

    Attributes:
        model: Name of the encoder in the registry.
        layers: Those that get a decoder; None for all with frames.
        preset: ``flow``, or ``regression`` for first looks.
        size: Of a decoder, see `SIZES`.
        tokens: k-means clusters of a layer instead of its continuous states.
        steps: Of the solver, in held-out decoding.
    """

    model: str
    layers: tuple[str, ...] | None = Field(None, min_length=1)
    preset: Preset = "flow"
    size: Literal["nano", "base"] = "nano"
    tokens: int | None = Field(None, ge=2, le=65_000)
    steps: int = Field(STEPS, ge=1)
    updates: int = Field(5000, ge=1)
    batch_seconds: float = Field(10.0, ge=1.0)
    max_crop_s: float = Field(5.0, ge=0.5)
    learning_rate: float = Field(1e-3, gt=0)
    betas: tuple[float, float] = (0.9, 0.99)
    warmup: int = Field(200, ge=1)
    clip_norm: float = Field(1e9, gt=0)


class DecoderRecipe(Recipe):
    """The objective of ``decoders``.

    Raises:
        UnknownModelError, ModelError: The encoder cannot be loaded.
        TrainingError: It has no such layer, or layers of several widths.
    """

    name = "decoders"
    objective = "log-mel from the states of a frozen encoder's layer, one decoder a layer"
    not_for: ClassVar[str] = (
        "Not for high-quality synthesis: small decoders of a few hours of speech, made so that "
        "what a layer holds can be heard and compared."
    )
    Settings = DecoderSettings

    metric: ClassVar[str] = "mel_l1"
    metric_title: ClassVar[str] = "log10-mel distance, each decoder on its own layer"
    chance: ClassVar[str] = "mean_mel_l1"
    chance_is: ClassVar[str] = "always answering the mean mel of the training speakers"
    higher_is_better: ClassVar[bool] = False

    def __init__(
        self, data: SpeechData, settings: Any, cache: Path, progress: ProgressHook
    ) -> None:
        super().__init__(data, settings, cache, progress)
        self.encoder = load_encoder(settings.model)
        self.places = decoded_layers(self.encoder, settings.layers)
        self.layers = tuple(self.encoder.layers[place] for place in self.places)
        self.statistics = self._statistics(cache, progress)
        chosen = np.random.default_rng(self.seed).permutation(np.flatnonzero(data.held_out))
        self.measured = sorted(chosen[:_HELD_OUT_UTTERANCES].tolist())

    def build(self) -> DecoderBank:
        """See `Recipe.build`; the encoder is no part of it.

        The straight way of a flow decoder starts from a ridge regression of the mel on its layer's
        states over the sample: small directions of a layer would else take gradients very long.
        """
        bank = self._empty()
        known = {name: torch.from_numpy(values) for name, values in self.statistics.items()}
        bank.mel_mean.copy_(known["mel_mean"])
        bank.mel_std.copy_(known["mel_std"])
        bank.state_mean.copy_(known["state_mean"][self.places])
        bank.state_std.copy_(known["state_std"][self.places])
        if self.settings.tokens:
            bank.centroids.copy_(known["centroids"])
        if isinstance(bank.network, FlowNetwork):
            straight = bank.network.straight
            with torch.no_grad():
                straight.weight.copy_(known["straight"][:, :-1])
                straight.bias.copy_(known["straight"][:, -1:])
        return bank

    def _empty(self) -> DecoderBank:
        torch.manual_seed(self.seed)
        encoder, settings = self.encoder, self.settings
        return DecoderBank(
            self.layers,
            encoder.dims[self.places[0]],
            SIZES[settings.size],
            settings.preset,
            {
                "name": encoder.card.name,
                "weights_sha256": encoder.weights_sha256,
                "layer_policy": encoder.layer_policy,
                "layers": list(encoder.layers),
                "frame_rates_hz": list(encoder.frame_rates_hz),
                "first_frame_s": frame_centre_s(encoder),
            },
            settings.tokens,
        )

    def loss(
        self, model: DecoderBank, batch: Batch, update: int, device: str
    ) -> tuple[Tensor, dict[str, float]]:
        """The mean of all decoders' losses; each one's gradients reach its own weights only.

        See `spread_times` for the times of a batch.
        """
        waves = levelled(torch.from_numpy(batch[0]).to(device))
        frames = frames_of(waves.shape[1])
        frames -= frames % model.size.patch
        mel = model.normalise(log_mel(waves)[:, :frames])
        noise = torch.randn(mel.shape).to(device)
        time = spread_times(len(waves), torch.rand(())).to(device)
        states = torch.stack([model.align(x, frames) for x in self._states(model, waves)])
        return model.losses(states, mel, noise, time).mean(), {}

    def evaluate(
        self, model: DecoderBank, device: str, max_crop_s: float, limit: int | None
    ) -> dict[str, float]:
        """Held-out loss, and mel distance of decoding a decoder's own layer, of each and mean.

        Always of the same utterances, at most 12, the first 4 s of each, with the same noise.

        Args:
            model: From `build`.
            device: Where it is.
            max_crop_s: Not used: decoders are to hold for longer utterances, too.
            limit: Not used.
        """
        model.eval()
        with torch.no_grad():
            rows = [self._measure(model, index, device) for index in self.measured]
        model.train()
        means = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
        own = {
            name: float(np.mean([means[f"{name}_{layer}"] for layer in self.layers]))
            for name in ("mel_l1", "loss")
        }
        return {**own, **means, "utterances": len(rows)}

    def export(self, model: DecoderBank, folder: Path) -> None:
        """Write what `load_decoders` reads."""
        model.save(folder)

    def _measure(self, model: DecoderBank, index: int, device: str) -> dict[str, float]:
        """Of one held-out utterance."""
        longest = min(int(_HELD_OUT_SECONDS * SAMPLE_RATE), int(self.data.lengths()[index]))
        waves = levelled(torch.from_numpy(self.data.waveform(index, 0, longest))[None].to(device))
        mel = log_mel(waves).clamp(min=QUIET)
        frames = mel.shape[1]
        even = frames - frames % model.size.patch
        states = self._states(model, waves)
        seed = stable_seed("held-out", self.seed, self.data.ids[index])
        noise = torch.randn(even, mel.shape[-1], generator=torch.Generator().manual_seed(seed))
        times = spread_times(_HELD_OUT_TIMES, torch.tensor(0.5)).to(device)
        repeated = (len(times), -1, -1)
        losses = model.losses(
            torch.stack([model.align(x, even).expand(repeated) for x in states]),
            model.normalise(mel[:, :even]).expand(repeated),
            noise.to(device).expand(repeated),
            times,
        )
        found = {"mean_mel_l1": float((mel - model.mel_mean).abs().mean())}
        together: dict[int, list[int]] = defaultdict(list)
        for place, x in enumerate(states):
            together[x.shape[1]].append(place)
        for places in together.values():
            made = model.decode(
                torch.cat([states[place] for place in places]),
                places,
                frames,
                seed=self.seed,
                steps=self.settings.steps,
                sources=[self.layers[place] for place in places],
            )
            for place, distance in zip(places, (made - mel).abs().mean(dim=(1, 2)), strict=True):
                found[f"mel_l1_{self.layers[place]}"] = float(distance)
        for layer, loss in zip(self.layers, losses, strict=True):
            found[f"loss_{layer}"] = float(loss)
        return found

    def _states(self, model: DecoderBank, waves: Tensor) -> list[Tensor]:
        """(B, T, D) of each decoder's layer, as it reads them."""
        with torch.no_grad(), torch.autocast(waves.device.type, enabled=False):
            layers = self.encoder(waves)  # in full precision, as in decoding
            return [
                model.quantised(layers[place], name)
                for place, name in zip(self.places, self.layers, strict=True)
            ]

    def _statistics(self, cache: Path, progress: ProgressHook) -> dict[str, NDArray[np.float32]]:
        """What normalises mel and states, and the centroids, from ten minutes of training speech.

        Returns:
            ``mel_mean``, ``mel_std`` (80,); of every layer of the encoder with the width of the
            decoded ones (of others zeros and ones) ``state_mean`` (L, D), ``state_std`` (L,) and,
            where there are tokens, ``centroids`` (L, k, D). For a flow ``straight``, float32
            (N, patch D + 1, patch 80) of the N decoders, see `_straight`.
        """
        encoder, data, clusters = self.encoder, self.data, self.settings.tokens
        what = [encoder.weights_sha256, encoder.layer_policy, encoder.card.name, data.digest]
        shape = [self.settings.preset, SIZES[self.settings.size].patch]
        key = stable_hash([*what, self.seed, clusters, self.layers, CONVENTION, LEVEL_DBFS, *shape])
        path = cache / f"decoders-{key[:16]}.npz"
        if not path.exists():
            mels, frames = self._sample(progress)
            mel = np.concatenate(mels)
            width, count = encoder.dims[self.places[0]], len(encoder.layers)
            found = {
                "mel_mean": mel.mean(0),
                "mel_std": mel.std(0).clip(min=1e-3),
                "state_mean": np.zeros((count, width), np.float32),
                "state_std": np.ones(count, np.float32),
            }
            if clusters:
                found["centroids"] = np.zeros((count, clusters, width), np.float32)
            for place, parts in frames.items():
                rows = np.concatenate(parts)
                mean = rows.mean(0)
                found["state_mean"][place] = mean
                found["state_std"][place] = max(float((rows - mean).std()), 1e-6)
                if clusters:
                    progress("k-means", place, count)
                    if len(rows) < clusters:
                        raise TrainingError(
                            f"{len(rows)} frames to train on are too few for {clusters} tokens: "
                            "give more speech, or fewer tokens."
                        )
                    kmeans = fit_clusters(rows, clusters, self.seed)
                    found["centroids"][place] = kmeans.cluster_centers_
            if self.settings.preset == "flow":
                found["straight"] = self._straight(mels, frames, found)
            with whole_file(path) as temporary, temporary.open("wb") as file:
                np.savez_compressed(
                    file, **{name: values.astype(np.float32) for name, values in found.items()}
                )
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}

    def _straight(
        self,
        mels: list[NDArray[np.float32]],
        frames: dict[int, list[NDArray[np.float32]]],
        found: dict[str, NDArray[np.float32]],
    ) -> NDArray[np.float32]:
        """Ridge regression of a token's mel on the states beside it, for each decoder.

        W = (X'X + 0.1 n I)^-1 X'Y over n tokens, with X as decoders read it and a last column of
        ones, Y normalised. The states have a mean variance of 1, so directions with less than a
        tenth of that count little: what a decoder says of another layer stays within reason.

        Returns:
            float32 (N, patch D + 1, patch 80), the last row the bias.
        """
        bank, patch = self._empty(), SIZES[self.settings.size].patch
        mean, std = (torch.from_numpy(found[name]) for name in ("mel_mean", "mel_std"))
        weights = []
        for place, name in zip(self.places, self.layers, strict=True):
            if self.settings.tokens:
                bank.centroids.copy_(torch.from_numpy(found["centroids"]))
            gram = cross = torch.zeros(())
            tokens = 0
            for mel, states in zip(mels, frames[place], strict=True):
                even = len(mel) - len(mel) % patch
                read = bank.align(bank.quantised(torch.from_numpy(states), name), even)
                read = (read - torch.from_numpy(found["state_mean"][place])) / float(
                    found["state_std"][place]
                )
                x = read.reshape(even // patch, -1).double()
                x = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], dim=1)
                y = ((torch.from_numpy(mel[:even]) - mean) / std).reshape(len(x), -1).double()
                gram, cross, tokens = gram + x.T @ x, cross + x.T @ y, tokens + len(x)
            ridge = _RIDGE * tokens * torch.eye(len(gram), dtype=gram.dtype)
            weights.append(torch.linalg.solve(gram + ridge, cross).float())
        return torch.stack(weights).numpy()

    def _sample(
        self, progress: ProgressHook
    ) -> tuple[list[NDArray[np.float32]], dict[int, list[NDArray[np.float32]]]]:
        """Raised mels, and frames of every layer as wide as the decoded ones."""
        encoder, width = self.encoder, self.encoder.dims[self.places[0]]
        wanted = [
            place
            for place, (dim, rate) in enumerate(
                zip(encoder.dims, encoder.frame_rates_hz, strict=True)
            )
            if rate and dim == width
        ]
        mels: list[NDArray[np.float32]] = []
        frames: dict[int, list[NDArray[np.float32]]] = {place: [] for place in wanted}
        chosen = np.flatnonzero(~self.data.held_out)
        seconds, most = 0.0, _STATISTICS_SECONDS
        for index in np.random.default_rng(self.seed).permutation(chosen).tolist():
            if seconds >= most:
                break
            progress("mean and deviation of layers", int(seconds), int(most))
            waves = levelled(torch.from_numpy(self.data.waveform(index))[None, : 10 * SAMPLE_RATE])
            mels.append(log_mel(waves)[0].clamp(min=QUIET).numpy())
            with torch.no_grad():
                layers = encoder(waves.to(encoder.device))
            for place in wanted:
                frames[place].append(layers[place][0].float().cpu().numpy())
            seconds += waves.shape[1] / SAMPLE_RATE
        return mels, frames


def spread_times(count: int, first: Tensor) -> Tensor:
    """Times of a batch, float32 (count,): uniform from 0 to 1, one in each part of equal length.

    So the loss varies less from batch to batch than with independent times.

    Args:
        count: How many.
        first: Place within each part, a scalar from 0 to 1.

    Example:
        >>> spread_times(4, torch.tensor(0.5))
        tensor([0.1250, 0.3750, 0.6250, 0.8750])
    """
    return (torch.arange(count) + first) / count


def decoded_layers(encoder: Encoder, wanted: tuple[str, ...] | None) -> list[int]:
    """Places of the layers that get a decoder, shallow to deep.

    Args:
        encoder: Whose.
        wanted: Their names; None for all that have frames.

    Raises:
        TrainingError: No such layer, one without frames, or layers of several widths.
    """
    name, framed = encoder.card.name, [rate > 0 for rate in encoder.frame_rates_hz]
    have = [layer for layer, frames in zip(encoder.layers, framed, strict=True) if frames]
    wrong = [layer for layer in wanted or () if layer not in have]
    if wrong or not have:
        raise TrainingError(
            f"{name} has no layer {wrong[0] if wrong else ''!r} of frames to decode: it has "
            f"{', '.join(have) or 'none'}."
        )
    places = [k for k, layer in enumerate(encoder.layers) if layer in (wanted or have)]
    widths = {encoder.dims[place] for place in places}
    if len(widths) > 1:
        said = ", ".join(f"{encoder.layers[place]} ({encoder.dims[place]})" for place in places)
        raise TrainingError(
            f"Decoders of one run read layers of one width, and those of {name} have several: "
            f"{said}. Name layers of one width with --layer, and train the others in a run of "
            "their own."
        )
    return places
