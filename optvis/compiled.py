"""The step as one compiled function: transforms, network and the way back to the image."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from .network import out_of_memory
from .rng import Rng
from .scoring import ScoreFunction, along_with_gradient, scores_and_gradient


class Compiler:
    """Compiles what looks at images, each kind of step once, and keeps it for all batches of a run.

    What a step does is traced down to the operations of the forward and the backward pass, and these are compiled by
    torch's Inductor (on a GPU replayed as one CUDA graph). Weights, constants and random numbers are inputs, so that
    other channels of the same layer need no compilation of their own. Once a step cannot be compiled, all are taken as
    they are.

    Attributes:
        seconds: what setting up has cost.
        failure: why a step could not be compiled.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._compiled: dict[Any, Callable[..., Any]] = {}
        self.failure = ""

    def __call__(self, see: ScoreFunction, image: Tensor, rng: Rng) -> ScoreFunction:
        """``see``, compiled for images and numbers like these; as it is where that cannot be done."""
        if self.failure:
            return see
        start = time.perf_counter()
        try:
            return self._made(see, image.detach().contiguous(), rng)
        except Exception as error:
            if isinstance(error, RuntimeError) and out_of_memory(error):
                raise
            self.failure = (str(error).splitlines() or [type(error).__name__])[0][:200]
            return see
        finally:
            self.seconds += time.perf_counter() - start

    def _made(self, see: ScoreFunction, image: Tensor, rng: Rng) -> ScoreFunction:
        record = _Recorded(rng)
        with rng.undone():
            truth = scores_and_gradient(see, image, record)
        numbers = record.numbers

        def step(image: Tensor, *numbers: Tensor) -> tuple[Tensor, Tensor]:
            return scores_and_gradient(see, image, _Given(rng, numbers))

        written = make_fx(step)(image, *numbers)
        pure = make_fx(torch.func.functionalize(written, remove="mutations_and_views"))(image, *numbers)
        graph, constants = _without_constants(pure)
        tensors = (image, *numbers, *constants)
        key = (graph.code, tuple((t.shape, t.stride(), t.dtype, t.device) for t in tensors))
        inputs: list[Any] = list(tensors)
        if key not in self._compiled:
            on_gpu = image.device.type == "cuda"
            from torch import _inductor  # takes seconds to import

            self._compiled[key] = _inductor.compile(graph, inputs, {"triton.cudagraphs": True} if on_gpu else {})
        compiled = self._compiled[key]
        with torch.no_grad():
            found = compiled(*inputs)
        for what, is_now, was in zip(("scores", "gradients"), found, truth):
            if not torch.allclose(is_now, was, rtol=1e-2, atol=1e-2 * float(was.abs().max())):
                raise ValueError(f"compiled, it gives other {what}")

        shape = image.shape

        def quick(image: Tensor, rng: Rng) -> Tensor:
            if image.shape != shape:
                return see(image, rng)  # a tile at the edge, smaller than the others

            def compute(image: Tensor) -> tuple[Tensor, Tensor]:
                scores, gradient = compiled(image.contiguous(), *record.again(rng), *constants)
                return scores.clone(), gradient.clone()  # a CUDA graph's next run overwrites what it put out

            return along_with_gradient(image, compute)

        return quick


class _Recorded(Rng):
    """Draws that are noted."""

    def __init__(self, rng: Rng) -> None:
        self._follow(rng.generators, rng._streams)
        self.numbers: list[Tensor] = []
        self._asked: list[tuple[Callable[..., Tensor], tuple[int, ...]]] = []

    def _each(self, draw: Callable[..., Tensor], shape: tuple[int, ...]) -> Tensor:
        self._asked.append((draw, shape))
        self.numbers.append(super()._each(draw, shape))
        return self.numbers[-1]

    def again(self, rng: Rng) -> list[Tensor]:
        """The next numbers, as they were asked for."""
        return [rng._each(draw, shape) for draw, shape in self._asked]


class _Given(Rng):
    """Numbers that have been drawn."""

    def __init__(self, rng: Rng, numbers: Sequence[Tensor]) -> None:
        self._follow(rng.generators, rng._streams)
        self._numbers = list(numbers)

    def _each(self, draw: Callable[..., Tensor], shape: tuple[int, ...]) -> Tensor:
        return self._numbers.pop(0)


def _without_constants(graph: GraphModule) -> tuple[GraphModule, list[Tensor]]:
    """The graph with its weights and constants as further inputs, and these."""
    inputs: dict[str, torch.fx.Node] = {}
    last = [node for node in graph.graph.nodes if node.op == "placeholder"][-1]
    for node in [node for node in graph.graph.nodes if node.op == "get_attr"]:
        name = str(node.target)
        if name not in inputs:
            with graph.graph.inserting_after(last):
                last = inputs[name] = graph.graph.placeholder(f"constant_{len(inputs)}")
        node.replace_all_uses_with(inputs[name])
        graph.graph.erase_node(node)
    return GraphModule(torch.nn.Module(), graph.graph), [getattr(graph, name).detach() for name in inputs]
