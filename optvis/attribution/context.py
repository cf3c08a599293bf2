"""One network, some images and a target, and all that a method may ask about them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Interpreter, Node
from torch.fx.experimental.proxy_tensor import make_fx
from tqdm import tqdm

from ..checks import as_count
from ..network import LayerShape, NetworkInput, Tap
from ..network.addresses import module_at
from ..network.probe import with_extra
from ..network.tap import first_tensor, with_first_tensor
from ..objectives.algebra import IMAGE
from .targets import Target

Change = Callable[[Tensor], Tensor]


@dataclass
class Pass:
    """One forward pass: the whole output, what layers put out in the order of their calls, and how often they did."""

    inputs: Tensor
    output: Any
    seen: dict[str, Tensor]
    calls: Mapping[str, int]


@dataclass
class Context:
    """A network that looks at images, and is asked for the causes of a target's scores.

    All activations and gradients are float32, whatever the type in which the network works.

    Attributes:
        network: unwrapped, and frozen for as long as this is used.
        given: what it takes.
        images: ``[N, C, H, W]`` in [0, 1], float32.
        target: what is asked for.
        layers: addresses at which it is looked.
        shapes: what those put out.
        extra: further inputs of the network.
        strength: what the normalised images are multiplied by.
        first: a pass that was made of these images already, and whose graph is still there.
    """

    network: nn.Module
    given: NetworkInput
    images: Tensor
    target: Target
    layers: tuple[str, ...] = ()
    shapes: Mapping[str, LayerShape] = field(default_factory=dict)
    extra: Sequence[Any] | Mapping[str, Any] = ()
    strength: float = 1.0
    first: Pass | None = None
    _channels_last: bool = True

    def normalised(self, images: Tensor) -> Tensor:
        """Images ``[N, C, H, W]`` in [0, 1] as the network takes them."""
        mean, std = self._statistics(images.device)
        return (images - mean).div_(std).to(self.given.dtype)

    def denormalised(self, inputs: Tensor) -> Tensor:
        """The reverse, in float32."""
        mean, std = self._statistics(inputs.device)
        return inputs.float() * std + mean

    def _statistics(self, device: torch.device) -> tuple[Tensor, Tensor]:
        mean, std = (torch.tensor(values, device=device).view(-1, 1, 1) for values in (self.given.mean, self.given.std))
        return mean, std

    def take(self, images: Sequence[int]) -> Context:
        """The look at only these images, with their targets and their own further inputs."""
        rows = list(images)
        return replace(
            self, images=self.images[rows], target=self.target.take(rows), extra=self.extra_of(rows), first=None
        )

    def extra_of(self, images: Sequence[int]) -> Sequence[Any] | Mapping[str, Any]:
        """The further inputs of only these images, where there is one for each."""
        rows, count = list(images), len(self.images)

        def own(value: Any) -> Any:
            return value[rows] if isinstance(value, Tensor) and value.dim() and len(value) == count > 1 else value

        if isinstance(self.extra, Mapping):
            return {name: own(value) for name, value in self.extra.items()}
        return tuple(own(value) for value in self.extra)

    def run(self, inputs: Tensor, layers: Sequence[str] = ()) -> tuple[Tensor, dict[str, Tensor]]:
        """``[N]`` scores of normalised images, and what layers put out, as they do, in the order of their calls.

        Layers that are not called are left out. Where the target is an objective, nothing deeper is run than needed.
        """
        objective = self.target.objective
        heard = objective.layers if objective is not None else ()
        wanted = tuple(layer for layer in dict.fromkeys((*layers, *heard)) if layer != IMAGE)
        calls: dict[str, int] | None = None
        if objective is None:
            calls = to_the_end(wanted)
        elif all(layer in self.shapes for layer in wanted):
            calls = {layer: self.shapes[layer].calls for layer in wanted}
        passed = self.passed(inputs, wanted, calls)
        seen = passed.seen
        activations = {layer: self.shapes[layer].channels_first(seen[layer]) for layer in heard if layer != IMAGE}
        if IMAGE in heard:
            activations[IMAGE] = self.denormalised(inputs)
        scores = self.target(passed.output, activations)
        if len(scores) != len(inputs):
            raise ValueError(f"the target gives {len(scores)} numbers for {len(inputs)} images: give one for each")
        if inputs.requires_grad and torch.is_grad_enabled():
            self.check_gradient(scores)
        return scores, {layer: activation for layer, activation in seen.items() if layer in layers}

    def check_gradient(self, scores: Tensor) -> None:
        """Raises ``ValueError`` where no gradient can reach the image from these scores."""
        if not scores.requires_grad:
            raise ValueError(
                f"no gradient reaches the image from {self.target.labels[0]!r}: it does not depend on the image, or "
                f"{type(self.network).__name__} runs under no_grad or detaches what it computes; occlusion and "
                "feature_ablation need none"
            )

    def passed(self, inputs: Tensor, layers: Sequence[str], calls: Mapping[str, int] | None) -> Pass:
        """Show normalised images to the network; layers that are not called are left out.

        Where the images need no gradient, gradients begin at the layers: what comes before leaves nothing behind.
        """
        leaves = torch.is_grad_enabled() and not inputs.requires_grad
        positional, named = with_extra(inputs, self.extra)
        output: list[Any] = []
        with (
            _whole_output(self.network, output),
            Tap(self.network, layers, calls, missing_ok=True, leaves=leaves) as tap,
        ):
            seen = tap(*positional, **named)
        in_order = {layer: seen[layer] for layer in tap.calls if layer in seen}
        return Pass(inputs, output[0] if output else None, in_order, tap.calls)

    @cached_property
    def inputs(self) -> Tensor:
        """The images as the network takes them; a leaf with gradients."""
        if self.first is not None and self.first.inputs.requires_grad:
            return self.first.inputs
        inputs = self.normalised(self.images)
        return (inputs if self.strength == 1 else inputs * self.strength).requires_grad_()

    @cached_property
    def _seen(self) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor | None]]:
        first, self.first = self.first, None  # its graph serves once
        if first is not None and first.seen.keys() >= set(self.layers):
            scores, activations = self.target(first.output, {}), {layer: first.seen[layer] for layer in self.layers}
        else:
            with torch.set_grad_enabled(bool(self.layers)):
                scores, activations = self.run(self.inputs.detach(), self.layers)
        if self.layers and not scores.requires_grad:  # of the layers, or even of the image?
            scores, activations = self.run(self.inputs, self.layers)
        for layer in self.layers:
            if layer not in activations:
                raise ValueError(f"layer {layer!r} is not called in the forward pass: choose another layer")
        if not activations:
            return scores.detach(), {}, {}
        found = torch.autograd.grad(scores.sum(), list(activations.values()), allow_unused=True)
        return scores.detach(), {layer: a.detach() for layer, a in activations.items()}, dict(zip(activations, found))

    @property
    def scores(self) -> Tensor:
        """``[N]``: of the images as they are."""
        return self._seen[0]

    def activations(self, layer: str) -> Tensor:
        """``[N, K, h, w]``, float32; tokens stand in their grid, without class and register tokens."""
        return self.as_map(layer, self._seen[1][layer])

    def gradients(self, layer: str) -> Tensor:
        """``[N, K, h, w]``: of the scores with respect to the activations.

        Raises:
            ValueError: the scores do not depend on the layer.
        """
        gradient = self._seen[2][layer]
        if gradient is None:
            raise ValueError(
                f"{self.target.labels[0]!r} does not depend on layer {layer!r}: choose one on the way to it"
            )
        return self.as_map(layer, gradient)

    def as_map(self, layer: str, activation: Tensor) -> Tensor:
        """What a layer put out, as ``[N, K, h, w]``."""
        shape = self.shapes[layer]
        found = shape.channels_first(activation)
        if found.dim() == 3 and shape.grid is not None:
            height, width = shape.grid
            found = found[..., -height * width :].unflatten(2, shape.grid)
        if found.dim() != 4:
            raise ValueError(f"layer {layer!r} puts out {list(shape.shape)}, which has no extent in space")
        return found

    def from_map(self, layer: str, changed: Tensor, activation: Tensor) -> Tensor:
        """The reverse of ``as_map``: ``activation`` with its map changed, in the layer's own order and type."""
        shape = self.shapes[layer]
        if changed.dim() == 4 and len(shape.shape) == 2:
            flat = changed.flatten(2)
            rest = shape.channels_first(activation)[..., : -flat.shape[2]]
            changed = torch.cat([rest, flat.to(rest.dtype)], 2)
        return changed.movedim(1, shape.axis).to(activation.dtype)

    @torch.no_grad()
    def scores_of(self, inputs: Tensor, images: Sequence[int]) -> Tensor:
        """``[M]`` scores of normalised inputs ``[M, C, H, W]``; ``images`` says whose targets are asked, in turn."""
        asking = self.take(images)
        if self._channels_last and inputs.device.type == "cpu":
            try:  # twice as quick on a CPU
                return asking.run(inputs.contiguous(memory_format=torch.channels_last))[0]
            except torch.OutOfMemoryError:
                raise
            except RuntimeError:
                self._channels_last = False  # some networks take views that only work in the usual layout
        return asking.run(inputs)[0]

    def from_layer(self, layer: str) -> Callable[[int, Tensor], Tensor]:
        """A function from an image's number and maps ``[M, K, h, w]`` of it at a layer to ``[M]`` scores.

        Only what follows the layer is run, where the network can be traced; the whole network otherwise.
        """
        traced: dict[tuple[int, int], Callable[[Tensor], Tensor] | None] = {}

        def rest(i: int, maps: Tensor) -> Tensor:
            asking = self.take([i])
            inputs = self.inputs[i : i + 1].detach().expand(len(maps), -1, -1, -1)
            own = self._seen[1][layer][i : i + 1]
            activations = self.from_map(layer, maps, own.expand(len(maps), *own.shape[1:]))

            def run(activations: Tensor) -> Tensor:
                with changed_layer(self.network, layer, lambda _: activations):
                    return asking.run(inputs)[0]

            key = (i, len(maps))
            if key not in traced:
                traced[key] = _traced(run, own.expand_as(activations).contiguous(), self.scores[i])
            return (traced[key] or run)(activations)

        return torch.no_grad()(rest)

    def parts(self, maps: Tensor, batch_size: int | None, verbose: bool, name: str) -> Iterator[tuple[int, Tensor]]:
        """Each image's number with some of the channels of ``maps``, and again, with a bar in a terminal.

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


def _traced(run: Callable[[Tensor], Tensor], example: Tensor, score: Tensor) -> Callable[[Tensor], Tensor] | None:
    """``run`` without what does not depend on its input; ``None`` unless it then gives the example its score."""
    try:
        graph = _folded(make_fx(torch.func.functionalize(run))(example), example)
        same = torch.allclose(graph(example), score, rtol=1e-3, atol=1e-5)
    except Exception:
        return None
    return graph if same else None


def _folded(graph: GraphModule, example: Tensor) -> GraphModule:
    """A graph of one input in which all that does not depend on the input has been computed."""
    nodes = list(graph.graph.nodes)
    moving = {nodes[0]}
    for node in nodes:
        if moving.intersection(node.all_input_nodes):
            moving.add(node)
    known = [node for node in nodes if node.op == "call_function" and node not in moving and moving & set(node.users)]
    for i, (node, value) in enumerate(_values(graph, example, known).items()):
        graph.register_buffer(f"_known_{i}", value)
        with graph.graph.inserting_before(node):
            node.replace_all_uses_with(graph.graph.get_attr(f"_known_{i}"))
    for node in reversed(nodes):
        if node not in moving and not node.users:
            graph.graph.erase_node(node)
    graph.recompile()
    return graph


def _values(graph: GraphModule, example: Tensor, wanted: Sequence[Node]) -> dict[Node, Tensor]:
    """What some nodes give, at the moment when they give it: later ones may change it in place."""
    found: dict[Node, Tensor] = {}
    if not wanted:
        return found

    class Remembering(Interpreter):
        def run_node(self, n: Node) -> Any:
            value = super().run_node(n)
            if n in wanted and isinstance(value, Tensor):
                found[n] = value.clone()
            return value

    Remembering(graph).run(example)
    return found


def to_the_end(layers: Sequence[str]) -> dict[str, int]:
    """For a tap that is to let the network come to its end, and to swallow no error on the way."""
    return dict.fromkeys(layers, sys.maxsize)


@contextmanager
def changed_layer(network: nn.Module, layer: str, change: Change) -> Iterator[None]:
    """Within the block what a layer puts out is changed before anything else sees it."""

    def hook(module: nn.Module, inputs: Any, output: Any) -> Any:
        tensor = first_tensor(output)
        return None if tensor is None else with_first_tensor(output, change(tensor))

    handle = module_at(network, layer).register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _whole_output(network: nn.Module, into: list[Any]) -> Iterator[None]:
    """Within the block what the network puts out is kept, whole."""
    handle = network.register_forward_hook(lambda module, inputs, output: into.append(output))
    try:
        yield
    finally:
        handle.remove()
