"""Targets: the score ``[N]`` of a network's output that an attribution explains."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checks import as_number
from ..names import index_of
from ..network.addresses import IMAGE
from ..network.tap import first_tensor
from ..objectives import Objective

Score = Callable[[Any], Tensor]
"""From the output of a network for N images to ``[N]`` scores."""


@dataclass(frozen=True)
class Target:
    """The score to explain for each image.

    Attributes:
        labels: one for each image, for titles.
        score: from the network's output to ``[N]``; ``None`` where ``objective`` is given.
        objective: scores activations of layers instead.
        classes: the index of each image's class, where the target is a class.
        probabilities: of each image's class, where known.
        top: for each image, where known, its most probable classes with their probabilities, the highest first.
    """

    labels: tuple[str, ...]
    score: Score | None = None
    objective: Objective | None = None
    classes: tuple[int, ...] | None = None
    probabilities: tuple[float, ...] | None = None
    top: tuple[tuple[tuple[str, float], ...], ...] = ()

    @property
    def titles(self) -> tuple[str, ...]:
        """The labels, with the probabilities where known."""
        if self.probabilities is None:
            return self.labels
        return tuple(f"{label} ({percent(p)})" for label, p in zip(self.labels, self.probabilities, strict=True))

    @property
    def placed(self) -> bool:
        """True if the score depends on absolute position."""
        return self.objective.placed if self.objective is not None else getattr(self.score, "placed", False)

    @property
    def layers(self) -> list[str]:
        """Addresses of the layers that an objective names; the image itself is none."""
        return [] if self.objective is None else [layer for layer in self.objective.layers if layer != IMAGE]

    def __call__(self, output: Any, seen: Mapping[str, Tensor], count: int) -> Tensor:
        """``[count]`` scores, one for each image, from the network's output and the activations of layers."""
        if self.objective is None:
            assert self.score is not None
            scores = self.score(output)
        elif self.objective.pictures in (None, count):
            scores = self.objective(seen)
        else:  # each image is repeated, and its copies follow each other
            pictures = self.objective.pictures
            scores = self.objective.take([i for i in range(pictures) for _ in range(count // pictures)])(seen)
        try:
            scores = torch.as_tensor(scores)
        except (TypeError, ValueError, RuntimeError):
            raise TypeError(
                f"the target gives {scores!r}: it must give one number for each image, a tensor [N]"
            ) from None
        scores = scores.reshape(1) if scores.dim() == 0 else scores
        if scores.dim() != 1:
            raise ValueError(f"the target gives {list(scores.shape)}: it must give one number for each image, [N]")
        if len(scores) != count:
            raise ValueError(f"the target gives {len(scores)} numbers for {count} images: give one for each")
        return scores.float()

    def take(self, images: Sequence[int]) -> Target:
        """The target of only these images."""
        labels = tuple(self.labels[i] for i in images)
        if self.classes is not None:
            known = None if self.probabilities is None else tuple(self.probabilities[i] for i in images)
            top = tuple(self.top[i] for i in images) if self.top else ()
            return replace(of_classes([self.classes[i] for i in images], labels), probabilities=known, top=top)
        objective = self.objective.take(images) if self.objective is not None else None
        narrowed = getattr(self.score, "take", None)
        return Target(labels, narrowed(images) if narrowed is not None else self.score, objective)


def of_classes(classes: Sequence[int], labels: Sequence[str]) -> Target:
    """The target that is the output of a class, one for each image."""
    index = torch.tensor(list(classes))

    def score(output: Any) -> Tensor:
        rows = logits(output)
        # A batch may hold many versions of each image, one image's after the other's.
        places = index.to(rows.device).repeat_interleave(len(rows) // len(index))
        return rows.gather(1, places[:, None])[:, 0]

    return Target(tuple(labels), score, classes=tuple(classes))


def with_probabilities(target: Target, output: Any, names: Sequence[str] | None, count: int = 5) -> Target:
    """A target of classes with their probabilities, if the network puts out a row of several classes for each image.

    They are the softmax of the output, or the output itself where each row is a distribution already.
    """
    rows = first_tensor(output)
    if (
        target.classes is None
        or rows is None
        or rows.dim() != 2
        or rows.shape[1] < 2
        or len(rows) != len(target.labels)
    ):
        return target
    rows = rows.detach().float().cpu()
    if not (bool((rows >= 0).all()) and torch.allclose(rows.sum(1), torch.ones(len(rows)), atol=1e-3)):
        rows = rows.softmax(1)
    values, places = rows.topk(min(count, rows.shape[1]))
    top = tuple(
        tuple((names[c] if names else str(c), p) for c, p in zip(*pair, strict=True))
        for pair in zip(places.tolist(), values.tolist(), strict=True)
    )
    chosen = tuple(float(row[c]) for row, c in zip(rows, target.classes, strict=True))
    return replace(target, probabilities=chosen, top=top)


def percent(probability: float) -> str:
    """A probability as text, such as ``62.1%``."""
    return "<0.1%" if probability < 0.001 else f"{probability:.1%}"


def logits(output: Any) -> Tensor:
    """``[N, classes]``: the first floating tensor of the network's output, averaged over positions."""
    found = first_tensor(output)
    if found is None or found.dim() < 2:
        raise ValueError(
            f"the network puts out {_shape(output)}, which has no row of classes for each image: give a target that is "
            "a function of its output"
        )
    return found.flatten(2).mean(2) if found.dim() > 2 else found


def class_index(name: int | str, count: int, names: Sequence[str] | None) -> int:
    """The index of a class; raises ``ValueError`` if there is none or there are several, ``TypeError`` on any type."""
    if isinstance(name, str):
        if names is None:
            raise ValueError(
                f"class {name!r}: the network's outputs have no names, give a number from 0 to {count - 1}"
            )
        return index_of(name, names, f"no class {name!r}")
    if isinstance(name, bool) or not hasattr(name, "__index__"):
        raise TypeError(f"a class is a number or a name, not {name!r}")
    number = int(name)
    if not -count <= number < count:
        raise ValueError(f"no class {number}: the network has {count}, numbered 0 to {count - 1}")
    return number % count


def softmax_of(name: int) -> Score:
    """The probability of a class (its output after softmax) instead of its output."""

    def score(output: Any) -> Tensor:
        rows = logits(output).softmax(1)
        return rows[:, class_index(name, rows.shape[1], None)]

    return _named(score, f"softmax of {name}")


def against(one: int, other: int) -> Score:
    """The difference of the outputs of two classes."""

    def score(output: Any) -> Tensor:
        rows = logits(output)
        plus, minus = (class_index(name, rows.shape[1], None) for name in (one, other))
        return rows[:, plus] - rows[:, minus]

    return _named(score, f"{one} against {other}")


def segment(name: int, mask: Tensor | None = None) -> Score:
    """A class of a segmentation network: the sum of its output ``[N, classes, H, W]`` where ``mask`` is true.

    Args:
        name: index of the class.
        mask: ``[H, W]`` or ``[N, H, W]``; by default where this class has the highest output.
    """

    def score(output: Any) -> Tensor:
        maps = first_tensor(output)
        if maps is None or maps.dim() != 4:
            raise ValueError(f"the network puts out {_shape(output)}: a segment needs [N, classes, H, W]")
        kind = class_index(name, maps.shape[1], None)
        where = (maps.argmax(1) == kind) if mask is None else mask.to(maps.device)
        if where.shape[-2:] != maps.shape[-2:]:
            raise ValueError(f"the mask has {list(where.shape)}, the network puts out {list(maps.shape)}")
        return (maps[:, kind] * where.to(maps.dtype)).flatten(1).sum(1)

    if mask is None or mask.dim() != 3:
        return _named(score, f"segment of {name}", placed=mask is not None)
    return _named(score, f"segment of {name}", lambda images: segment(name, mask[list(images)]), placed=True)


def box(label: int, place: Sequence[float], least: float = 0.5) -> Score:
    """The detection of an object at a place, by a detector such as torchvision's Faster R-CNN.

    The score of the detection with this label that overlaps the place most, times the overlap (intersection over
    union); 0 where none overlaps by ``least``.

    Args:
        label: number of the class.
        place: ``(x0, y0, x1, y1)`` in pixels of the image.
        least: the smallest overlap that counts, from 0 to 1.
    """
    as_number("least", least, 0, 1)
    corners = [as_number("place", side) for side in place]
    if len(corners) != 4:
        raise ValueError(f"place {tuple(place)!r}: give (x0, y0, x1, y1)")
    wanted = torch.tensor([corners], dtype=torch.float32, device="cpu")

    def score(output: Any) -> Tensor:
        from torchvision.ops import box_iou

        scores = []
        for found in output if isinstance(output, (list, tuple)) else [output]:
            if not isinstance(found, Mapping) or not {"boxes", "labels", "scores"} <= found.keys():
                raise ValueError(
                    f"the network puts out {_shape(output)}: a box needs a list of dicts with 'boxes', 'labels' and "
                    "'scores'"
                )
            overlap = box_iou(wanted.to(found["boxes"].device), found["boxes"])[0] * (found["labels"] == label)
            near = found["scores"] * overlap * (overlap >= least)
            scores.append(near[overlap.argmax()] if len(near) else found["boxes"].sum())
        return torch.stack(scores)

    return _named(score, f"box of {label}", placed=True)


def similarity(embedding: Tensor) -> Score:
    """The cosine similarity of the network's output to an embedding ``[C]`` or ``[N, C]``."""

    def score(output: Any) -> Tensor:
        rows = logits(output)
        if embedding.shape[-1] != rows.shape[1]:
            raise ValueError(f"the embedding has {embedding.shape[-1]} numbers, the network puts out {rows.shape[1]}")
        return F.cosine_similarity(rows, embedding.to(rows).expand_as(rows), dim=1)

    several = embedding.dim() == 2
    return _named(score, "similarity", (lambda images: similarity(embedding[list(images)])) if several else None)


def _named(
    score: Score, name: str, take: Callable[[Sequence[int]], Score] | None = None, placed: bool = False
) -> Score:
    """A score with a name for titles; ``take`` gives the score of only some of the images."""
    score.__name__ = name
    score.placed = placed  # type: ignore[attr-defined]
    if take is not None:
        score.take = take  # type: ignore[attr-defined]
    return score


def _shape(output: Any) -> str:
    return str(list(output.shape)) if isinstance(output, Tensor) else f"a {type(output).__name__}"
