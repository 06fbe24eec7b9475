"""Let torchaudio import beside a CPU-only torch.

The registry's torchaudio wheel links a CUDA library, so with a CPU-only torch its native part
fails to load, `import torchaudio` fails, and transformers (which imports torchaudio whenever it
is installed) fails with it. torchaudio itself supports running without the native part; it only
lacks a way to say so. This module says so: where torch has no CUDA build, it registers a
stand-in for `torchaudio._extension` that reports "no native extension".

Import this module before torchaudio or transformers. What works then: resample, MFCC, filter
banks, lfilter, pitch shift, speed, add_noise. What does not: `forced_align`, CTC decoders.
With a CUDA build of torch nothing is changed.
"""

import sys
from types import ModuleType
from typing import Any

import torch

_NAME = "torchaudio._extension"


def _needs_native(*_args: Any, **_kwargs: Any) -> Any:
    raise RuntimeError("This torchaudio function needs its native part; install a CUDA torch.")


def _register_stand_in() -> None:
    if torch.version.cuda is not None or _NAME in sys.modules or "torchaudio" in sys.modules:
        return
    extension = ModuleType(_NAME)
    extension.__dict__.update(
        _IS_TORCHAUDIO_EXT_AVAILABLE=False,
        _IS_ALIGN_AVAILABLE=False,
        _check_cuda_version=lambda: None,
        _load_lib=lambda _name: False,
        fail_if_no_align=lambda _function: _needs_native,
    )
    sys.modules[_NAME] = extension


_register_stand_in()
