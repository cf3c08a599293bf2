"""The base of every objective, and its algebra: ``a + b``, ``a - b``, ``2 * a``, ``a / 2``, ``-a``, ``sum([...])``."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn
from typing_extensions import dataclass_transform

from ..checks import as_kind, as_number, real, shown, whole
from ..network import LayerShape
from ..network.addresses import IMAGE as IMAGE
from ..network.addresses import Address, layers_of
from .fields import as_channel, as_position, as_vector, channel_index, channel_of_name, check_vector, place

Self = TypeVar("Self", bound="Objective")
Kind = TypeVar("Kind", bound=type)


@dataclass_transform(frozen_default=True, eq_default=False)
def objective(kind: Kind) -> Kind:
    """Class decorator of objectives: frozen dataclasses that compare and print as ``Objective`` says."""
    return dataclass(frozen=True, eq=False, repr=False)(kind)  # type: ignore[return-value]


@objective
class Objective:
    """Scores ``[N]`` images by a network's activations; higher is better.

    An objective holds no network. It names the layers that it needs (``layers``) and gets their activations,
    ``{address: [N, C, ...]}`` with the channel at axis 1. So it can be printed, compared, sent to another process and
    used on another network.

    To write one, subclass this as a frozen dataclass and define ``score``. Fields of these names are handled here:

    - ``layer``: address or module of a layer, or ``"@image"`` for the image itself;
    - ``channel``: index (negative counts from the end), name, or a list of these, one for each picture of a batch;
    - ``vector``: one number for each channel, ``[C]``, or ``[N, C]`` for a batch of N pictures;
    - ``position``: as for ``Neuron``.

    Numbers in other fields must be finite. A subclass with a ``__post_init__`` of its own calls this one first.
    """

    coupled: ClassVar[bool] = False
    """True if the score of a picture depends on the other pictures of its batch; these then stay together."""

    def __new__(cls: type[Self], *given: Any, **named: Any) -> Self:
        refuse_network(cls.__name__, given, named)
        return object.__new__(cls)

    def __post_init__(self) -> None:
        layer = getattr(self, "layer", IMAGE)
        as_kind(layer, (str, nn.Module), "a layer is an address such as 'features/18' or a module")
        if isinstance(layer, str) and layer != IMAGE:
            Address.of_layer(layer)
        for f in fields(self):
            object.__setattr__(self, f.name, _clean(f.name, getattr(self, f.name)))
        counts = {len(value) for value in self._each_picture().values()}
        if len(counts) > 1:
            raise ValueError(f"{self!r} has values for batches of {sorted(counts)} pictures: give as many of each")

    @property
    def layers(self) -> tuple[str, ...]:
        """Addresses of the layers from which the score is computed; ``"@image"`` is the image."""
        layer = getattr(self, "layer", None)
        if layer is None:
            raise NotImplementedError(f"{type(self).__name__} has no field 'layer': define its property 'layers'")
        return (layer,)

    @property
    def pictures(self) -> int | None:
        """Number of pictures that the objective makes in one batch; ``None`` for any number."""
        return next((len(value) for value in self._each_picture().values()), None)

    @property
    def placed(self) -> bool:
        """True if the score depends on the absolute position in the image; tiling is then refused."""
        return any(f.name == "position" for f in fields(self))

    def score(self, activations: Mapping[str, Tensor]) -> Tensor:
        """``[N]`` scores from the activations ``[N, C, ...]`` of each layer in ``layers``."""
        raise NotImplementedError

    def __call__(self, activations: Mapping[str, Tensor]) -> Tensor:
        return self.score(activations)

    def activation(self, activations: Mapping[str, Tensor]) -> Tensor:
        """``[N, C, ...]``, the activations of the objective's own layer."""
        (layer,) = self.layers
        return activations[layer]

    def located(self, find: Callable[[str | nn.Module], str]) -> Objective:
        """The same objective with every layer's address as ``find`` spells it; ``find`` raises on an unknown one."""
        layer = getattr(self, "layer", None)
        return self if layer is None or layer == IMAGE else self._with(layer=find(layer))

    def bound(self, shapes: Mapping[str, LayerShape], full: Mapping[str, LayerShape]) -> Objective:
        """The same objective with channels as indices, and positions for the maps of the current stage.

        ``shapes`` are those of the layers' outputs at the current size, ``full`` those at the final size, to which the
        user's positions refer. Raises ``ValueError`` on a channel or position that the layer does not have.
        """
        changed: dict[str, Any] = {}
        for f in fields(self):
            if f.name in _CLEAN:
                value, final = getattr(self, f.name), self.shape_in(full)
                if f.name == "position":
                    changed["position"] = place(value, self.layers[0], self.shape_in(shapes), final)
                elif f.name == "vector":
                    check_vector(value, self.layers[0], final)
                elif value is not None:
                    changed["channel"] = channel_index(value, self.layers[0], final)
        return self._with(**changed)

    def check_names(self, known: Callable[[str], Sequence[str] | None]) -> None:
        """Raise ``ValueError`` on a channel's name that the layer does not have.

        ``known`` returns the names of a layer's channels, or ``None`` if they are not known yet.
        """
        channel = getattr(self, "channel", None)
        wanted = [one for one in (channel if isinstance(channel, tuple) else (channel,)) if isinstance(one, str)]
        layer = self.layers[0] if wanted else IMAGE
        names = None if layer == IMAGE else known(layer)
        if names is not None:
            for name in wanted:
                channel_of_name(name, layer, names)

    def counted(self, shapes: Mapping[str, LayerShape]) -> Objective:
        """The same objective with the channels that negative numbers mean; names are kept.

        ``shapes`` are as for ``bound``, which raises on channels that the layer does not have.
        """
        channel = getattr(self, "channel", None)
        several = channel if isinstance(channel, tuple) else (channel,)
        if all(isinstance(one, str) or one is None or one >= 0 for one in several):
            return self
        count = self.shape_in(shapes).shape[0]
        counted = tuple(one if isinstance(one, str) else one % count for one in several)
        return self._with(channel=counted if isinstance(channel, tuple) else counted[0])

    def shape_in(self, shapes: Mapping[str, LayerShape]) -> LayerShape:
        """The shape of the objective's own layer; raises ``ValueError`` if that is the image."""
        layer = self.layers[0]
        if layer == IMAGE:
            raise ValueError(f"{self!r} needs a layer: the image itself has no channels to choose from")
        return shapes[layer]

    def take(self, pictures: Sequence[int]) -> Objective:
        """The objective of only these pictures of its batch."""
        return self._with(
            **{
                name: value[list(pictures)] if isinstance(value, Tensor) else tuple(value[i] for i in pictures)
                for name, value in self._each_picture().items()
            }
        )

    def twins(self, count: int) -> list[int]:
        """For each of ``count`` pictures, the number of earlier pictures with the same objective.

        The run adds these numbers to the seed: pictures with the same objective and the same noise would be equal.
        """
        values = [map(tuple, v.tolist()) if isinstance(v, Tensor) else v for v in self._each_picture().values()]
        return earlier_equals(list(zip(*values, strict=True))) if values else list(range(count))

    def _each_picture(self) -> dict[str, Any]:
        """The fields that hold one value for each picture: channels in a tuple, vectors ``[N, C]``."""
        found = {name: getattr(self, name, None) for name in ("channel", "vector")}
        return {
            name: value
            for name, value in found.items()
            if isinstance(value, tuple) or (isinstance(value, Tensor) and value.dim() == 2)
        }

    def _with(self: Self, **changed: Any) -> Self:
        """A copy with other values of some fields, which are not checked again."""
        made = copy(self) if changed else self
        for name, value in changed.items():
            object.__setattr__(made, name, value)
        return made

    def __add__(self, other: Any) -> Objective:
        return _sum((1.0, self), (1.0, other))

    def __radd__(self, other: Any) -> Objective:
        return _sum((1.0, other), (1.0, self))

    def __sub__(self, other: Any) -> Objective:
        return _sum((1.0, self), (-1.0, other))

    def __rsub__(self, other: Any) -> Objective:
        return _sum((1.0, other), (-1.0, self))

    def __mul__(self, number: Any) -> Objective:
        factor = real(number)
        if factor is None:
            raise TypeError(
                f"an objective is multiplied by a number, not by {number!r}: to combine two objectives, add them"
            )
        return _sum((factor, self))

    __rmul__ = __mul__
    __array_ufunc__ = None  # a NumPy number times an objective then calls __rmul__

    def __truediv__(self, number: Any) -> Objective:
        divisor = real(number)
        if divisor is None:
            raise TypeError(f"an objective is divided by a number, not by {number!r}")
        if divisor == 0:
            raise ValueError("an objective is divided by a number other than 0")
        return self * (1 / divisor)

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
                # The first two are written without names, unless one before them was left out.
                parts.append(_show(value) if i == len(parts) < 2 else f"{f.name}={_show(value)}")
        return f"{type(self).__name__}({', '.join(parts)})"


