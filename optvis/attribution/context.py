"""The context of an attribution: a network, some images and a target. Methods get all they need from it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..checks import as_count
from ..network import Forward, LayerShape, Pass, to_the_end
from ..network.addresses import IMAGE
from ..network.suffix import Change, rest_of
from .alone import AloneForward
from .progress import Progress
from .targets import Target


class Evidence(NamedTuple):
    """The results of one forward pass and its gradient, detached, with the layers' own order of axes and type.

    Attributes:
        scores: ``[N]``, float32.
        activations: of layers.
        gradients: of the scores with respect to these; ``None`` for a layer that the scores do not depend on.
    """

    scores: Tensor
    activations: Mapping[str, Tensor]
    gradients: Mapping[str, Tensor | None]


class Shown(NamedTuple):
    """Images, and the network's inputs that were made from them.

    Attributes:
        images: ``[N, C, H, W]`` in [0, 1], float32.
        inputs: the normalised images, float32; a leaf that requires gradients.
    """

    images: Tensor
    inputs: Tensor


@dataclass(frozen=True, eq=False)
class Context:
    """A network, N images and a target whose scores are to be explained.

    All activations and gradients are float32, whatever the type in which the network computes.

    Attributes:
        forward: runs a shadow of the network on images.
        shown: the images as given and as the network gets them.
        target: scores the network's output.
        shapes: of the outputs of layers: those of the target's objective, and those to attribute to.
        evidence: at the layers to attribute to; ``None`` until ``with_evidence`` is called.
        progress: counts the images that pass through the network.
    """

    forward: Forward
    shown: Shown
    target: Target
    shapes: Mapping[str, LayerShape] = field(default_factory=dict)
    evidence: Evidence | None = None
    progress: Progress = field(default_factory=Progress)

    @classmethod
    def of(
        cls, forward: Forward, images: Tensor, target: Target, shapes: Mapping[str, LayerShape] | None = None
    ) -> Context:
        """A context whose inputs are the normalised images."""
        return cls(forward, Shown(images, forward.normalise(images).requires_grad_()), target, shapes or {})

    @property
    def images(self) -> Tensor:
        """``[N, C, H, W]`` in [0, 1], float32."""
        return self.shown.images

    @property
    def inputs(self) -> Tensor:
        """The normalised images, float32; a leaf that requires gradients."""
        return self.shown.inputs

    @property
    def network(self) -> nn.Module:
        """The shadow of the network."""
        return self.forward.network

    def take(self, images: Sequence[int]) -> Context:
        """The context of only these images, with their targets and further inputs, without evidence."""
        rows = list(images)
        return replace(
            self,
            forward=self.forward.take(rows, len(self.images)),
            shown=Shown(self.images[rows], self.inputs.detach()[rows].requires_grad_()),
            target=self.target.take(rows),
            evidence=None,
        )

    def run(self, inputs: Tensor, layers: Sequence[str] = ()) -> tuple[Tensor, dict[str, Tensor]]:
        """One forward pass, no deeper than the target needs.

        If the inputs require no gradient, the outputs of the layers become leaves, and no graph is kept before them.

        Args:
            inputs: ``[M, C, H, W]``, normalised; M is N or a multiple of it, with the rows of each image adjacent.
            layers: addresses of layers; those that are called are returned in their own order of axes and type.
        """
        named = self.target.layers
        wanted = list(dict.fromkeys((*layers, *named)))
        calls: Mapping[str, int] | None = to_the_end(wanted)
        if self.target.objective is not None:
            known = all(layer in self.shapes for layer in wanted)
            calls = {layer: self.shapes[layer].calls for layer in wanted} if known else None
        leaves = torch.is_grad_enabled() and not inputs.requires_grad
        passed = self.forward.run(inputs, wanted, calls, missing_ok=True, leaves=leaves)
        activations = {layer: self.shapes[layer].channels_first(passed.seen[layer]) for layer in named}
        if self.target.objective is not None and IMAGE in self.target.objective.layers:
            activations[IMAGE] = self.forward.denormalise(inputs)
        scores = self.target(passed.output, activations, len(inputs))
        self.progress.advance(len(inputs))
        if inputs.requires_grad and torch.is_grad_enabled():
            self.check_gradient(scores)
        return scores, {layer: activation for layer, activation in passed.seen.items() if layer in layers}

    def check_gradient(self, scores: Tensor) -> None:
        """Raise ``ValueError`` if no gradient can reach the images from these scores."""
        if not scores.requires_grad:
            raise ValueError(
                f"no gradient reaches the image from {self.target.labels[0]!r}: it does not depend on the image, or "
                f"{type(self.network).__name__} runs under no_grad or detaches what it computes; occlusion and "
                "feature_ablation need none"
            )

    def with_evidence(self, layers: Sequence[str] = (), first: Pass | None = None) -> Context:
        """The context with the scores of its images, and with activations and gradients of layers.

        If ``first``, an earlier pass of these images through the whole network, captured the layers, no other pass is
        needed; its graph is freed. Raises ``ValueError`` if a layer is not called or no gradient leaves it.
        """
        if first is not None and first.seen.keys() >= set(layers):
            scores = self.target(first.output, {}, len(self.images))
            seen = {layer: first.seen[layer] for layer in layers}
        else:
            with torch.set_grad_enabled(bool(layers)):
                scores, seen = self.run(self.inputs.detach(), layers)
        if layers and not scores.requires_grad:  # they depend on none of the layers, or not even on the images
            scores, seen = self.run(self.inputs, layers)
        for layer in layers:
            if layer not in seen:
                raise ValueError(f"layer {layer!r} is not called in the forward pass: choose another layer")
        lone = [layer for layer, activation in seen.items() if not activation.requires_grad]
        if lone:
            raise ValueError(
                f"no gradient leaves layer {lone[0]!r}: the network runs it under no_grad, or within a checkpoint that "
                "computes it again; choose another layer"
            )
        found = torch.autograd.grad(scores.sum(), list(seen.values()), allow_unused=True) if seen else ()
        activations = {layer: activation.detach() for layer, activation in seen.items()}
        return replace(self, evidence=Evidence(scores.detach(), activations, dict(zip(seen, found, strict=True))))

    def _known(self) -> Evidence:
        if self.evidence is None:
            raise ValueError("no pass has been made yet: call with_evidence(layers) on the context first")
        return self.evidence

    @property
    def scores(self) -> Tensor:
        """``[N]`` scores of the images."""
        return self._known().scores

    def activations(self, layer: str) -> Tensor:
        """``[N, K, h, w]``, float32. Tokens are arranged in their grid; class and register tokens are left out."""
        return self.as_map(layer, self._known().activations[layer])

    def gradients(self, layer: str) -> Tensor:
        """``[N, K, h, w]``: gradients of the scores with respect to ``activations(layer)``; ``ValueError`` without."""
        gradient = self._known().gradients[layer]
        if gradient is None:
            raise ValueError(
                f"{self.target.labels[0]!r} does not depend on layer {layer!r}: choose a layer that it depends on"
            )
        return self.as_map(layer, gradient)

    def as_map(self, layer: str, activation: Tensor) -> Tensor:
        """A layer's output, or a gradient of its shape, as ``[N, K, h, w]``; ``ValueError`` without spatial axes."""
        shape = self.shapes[layer]
        if not has_extent(shape):
            raise ValueError(f"layer {layer!r} puts out {list(shape.shape)}, which has no spatial axes")
        found = shape.channels_first(activation)
        if shape.grid is None:
            return found
        height, width = shape.grid
        tokens = found[..., -height * width :]
        return tokens.reshape(*tokens.shape[:2], height, width)

    def from_map(self, layer: str, maps: Tensor, i: int) -> Tensor:
        """The output of a layer, with its own order of axes and type, that has these maps ``[M, K, h, w]``.

        The reverse of ``as_map``. Class and register tokens are those of image ``i``.
        """
        shape, own = self.shapes[layer], self._known().activations[layer]
        if shape.grid is not None:
            tokens = maps.flatten(2)
            further = shape.channels_first(own)[i : i + 1, :, : -tokens.shape[2]]
            maps = torch.cat([further.expand(len(maps), -1, -1), tokens.to(further)], 2)
        return shape.layout.original(maps).to(own.dtype).contiguous()


