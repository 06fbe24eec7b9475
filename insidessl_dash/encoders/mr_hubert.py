"""MR-HuBERT: HuBERT whose middle blocks run at a lower frame rate (Shi et al., 2310.02720).

A U-shape of stages. Each is a row of Transformer blocks; samplers lower the rate between the
stages down to the middle one, and raise it again after it. Blocks, convolutions and projections
are those of `transformers`' HuBERT, wired as in the released models (fairseq,
``models/multires_hubert``): see `MRHubertModel` for what is added where.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any, Literal

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn

from insidessl_dash.audio import torchaudio_cpu  # noqa: F401  must precede transformers
from insidessl_dash.core.cards import ModelCard
from insidessl_dash.core.types import SAMPLE_RATE
from insidessl_dash.encoders.inputs import check_waveforms, zero_mean_unit_variance

from transformers import HubertConfig, initialization  # isort: skip
from transformers.models.hubert.modeling_hubert import (  # isort: skip
    HubertEncoderLayer,
    HubertEncoderLayerStableLayerNorm,
    HubertFeatureEncoder,
    HubertFeatureProjection,
    HubertPositionalConvEmbedding,
    HubertPreTrainedModel,
)

SAMPLER_SCALE = math.sqrt(0.4)
"""What each of a sampler's three sums is multiplied with."""


