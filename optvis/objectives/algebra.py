"""The base of every objective, and its algebra: ``a + b``, ``a - b``, ``2 * a``, ``a / 2``, ``-a``, ``sum([...])``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from numbers import Real
from typing import Any, Protocol

import torch
from torch import Tensor, nn

IMAGE = "@image"
"""The name under which an objective is handed the image itself, ``[N, C, H, W]`` in [0, 1], before transforms."""


class Shape(Protocol):
    """What an objective needs to know of a layer: see ``optvis.network.LayerShape``."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def grid(self) -> tuple[int, int] | None: ...
    @property
    def names(self) -> tuple[str, ...] | None: ...


@dataclass(frozen=True, eq=False, repr=False)
class Objective:
    """Scores ``[N]`` images by a network's activations; higher is better.

    An objective holds no network. It names the layers that it needs (``layers``) and is handed their activations,
    ``{address: [N, C, ...]}`` with the channel at axis 1. So it can be printed, compared, pickled to another process
    and used on another network. To write one, subclass it as a frozen dataclass and define ``layers`` and ``score``.
    """

    @property
    def layers(self) -> tuple[str, ...]:
        """Addresses of the layers that the score is computed from; ``"@image"`` is the image."""
        raise NotImplementedError

    @property
    def pictures(self) -> int | None:
        """How many pictures the objective makes in one batch; ``None`` for any number."""
        return None

    @property
    def placed(self) -> bool:
        """Whether it asks for a place in the picture."""
        return False

    def score(self, seen: Mapping[str, Tensor]) -> Tensor:
        """``[N]`` scores from the activations ``[N, C, ...]`` of each layer named."""
        raise NotImplementedError

    def __call__(self, seen: Mapping[str, Tensor]) -> Tensor:
        return self.score(seen)

    def located(self, find: Callable[[str | nn.Module], str]) -> Objective:
        """The same objective with every layer's address as ``find`` spells it; ``find`` raises on an unknown one."""
        layer = getattr(self, "layer", None)
        return self if layer is None or layer == IMAGE else replace(self, layer=find(layer))  # type: ignore[call-arg]

    def bound(self, shapes: Mapping[str, Shape], full: Mapping[str, Shape]) -> Objective:
        """The same objective with names and default positions settled for layers of these shapes.

        Args:
            shapes: what the layers put out at the size at hand.
            full: what they put out at the final size, for which the user gave positions.

        Raises:
            ValueError: a channel, neuron or direction that the layer does not have.
        """
        return self

    def take(self, pictures: Sequence[int]) -> Objective:
        """The objective of only these pictures of its batch."""
        return self

    def twins(self, count: int) -> list[int]:
        """For each of ``count`` pictures, how many earlier ones have the same objective (their draws must differ)."""
        return list(range(count))

    def __add__(self, other: Any) -> Objective:
        return Sum.of(self, other).plain()

    def __radd__(self, other: Any) -> Objective:
        return Sum.of(other, self).plain()

    def __sub__(self, other: Any) -> Objective:
        return Sum.of(self, -_operand(other)).plain()

    def __rsub__(self, other: Any) -> Objective:
        return Sum.of(other, -self).plain()

    def __mul__(self, number: Any) -> Objective:
        return Sum(((_factor(number), self),)).plain()

    __rmul__ = __mul__

    def __truediv__(self, number: Any) -> Objective:
        if not isinstance(number, Real) or isinstance(number, bool):
            raise TypeError(f"an objective is divided by a number, not by {number!r}")
        return self * (1 / number)

    def __neg__(self) -> Objective:
        return self * -1

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return all(_same(getattr(self, f.name), getattr(other, f.name)) for f in fields(self))

    def __hash__(self) -> int:
        return hash((type(self), repr(self)))

    def __repr__(self) -> str:
        parts: list[str] = []
        for i, f in enumerate(fields(self)):
            value = getattr(self, f.name)
            if not _same(value, f.default):
                # The first two read well without their names, where none before them was left out.
                parts.append(_show(value) if i == len(parts) < 2 else f"{f.name}={_show(value)}")
        return f"{type(self).__name__}({', '.join(parts)})"


