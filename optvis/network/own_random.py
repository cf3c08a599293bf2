"""Random numbers that a network or a transform draws itself, taken from a generator of optvis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_aten = torch.ops.aten
_WITH_GENERATOR = {
    _aten.rand.default: _aten.rand.generator,
    _aten.randn.default: _aten.randn.generator,
    _aten.randint.default: _aten.randint.generator,
    _aten.randint.low: _aten.randint.low_generator,
    _aten.randperm.default: _aten.randperm.generator,
}
_IN_PLACE = {_aten.rand_like.default: "uniform_", _aten.randn_like.default: "normal_"}
_CHOOSES_KERNEL: Any = getattr(getattr(_aten, "_fused_sdp_choice", None), "default", None)
"""An operator of attention that counts as random, but draws nothing."""
_RANDINT_LIKE = (_aten.randint_like.default, _aten.randint_like.low_dtype)


class OwnRandom(TorchDispatchMode):
    """Within the block random operators draw from ``generator``; the global random state is neither used nor changed.

    The mode sees operators below autograd, and so covers dropout, ``torch.rand`` and modules of kornia alike. It costs
    a Python call for each operator: use it only for code that draws random numbers.

    Attributes:
        used: True after random numbers were drawn.
    """

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.generator, self.used = generator, False

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in func.tags or func is _CHOOSES_KERNEL:
            return func(*args, **kwargs)
        arguments = getattr(getattr(func, "_schema", None), "arguments", ())
        given = {argument.name: argument.default_value for argument in arguments}
        given |= {argument.name: value for argument, value in zip(arguments, args, strict=False)} | kwargs
        if not given.get("dropout_p", 1.0) or given.get("training", given.get("train", True)) is False:
            return func(*args, **kwargs)  # attention and dropout that draw nothing
        self.used = True
        if func in _WITH_GENERATOR:
            return _WITH_GENERATOR[func](*args, generator=self._on(kwargs.get("device")), **kwargs)
        if func in _IN_PLACE:
            made = torch.empty_like(*args, **kwargs)
            return getattr(made, _IN_PLACE[func])(generator=self._on(made.device))
        if func in _RANDINT_LIKE:
            made = torch.empty_like(args[0], **kwargs)
            low, high = (0, *args[1:]) if len(args) == 2 else args[1:]
            return made.random_(low, high, generator=self._on(made.device))
        tensor = next((value for value in given.values() if isinstance(value, torch.Tensor)), None)
        generator = self._on(tensor.device if tensor is not None else kwargs.get("device"))
        if "generator" in given:
            return func(*args, **{**kwargs, "generator": generator})
        if func is _aten.native_dropout.default:
            share = 1 - given["p"]
            kept = torch.empty_like(given["input"], dtype=torch.bool).bernoulli_(share, generator=generator)
            return given["input"] * kept / max(share, 1e-12), kept
        seed = int(torch.randint(2**31, (), generator=self._on("cpu")))
        with torch.random.fork_rng(devices=[tensor.device] if tensor is not None and tensor.is_cuda else []):
            torch.manual_seed(seed)  # an operator that takes no generator
            return func(*args, **kwargs)

    def _on(self, device: torch.device | str | None) -> torch.Generator:
        """The generator, or one on another device that is seeded from it."""
        device = torch.device(device or "cpu")
        if device.type == self.generator.device.type:
            return self.generator
        return torch.Generator(device).manual_seed(int(torch.randint(2**31, (), generator=self.generator)))
