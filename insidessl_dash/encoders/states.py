"""Reading the states between Transformer blocks in one forward pass."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from insidessl_dash.core.errors import ModelError

_LOCK = threading.Lock()  # hooks sit on the model, so one pass at a time


def block_states(
    blocks: Sequence[nn.Module], forward: Callable[[], Any], name: str
) -> list[Tensor]:
    """What enters the first block, then what leaves each block.

    Read with hooks of our own, not with ``output_hidden_states``: what that returns as the last
    state of pre-LN models has changed between releases of transformers. The states are the
    model's own tensors, not copies.

    Args:
        blocks: The Transformer blocks in order.
        forward: Runs the model once.
        name: Of the model, for the message.

    Returns:
        One tensor more than there are blocks.

    Raises:
        ModelError: Not every block ran exactly once (layer drop, for one).
    """
    states: list[Tensor] = []

    def entering(_block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        states.append(args[0] if args else kwargs["hidden_states"])

    def leaving(_block: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        states.append(output[0] if isinstance(output, tuple) else output)

    with _LOCK:
        handles = [blocks[0].register_forward_pre_hook(entering, with_kwargs=True)]
        handles += [block.register_forward_hook(leaving) for block in blocks]
        try:
            forward()
        finally:
            for handle in handles:
                handle.remove()
    if len(states) != len(blocks) + 1:
        raise ModelError(
            f"{name} gave {len(states)} states instead of {len(blocks) + 1}: its blocks do not all "
            "run; report this with the model's source."
        )
    return states
