"""The rest of a network after one of its layers: running it on changed activations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Interpreter, Node
from torch.fx.experimental.proxy_tensor import make_fx

from .addresses import module_at
from .tap import first_tensor, with_first_tensor

Change = Callable[[Tensor], Tensor]


@contextmanager
def changed_layer(network: nn.Module, layer: str, change: Change) -> Iterator[None]:
    """Within the block the output of a layer is changed before other modules get it."""

    def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        tensor = first_tensor(output)
        return None if tensor is None else with_first_tensor(output, change(tensor))

    handle = module_at(network, layer).register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def rest_of(network: nn.Module, layer: str, run: Callable[[], Tensor], example: Tensor, expected: Tensor) -> Change:
    """The rest of a network (a shadow) after a layer: a function from the layer's output to the result of ``run``.

    It takes outputs of the shape of ``example``, for which ``run`` gives ``expected``. Only the part after the layer is
    run if ``run`` can be traced and the traced graph gives the expected result; otherwise the whole network is.
    """

    def whole(activation: Tensor) -> Tensor:
        with changed_layer(network, layer, lambda _: activation):
            return run()

    try:
        graph = _folded(make_fx(torch.func.functionalize(whole))(example), example)
        same = torch.allclose(graph(example), expected, rtol=1e-3, atol=1e-5)
    except Exception:
        return whole
    return graph if same else whole


def _folded(graph: GraphModule, example: Tensor) -> GraphModule:
    """A graph with one input, with constants in place of all values that do not depend on the input."""
    nodes = list(graph.graph.nodes)
    moving = {nodes[0]}
    for node in nodes:
        if moving.intersection(node.all_input_nodes):
            moving.add(node)
    known = [node for node in nodes if node.op == "call_function" and node not in moving and moving & set(node.users)]
    values: dict[Node, Tensor] = {}

    class Remembering(Interpreter):
        def run_node(self, n: Node) -> Any:
            value = super().run_node(n)
            if n in known and isinstance(value, Tensor):
                values[n] = value.clone()  # later nodes may change it in place
            return value

    if known:
        Remembering(graph).run(example)
    for i, (node, value) in enumerate(values.items()):
        graph.register_buffer(f"_known_{i}", value)
        with graph.graph.inserting_before(node):
            node.replace_all_uses_with(graph.graph.get_attr(f"_known_{i}"))
    for node in reversed(nodes):
        if node not in moving and not node.users:
            graph.graph.erase_node(node)
    graph.recompile()
    return graph
