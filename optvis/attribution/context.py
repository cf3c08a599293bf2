"""A network, some images and a target: what a method may ask."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from ..checks import as_count
from ..network import Forward, LayerShape, Pass, to_the_end
from ..network.addresses import IMAGE
from ..network.suffix import Change, rest_of
from .alone import AloneForward
from .targets import Target


@dataclass(frozen=True, eq=False)
class Evidence:
    """What one forward pass and its gradient have shown.

    Attributes:
        scores: ``[N]``, float32, without gradient.
        activations: of layers, in their own order and type, without gradient.
        gradients: of the scores with respect to these; ``None`` for a layer that the scores do not depend on.
    """

    scores: Tensor
    activations: Mapping[str, Tensor]
    gradients: Mapping[str, Tensor | None]


@dataclass(frozen=True, eq=False)
class Context:
    """A network, N images and a target whose scores are to be explained.

    All activations and gradients are float32, whatever the type in which the network computes.

    Attributes:
        forward: shows images to a shadow of the network.
        images: ``[N, C, H, W]`` in [0, 1], float32.
        inputs: the images as the network takes them, float32; a leaf that requires gradients.
        target: scores what the network puts out.
        shapes: what layers put out: those of the target's objective, and those to attribute to.
        evidence: of a pass at the layers to attribute to. ``attribute`` makes it for methods of layers.
    """

    forward: Forward
    images: Tensor
    inputs: Tensor
    target: Target
    shapes: Mapping[str, LayerShape] = field(default_factory=dict)
    evidence: Evidence | None = None

    @classmethod
    def of(
        cls,
        forward: Forward,
        images: Tensor,
        target: Target,
        shapes: Mapping[str, LayerShape] | None = None,
        strength: float = 1.0,
    ) -> Context:
        """A context whose inputs are the normalised images times ``strength``."""
        inputs = forward.normalise(images)
        inputs = inputs if strength == 1 else inputs * strength
        return cls(forward, images, inputs.requires_grad_(), target, shapes or {})

    @property
    def network(self) -> nn.Module:
        """The shadow of the network."""
        return self.forward.network

    def take(self, images: Sequence[int]) -> Context:
        """The context of only these images, with their targets and their own further inputs; without evidence."""
        rows = list(images)
        return replace(
            self,
            forward=self.forward.take(rows, len(self.images)),
            images=self.images[rows],
            inputs=self.inputs.detach()[rows].requires_grad_(),
            target=self.target.take(rows),
            evidence=None,
        )

    def run(self, inputs: Tensor, layers: Sequence[str] = ()) -> tuple[Tensor, dict[str, Tensor]]:
        """One forward pass, no deeper than the target needs.

        Where the inputs need no gradient, gradients begin at the layers: what comes before them keeps no graph.

        Args:
            inputs: ``[M, C, H, W]``, normalised; M is N or a multiple, the rows of an image following each other.
            layers: addresses of layers.

        Returns:
            ``[M]`` scores, and the outputs of those layers that were called, in their own order and type.
        """
        objective = self.target.objective
        named = [layer for layer in objective.layers if layer != IMAGE] if objective is not None else []
        wanted = list(dict.fromkeys((*layers, *named)))
        calls: Mapping[str, int] | None = to_the_end(wanted)
        if objective is not None:
            known = all(layer in self.shapes for layer in wanted)
            calls = {layer: self.shapes[layer].calls for layer in wanted} if known else None
        leaves = torch.is_grad_enabled() and not inputs.requires_grad
        passed = self.forward.run(inputs, wanted, calls, missing_ok=True, leaves=leaves)
        activations = {layer: self.shapes[layer].channels_first(passed.seen[layer]) for layer in named}
        if objective is not None and IMAGE in objective.layers:
            activations[IMAGE] = self.forward.denormalise(inputs)
        scores = self.target(passed.output, activations)
        if len(scores) != len(inputs):
            raise ValueError(f"the target gives {len(scores)} numbers for {len(inputs)} images: give one for each")
        if inputs.requires_grad and torch.is_grad_enabled():
            self.check_gradient(scores)
        return scores, {layer: activation for layer, activation in passed.seen.items() if layer in layers}

    def check_gradient(self, scores: Tensor) -> None:
        """Raises ``ValueError`` where no gradient can reach the images from these scores."""
        if not scores.requires_grad:
            raise ValueError(
                f"no gradient reaches the image from {self.target.labels[0]!r}: it does not depend on the image, or "
                f"{type(self.network).__name__} runs under no_grad or detaches what it computes; occlusion and "
                "feature_ablation need none"
            )

    def with_evidence(self, layers: Sequence[str] = (), first: Pass | None = None) -> Context:
        """The context with the scores of its images, and with activations and gradients of layers.

        Args:
            layers: addresses of layers.
            first: a pass of these images to the end that was made already; its graph is freed. Used where it has seen
                the layers, so that no other pass is needed.

        Raises:
            ValueError: a layer is not called.
        """
        if first is not None and first.seen.keys() >= set(layers):
            scores, seen = self.target(first.output, {}), {layer: first.seen[layer] for layer in layers}
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
        return replace(self, evidence=Evidence(scores.detach(), activations, dict(zip(seen, found))))

    def _known(self) -> Evidence:
        if self.evidence is None:
            raise ValueError("no pass has been made yet: call with_evidence(layers) on the context before")
        return self.evidence

    @property
    def scores(self) -> Tensor:
        """``[N]`` scores of the images."""
        return self._known().scores

    def activations(self, layer: str) -> Tensor:
        """``[N, K, h, w]``, float32. Tokens stand in their grid, without class and register tokens."""
        return self.as_map(layer, self._known().activations[layer])

    def gradients(self, layer: str) -> Tensor:
        """``[N, K, h, w]``: gradients of the scores with respect to ``activations(layer)``.

        Raises:
            ValueError: the scores do not depend on the layer.
        """
        gradient = self._known().gradients[layer]
        if gradient is None:
            raise ValueError(
                f"{self.target.labels[0]!r} does not depend on layer {layer!r}: choose one on the way to it"
            )
        return self.as_map(layer, gradient)

    def as_map(self, layer: str, activation: Tensor) -> Tensor:
        """The output of a layer, or a gradient of its shape, as ``[N, K, h, w]``.

        Raises:
            ValueError: it has no extent in space.
        """
        shape = self.shapes[layer]
        if not has_extent(shape):
            raise ValueError(f"layer {layer!r} puts out {list(shape.shape)}, which has no extent in space")
        found = shape.channels_first(activation)
        if shape.grid is None:
            return found
        height, width = shape.grid
        return found[..., -height * width :].unflatten(2, shape.grid)

    def from_map(self, layer: str, maps: Tensor, i: int) -> Tensor:
        """What a layer would put out, in its own order and type, for M images with these maps ``[M, K, h, w]``.

        The reverse of ``as_map``. Class and register tokens are those of image ``i``.
        """
        shape, own = self.shapes[layer], self._known().activations[layer]
        if shape.grid is not None:
            tokens = maps.flatten(2)
            further = shape.channels_first(own)[i : i + 1, :, : -tokens.shape[2]]
            maps = torch.cat([further.expand(len(maps), -1, -1), tokens.to(further)], 2)
        return shape.layout.original(maps).to(own.dtype).contiguous()


def has_extent(shape: LayerShape) -> bool:
    """True if a layer puts out a map, or tokens in a grid. Where windows stand in the image is not known."""
    return shape.layout.rows == 1 and (len(shape.shape) == 3 or (len(shape.shape) == 2 and shape.grid is not None))


Scoring = Callable[[int, Tensor], Tensor]
"""From the number of an image and M versions of it or of its maps to ``[M]`` scores, by the image's own target."""


