"""What a user of the live view chose to draw, and the Python that says the same."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ..checks import as_count, as_number, as_whole
from ..engine import OptVis
from ..network import get_layer_names
from ..network.imagenet import outputs_of
from ..network.inputs import named_outputs
from ..objectives import Channel, Class, Direction, Layer, Objective
from ..transforms import Jitter, RandomRotate, RandomScale, Transform

KINDS = ("channel", "class", "direction", "layer")
SHIFT, SCALE, DEGREES = 0.1, 0.2, 15.0
"""The default transforms, ``transforms.standard``."""


@dataclass(frozen=True)
class Amounts:
    """The transforms: ``shift`` and ``scale`` as a fraction of the picture, rotation in ``degrees``; 0 for none."""

    shift: float = SHIFT
    scale: float = SCALE
    degrees: float = DEGREES

    def __post_init__(self) -> None:
        as_number("shift", self.shift, 0, 0.5)
        as_number("scale", self.scale, 0, 0.9)
        as_number("rotation", self.degrees, 0, 180)

    def _parts(self) -> list[tuple[type[Transform], tuple[float, ...]]]:
        ends = (round(1 - self.scale, 6), round(1 + self.scale, 6))
        parts = [(Jitter, (self.shift,)), (RandomScale, ends), (RandomRotate, (self.degrees,))]
        return [part for part, amount in zip(parts, (self.shift, self.scale, self.degrees), strict=True) if amount]

    @property
    def transforms(self) -> list[Transform] | None:
        """For ``OptVis``; ``None`` for its default."""
        return None if self == Amounts() else [kind(*given) for kind, given in self._parts()]

    @property
    def names(self) -> set[str]:
        """Of the classes that the code of ``code`` uses."""
        return set() if self == Amounts() else {kind.__name__ for kind, _ in self._parts()}

    @property
    def code(self) -> str:
        """The argument of ``OptVis``, empty for its default."""
        if self == Amounts():
            return ""
        made = ", ".join(f"{kind.__name__}({', '.join(map(repr, given))})" for kind, given in self._parts())
        return f", transforms=[{made}]"


@dataclass(frozen=True)
class Choice:
    """What is drawn.

    Attributes:
        objective: what is maximised.
        size: of the picture, in pixels.
        steps: of a run.
        seed: of everything random.
        amounts: of the transforms.
    """

    objective: Objective
    size: int
    steps: int = 128
    seed: int = 0
    amounts: Amounts = field(default_factory=Amounts)

    def __post_init__(self) -> None:
        as_count("size", self.size, 2048)
        as_count("steps", self.steps, 100_000)
        as_whole("seed", self.seed, 0, 2**31)

    def engine(self, network: nn.Module, options: Mapping[str, Any]) -> OptVis:
        """The ``OptVis`` that draws it."""
        return OptVis(network, self.objective, self.amounts.transforms, **options)

    def lines(self, options: Mapping[str, Any]) -> list[str]:
        """Lines of Python; the last one makes ``engine``, without the network's own definition."""
        given = "".join(f", {name}={value!r}" for name, value in options.items())
        lines, objective = [], repr(self.objective)
        if isinstance(self.objective, Direction):
            vector = self.objective.vector
            places = vector.nonzero().flatten().tolist()
            amounts = [float(str(one)) for one in vector[places].numpy()]  # the shortest digits that make the float32
            lines = [
                f"vector = torch.zeros({len(vector)})",
                f"vector[{places}] = torch.tensor({amounts})",
            ]
            objective = f"Direction({self.objective.layer!r}, vector)"
        return [*lines, f"engine = OptVis(network, {objective}{self.amounts.code}{given})"]


@dataclass(frozen=True, eq=False)
class Menu:
    """What can be chosen of a network.

    Attributes:
        network: any.
        options: further arguments of ``OptVis``: ``mean``, ``std``.
        layers: addresses.
        classes: the layer and number or name of each class, by its label.
    """

    network: nn.Module
    options: Mapping[str, Any]
    layers: tuple[str, ...]
    classes: Mapping[str, tuple[str, int | str]]
    _channels: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, network: nn.Module, options: Mapping[str, Any]) -> Menu:
        """Read from a network."""
        found: dict[str, tuple[str, int | str]] = {}
        outputs = named_outputs(network)
        for layer, names in outputs.items():
            for i, name in enumerate(names):
                label = f"{layer}: {name}" if len(outputs) > 1 else name
                lone = names.count(name) == 1
                found[label if lone else f"{label} ({i})"] = (layer, name if lone else i)
        if not outputs:
            found = {str(i): ("", i) for i in range(outputs_of(network) or 0)}
        return cls(network, options, tuple(get_layer_names(network, verbose=False)) or ("",), found)

    @property
    def last_layer(self) -> str:
        """The last layer with channels; raises ``ValueError`` if there is none."""
        for layer in reversed(self.layers):
            try:
                self.channels(layer)
                return layer
            except ValueError:  # it is not called, or puts out no tensor
                continue
        raise ValueError(f"{type(self.network).__name__} has no layer with channels that could be drawn")

    def channels(self, layer: str) -> tuple[str, ...]:
        """A label for each channel of a layer: its name, or its number. Raises ``ValueError`` if it has none."""
        if layer not in self._channels:
            shape = OptVis(self.network, Layer(layer), **self.options).shapes()[layer]
            names = shape.names
            unique = names is not None and len(set(names)) == len(names)
            self._channels[layer] = tuple(names) if unique else tuple(map(str, range(shape.shape[0])))  # type: ignore[arg-type]
        return self._channels[layer]

    def target(self, label: str) -> int | str | Channel | None:
        """What ``attribute`` explains for the class with a label; ``None``, the most probable, for any other text."""
        layer, name = self.classes.get(label, ("", None))
        return name if name is None or not layer else Channel(layer, name)

    def objective(self, kind: str, layer: str, channel: str, label: str, weights: str) -> Objective:
        """What one of ``KINDS`` maximises; raises ``ValueError`` if the network has no such part."""
        if kind == "class":
            if label not in self.classes:
                raise ValueError(f"no class {label!r}: choose one of the list")
            return Class(*self.classes[label])
        channels = self.channels(layer)
        if kind == "layer":
            return Layer(layer)
        if kind == "channel":
            if channel not in channels:
                raise ValueError(f"layer {layer!r} has no channel {channel!r}: choose one of its {len(channels)}")
            return Channel(layer, int(channel) if channel == str(channels.index(channel)) else channel)
        return Direction(layer, direction(weights, len(channels)))


def direction(text: str, channels: int) -> torch.Tensor:
    """A vector ``[channels]`` from a text such as ``"3: 1, 17: -0.5"``: channels and their weights.

    Raises:
        ValueError: another text, a channel that there is not, or no weight other than 0.
    """
    vector = torch.zeros(channels)
    for part in filter(str.strip, text.split(",")):
        found = re.fullmatch(r"\s*(\d{1,9})\s*:\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)\s*", part)
        if found is None:
            raise ValueError(f"direction {part.strip()!r}: give channels and weights, such as '3: 1, 17: -0.5'")
        if int(found[1]) >= channels:
            raise ValueError(f"direction: no channel {found[1]}: there are {channels}, numbered from 0")
        vector[int(found[1])] = float(found[2])
    if not vector.any():
        raise ValueError("direction: give at least one channel and its weight, such as '3: 1, 17: -0.5'")
    return vector
