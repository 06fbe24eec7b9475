"""Which library multiplies float32 matrices on a CPU.

PyTorch leaves it to MKL, which is slow on processors of other makers than its own; oneDNN, which
comes with it too, can take over, but PyTorch offers that only under the name of bfloat16, and on a
processor that has bfloat16 the products are then rounded to it. So it is tried: where the products
are those of float32, oneDNN makes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import torch

_EXACT = 1e-5  # of the largest entry: another order of summation gives 1e-6, bfloat16 4e-3


@contextmanager
def float32_products() -> Iterator[None]:
    """Products of float32 matrices by oneDNN where that changes nothing but the time they take."""
    if not _onednn_is_exact():
        yield
        return
    with _by_onednn():
        yield


@contextmanager
def _by_onednn() -> Iterator[None]:
    products = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = products.fp32_precision
    products.fp32_precision = "bf16"
    try:
        yield
    finally:
        products.fp32_precision = before


@lru_cache(maxsize=1)
def _onednn_is_exact() -> bool:
    if not torch.backends.mkldnn.is_available():
        return False
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(500, 192, generator=generator)
    right = torch.randn(192, 384, generator=generator)
    plain = left @ right
    with _by_onednn():
        other = left @ right
    return bool((other - plain).abs().max() <= _EXACT * plain.abs().max())