@dataclass(frozen=True, eq=False, repr=False)
class Sum(Objective):
    """A weighted sum of objectives and a number; what the operators make."""

    terms: tuple[tuple[float, Objective], ...]
    constant: float = 0.0

    @classmethod
    def of(cls, *parts: Any) -> Sum:
        """The sum of objectives, strings and numbers."""
        terms: list[tuple[float, Objective]] = []
        constant = 0.0
        for part in map(_operand, parts):
            if isinstance(part, Sum):
                terms.extend(part.terms)
                constant += part.constant
            elif isinstance(part, Objective):
                terms.append((1.0, part))
            else:
                constant += part
        counts = {term.pictures for _, term in terms} - {None}
        if len(counts) > 1:
            raise ValueError(f"objectives for batches of {sorted(counts)} pictures cannot be added")  # type: ignore
        return cls(tuple(terms), constant)

    def plain(self) -> Objective:
        """The term itself, where there is but one, whole: ``-(-a)`` is ``a``."""
        return self.terms[0][1] if [weight for weight, _ in self.terms] == [1] and not self.constant else self

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(layer for _, term in self.terms for layer in term.layers))

    @property
    def pictures(self) -> int | None:
        return next((term.pictures for _, term in self.terms if term.pictures is not None), None)

    @property
    def placed(self) -> bool:
        return any(term.placed for _, term in self.terms)

    def score(self, seen: Mapping[str, Tensor]) -> Tensor:
        total = sum(term.score(seen) if weight == 1 else weight * term.score(seen) for weight, term in self.terms)
        return total + self.constant if self.constant else total  # type: ignore[return-value]

    def located(self, find: Callable[[str | nn.Module], str]) -> Objective:
        return self._each(lambda term: term.located(find))

    def bound(self, shapes: Mapping[str, Shape], full: Mapping[str, Shape]) -> Objective:
        return self._each(lambda term: term.bound(shapes, full))

    def take(self, pictures: Sequence[int]) -> Objective:
        return self._each(lambda term: term.take(pictures))

    def twins(self, count: int) -> list[int]:
        return earlier_equals([tuple(term.take([i]) for _, term in self.terms) for i in range(count)])

    def _each(self, change: Callable[[Objective], Objective]) -> Sum:
        return replace(self, terms=tuple((weight, change(term)) for weight, term in self.terms))

    def __mul__(self, number: Any) -> Objective:
        factor = _factor(number)
        return Sum(tuple((weight * factor, term) for weight, term in self.terms), self.constant * factor).plain()

    __rmul__ = __mul__

    def __repr__(self) -> str:
        text = ""
        for weight, term in self.terms:
            sign = (" - " if weight < 0 else " + ") if text else ("-" if weight < 0 else "")
            factor = "" if abs(weight) == 1 else f"{_figure(weight)} * "
            text += sign + factor + repr(term)
        if self.constant or not text:
            sign = (" - " if self.constant < 0 else " + ") if text else ("-" if self.constant < 0 else "")
            text += sign + _figure(self.constant)
        return text


def earlier_equals(items: Sequence[Any]) -> list[int]:
    """For each item, how many equal ones stand before it."""
    return [sum(item == earlier for earlier in items[:i]) for i, item in enumerate(items)]


_READERS: dict[type, Callable[[Any], Objective]] = {}


def reads(kind: type) -> Callable[[Callable[[Any], Objective]], Callable[[Any], Objective]]:
    """Register how a value of ``kind`` (``str``, ``list``) is read as an objective."""

    def register(reader: Callable[[Any], Objective]) -> Callable[[Any], Objective]:
        _READERS[kind] = reader
        return reader

    return register


def as_objective(value: Any) -> Objective:
    """An objective from an objective, a string (``"layer"``, ``"layer:channel"``) or a list of these (a batch).

    Raises:
        TypeError: the value is none of these.
    """
    if isinstance(value, Objective):
        return value
    for kind, reader in _READERS.items():
        if isinstance(value, kind):
            return reader(value)
    raise TypeError(
        f"{value!r} is no objective: give one (Channel('features/18', 12)), a string ('features/18:12') or a list"
    )


def _operand(value: Any) -> Any:
    return float(value) if isinstance(value, Real) and not isinstance(value, bool) else as_objective(value)


def _factor(number: Any) -> float:
    if not isinstance(number, Real) or isinstance(number, bool):
        raise TypeError(
            f"an objective is multiplied by a number, not by {number!r}: to want both of two objectives, add them"
        )
    return float(number)


def _figure(number: float) -> str:
    """A number without its sign, in full: a text is enough to make the objective again."""
    return repr(abs(number)).removesuffix(".0")


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return isinstance(a, Tensor) and isinstance(b, Tensor) and a.shape == b.shape and torch.equal(a, b)
    return bool(a == b)


def _show(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"<vector of {value.numel()}>" if value.dim() == 1 else f"<tensor {tuple(value.shape)}>"
    if isinstance(value, nn.Module):
        return f"<{type(value).__name__}>"
    return repr(value)
