"""Random states that are the same after a block as before it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch

_MOST_OBJECTS, _MOST_ENTRIES = 10_000, 100
"""A search for generators ends after so many objects, and looks at so many entries of a list or dict."""


@contextmanager
def kept_random_states(*holders: Any) -> Iterator[None]:
    """Restore all random states at the end of the block.

    These are the global ones of Python, NumPy and torch (on the CPU and all accelerators in use), and those of all
    generators that ``holders`` refer to, such as those of a data set and its transforms.
    """
    restore: list[Callable[[], Any]] = [
        partial(random.setstate, random.getstate()),
        partial(np.random.set_state, np.random.get_state()),
        partial(torch.set_rng_state, torch.get_rng_state()),
    ]
    for accelerator in (torch.cuda, torch.xpu):
        if accelerator.is_initialized():
            restore.append(partial(accelerator.set_rng_state_all, accelerator.get_rng_state_all()))
    if torch.backends.mps.is_available():
        restore.append(partial(torch.mps.set_rng_state, torch.mps.get_rng_state()))
    restore += [_restoring(generator) for generator in _generators(holders)]
    try:
        yield
    finally:
        for one in restore:
            one()


def _restoring(generator: Any) -> Callable[[], Any]:
    if isinstance(generator, torch.Generator):
        return partial(generator.set_state, generator.get_state())
    if isinstance(generator, random.Random):
        return partial(generator.setstate, generator.getstate())
    if isinstance(generator, np.random.RandomState):
        return partial(generator.set_state, generator.get_state())
    return partial(setattr, generator.bit_generator, "state", generator.bit_generator.state)


_GENERATORS = (torch.Generator, random.Random, np.random.RandomState, np.random.Generator)
_OPAQUE = (str, bytes, int, float, type(None), type, torch.Tensor, np.ndarray)


def _generators(holders: Any) -> Iterator[Any]:
    """The generators that some objects refer to, directly or through attributes, lists and dicts."""
    seen: dict[int, Any] = {}
    waiting = [holders]
    while waiting and len(seen) < _MOST_OBJECTS:
        value = waiting.pop()
        if id(value) in seen or isinstance(value, _OPAQUE):
            continue
        seen[id(value)] = value
        if isinstance(value, _GENERATORS):
            yield value
        elif isinstance(value, Mapping):
            waiting += islice(value.values(), _MOST_ENTRIES) if isinstance(value, dict) else ()
        elif isinstance(value, (list, tuple, set)):
            waiting += islice(value, _MOST_ENTRIES)
        else:
            waiting += getattr(value, "__dict__", {}).values()
