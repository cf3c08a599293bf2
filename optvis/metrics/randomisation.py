"""The sanity check by randomised weights: a map that does not change with them does not depend on what was learnt."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..checks import as_flag, as_function, as_list, as_whole
from ..network import find_layer, unwrap
from ..network.addresses import layers_of
from .infidelity import values_of


@dataclass(frozen=True)
class Likeness:
    """Similarity of the map of a randomised network to the original map.

    Attributes:
        layer: the last layer whose weights were randomised; ``None`` before the first.
        spearman: ``[N]`` in [-1, 1]: rank correlation of the values.
        ssim: ``[N]`` in [-1, 1]: structural similarity of the maps, each scaled to [0, 1].
    """

    layer: str | None
    spearman: Tensor
    ssim: Tensor


def randomisation(
    network: nn.Module,
    explain: Callable[[nn.Module], Any],
    layers: Sequence[str | nn.Module] | None = None,
    cascading: bool = True,
    absolute: bool = False,
    seed: int = 0,
) -> list[Likeness]:
    """Similarity of the map to the original while a copy of the network is randomised, from the output down.

    Adebayo et al., "Sanity Checks for Saliency Maps", 2018. The similarity of a good map soon falls. The weights of a
    layer are replaced by random ones of a normal distribution with their mean and standard deviation, so that
    activations keep their size. Layers without a matrix of weights, such as normalisations, are randomised together
    with the one below them.

    Args:
        network: it is copied, and neither changed nor run.
        explain: from a network to values ``[N, C, h, w]``, or an attribution, for always the same images and target:
            ``lambda network: attribute(network, "dog.jpg", "gradcam", target=7, layer="features/18")``. Without
            ``target`` the map of each network is that of its own highest class.
        layers: those after which the map is computed; by default each that has a matrix of weights. A block stands for
            all layers in it.
        cascading: True to keep the layers above randomised; otherwise one layer is randomised at a time.
        absolute: True to compare maps without their sign.
        seed: of the weights.

    Returns:
        One entry for each layer; before them one for the unchanged network, whose similarity is 1 unless the method is
        random.

    Raises:
        ValueError: an unknown layer, or one without weights.
    """
    as_function("explain", explain, "a function from a network to values or an attribution")
    seed = as_whole("seed", seed, -(2**63), 2**63 - 1)
    cascading, absolute = as_flag("cascading", cascading), as_flag("absolute", absolute)
    working = _copy(unwrap(network))
    called: dict[str, None] = {}  # addresses, in the order of their calls
    handles = [
        module.register_forward_pre_hook(lambda _module, _inputs, name=name: called.setdefault(name))
        for name, module in layers_of(working).items()
    ]
    try:
        original = _values(explain, working, absolute)
    finally:
        for handle in handles:
            handle.remove()
    groups = _groups(working, called)
    marks = _marks(network, groups, layers)
    generator = torch.Generator().manual_seed(seed)
    found = [_likeness(None, original, _values(explain, working, absolute))]
    for i, (_, weights) in enumerate(groups):
        kept = [weight.detach().clone() for weight in weights]
        for weight in weights:
            _randomise(weight, generator)
        if i in marks:
            found.append(_likeness(marks[i], original, _values(explain, working, absolute)))
        if not cascading:
            for weight, old in zip(weights, kept, strict=True):
                weight.data.copy_(old)
    return found


def spearman(one: Tensor, other: Tensor) -> Tensor:
    """``[N]``: rank correlation of ``[N, ...]`` with ``[N, ...]``; equal values have their mean rank.

    1 if both are the same, 0 if one of them is constant.
    """
    same = (one == other).flatten(1).all(1)
    a, b = (_ranked(x.flatten(1)) for x in (one, other))
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    size = (a.square().sum(1) * b.square().sum(1)).sqrt()
    found = torch.where(size > 0, (a * b).sum(1) / torch.where(size > 0, size, 1), 0)
    return torch.where(same, 1.0, found).float()


def _ranked(rows: Tensor) -> Tensor:
    """``[N, K]``: the rank of each value in its row, from 0."""
    rows = rows.contiguous()
    ordered = rows.sort(1).values
    below = torch.searchsorted(ordered, rows)
    return (below + torch.searchsorted(ordered, rows, right=True) - 1).double() / 2


def _likeness(layer: str | None, original: Tensor, now: Tensor) -> Likeness:
    if now.shape != original.shape:
        raise ValueError(
            f"explain gives {list(original.shape)} for the network and {list(now.shape)} for a copy of it: name the "
            "layer to attribute to"
        )
    return Likeness(layer, spearman(original, now), _ssim(original, now))


def _ssim(one: Tensor, other: Tensor) -> Tensor:
    from kornia.metrics import ssim

    maps = []
    for values in (one, other):
        summed = values.sum(1, keepdim=True)
        low, high = summed.amin((2, 3), keepdim=True), summed.amax((2, 3), keepdim=True)
        maps.append((summed - low) / torch.where(high > low, high - low, 1))
    side = min(11, min(one.shape[-2:]))
    return ssim(maps[0], maps[1], side - 1 + side % 2).flatten(1).mean(1)


def _values(explain: Callable[[nn.Module], Any], network: nn.Module, absolute: bool) -> Tensor:
    values = values_of(explain(network)).cpu()
    return values.abs() if absolute else values.clone()


def _copy(network: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(network)
    except Exception as error:
        raise TypeError(
            f"{type(network).__name__} cannot be copied, so its weights cannot be randomised: {error}"
        ) from error


def _groups(network: nn.Module, called: dict[str, None]) -> list[tuple[str, list[Tensor]]]:
    """What is randomised together, from the output down: a layer, and its weights with those above it."""
    weights: dict[str, list[Tensor]] = {name: [] for name in called}
    seen: set[int] = set()
    for name, module in layers_of(network).items():
        # A module that is never called itself, as in some attentions, is used by the module that contains it.
        while name and name not in called:
            name = name.rpartition("/")[0]
        for weight in module.parameters(recurse=False):
            if name in called and weight.is_floating_point() and id(weight) not in seen:
                weights[name].append(weight)
                seen.add(id(weight))
    groups: list[tuple[str, list[Tensor]]] = []
    waiting: list[Tensor] = []
    for name in reversed(called):
        waiting += weights[name]
        if any(weight.dim() > 1 for weight in weights[name]):
            groups.append((name, waiting))
            waiting = []
    if waiting and groups:
        groups[-1][1].extend(waiting)
    if not groups:
        raise ValueError(f"explain uses no weights of {type(network).__name__}: there is nothing to randomise")
    return groups


def _marks(
    network: nn.Module, groups: list[tuple[str, list[Tensor]]], layers: Sequence[str | nn.Module] | None
) -> dict[int, str]:
    """Groups after which the map is computed, and the layer that each stands for."""
    names = [name for name, _ in groups]
    if layers is None:
        return dict(enumerate(names))
    marks: dict[int, str] = {}
    listed = [layers] if isinstance(layers, (str, nn.Module)) else as_list("layers", layers, "addresses or modules")
    for layer in listed:
        address = find_layer(network, layer)
        within = [i for i, name in enumerate(names) if address in ("", name) or name.startswith(address + "/")]
        if not within:
            raise ValueError(
                f"layer {address!r} has no weights to randomise: choose from {', '.join(map(repr, names))}"
            )
        marks[within[-1]] = address
    return marks


def _randomise(weight: Tensor, generator: torch.Generator) -> None:
    """Replace a tensor's values by random ones with their mean and standard deviation."""
    values = weight.detach().float()
    drawn = torch.randn(values.shape, generator=generator, dtype=torch.float32, device="cpu").to(values.device)
    weight.data.copy_(values.mean() + values.std(unbiased=False) * drawn)
