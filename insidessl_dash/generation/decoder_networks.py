"""Networks of a stack of decoders: every parameter has a leading axis, one entry a decoder.

One matrix product then serves all decoders, and any of them are taken out by indexing that axis.
All decoders of a stack start from the same numbers; training may give `straight` others.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from insidessl_dash.generation.mel import N_MELS

Preset = Literal["flow", "regression"]

_KERNEL = 7
_TIME_FEATURES = 64
_TIME_SCALE = 1000.0
_ROTARY_BASE = 10_000.0


@dataclass(frozen=True)
class DecoderSize:
    """Size of one decoder.

    Attributes:
        width: Channels.
        blocks: Number of blocks.
        heads: Of attention; the width of one is even.
        hidden: Channels inside a feed-forward layer.
        patch: Mel frames in a token.
    """

    width: int
    blocks: int
    heads: int
    hidden: int
    patch: int


SIZES: dict[str, DecoderSize] = {
    "nano": DecoderSize(width=128, blocks=4, heads=2, hidden=352, patch=2),
    "base": DecoderSize(width=512, blocks=6, heads=8, hidden=2048, patch=1),
}
"""``base`` is the size that InsideSSL reports, 6 x 512. ``nano`` is 4 x 128 with tokens of two mel
frames (32 ms): 13 decoders of a 12 x 192 encoder have 12.2 M parameters, 24.4 MB in float16."""


class StackedLinear(nn.Module):
    """One linear layer a decoder.

    Args:
        stack: How many decoders.
        inputs, outputs: Widths.
        std: Of the truncated normal that the weights are drawn from; 0 starts with zeros.
    """

    def __init__(self, stack: int, inputs: int, outputs: int, std: float = 0.02) -> None:
        super().__init__()
        weight = torch.zeros(inputs, outputs)
        if std:
            nn.init.trunc_normal_(weight, std=std)
        self.weight = nn.Parameter(weight.repeat(stack, 1, 1))
        self.bias = nn.Parameter(torch.zeros(stack, 1, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(N, ..., inputs) to (N, ..., outputs)."""
        flat = torch.baddbmm(self.bias, x.flatten(1, -2), self.weight)
        return flat.unflatten(1, x.shape[1:-1])