class Combined:
    """The common parts of objectives that consist of others, whose classes define ``parts`` and ``_each``."""

    parts: Sequence[Objective]
    _each: Callable[[Callable[[Objective], Objective]], Objective]

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(layer for part in self.parts for layer in part.layers))

    @property
    def placed(self) -> bool:
        return any(part.placed for part in self.parts)

    @property
    def coupled(self) -> bool:
        return any(part.coupled for part in self.parts)

    def located(self, find: Callable[[str | nn.Module], str]) -> Objective:
        return self._each(lambda part: part.located(find))

    def bound(self, shapes: Mapping[str, LayerShape], full: Mapping[str, LayerShape]) -> Objective:
        return self._each(lambda part: part.bound(shapes, full))

    def check_names(self, known: Callable[[str], Sequence[str] | None]) -> None:
        for part in self.parts:
            part.check_names(known)

    def counted(self, shapes: Mapping[str, LayerShape]) -> Objective:
        return self._each(lambda part: part.counted(shapes))


@objective
class Sum(Combined, Objective):  # type: ignore[override]
    """A weighted sum of objectives and a number; the result of the operators."""

    terms: tuple[tuple[float, Objective], ...]
    constant: float = 0.0

    def __post_init__(self) -> None:
        terms = tuple((as_number("factor", weight), term) for weight, term in self.terms)
        object.__setattr__(self, "terms", terms)
        object.__setattr__(self, "constant", as_number("constant", self.constant))
        counts = {part.pictures for part in self.parts} - {None}
        if len(counts) > 1:
            raise ValueError(f"objectives for batches of {sorted(counts)} pictures cannot be added")  # type: ignore[type-var]

    @property
    def parts(self) -> Sequence[Objective]:  # type: ignore[override]
        return [term for _, term in self.terms]

    @property
    def pictures(self) -> int | None:
        return next((part.pictures for part in self.parts if part.pictures is not None), None)

    def score(self, activations: Mapping[str, Tensor]) -> Tensor:
        scores = ((weight, term.score(activations)) for weight, term in self.terms)
        total = sum(score if weight == 1 else weight * score for weight, score in scores)
        return total + self.constant if self.constant else total  # type: ignore[return-value]

    def take(self, pictures: Sequence[int]) -> Objective:
        return self._each(lambda part: part.take(pictures))

    def twins(self, count: int) -> list[int]:
        return earlier_equals([tuple(part.take([i]) for part in self.parts) for i in range(count)])

    def _each(self, change: Callable[[Objective], Objective]) -> Objective:
        return self._with(terms=tuple((weight, change(term)) for weight, term in self.terms))

    def __repr__(self) -> str:
        text = ""
        for weight, term in (*self.terms, (self.constant, None)):
            if term is not None or weight or not text:
                sign = (" - " if weight < 0 else " + ") if text else ("-" if weight < 0 else "")
                figure = repr(abs(weight)).removesuffix(".0")  # with all digits: the text determines the objective
                factor = "" if figure == "1" else f"{figure} * "
                text += sign + (figure if term is None else factor + repr(term))
        return text