def scoring(context: Context) -> Scoring:
    """A function that scores normalised inputs ``[M, C, H, W]``, without gradients."""
    quick = context.images.device.type == "cpu"  # there, channels last are twice as fast

    @torch.no_grad()
    def score(i: int, inputs: Tensor) -> Tensor:
        nonlocal quick
        image = context.take([i])
        if quick:
            forward = replace(image.forward, memory_format=torch.channels_last)
            try:
                return replace(image, forward=forward).run(inputs)[0]
            except torch.OutOfMemoryError:
                raise
            except RuntimeError:
                quick = False  # a network may take views that need the usual layout
        return image.run(inputs)[0]

    return score


def scoring_from(context: Context, layer: str) -> Scoring:
    """A function that scores maps ``[M, K, h, w]`` of a layer, without gradients.

    Only what follows the layer is run, where the network can be traced; the whole network otherwise.
    """
    own, rests = context.activations(layer), dict[tuple[int, int], Change]()

    @torch.no_grad()
    def score(i: int, maps: Tensor) -> Tensor:
        if isinstance(context.forward, AloneForward) and len(maps) > 1:
            return torch.cat([score(i, one) for one in maps.split(1)])
        if (i, len(maps)) not in rests:
            image = context.take([i])
            inputs = image.inputs.detach().expand(len(maps), -1, -1, -1)
            example = context.from_map(layer, own[i : i + 1].expand_as(maps), i)
            rests[i, len(maps)] = rest_of(
                image.network, layer, lambda: image.run(inputs)[0], example, context.scores[i]
            )
        return rests[i, len(maps)](context.from_map(layer, maps, i))

    return score


def parts(maps: Tensor, batch_size: int | None, verbose: bool, name: str) -> Iterator[tuple[int, Tensor]]:
    """Each image's number with some of the channels of ``maps``, and again, with a progress bar in a terminal.

    ``batch_size`` channels at once, by default 4 on a CPU (whose caches hold no more) and 64 on a GPU.
    """
    default = 64 if maps.device.type == "cuda" else 4
    batch_size = default if batch_size is None else as_count("batch_size", batch_size)
    total = maps.shape[0] * maps.shape[1]
    with tqdm(total=total, desc=name, disable=None if verbose else True) as bar:
        for i in range(maps.shape[0]):
            for some in torch.arange(maps.shape[1]).split(batch_size):
                yield i, some
                bar.update(len(some))
