"""The step as one compiled function: transforms, network and backward pass to the image."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from typing_extensions import override

from .network import out_of_memory
from .rng import Rng
from .scoring import ScoreFunction, along_with_gradient, scores_and_gradient


class Compiler:
    """Compiles score functions, each kind of step once, and keeps the results for all batches of a run.

    A step is traced to the operations of its forward and backward pass, which torch's Inductor compiles (on a GPU they
    are replayed as one CUDA graph). Weights, constants and random numbers are inputs of the compiled function, so that
    other channels of the same layer reuse it. After one step could not be compiled, all steps run uncompiled.

    Attributes:
        seconds: time spent on compiling.
        failure: the reason why a step could not be compiled; empty if there is none.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._compiled: dict[Any, Callable[..., Any]] = {}
        self.failure = ""

    def __call__(self, see: ScoreFunction, image: Tensor, rng: Rng) -> ScoreFunction:
        """``see``, compiled for images of this shape and these random numbers; unchanged if that fails."""
        if self.failure:
            return see
        start = time.perf_counter()
        try:
            return self._made(see, image.detach().contiguous(), rng)
        except Exception as error:
            if out_of_memory(error):
                raise
            self.failure = (str(error).splitlines() or [type(error).__name__])[0][:200]
            return see
        finally:
            self.seconds += time.perf_counter() - start

    def _made(self, see: ScoreFunction, image: Tensor, rng: Rng) -> ScoreFunction:
        record = _Recorded(rng)
        with rng.undone():
            truth = scores_and_gradient(see, image, record)
        numbers, shape = record.numbers, image.shape

        def step(image: Tensor, *numbers: Tensor) -> tuple[Tensor, Tensor]:
            return scores_and_gradient(see, image, _Given(rng, numbers))

        written = make_fx(step)(image, *numbers)
        pure = make_fx(torch.func.functionalize(written, remove="mutations_and_views"))(image, *numbers)
        graph, constants = _without_constants(pure)
        inputs: list[Any] = [image, *numbers, *constants]
        key = (graph.code, tuple((t.shape, t.stride(), t.dtype, t.device) for t in inputs))
        if key not in self._compiled:
            from torch import _inductor  # takes seconds to import

            options = {"triton.cudagraphs": True} if image.device.type == "cuda" else {}
            self._compiled[key] = _inductor.compile(graph, inputs, options)
        compiled = self._compiled[key]
        with torch.no_grad():
            found = compiled(*inputs)
        for what, is_now, was in zip(("scores", "gradients"), found, truth, strict=True):
            if not torch.allclose(is_now, was, rtol=1e-2, atol=1e-2 * float(was.abs().max())):
                raise ValueError(f"the compiled step gives different {what}")

        def quick(image: Tensor, rng: Rng) -> Tensor:
            if image.shape != shape:
                return see(image, rng)  # a smaller tile at the edge

            def compute(image: Tensor) -> tuple[Tensor, Tensor]:
                # The next run of a CUDA graph overwrites its outputs.
                scores, gradient = map(torch.clone, compiled(image.contiguous(), *record.again(rng), *constants))
                return scores, gradient

            return along_with_gradient(image, compute)

        return quick


class _Recorded(Rng):
    """Random numbers that are recorded as they are drawn."""

    def __init__(self, rng: Rng) -> None:
        self.follow(rng.generators, rng.streams)
        self.numbers: list[Tensor] = []
        self._asked: list[tuple[Callable[..., Tensor], tuple[int, ...]]] = []

    @override
    def draw(self, one: Callable[..., Tensor], shape: tuple[int, ...]) -> Tensor:
        self._asked.append((one, shape))
        self.numbers.append(super().draw(one, shape))
        return self.numbers[-1]

    def again(self, rng: Rng) -> list[Tensor]:
        """The next numbers of ``rng``, in the shapes and from the distributions that were recorded."""
        return [rng.draw(one, shape) for one, shape in self._asked]


class _Given(Rng):
    """Random numbers that were drawn before."""

    def __init__(self, rng: Rng, numbers: Sequence[Tensor]) -> None:
        self.follow(rng.generators, rng.streams)
        self._numbers = list(numbers)

    @override
    def draw(self, one: Callable[..., Tensor], shape: tuple[int, ...]) -> Tensor:
        return self._numbers.pop(0)


def _without_constants(graph: GraphModule) -> tuple[GraphModule, list[Tensor]]:
    """The graph with its weights and constants turned into inputs, and their values."""
    inputs: dict[str, torch.fx.Node] = {}
    last = graph.graph.find_nodes(op="placeholder")[-1]
    for node in graph.graph.find_nodes(op="get_attr"):
        name = str(node.target)
        if name not in inputs:
            with graph.graph.inserting_after(last):
                last = inputs[name] = graph.graph.placeholder(f"constant_{len(inputs)}")
        node.replace_all_uses_with(inputs[name])
        graph.graph.erase_node(node)
    return GraphModule(torch.nn.Module(), graph.graph), [getattr(graph, name).detach() for name in inputs]