def earlier_equals(items: Sequence[Hashable]) -> list[int]:
    """For each item, the number of equal items before it."""
    seen: dict[Hashable, int] = {}
    earlier = []
    for item in items:
        seen[item] = seen.get(item, -1) + 1
        earlier.append(seen[item])
    return earlier


def refuse_network(name: str, given: Sequence[Any], named: Mapping[str, Any]) -> None:
    """Raise ``TypeError`` if an objective is given a network and then a layer of it."""
    layer = named.get("layer", given[1] if len(given) > 1 else None)
    network = given[0] if given else None
    if not isinstance(network, nn.Module) or not isinstance(layer, (str, nn.Module)):
        return
    layers = layers_of(network)
    address = layer if isinstance(layer, str) else next((at for at, one in layers.items() if one is layer), "")
    if "layer" in named or address.partition(":")[0].replace(".", "/") in layers:
        raise TypeError(
            f"{name}({type(network).__name__}, {address!r}, ...): an objective holds no network: write "
            f"{name}({address!r}, ...) and give the network to OptVis(network, objective)"
        )


READERS: dict[type, Callable[[Any], Objective]] = {}
"""Functions that make an objective from a value of a type (``str``, ``list``)."""


def as_objective(value: Any) -> Objective:
    """An objective from an objective, a string (``"layer"``, ``"layer:channel"``) or a list of these (a batch)."""
    if isinstance(value, Objective):
        return value
    for kind, reader in READERS.items():
        if isinstance(value, kind):
            return reader(value)
    raise TypeError(
        f"{shown(value)} is no objective: give one (Channel('features/18', 12)), a string ('features/18:12') or a list"
    )


def _sum(*parts: tuple[float, Any]) -> Objective:
    """The weighted sum of objectives, strings and numbers; a single objective without a weight is itself the sum."""
    terms: list[tuple[float, Objective]] = []
    constant = 0.0
    for factor, part in parts:
        number = real(part)
        one = as_objective(part) if number is None else Sum((), number)
        constant += factor * one.constant if isinstance(one, Sum) else 0.0
        own = one.terms if isinstance(one, Sum) else ((1.0, one),)
        terms += [(factor * weight, term) for weight, term in own]
    return terms[0][1] if [weight for weight, _ in terms] == [1] and not constant else Sum(tuple(terms), constant)


_CLEAN: dict[str, Callable[[Any], Any]] = {"channel": as_channel, "vector": as_vector, "position": as_position}


def _clean(name: str, value: Any) -> Any:
    """The value of a field, checked according to the field's name."""
    if name in _CLEAN:
        return _CLEAN[name](value)
    if real(value) is None:
        return value
    number = as_number(name, value)
    return number if whole(value) is None else int(value)


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
