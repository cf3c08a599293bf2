"""Batches of different objectives, one picture for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ..checks import as_list
from .algebra import READERS, Combined, Objective, as_objective, earlier_equals, objective


@objective
class Batch(Combined, Objective):  # type: ignore[override]
    """A list of objectives of any classes and layers, each of which makes one picture."""

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
    def parts(self) -> Sequence[Objective]:  # type: ignore[override]
        return self.objectives

    @property
    def pictures(self) -> int:
        return len(self.objectives)

    def score(self, activations: Mapping[str, Tensor]) -> Tensor:
        scores = [
            objective.score({layer: activations[layer][i : i + 1] for layer in objective.layers})
            for i, objective in enumerate(self.objectives)
        ]
        return torch.cat(scores)

    def take(self, pictures: Sequence[int]) -> Objective:
        return self._with(objectives=tuple(self.objectives[i] for i in pictures))

    def twins(self, count: int) -> list[int]:  # noqa: ARG002
        return earlier_equals(self.objectives)

    def _each(self, change: Callable[[Objective], Objective]) -> Objective:
        return self._with(objectives=tuple(change(objective) for objective in self.objectives))

    def __repr__(self) -> str:
        return f"Batch([{', '.join(map(repr, self.objectives))}])"


READERS[list] = READERS[tuple] = lambda values: Batch(tuple(values))
