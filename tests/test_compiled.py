"""The compiled step: the same pictures, compiled once for all batches, and the plain step where it cannot be."""

from __future__ import annotations

import shutil
import warnings
from typing import Any

import pytest
import torch
from small_networks import Tiny, seeded
from torch import Tensor

from optvis import ImageParam, OptVis, Visualisation
from optvis.objectives import TotalVariation

STAGES = [(16, 20)]


def drawn(network: torch.nn.Module, **options: Any) -> Visualisation:
    wish = OptVis.from_layer(network, "second", range(5)).objective - 0.1 * TotalVariation()
    return OptVis(network, wish).vis(ImageParam(16, 5, seed=[0] * 5), STAGES, batch=2, lr=0.05, **options)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler at hand: Inductor needs g++")
def test_compiled_steps_draw_the_same_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch import _inductor

    made: list[Any] = []
    compile_one = _inductor.compile

    def counted(*args: Any, **options: Any) -> Any:
        made.append(args[0])
        return compile_one(*args, **options)

    monkeypatch.setattr(_inductor, "compile", counted)
    plain, compiled = drawn(seeded(Tiny)), drawn(seeded(Tiny), compile=True)
    assert (plain.images - compiled.images).abs().max() < 1e-3
    assert torch.allclose(plain.history, compiled.history, atol=1e-3)
    assert len(made) == 2, "one for two pictures at once, whichever they are, and one for the last alone"
    assert compiled.settings["compile_seconds"] > 0 and plain.settings["compile_seconds"] is None


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A compiler that hands back what it was given."""
    calls: list[Any] = []

    def interpret(graph: torch.fx.GraphModule, inputs: Any, options: Any) -> Any:
        calls.append(graph)
        return graph

    monkeypatch.setattr("torch._inductor.compile", interpret)
    return calls


def test_the_traced_step_holds_everything(uncompiled: list[Any]) -> None:
    plain, traced = drawn(seeded(Tiny)), drawn(seeded(Tiny), compile=True)
    assert uncompiled and (plain.images - traced.images).abs().max() < 1e-5
    named = {str(node.target) for graph in uncompiled for node in graph.graph.nodes}
    assert not any("rand" in name for name in named), "random numbers are inputs"
    assert not any(node.op == "get_attr" for graph in uncompiled for node in graph.graph.nodes), "weights, too"


@pytest.mark.slow
def test_closures_and_other_places_work_with_traced_steps(uncompiled: list[Any]) -> None:
    optvis = OptVis.from_layer(seeded(Tiny), "second", range(3), optim=torch.optim.LBFGS)
    options: dict[str, Any] = {"lr": 0.5, "stages": [(16, 48)], "batch": 2, "until": lambda i, scores: len(scores) > i}
    plain, traced = optvis.vis(**options), optvis.vis(compile=True, **options)
    assert uncompiled and torch.allclose(plain.scores, traced.scores, rtol=0.02)


@pytest.mark.parametrize("wrong", ["raises", "other scores"])
def test_a_step_that_cannot_be_compiled_is_taken_as_it_is(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(graph: torch.fx.GraphModule, inputs: list[Tensor], options: Any) -> Any:
        if wrong == "raises":
            raise NotImplementedError("no such operation\nand much more")
        return lambda *inputs: tuple(2 * out for out in graph(*inputs))

    monkeypatch.setattr("torch._inductor.compile", fails)
    plain = drawn(seeded(Tiny))
    with pytest.warns(
        UserWarning,
        match="compile=True: (no such operation|the compiled step gives different scores): the step ran uncompiled",
    ) as caught:
        made = drawn(seeded(Tiny), compile=True)
    assert len(caught) == 1 and caught[0].filename == __file__ and "\n" not in str(caught[0].message)
    assert torch.equal(made.images, plain.images) and torch.equal(made.history, plain.history)


def test_transforms_from_elsewhere_are_not_compiled(uncompiled: list[Any]) -> None:
    optvis = OptVis.from_layer(seeded(Tiny), "second", 1, transforms=[lambda image: image.flip(-1)])
    with pytest.warns(UserWarning, match="only transforms of optvis can be compiled"):
        optvis.vis(stages=STAGES, compile=True)
    assert not uncompiled
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optvis.vis(stages=STAGES, compile=True, transform=False)
    assert uncompiled


def test_tiles_are_compiled_but_for_those_at_the_edge(uncompiled: list[Any]) -> None:
    optvis = OptVis.from_layer(seeded(Tiny), "second", 1)
    options: dict[str, Any] = {"img_param": ImageParam((16, 25)), "stages": [((16, 25), 24)], "tile": 16}
    plain, traced = optvis.vis(**options), optvis.vis(compile=True, **options)
    assert torch.allclose(plain.images, traced.images, atol=1e-4)
    (graph,) = uncompiled
    image = next(node for node in graph.graph.nodes if node.op == "placeholder")
    assert tuple(image.meta["val"].shape if "val" in image.meta else image.meta["tensor_meta"].shape) == (1, 3, 16, 13)
