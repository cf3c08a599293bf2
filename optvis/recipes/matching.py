"""What recipes that compare pictures with given images have in common: images, layers, predictions and the figure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from ..activations import activations, find_layers
from ..attribution.inputs import read_inputs
from ..attribution.targets import logits, percent
from ..checks import as_count, as_size
from ..engine import OPTIONS, OptVis
from ..images import fit, grid, to_pil
from ..network import Forward, NetworkInput, isolated
from ..network.forward import Pass, to_the_end
from ..network.inputs import Extra, channel_names, name_outputs
from ..network.tap import first_tensor
from ..objectives import Objective
from ..objectives.matching import Similarity, similarity_of
from ..rng import Rng
from ..transforms import standard
from ..visualisation import Visualisation

UNSEEN = 2**34
"""Seed of the transforms under which finished pictures are compared with their images; no step uses it."""
DRAWS = 4
"""Number of these transforms, of which the mean is taken."""


@dataclass(frozen=True, eq=False)
class Original:
    """Images ``[N, C, H, W]`` in [0, 1], with what the network makes of them: labels, and the same as JSON data."""

    images: Tensor
    labels: tuple[str, ...]
    predictions: tuple[dict[str, Any] | None, ...]


def read_originals(
    network: nn.Module, images: Any, size: Any, given: NetworkInput, names: Sequence[str] | None, extra: Extra = ()
) -> Original:
    """Images at a size, with the network's class of the highest output for each.

    Tensors keep their size if ``size`` is ``None``; files and PIL images have the network's own, or 224 px.
    """
    whole = None if size is None else as_size(size)
    found = fit(read_inputs(images, given.channels, whole or given.size).images, whole)
    forward = Forward.of(network, given, extra)
    name_outputs(forward.network, names)
    with isolated(given.device), torch.no_grad():
        passed = forward.run(forward.normalise(found.to(given.device)), [""], to_the_end([""]))
    try:
        rows = logits(passed.output).float().cpu()
    except ValueError:  # it is no classifier
        rows = torch.empty(len(found), 0)
    if rows.shape[1] < 2 or len(rows) != len(found):
        return Original(found, ("original",) * len(found), (None,) * len(found))
    known = channel_names(forward.network, "", rows.shape[1])
    top = rows.softmax(1).max(1)
    predictions = tuple(
        {"class": known[place] if known else str(place), "probability": round(probability, 4)}
        for probability, place in zip(*map(Tensor.tolist, top), strict=True)
    )
    labels = tuple(f"{one['class'].partition(',')[0]} {percent(one['probability'])}" for one in predictions)
    return Original(found, labels, predictions)


def layers_or_default(network: nn.Module, layers: Any, images: Tensor, given: NetworkInput, count: int) -> list[str]:
    """Addresses of layers; for ``None``, of ``count`` layers from early to late."""
    if layers is None:
        return layers_at_depths(network, images[:1], given, count)
    return find_layers(network, layers)


def layers_at_depths(network: nn.Module, image: Tensor, given: NetworkInput, count: int) -> list[str]:
    """``count`` layers with positions, from early to late.

    They are whole blocks, such as residual blocks, if the network has ``count`` of these. Chosen are the last layers
    before the resolution falls, where it falls often enough, and otherwise layers that are evenly spread over the order
    of the calls.
    """
    forward = Forward.of(network, given)
    names = [name.replace(".", "/") for name, module in forward.network.named_modules() if name and _changes(module)]
    with isolated(given.device), torch.no_grad():
        passed = forward.run(forward.normalise(image.to(given.device)), names, to_the_end(names), missing_ok=True)
    blocks = _blocks(forward.network)
    maps = _maps(passed, image, [name for name in passed.calls if name in blocks])
    if len(maps) < count:
        maps = _maps(passed, image, passed.calls)
    ends = list({tuple(seen.shape[2:]): name for name, seen in maps.items()}.values())
    chosen = ends if len(ends) > count else list(maps)
    if not chosen:
        raise ValueError(f"no layer of {type(forward.network).__name__} has positions: name layers=")
    places = torch.linspace(min(1, len(chosen) - count), len(chosen) - 1, count).add(0.5).floor().int().clamp_min(0)
    return list(dict.fromkeys(chosen[place] for place in places.tolist()))


def similarities(
    network: nn.Module,
    layer: str,
    pictures: Tensor,
    images: Tensor,
    similarity: Similarity,
    transformed: bool = True,
    **options: Any,
) -> list[float]:
    """The similarity of a layer's activations for each picture to those for its image, as ``Match`` defines it.

    If ``transformed``, the mean of ``DRAWS`` draws of the standard transforms, which no step of a run uses; picture and
    image are under the same ones. ``options`` are as for ``activations``.
    """

    def pairs() -> Iterator[Tensor]:
        rng = Rng([UNSEEN] * 2 * len(pictures))
        for _ in range(DRAWS if transformed else 1):
            both = torch.cat([pictures, images])
            yield standard()(both, rng).clamp(0, 1) if transformed else both

    count = len(pictures)
    found = [
        similarity_of(seen[layer][:count], seen[layer][count:], similarity)
        for seen in activations(network, pairs(), layer, 2 * count, **options)
    ]
    return [round(one, 4) for one in torch.stack(found).mean(0).tolist()]


def figure_of(rows: Sequence[Sequence[Tensor]], labels: Sequence[Sequence[str]]) -> Image.Image:
    """Rows of images ``[C, H, W]`` with a label below each, as RGB."""
    pictures = [to_pil(image).convert("RGB") for row in rows for image in row]
    return grid(pictures, len(rows[0]), [label for row in labels for label in row])


def _changes(module: nn.Module) -> bool:
    return not isinstance(module, (nn.Identity, nn.Dropout, nn.Flatten))


def _maps(passed: Pass, image: Tensor, names: Iterable[str]) -> dict[str, Tensor]:
    """Those of the layers' outputs that have positions, in the order of the calls, without repetitions."""
    maps: dict[str, Tensor] = {}
    last, output = image, first_tensor(passed.output)
    classes = output.shape[1] if output is not None and output.dim() > 1 else 0
    for name in names:
        seen = passed.seen.get(name, last)
        positions = seen.shape[2:].numel() if seen.dim() in (3, 4) and len(seen) == 1 else 0
        same = seen.shape == last.shape and torch.equal(seen, last)  # a part and its whole
        if positions > 1 and seen.shape[1] != classes and not same:
            maps[name] = last = seen
    return maps