class FlowNetwork(nn.Module):
    """Diffusion Transformers (DiT; Peebles & Xie, 2212.09748) over the frames of an utterance.

    Blocks of self-attention and feed-forward with adaLN-zero: shift, scale and gate come from the
    time, and gates start at zero. As in PixArt-alpha (2310.00426), one layer makes them for all
    blocks, and each block adds a table of its own. Positions are rotary (2104.09864), so any
    length can be decoded. States of the encoder stand beside the noisy mel, frame by frame, and a
    linear layer of their own leads from them straight to the mel: what a layer says of it linearly
    is there early, and the blocks learn the rest. Without that way, a small network learns for
    long to clean the noisy mel before it listens to the states.

    Args:
        stack: How many decoders.
        states: Width of the encoder's layers.
        size: Of each decoder.
    """

    def __init__(self, stack: int, states: int, size: DecoderSize) -> None:
        super().__init__()
        self.size, width = size, size.width
        self.embed = StackedLinear(stack, size.patch * (N_MELS + states), width)
        self.time_in = StackedLinear(stack, _TIME_FEATURES, width)
        self.time_out = StackedLinear(stack, width, width)
        self.modulate = StackedLinear(stack, width, 6 * width, std=0.0)
        self.last_modulate = StackedLinear(stack, width, 2 * width, std=0.0)
        self.blocks = nn.ModuleList(_FlowBlock(stack, size) for _ in range(size.blocks))
        self.head = StackedLinear(stack, width, size.patch * N_MELS, std=0.0)
        self.straight = StackedLinear(stack, size.patch * states, size.patch * N_MELS, std=0.0)

    def forward(self, noisy: Tensor, time: Tensor, states: Tensor) -> Tensor:
        """The mels that N decoders expect.

        Args:
            noisy: float (N, B, T, 80), normalised mel on its way from noise; T divides by the
                patch.
            time: float (B,), 0 (noise) to 1 (mel).
            states: float (N, B, T, D), at the frames of the mel.

        Returns:
            float (N, B, T, 80).
        """
        said = _patches(states, self.size.patch)
        x = self.embed(torch.cat([_patches(noisy, self.size.patch), said], dim=-1))
        features = _time_features(time).expand(len(x), -1, -1)
        condition = functional.silu(self.time_in(features))
        condition = functional.silu(self.time_out(condition))
        shared = self.modulate(condition)[:, :, None]
        rotation = _rotation(x.shape[2], self.size.width // self.size.heads, x.device)
        for block in self.blocks:
            x = block(x, shared, rotation)
        shift, scale = self.last_modulate(condition)[:, :, None].chunk(2, dim=-1)
        found = self.head(_shifted(x, scale, shift)) + self.straight(said)
        return _frames(found, self.size.patch)


class RegressionNetwork(nn.Module):
    """Mel from states at once: ConvNeXt blocks (2201.03545), each hearing 3 tokens to either side.

    The mean of all mels that fit, thus blurred: for first looks.

    Args:
        stack: How many decoders.
        states: Width of the encoder's layers.
        size: Of each decoder; heads have no meaning here.
    """

    def __init__(self, stack: int, states: int, size: DecoderSize) -> None:
        super().__init__()
        self.size = size
        self.embed = StackedLinear(stack, size.patch * states, size.width)
        self.blocks = nn.ModuleList(_ConvBlock(stack, size) for _ in range(size.blocks))
        self.head = StackedLinear(stack, size.width, size.patch * N_MELS)

    def forward(self, states: Tensor) -> Tensor:
        """Normalised mels, float (N, B, T, 80), of states (N, B, T, D); T divides by the patch."""
        x = self.embed(_patches(states, self.size.patch))
        for block in self.blocks:
            x = block(x)
        return _frames(self.head(_norm(x)), self.size.patch)


class _FlowBlock(nn.Module):
    def __init__(self, stack: int, size: DecoderSize) -> None:
        super().__init__()
        self.heads = size.heads
        self.qkv = StackedLinear(stack, size.width, 3 * size.width)
        self.out = StackedLinear(stack, size.width, size.width)
        self.expand = StackedLinear(stack, size.width, size.hidden)
        self.contract = StackedLinear(stack, size.hidden, size.width)
        self.table = nn.Parameter(torch.zeros(stack, 1, 1, 6 * size.width))

    def forward(self, x: Tensor, shared: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        shift, scale, gate, shift2, scale2, gate2 = (shared + self.table).chunk(6, dim=-1)
        x = x + gate * self._attend(_shifted(x, scale, shift), rotation)
        inside = self.expand(_shifted(x, scale2, shift2))
        return x + gate2 * self.contract(functional.gelu(inside, approximate="tanh"))

    def _attend(self, x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        n, b, t, _ = x.shape
        q, k, v = self.qkv(x).view(n * b, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        # In steps: for so short sequences torch's fused kernel takes 2.5 times as long on a CPU.
        scores = _rotate(q, rotation) * q.shape[-1] ** -0.5 @ _rotate(k, rotation).transpose(-1, -2)
        mixed = scores.softmax(dim=-1).to(v.dtype) @ v
        return self.out(mixed.transpose(1, 2).reshape(n, b, t, -1))


class _ConvBlock(nn.Module):
    """Scaled so that all blocks add up to one at the start."""

    def __init__(self, stack: int, size: DecoderSize) -> None:
        super().__init__()
        weight = nn.init.trunc_normal_(torch.empty(size.width, 1, _KERNEL), std=0.2)
        self.depthwise = nn.Parameter(weight.repeat(stack, 1, 1, 1))
        self.expand = StackedLinear(stack, size.width, size.hidden)
        self.contract = StackedLinear(stack, size.hidden, size.width)
        self.scale = nn.Parameter(torch.full((stack, 1, 1, size.width), 1 / size.blocks))

    def forward(self, x: Tensor) -> Tensor:
        n, b, t, width = x.shape
        channels = x.permute(1, 0, 3, 2).reshape(b, n * width, t)
        heard = functional.conv1d(
            channels, self.depthwise.flatten(0, 1), padding=_KERNEL // 2, groups=n * width
        )
        heard = heard.view(b, n, width, t).permute(1, 0, 3, 2)
        inside = functional.gelu(self.expand(_norm(heard)), approximate="tanh")
        return x + self.scale * self.contract(inside)


def _norm(x: Tensor) -> Tensor:
    return functional.layer_norm(x, x.shape[-1:], eps=1e-6)


def _shifted(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return torch.addcmul(shift.to(x.dtype), _norm(x), 1 + scale.to(x.dtype))


def _patches(x: Tensor, patch: int) -> Tensor:
    """(N, B, T, F) to (N, B, T / patch, patch F)."""
    return x.unflatten(2, (-1, patch)).flatten(3)


def _frames(x: Tensor, patch: int) -> Tensor:
    """Back from `_patches`."""
    return x.unflatten(3, (patch, -1)).flatten(2, 3)


def _time_features(time: Tensor) -> Tensor:
    """Sines and cosines, float32 (B, 64), of times from 0 to 1."""
    half = _TIME_FEATURES // 2
    steps = torch.arange(half, device=time.device, dtype=torch.float32)
    angles = _TIME_SCALE * time.float()[:, None] * torch.exp(-log(_ROTARY_BASE) * steps / half)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def _rotation(tokens: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines, float32 (tokens, width / 2)."""
    steps = torch.arange(0, width, 2, device=device, dtype=torch.float32)
    places = torch.arange(tokens, device=device, dtype=torch.float32)
    angles = places[:, None] * torch.exp(-log(_ROTARY_BASE) * steps / width)
    return angles.cos(), angles.sin()


def _rotate(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Turn each pair (first half, second half) of (..., T, width) by the angle of its place."""
    cos, sin = (r.to(x.dtype) for r in rotation)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)
