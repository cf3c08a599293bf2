"""The one call: what in these images made the network say that?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, overload

import numpy as np
import torch
from torch import Tensor, nn

from ..network import NetworkInput, find_layer, frozen, unwrap
from ..network.addresses import layers_of
from ..network.probe import channel_names
from ..objectives import Batch, Objective
from ..objectives.algebra import IMAGE
from ..versions import versions
from .cam import first_component
from .context import Context
from .fitting import first_pass, shapes_of
from .inputs import read_photographs
from .registry import Method, find_method
from .result import Attribution
from .target_layer import check_maps, last_map
from .targets import Target, class_index, logits, of_classes

Layers = str | nn.Module | Sequence[str | nn.Module] | None


@overload
def attribute(
    network: nn.Module, image: Any, method: str = ..., target: Any = ..., layer: Layers = ...,
    *, each: Literal[False] = ..., **options: Any,
) -> Attribution: ...  # fmt: skip
@overload
def attribute(
    network: nn.Module, image: Any, method: str = ..., target: Any = ..., layer: Layers = ...,
    *, each: Literal[True], **options: Any,
) -> list[Attribution]: ...  # fmt: skip
def attribute(
    network: nn.Module,
    image: Any,
    method: str = "gradcam",
    target: Any = None,
    layer: Layers = None,
    *,
    each: bool = False,
    aug_smooth: bool = False,
    eigen_smooth: bool = False,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    extra_inputs: Sequence[Any] | Mapping[str, Any] | Tensor = (),
    **options: Any,
) -> Attribution | list[Attribution]:
    """Which parts of images made a network say what it said.

    ::

        attribute(network, "dog.jpg").overlay()[0]  # Grad-CAM of the class that it names
        attribute(network, "dog.jpg", "integrated_gradients", target="golden retriever").save("dog.png")

    Args:
        network: any ``nn.Module`` that takes images; frozen for the time, and handed back as it came.
        image: a tensor or array of floats in [0, 1] (``[C, H, W]`` or ``[N, C, H, W]``), which is taken as it is; a
            path or PIL image, whose middle is shown to the network at its size; or a list of these.
        method: one of ``METHODS``.
        target: what is asked for: a class, by number or name; a list, one for each image; an ``Objective`` on any
            layer, or a list of these; a function from what the network puts out to ``[N]`` (some are in
            ``optvis.attribution.targets``). By default each image's highest output.
        layer: for methods that work at one: an address or module; by default the last with an extent in space on
            which the target depends. Of several the maps are averaged, each brought to [0, 1] before.
        each: give a list instead, one result for each layer.
        aug_smooth: average over the image and its mirror, each at 0.9, 1 and 1.1 of its strength.
        eigen_smooth: of a CAM's channels take what lies along their first principal component instead of the sum.
        mean, std: per channel, by default what the network's configuration says, or ImageNet's.
        extra_inputs: what the network takes beside the image: a tuple, or a dict of named inputs.
        options: of the method.

    Raises:
        ValueError: an unknown method, layer or class, images that do not fit, a target of another length, or a layer
            without extent in space; the message names what would do.
        TypeError: an option that the method does not have.
    """
    if not isinstance(network, nn.Module):
        raise TypeError(f"a network is a torch.nn.Module, not {network!r}")
    way = find_method(method)
    options = way.checked(options)
    given = NetworkInput.of(network, mean, std)
    photographs = read_photographs(image, given.channels, given.size)
    extra = (extra_inputs,) if isinstance(extra_inputs, Tensor) else extra_inputs
    wanted = _wanted(network, layer)
    if wanted and not way.layer:
        raise ValueError(f"{way.name} works on the image itself, not at layer {wanted[0]!r}: leave layer= out")
    if eigen_smooth and not way.summed:
        raise ValueError(f"eigen_smooth works on the channels of a CAM, not with {way.name}")
    with frozen(network) as inner:
        look = Context(inner, given, photographs.images.to(given.device), Target(()), extra=extra)
        look = _asking(look, target, _heard(look, way, wanted), leaves=bool(wanted))
        if aug_smooth and look.target.placed:
            raise ValueError(
                f"aug_smooth mirrors the images, and {look.target.labels[0]!r} asks for a place in them: leave it out"
            )
        if way.layer:
            found = dict([last_map(look)]) if not wanted else shapes_of(look, wanted)
            wanted = tuple(found)
            look = replace(look, layers=wanted, shapes={**look.shapes, **found})
            check_maps(look, wanted)
        views = _views(look) if aug_smooth else [(look, False)]
        maps = [_values(way, views, layer, eigen_smooth, options) for layer in wanted or (None,)]
        scores = look.scores.cpu()
    settings = {
        "network": type(unwrap(network)).__name__,
        "options": {name: value if _plain(value) else repr(value) for name, value in options.items()},
        "aug_smooth": aug_smooth,
        "eigen_smooth": eigen_smooth,
        "mean": list(given.mean),
        "std": list(given.std),
        "versions": versions(),
    }
    results = [
        Attribution(values, photographs, look.target, scores, way.name, (name,) if name is not None else (), settings)
        for values, name in zip(maps, wanted or (None,))
    ]
    if each:
        return results
    if len(results) == 1:
        return results[0]
    together = torch.stack([result.heatmap() for result in results]).mean(0)[:, None]
    return Attribution(together, photographs, look.target, scores, way.name, wanted, settings)


def Gradcam(
    network: nn.Module, input_data: Any, im_class: Any = None, layer: Layers = None, **options: Any
) -> Attribution:
    """Grad-CAM under the name and arguments that users of interpret-pytorch know; see ``attribute``."""
    return attribute(network, input_data, "gradcam", im_class, layer, **options)


def _wanted(network: nn.Module, layer: Layers) -> tuple[str, ...]:
    if layer is None:
        return ()
    layers = [layer] if isinstance(layer, (str, nn.Module)) else list(layer)
    if not layers:
        raise ValueError("an empty list of layers: give at least one, or None for the last with a map")
    return tuple(dict.fromkeys(find_layer(network, one) for one in layers))


def _heard(look: Context, way: Method, wanted: Sequence[str]) -> list[str]:
    """The layers that are worth listening to in the first pass."""
    if wanted or not way.layer or len(look.images) > 1:
        return list(wanted)
    return [name for name in layers_of(look.network) if name]


def _asking(look: Context, target: Any, layers: Sequence[str], leaves: bool) -> Context:
    """``look`` with its target, and the pass of these layers that was needed to find it; ``leaves``: ``first_pass``."""
    count = len(look.images)
    target = target.tolist() if isinstance(target, (Tensor, np.ndarray)) else target
    target = list(target) if isinstance(target, Sequence) and not isinstance(target, str) else target
    if isinstance(target, list) and len(target) != count:
        raise ValueError(f"{len(target)} targets for {count} images: give one for each, or one for all")
    listed = target if isinstance(target, list) else [target] * count
    if isinstance(target, Objective) or (listed and all(isinstance(one, Objective) for one in listed)):
        objective: Objective = target if isinstance(target, Objective) else Batch(tuple(listed))
        objective = objective.located(lambda layer: find_layer(look.network, layer))
        if objective.pictures not in (None, count):
            raise ValueError(f"{objective!r} is for {objective.pictures} images, not {count}")
        layers = [layer for layer in objective.layers if layer != IMAGE]
        shapes = shapes_of(look, layers)
        bound = objective.bound(shapes, shapes)
        return replace(look, target=Target(tuple(map(repr, listed)), objective=bound), shapes=shapes)
    look = first_pass(look, layers, leaves)
    output = look.first.output if look.first is not None else None
    if callable(target):
        asked = Target((getattr(target, "__name__", repr(target)),) * count, score=target)
        asked.checked(output, count)
        return replace(look, target=asked)
    outputs = logits(output)
    if len(outputs) != count:
        raise ValueError(
            f"the network puts out {list(outputs.shape)} for {count} images, in which no class can be picked: give a "
            "target that is a function of its output, such as optvis.attribution.targets.box"
        )
    names = channel_names(look.network, "", outputs.shape[1])
    if target is None:
        classes = outputs.argmax(1).tolist()
    else:
        classes = [class_index(one, outputs.shape[1], names) for one in listed]
    labels = [names[c] if names else str(c) for c in classes]
    return replace(look, target=of_classes(classes, labels))


def _views(look: Context) -> list[tuple[Context, bool]]:
    """The images, and their mirrors, at several strengths; and whether they are mirrored."""
    return [
        (
            replace(look, images=look.images.flip(-1) if mirrored else look.images, strength=strength, first=None),
            mirrored,
        )
        for mirrored in (False, True)
        for strength in (0.9, 1.0, 1.1)
    ]


def _values(
    way: Method, views: Sequence[tuple[Context, bool]], layer: str | None, principal: bool, options: dict[str, Any]
) -> Tensor:
    """The mean over the views ``[N, C, h, w]``."""
    total: Any = 0
    for look, mirrored in views:
        values = way.run(look, layer, **options) if way.layer else way.run(look, **options)
        if way.summed:
            values = first_component(values) if principal else values.sum(1, keepdim=True)
        total = total + (values.flip(-1) if mirrored else values).detach().float().cpu()
    return total / len(views)


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, str))
