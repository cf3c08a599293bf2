"""Batches of different objectives, one picture for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from ..checks import as_list
from .algebra import Objective, as_objective, earlier_equals, objective, reads
from .fields import Shape


@objective
class Batch(Objective):
    """A list of objectives of any classes and layers, one picture for each.

    Raises:
        ValueError: no objective, or one that itself makes several pictures.
    """

    objectives: tuple[Objective, ...]

    def __post_init__(self) -> None:
        objectives = tuple(map(as_objective, as_list("objectives", self.objectives, "a list of objectives")))
        if not objectives:
            raise ValueError("an empty list of objectives makes no picture: give at least one")
        for one in objectives:
            if one.pictures is not None:
                raise ValueError(f"{one!r} makes {one.pictures} pictures: in a batch, each objective makes one")
        object.__setattr__(self, "objectives", objectives)

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(layer for objective in self.objectives for layer in objective.layers))

    @property
    def pictures(self) -> int:
        return len(self.objectives)

    @property
    def placed(self) -> bool:
        return any(objective.placed for objective in self.objectives)

    @property
    def coupled(self) -> bool:  # type: ignore[override]
        return any(objective.coupled for objective in self.objectives)

    def score(self, activations: Mapping[str, Tensor]) -> Tensor:
        scores = [
            objective.score({layer: activations[layer][i : i + 1] for layer in objective.layers})
            for i, objective in enumerate(self.objectives)
        ]
        return torch.cat(scores)

    def located(self, find: Callable[[str | nn.Module], str]) -> Objective:
        return self._each(lambda objective: objective.located(find))

    def bound(self, shapes: Mapping[str, Shape], full: Mapping[str, Shape]) -> Objective:
        return self._each(lambda objective: objective.bound(shapes, full))

    def take(self, pictures: Sequence[int]) -> Objective:
        return self._with(objectives=tuple(self.objectives[i] for i in pictures))

    @override
    def twins(self, count: int) -> list[int]:
        return earlier_equals(self.objectives)

    def _each(self, change: Callable[[Objective], Objective]) -> Batch:
        return self._with(objectives=tuple(change(objective) for objective in self.objectives))

    def __repr__(self) -> str:
        return f"Batch([{', '.join(map(repr, self.objectives))}])"


@reads(list)
@reads(tuple)
def _read_list(values: Sequence[Any]) -> Objective:
    return Batch(tuple(values))