def _blocks(network: nn.Module) -> list[str]:
    """Addresses of the outermost modules with two or more layers, other than the network and lists of modules."""
    lists = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
    found: list[str] = []
    for name, module in network.named_modules():  # a whole before its parts
        inside = any(name.startswith(f"{block}.") for block in found)
        weights = [part.weight for part in module.modules() if isinstance(getattr(part, "weight", None), Tensor)]
        if name and not inside and not isinstance(module, lists) and sum(one.dim() > 1 for one in weights) > 1:
            found.append(name)
    return [name.replace(".", "/") for name in found]


def draw_rows(
    network: nn.Module,
    objectives: Mapping[str, Objective],
    original: Original,
    steps: int,
    options: Mapping[str, Any],
) -> Iterator[tuple[str, Visualisation]]:
    """Pictures for each layer's objective, as large as the images; all are checked before the first step.

    ``options`` are those of ``OptVis`` and of ``OptVis.vis``.
    """
    given = dict(options)
    own = {name: given.pop(name) for name in OPTIONS if name in given}
    size = (original.images.shape[-2], original.images.shape[-1])
    given = {"stages": [(size, as_count("steps", steps))], **given}
    runs = {layer: OptVis(network, objective, **own) for layer, objective in objectives.items()}
    for layer, run in runs.items():
        yield layer, run.vis(size, **given)


def seen_as(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the options that say how a network gets its images, as ``activations`` takes them."""
    names = ("mean", "std", "extra_inputs", "channel_axis")
    return {name: options[name] for name in names if options.get(name) is not None}