def has_extent(shape: LayerShape) -> bool:
    """True if a layer puts out a map, or tokens in a grid. The position of windows in the image is unknown."""
    return shape.layout.rows == 1 and (len(shape.shape) == 3 or (len(shape.shape) == 2 and shape.grid is not None))


Scoring = Callable[[int, Tensor], Tensor]
"""From the index of an image and M versions of it or of its maps to ``[M]`` scores of that image's target."""


def scoring(context: Context) -> Scoring:
    """A function that scores normalised inputs ``[M, C, H, W]``, without gradients."""
    plain = forward = context.forward
    if context.images.device.type == "cpu":
        forward = replace(plain, memory_format=torch.channels_last)  # twice as fast

    @torch.no_grad()
    def score(i: int, inputs: Tensor) -> Tensor:
        nonlocal forward
        try:
            return replace(context, forward=forward).take([i]).run(inputs)[0]
        except RuntimeError as error:
            if forward is plain or isinstance(error, torch.OutOfMemoryError):
                raise
            forward = plain  # the network may use views that need a contiguous layout
            return score(i, inputs)

    return score


def scoring_from(context: Context, layer: str) -> Scoring:
    """A function that scores maps ``[M, K, h, w]`` of a layer, without gradients, running only the rest if it can."""
    own, rests = context.activations(layer), dict[tuple[int, int], Change]()

    @torch.no_grad()
    def score(i: int, maps: Tensor) -> Tensor:
        if isinstance(context.forward, AloneForward) and len(maps) > 1:
            return torch.cat([score(i, one) for one in maps.split(1)])
        if (i, len(maps)) not in rests:
            image = replace(context.take([i]), progress=Progress())
            inputs = image.inputs.detach().expand(len(maps), -1, -1, -1)
            example = context.from_map(layer, own[i : i + 1].expand_as(maps), i)
            rests[i, len(maps)] = rest_of(
                image.network, layer, lambda: image.run(inputs)[0], example, context.scores[i]
            )
        scores = rests[i, len(maps)](context.from_map(layer, maps, i))
        context.progress.advance(len(maps))
        return scores

    return score


def parts(maps: Tensor, batch_size: int | None) -> Iterator[tuple[int, Tensor]]:
    """Batches of work: the index of an image with the indices of some channels of ``maps``.

    A batch has ``batch_size`` channels, by default 4 on a CPU (more do not fit into its caches) and 64 on a GPU.
    """
    if batch_size is None:
        batch_size = 64 if maps.device.type == "cuda" else 4
    channels = torch.arange(maps.shape[1]).split(as_count("batch_size", batch_size))
    yield from itertools.product(range(len(maps)), channels)
