"""Many small matrix problems on several cores.

A spectrum of a few hundred rows gains little from threads inside LAPACK; several spectra side by
side gain all of it. So the problems are spread over as many threads as torch uses here, and while
they run, each BLAS call keeps to one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

import torch
from threadpoolctl import ThreadpoolController

Item = TypeVar("Item")
Value = TypeVar("Value")


def each(function: Callable[[Item], Value], items: Iterable[Item]) -> list[Value]:
    """``[function(item) for item in items]``, on ``torch.get_num_threads()`` threads."""
    threads = torch.get_num_threads()
    with _blas().limit(limits=1, user_api="blas"):
        if threads == 1:
            return [function(item) for item in items]
        return list(_pool(threads, os.getpid()).map(function, items))


@lru_cache(maxsize=4)
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    # By process, because a fork inherits the pool but none of its threads.
    return ThreadPoolExecutor(threads, thread_name_prefix="analysis")


@lru_cache(maxsize=1)
def _blas() -> ThreadpoolController:
    return ThreadpoolController()  # walks through all loaded libraries: once is enough