@strict
class MRHubertConfig(HubertConfig):
    """The shape of an MR-HuBERT; what is not named here is as in `transformers.HubertConfig`.

    The defaults are MR-HuBERT Base. ``num_hidden_layers`` follows from `blocks`.

    Attributes:
        blocks: Transformer blocks of each stage in the order in which they run; an odd number of
            stages, the middle one has the lowest rate.
        rates_ms: Frame shift of each stage; the same backwards as forwards, starting from that of
            the convolutions (20 ms). Equal neighbours keep their sampler, with strides of 1.
        sampler_kernel: Odd; the released models have 1, the class in fairseq defaults to 7.
        residual: Whether an encoder stage's output is added to what the decoder stage of its rate
            puts out (``after``, as released) or takes in (``before``, as the study's appendix C
            draws it).
        low_resolution_loss: Whether the lower rates have a loss of their own in training.
    """

    model_type = "mr_hubert"

    blocks: list[int] | tuple[int, ...] = (4, 4, 4)
    rates_ms: list[int] | tuple[int, ...] = (20, 40, 20)
    sampler_kernel: int = 1
    residual: Literal["after", "before"] = "after"
    low_resolution_loss: bool = True

    def __post_init__(self, **kwargs: Any) -> None:
        self._check_stages()
        self.num_hidden_layers = sum(self.blocks)
        super().__post_init__(**kwargs)

    def _check_stages(self) -> None:
        blocks, rates = tuple(self.blocks), tuple(self.rates_ms)
        base_ms = Fraction(1000 * math.prod(self.conv_stride), SAMPLE_RATE)
        if not all(isinstance(n, int) and n > 0 for n in (*blocks, *rates, self.sampler_kernel)):
            raise ValueError("blocks, rates_ms and sampler_kernel are whole numbers above 0")
        if len(blocks) < 3 or len(blocks) % 2 == 0:
            raise ValueError(f"blocks {blocks}: an odd number of stages, at least 3")
        if len(rates) != len(blocks) or rates != rates[::-1]:
            raise ValueError(f"rates_ms {rates}: one a stage, the same backwards as forwards")
        going_down = rates[: len(rates) // 2 + 1]
        if rates[0] != base_ms or list(going_down) != sorted(going_down):
            raise ValueError(
                f"rates_ms {rates}: from {float(base_ms):g} ms (the convolutions') upwards to the "
                "middle"
            )
        if any(rate % rates[0] for rate in rates):
            raise ValueError(f"rates_ms {rates}: multiples of the first")
        if self.sampler_kernel % 2 == 0:
            raise ValueError(f"sampler_kernel {self.sampler_kernel}: an odd number")
        if self.residual not in ("after", "before"):
            raise ValueError(f"residual {self.residual!r}: after or before (the decoder)")

    @property
    def middle(self) -> int:
        """Index of the stage with the lowest rate."""
        return len(self.blocks) // 2

    @property
    def layers(self) -> list[tuple[str, int]]:
        """Name and frame shift (ms) of each state, in the order of s3prl.

        T0 enters block 1, Tk leaves block k; D0, D1 .. and U0, U1 .. leave the samplers that
        lower and raise the rate, counted in the order in which they run.
        """
        named, block = [("T0", self.rates_ms[0])], 0
        for stage, (count, rate) in enumerate(zip(self.blocks, self.rates_ms, strict=True)):
            if stage:
                down = stage <= self.middle
                named.append((f"D{stage - 1}" if down else f"U{stage - self.middle - 1}", rate))
            named += [(f"T{block + k}", rate) for k in range(1, count + 1)]
            block += count
        return named

    @property
    def low_steps(self) -> list[int]:
        """For each of `MRHubertOutput.low`, how many frames of the high rate one of it covers.

        Targets and mask of such an output are every so manieth of the high rate's: the first of
        each group, as in fairseq with a single set of targets.
        """
        if not self.low_resolution_loss:
            return []
        return [rate // self.rates_ms[0] for rate in self.rates_ms[1 : self.middle + 1]]


@dataclass(frozen=True)
class MRHubertOutput:
    """What a forward pass gives; T is the number of frames of the convolutions.

    Attributes:
        high: (B, T, D), what the last decoder puts out, for the loss at the high rate.
        low: What the loss at each lower rate reads, from the highest of them to the middle
            stage's: (B, ceil(T / step), D) with ``step`` from `MRHubertConfig.low_steps`. Empty
            without a low-resolution loss.
        states: One (B, ceil(T / step), D) for each of `MRHubertConfig.layers`, where asked for.
    """

    high: Tensor
    low: tuple[Tensor, ...]
    states: tuple[Tensor, ...] | None = None


class Sampler(nn.Module):
    """From one frame rate to another: a transposed convolution up, then a convolution down.

    With x the input, r_u(x) its frames repeated u times, s_d every d-th frame, c = sqrt(0.4):

        y = c (GELU(norm(up(x))) + r_u(x))
        z = c (GELU(norm(down(y))) + s_d(y))
        out = c (z + s_d(r_u(x)))

    each sum cut to the shorter of its parts; `norm` is one group over all channels.

    Args:
        channels: Width in and out.
        kernel: Of both convolutions.
        ratio: u / d: frames out for each frame in.
    """

    def __init__(self, channels: int, kernel: int, ratio: Fraction) -> None:
        super().__init__()
        self.repeat, self.step = ratio.numerator, ratio.denominator
        self.up = nn.ConvTranspose1d(
            channels,
            channels,
            kernel,
            stride=self.repeat,
            output_padding=self.repeat - 1,
            bias=False,
        )
        self.up_norm = nn.GroupNorm(1, channels)
        self.down = nn.Conv1d(
            channels, channels, kernel, stride=self.step, padding=kernel // 2, bias=False
        )
        self.down_norm = nn.GroupNorm(1, channels)
        self.activation = nn.GELU()

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, D) at one rate to (B, ceil(T u / d), D) at the other."""
        frames = hidden.transpose(1, 2)
        repeated = frames.repeat_interleave(self.repeat, dim=2)
        raised = _scaled_sum(self.activation(self.up_norm(self.up(frames))), repeated)
        lowered = self.activation(self.down_norm(self.down(raised)))
        lowered = _scaled_sum(lowered, raised[..., :: self.step])
        return _scaled_sum(lowered, repeated[..., :: self.step]).transpose(1, 2)


def _scaled_sum(one: Tensor, other: Tensor) -> Tensor:
    frames = min(one.shape[2], other.shape[2])
    return (one[..., :frames] + other[..., :frames]) * SAMPLER_SCALE


class Stage(nn.Module):
    """Transformer blocks of one rate.

    Every stage has a LayerNorm of its own: before its blocks (post-LN, Base), or after them
    (pre-LN, ``do_stable_layer_norm``, Large). The first stage alone has positions.
    """

    def __init__(self, config: MRHubertConfig, blocks: int, positions: bool) -> None:
        super().__init__()
        self.pre_norm = config.do_stable_layer_norm
        self.pos_conv_embed = HubertPositionalConvEmbedding(config) if positions else None
        self.layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout)
        block = HubertEncoderLayerStableLayerNorm if self.pre_norm else HubertEncoderLayer
        self.layers = nn.ModuleList([block(config) for _ in range(blocks)])

    def forward(self, hidden: Tensor) -> list[Tensor]:
        """What enters the first block, then what leaves each; the last is the stage's output."""
        if self.pos_conv_embed is not None:
            hidden = hidden + self.pos_conv_embed(hidden)
        states = [self.dropout(hidden if self.pre_norm else self.layer_norm(hidden))]
        for layer in self.layers:
            states.append(layer(states[-1]))
        if self.pre_norm:
            states[-1] = self.layer_norm(states[-1])
        return states


class MRHubertModel(HubertPreTrainedModel):
    """The network, for training and for reading its states.

    - The middle stage's output is added to its input (before the stage's LayerNorm): that sum is
      what the low-resolution loss reads, and what goes up.
    - The output of each encoder stage is added to the decoder stage of the same rate, after or
      before it (`MRHubertConfig.residual`); sums are cut to the shorter of the two.
    - States are read where s3prl hooks the model: those of blocks before these sums, so the last
      state of the middle and of each decoder stage lacks what is added to it. The states D and U
      are what the samplers put out: before the next stage's LayerNorm, and before the sum.
    """

    config: MRHubertConfig
    config_class = MRHubertConfig
    base_model_prefix = "mr_hubert"
    main_input_name = "waveforms"

    def __init__(self, config: MRHubertConfig) -> None:
        super().__init__(config)
        self.feature_extractor = HubertFeatureEncoder(config)
        self.feature_projection = HubertFeatureProjection(config)
        self.masked_spec_embed = nn.Parameter(torch.empty(config.hidden_size).uniform_())
        self.stages = nn.ModuleList(
            [Stage(config, count, positions=i == 0) for i, count in enumerate(config.blocks)]
        )
        rates = config.rates_ms
        self.samplers = nn.ModuleList(
            [
                Sampler(config.hidden_size, config.sampler_kernel, Fraction(before, after))
                for before, after in pairwise(rates)
            ]
        )
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self:
            initialization.uniform_(self.masked_spec_embed)

    def forward(
        self, waveforms: Tensor, mask: Tensor | None = None, *, states: bool = False
    ) -> MRHubertOutput:
        """One pass.

        Args:
            waveforms: float32 (B, n), 16 kHz, all rows true audio of the same length, normalised
                or not as the model was trained.
            mask: bool (B, T); True where a frame is replaced by the learned mask embedding.
            states: Keep what lies between the blocks.
        """
        features = self.feature_extractor(waveforms).transpose(1, 2)
        hidden = self.feature_projection(features)
        if mask is not None:
            embed = self.masked_spec_embed.to(hidden.dtype)
            hidden = torch.where(mask[..., None], embed, hidden)
        kept: list[Tensor] = []
        outputs: list[Tensor] = []
        skips: list[Tensor] = []
        for index, stage in enumerate(self.stages):
            if index:
                hidden = self.samplers[index - 1](hidden)
                if states:
                    kept.append(hidden)
            decodes = index > self.config.middle
            if decodes and self.config.residual == "before":
                hidden = _aligned_sum(hidden, skips.pop())
            inside = stage(hidden)
            if states:
                kept += inside[1:] if index else inside
            if index < self.config.middle:
                hidden = inside[-1]
                skips.append(hidden)
                continue
            if index == self.config.middle:
                hidden = hidden + inside[-1]
            elif self.config.residual == "after":
                hidden = _aligned_sum(inside[-1], skips.pop())
            else:
                hidden = inside[-1]
            outputs.append(hidden)
        frames, base = features.shape[1], self.config.rates_ms[0]
        low = zip(self.config.low_steps, outputs[-2::-1], strict=False)
        return MRHubertOutput(
            high=outputs[-1],
            low=tuple(_of_audio(output, frames, step) for step, output in low),
            states=tuple(
                _of_audio(state, frames, rate // base)
                for state, (_, rate) in zip(kept, self.config.layers, strict=True)
            )
            if states
            else None,
        )


def _aligned_sum(one: Tensor, other: Tensor) -> Tensor:
    frames = min(one.shape[1], other.shape[1])
    return one[:, :frames] + other[:, :frames]


def _of_audio(hidden: Tensor, frames: int, step: int) -> Tensor:
    """Without the frames that lie beyond the audio.

    Of an odd number of frames the last one of a low rate covers one and a half; raised again, it
    gives one frame more than there was.
    """
    return hidden[:, : -(-frames // step)]


class MRHubertEncoder:
    """An MR-HuBERT as an `Encoder`: layers T0.., D0.., U0.. (`MRHubertConfig.layers`).

    A layer has its true frame rate; states of the low rates are never repeated. With
    T = (n - 400) // 320 + 1 frames at 20 ms, a layer at 40 ms has ceil(T / 2).

    Args:
        model: `MRHubertModel`, loaded, on the CPU, in eval mode.
        card: What it is.
        normalize: Bring each waveform to zero mean and unit variance first.
        policy: What else belongs in the layer policy.
        weights_sha256, revision, device: As in `Encoder`.
    """

    def __init__(
        self,
        model: Any,
        card: ModelCard,
        *,
        normalize: bool,
        policy: dict[str, str | bool | int | float],
        weights_sha256: str,
        revision: str,
        device: str,
    ) -> None:
        config: MRHubertConfig = model.config
        self._model: Any = model.to(device).eval()
        self._normalize = normalize
        self._shortest = 1
        for kernel, stride in zip(config.conv_kernel[::-1], config.conv_stride[::-1], strict=True):
            self._shortest = (self._shortest - 1) * stride + kernel
        named = config.layers
        self.card = card
        self.layers = tuple(name for name, _ in named)
        self.dims = (config.hidden_size,) * len(named)
        self.frame_rates_hz = tuple(1000 / rate_ms for _, rate_ms in named)
        self.weights_sha256 = weights_sha256
        self.revision = revision
        self.device = device
        self.layer_policy: dict[str, str | bool | int | float] = {
            "final_norm": "on the last state of each stage"
            if config.do_stable_layer_norm
            else "none in this model",
            "normalize": normalize,
            "residual": f"added {config.residual} the decoder; states are read before any sum",
            "samplers": "their output, before the next stage's LayerNorm",
            "low_rate_states": "at their own rate, not repeated",
            **policy,
        }

    def __call__(self, waveforms: Tensor) -> list[Tensor]:
        """Encode a batch; see `Encoder`.

        Args:
            waveforms: float32 (B, n), 16 kHz, all rows true audio of the same length.

        Returns:
            One float32 (B, T_l, D) for each of `layers`.

        Raises:
            ModelError: Too short for one frame.
        """
        check_waveforms(waveforms, self._shortest, self.card.name)
        # Not inference_mode: probes and decoders train on what is returned here.
        with torch.no_grad():
            inputs = waveforms.to(self.device, torch.float32)
            if self._normalize:
                inputs = zero_mean_unit_variance(inputs)
            return list(self._model(inputs, states=True).states)
