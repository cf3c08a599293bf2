"""``attribute``: which parts of images a score of a network depends on, by any method."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, overload

import numpy as np
import torch
from torch import Tensor, nn

from ..checks import as_flag, as_list, shown
from ..network import Forward, NetworkInput, Pass, find_layer, isolated, unwrap
from ..network.addresses import layers_of
from ..network.forward import note_quiet
from ..network.inputs import channel_names, name_outputs
from ..objectives import Batch, Objective
from ..versions import versions
from ..view import view
from .alone import AloneForward, forward_of
from .cam import first_component
from .context import Context, Shown
from .inputs import read_inputs, undo_normalisation
from .progress import Progress
from .registry import Method, find_method
from .result import Attribution
from .target_layer import check_maps, first_pass, last_map, shapes_of
from .targets import Target, class_index, logits, of_classes, with_probabilities

Layers = str | nn.Module | Sequence[str | nn.Module] | None
_PLAIN = (bool, int, float, str, type(None))
_FLAGS = ("each", "aug_smooth", "eigen_smooth")
_VIEWS = list(itertools.product((False, True), (0.9, 1.0, 1.1)))
"""The views of an image over which ``aug_smooth`` averages: mirrored or not, and the factor."""


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
@view("attribute")
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
    normalised: bool = False,
    size: int | Sequence[int] | None = None,
    names: Sequence[str] | None = None,
    verbose: bool | str = True,
    **options: Any,
) -> Attribution | list[Attribution]:
    """Which parts of images a score of a network depends on.

    ::

        attribute(network, "dog.jpg").overlay()  # Grad-CAM of the class with the highest output
        attribute(network, "dog.jpg", "integrated_gradients", target="golden retriever").save("dog.png")

    Args:
        network: any ``nn.Module`` that takes images; it is read only.
        image: a tensor or array of floats in [0, 1] (``[C, H, W]`` or ``[N, C, H, W]``), shown to the network as it is;
            a path or PIL image, scaled and cropped to the network's size; or a list of these.
        method: one of ``METHODS``.
        target: what is explained: a class, by number or name; a list, one for each image; an ``Objective`` on any
            layer, or a list of these; a function from the network's output to ``[N]`` (some are in
            ``optvis.attribution.targets``). By default each image's class with the highest output.
        layer: for methods that attribute to a layer: an address or module; by default the last layer with spatial
            axes on which the target depends (for ``internal_influence``, whose gradient is not the same everywhere).
            The maps of several layers are scaled to [0, 1] and averaged.
        each: return a list instead, one result for each layer.
        aug_smooth: average over the image and its mirror image, each multiplied by 0.9, 1 and 1.1.
        eigen_smooth: use the first principal component of a CAM's channels instead of their sum.
        mean: per channel; by default the network's own, or what is assumed (see ``NetworkInput.of``).
        std: likewise.
        extra_inputs: further inputs of the network: a tuple, or a dict of named inputs.
        normalised: True if ``image`` is a tensor that was normalised with this mean and standard deviation.
        size: to which paths and PIL images are scaled and cropped, in pixels or (height, width), if not to the
            network's own size.
        names: of the network's outputs, in their order, if neither the network nor ImageNet's classes name them.
        verbose: show a progress bar in a terminal or notebook for methods that take many passes; ``"always"`` also
            elsewhere.
        options: of the method.

    Raises:
        ValueError: an unknown method, layer or class, images that do not fit, a number of targets other than that of
            the images, or a layer without spatial axes; the message says what can be given instead.
        TypeError: an option that the method does not have.
    """
    each, aug_smooth, eigen_smooth = map(as_flag, _FLAGS, (each, aug_smooth, eigen_smooth))
    way = find_method(method)
    options = way.checked(options)
    given = NetworkInput.of(network, mean, std)
    wanted = _wanted(network, layer)
    if wanted and not way.layer:
        raise ValueError(f"{way.name} works on the image itself, not at layer {wanted[0]!r}: leave layer= out")
    if eigen_smooth and not way.summed:
        raise ValueError(f"eigen_smooth works on the channels of a CAM, not with {way.name}")
    if size is not None and isinstance(image, (Tensor, np.ndarray)):
        raise ValueError(f"size {size!r} is for paths and PIL images: tensors and arrays are taken as they are")
    with isolated(given.device):
        if as_flag("normalised", normalised):
            image = undo_normalisation(image, given)
        inputs = read_inputs(image, given.channels, given.size if size is None else size)
        forward = forward_of(network, given, extra_inputs)
        name_outputs(forward.network, names)
        explained, contexts, layers = _prepared(forward, inputs.images.to(given.device), target, way, wanted)
        if aug_smooth and explained.placed:
            raise ValueError(
                f"aug_smooth mirrors the images, and {explained.labels[0]!r} depends on the position in them: leave "
                "aug_smooth out"
            )
        places = [[name] for name in layers] or [[]]  # a method that works on pixels gets no layer
        maps = []
        runs = len(contexts) * len(places) * (len(_VIEWS) if aug_smooth else 1)
        with Progress(way.name, verbose, runs) as progress:
            for context in contexts:
                counted = replace(context, progress=progress)
                maps.append(_maps(way, counted, places, aug_smooth, eigen_smooth, options))
        scores = torch.cat([context.scores for context in contexts]).cpu()
        if explained.objective is None:  # whole passes were made
            note_quiet(network, forward)
    settings = {
        "network": type(unwrap(network)).__name__,
        "method": way.name,
        "options": {
            key: one if isinstance(one, bool | int | float | str | None) else repr(one) for key, one in options.items()
        },
        "aug_smooth": aug_smooth,
        "eigen_smooth": eigen_smooth,
        "mean": list(given.mean),
        "std": list(given.std),
        "normalisation": given.normalisation.source,
        "versions": versions(),
    }
    results = [
        Attribution(torch.cat(values), inputs, explained, scores, {**settings, "layer": place})
        for place, *values in zip(places, *maps, strict=True)
    ]
    if each:
        return results
    if len(results) == 1:
        return results[0]
    together = torch.stack([result.heatmap() for result in results]).mean(0)[:, None]
    return Attribution(together, inputs, explained, scores, {**settings, "layer": list(layers)})


def Gradcam(
    network: nn.Module, input_data: Any, im_class: Any = None, layer: Layers = None, **options: Any
) -> Attribution:
    """Grad-CAM under the name and arguments that users of interpret-pytorch know; see ``attribute``.

    A tensor is normalised, as ``norm`` makes it; a path or PIL image is not.
    """
    normalised = options.pop("normalised", isinstance(input_data, Tensor))
    result: Attribution = attribute(network, input_data, "gradcam", im_class, layer, normalised=normalised, **options)
    return result


def _wanted(network: nn.Module, layer: Layers) -> tuple[str, ...]:
    if layer is None:
        return ()
    alone = isinstance(layer, (str, nn.Module))
    layers: list[Any] = [layer] if alone else as_list("layer", layer, "an address, a module or a list of these")
    if not layers:
        raise ValueError("an empty list of layers: give at least one, or None for the last with a map")
    return tuple(dict.fromkeys(find_layer(network, one) for one in layers))


def _prepared(
    forward: Forward, images: Tensor, target: Any, way: Method, layers: tuple[str, ...]
) -> tuple[Target, list[Context], tuple[str, ...]]:
    """The target; one context for all images, or one for each where the network takes one at a time; and the layers.

    For one image and a class or function as target, a single pass finds target and layer and also gives the evidence.
    """
    alone = isinstance(forward, AloneForward) and len(images) > 1
    heard = [] if alone else list(layers)
    if way.layer and not layers and len(images) == 1:
        heard = [name for name in layers_of(forward.network) if name]
    explained, first = _explained(forward, images, target, heard, leaves=bool(layers))
    shapes = shapes_of(forward, images, explained.layers)
    if explained.objective is not None:
        explained = replace(explained, objective=explained.objective.bound(shapes, shapes))
    inputs = forward.normalise(images) if first is None else first.inputs
    context = Context(forward, Shown(images, inputs.requires_grad_()), explained, shapes)
    if way.layer:
        if layers:
            found = shapes_of(forward, images, layers, first)
        else:
            found = dict([last_map(context, first if len(images) == 1 else None, way.uneven)])
        context = replace(context, shapes={**shapes, **found})
        layers = tuple(found)
        check_maps(context, layers)
    if alone:
        return explained, [context.take([i]).with_evidence(layers) for i in range(len(images))], layers
    return explained, [context.with_evidence(layers, first)], layers


def _explained(
    forward: Forward, images: Tensor, target: Any, layers: Sequence[str], leaves: bool
) -> tuple[Target, Pass | None]:
    """The target, and the pass that found it, of ``layers`` and with ``leaves``; ``None`` for an objective."""
    count = len(images)
    if isinstance(target, (Tensor, np.ndarray)):
        if target.ndim > 1 or (isinstance(target, Tensor) and target.is_meta):
            raise ValueError(f"target {shown(target)}: give the number of a class, or one for each image")
        target = target.tolist()
    several = isinstance(target, Sequence) and not isinstance(target, str)
    listed = list(target) if several else [target] * count
    if len(listed) != count:
        raise ValueError(f"{len(listed)} targets for {count} images: give one for each, or one for all")
    if listed and all(isinstance(one, Objective) for one in listed):
        objective = Batch(tuple(listed)) if several else target
        objective = objective.located(lambda layer: find_layer(forward.network, layer))
        if objective.pictures not in (None, count):
            raise ValueError(f"{objective!r} is for {objective.pictures} images, not {count}")
        return Target(tuple(map(repr, listed)), objective=objective), None
    first = first_pass(forward, images, layers, leaves)
    if callable(target):
        explained = Target((getattr(target, "__name__", repr(target)),) * count, score=target)
        with torch.no_grad():
            explained(first.output, {}, count)  # it may not give a number for each
        return explained, first
    outputs = logits(first.output)
    if len(outputs) != count:
        raise ValueError(
            f"the network puts out {list(outputs.shape)} for {count} images, which has no row of classes for "
            "each: give a target that is a function of its output, such as optvis.attribution.targets.box"
        )
    names = channel_names(forward.network, "", outputs.shape[1])
    if all(one is None for one in listed):
        classes = outputs.argmax(1).tolist()
    else:
        classes = [class_index(one, outputs.shape[1], names) for one in listed]
    explained = of_classes(classes, [names[c] if names else str(c) for c in classes])
    return with_probabilities(explained, first.output, names), first


def _maps(
    way: Method,
    context: Context,
    places: Sequence[Sequence[str]],
    smooth: bool,
    principal: bool,
    options: Mapping[str, Any],
) -> list[Tensor]:
    """For each of ``places`` a map ``[N, C, h, w]``, float32, on the CPU; the mean over several views if ``smooth``."""
    totals: list[Any] = [0] * len(places)
    views = _VIEWS if smooth else [(False, 1.0)]
    for mirrored, factor in views:
        view = context
        if smooth:
            images = context.images.flip(-1) if mirrored else context.images
            inputs = (context.forward.normalise(images) * factor).requires_grad_()
            view = replace(context, shown=Shown(images, inputs), evidence=None, progress=Progress())
            view = view.with_evidence([name for place in places for name in place]) if way.layer else view
            view = replace(view, progress=context.progress)
        for i, place in enumerate(places):
            values = way.run(view, *place, **options)
            if way.summed:
                values = first_component(values) if principal else values.sum(1, keepdim=True)
            totals[i] = totals[i] + (values.flip(-1) if mirrored else values).detach().float().cpu()
    return [total / len(views) for total in totals]
