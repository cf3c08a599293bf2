"""A map of a data set: the activations of each image as a point of the plane."""

from __future__ import annotations

import hashlib
import importlib.util
import math
import os
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ..activations import find_layers
from ..checks import as_count, as_flag, as_whole, choice
from ..data import Classes, read_labels
from ..features import KEPT, features_of
from ..figure import Figure, settings_of
from ..files import expanded
from ..network import NetworkInput
from ..plots import DPI, FAINT, axes_at, class_colours, new_figure, rendered, short_class, shortened, write
from ..view import view

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Plot

METHODS = ("umap", "pca", "tsne")
MOST_CLASSES = 40
"""As many classes have a colour and an entry in the legend; of more, the most frequent ones."""
PANEL, WIDE_PANEL, COLUMNS = 4.3, 6.2, 3
"""Side of a layer's map in inches, the same with thumbnails, and the most maps in a row."""
MARGIN, HEAD, TITLE, ROW = 0.25, 0.5, 0.55, 0.215
"""Inches: around everything, the figure's title, that of a map, and a line of the legend."""
TILE = 38
"""Side of a drawn thumbnail with its frame, in pixels."""
UNKNOWN = (0.8, 0.8, 0.8)


@view("embed")
def embedding(
    network: nn.Module,
    layers: str | nn.Module | Sequence[str | nn.Module],
    data: Any,
    labels: Any = None,
    method: str = "umap",
    thumbnails: bool = False,
    neighbours: int = 10,
    batch: int = 64,
    cache: str | None = None,
    *,
    names: Sequence[str] | None = None,
    mean: Any = None,
    std: Any = None,
    seed: int = 0,
    verbose: bool | str = True,
) -> Figure:
    """Show the activations of a data set as points in the plane, coloured by class.

    An image's activations are averaged over positions (for tokens, over all tokens), so that a layer gives one vector
    for each image. Classes are apart where the network tells them apart. A second figure of the same network, layers
    and data takes the activations and points from a cache, which holds up to 512 MiB in memory; the key contains the
    weights.

    ::

        embedding(network, ["features/6", "features/20"], "photographs/").save("map.png")

    Args:
        network: any ``nn.Module`` that takes images; it is read, never changed.
        layers: addresses or modules; each has its own map, in a row.
        data: as for ``activations``; names of sub-folders and second elements of tuples are labels.
        labels: a number or name for each image, by default those in the data; without any, points have no legend.
        method: umap, pca or tsne; PCA is used where umap-learn is not installed, and the title says so.
        thumbnails: draw small images in place of points, at most one at each place.
        neighbours: number of nearest neighbours for the purity in the titles.
        batch: number of images in the network at once.
        cache: a folder in which activations and points are kept for other processes, by default none.
        names: of the classes, in the order of their numbers; by default the network's own.
        mean: of the normalisation, per channel; by default the network's own.
        std: likewise.
        seed: of the method.
        verbose: as for ``OptVis.vis``.

    Returns:
        A figure. ``values`` holds the method, the classes and, for each layer, its number of channels and ``purity``:
        of the nearest neighbours of an image in activation space, the mean fraction that has its class; ``chance`` is
        the expectation for random neighbours. ``tensors`` holds ``"points/LAYER"`` ``[N, 2]``, ``"activations/LAYER"``
        ``[N, C]``, ``"labels"`` ``[N]`` (int64, indices into the classes, -1 where not known) and, with thumbnails,
        ``"thumbnails"`` ``[N, 3, 48, 48]`` (uint8).

    Raises:
        ValueError: an unknown layer or method, fewer than two images, labels that do not fit, images of another kind.
        ImportError: matplotlib is not installed, or scikit-learn for tsne.
    """
    found = find_layers(network, layers)
    method, reason = _usable(choice("method", method, METHODS))
    k, batch = as_count("neighbours", neighbours), as_count("batch", batch)
    thumbnails, seed = as_flag("thumbnails", thumbnails), as_whole("seed", seed, 0, 2**32 - 1)
    new_figure(1, 1, "embedding", "umap")  # raises its error before the first batch
    given = NetworkInput.of(network, mean, std)
    own = read_labels(labels, data)
    features = features_of(
        network, found, data, own, given, thumbnails=thumbnails, batch=batch, folder=cache, verbose=verbose
    )
    count = len(features.labels)
    if count < 2:
        raise ValueError(f"an embedding of {count} image: give at least two")
    classes = Classes.of(features.labels, names, network)
    points = {layer: _points(method, features.vectors[layer], seed, cache) for layer in found}
    facts = {
        layer: {"channels": features.vectors[layer].shape[1], **_purity(features.vectors[layer], classes.index, k)}
        for layer in found
    }
    values = {"method": method, "note": reason, "count": count, "classes": classes.names, "layers": facts}
    tensors = {f"points/{layer}": points[layer] for layer in found} | {"labels": classes.index}
    tensors |= {f"activations/{layer}": features.vectors[layer] for layer in found}
    if features.thumbnails is not None:
        tensors["thumbnails"] = features.thumbnails
    settings = settings_of(
        "embed", network, layers=found, method=method, thumbnails=thumbnails, neighbours=k, batch=batch, seed=seed
    )
    return Figure(_drawn(points, features.thumbnails, classes, values), settings, values, tensors)


def _usable(method: str) -> tuple[str, str]:
    """The method, or PCA where its library is missing, and what is to be said of that."""
    if method == "umap" and importlib.util.find_spec("umap") is None:
        warnings.warn("umap-learn is not installed, PCA is drawn: pip install 'optvis[umap]'", stacklevel=3)
        return "pca", "umap-learn is not installed"
    if method == "tsne" and importlib.util.find_spec("sklearn") is None:
        raise ImportError("method 'tsne' needs scikit-learn: pip install 'optvis[umap]'")
    return method, ""


def _points(method: str, vectors: Tensor, seed: int, cache: str | os.PathLike[str] | None) -> Tensor:
    """``[N, 2]``: the places of vectors ``[N, C]`` in the plane."""
    key = hashlib.blake2b(f"{method} {seed} {tuple(vectors.shape)}".encode(), digest_size=16)
    key.update(vectors.contiguous().numpy().data)
    folder = None if cache is None else expanded(cache)
    kept = KEPT.get(key.hexdigest(), folder)
    if not kept:
        kept = {"points": _METHODS[method](vectors, seed).contiguous()}
        KEPT.put(key.hexdigest(), kept, folder)
    return kept["points"]


def _pca(vectors: Tensor, _seed: int = 0) -> Tensor:
    centred = (vectors - vectors.mean(0)).double()
    *_, axes = torch.linalg.svd(centred, full_matrices=False)
    axes = axes[:2] * axes[:2].gather(1, axes[:2].abs().argmax(1, keepdim=True)).sign()  # a fixed sign
    points = (centred @ axes.T).float()
    return torch.nn.functional.pad(points, (0, 2 - points.shape[1]))


def _umap(vectors: Tensor, seed: int) -> Tensor:
    if len(vectors) < 5:  # too few for a graph of neighbours
        return _pca(vectors)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a seed makes it use one thread, and of numba and TensorFlow
        import umap

        start = "spectral" if len(vectors) > 16 else "random"
        mapper = umap.UMAP(n_neighbors=min(15, len(vectors) - 1), random_state=seed, init=start, n_jobs=1)
        return torch.from_numpy(np.asarray(mapper.fit_transform(vectors.numpy()), np.float32))


def _tsne(vectors: Tensor, seed: int) -> Tensor:
    if len(vectors) < 5:
        return _pca(vectors)
    from sklearn.manifold import TSNE

    mapper = TSNE(perplexity=min(30, (len(vectors) - 1) / 3), init="random", random_state=seed)
    return torch.from_numpy(mapper.fit_transform(vectors.numpy()).astype(np.float32))


_METHODS: dict[str, Callable[[Tensor, int], Tensor]] = {"umap": _umap, "pca": _pca, "tsne": _tsne}


def _purity(vectors: Tensor, index: Tensor, k: int) -> dict[str, float]:
    """``purity`` and ``chance``, as ``embedding`` describes them; empty where fewer than two images have a class."""
    known = index >= 0
    vectors, index = vectors[known], index[known]
    count = len(index)
    if count < 2:
        return {}
    k = min(k, count - 1)
    right = 0.0
    for start in range(0, count, 1024):
        distances = torch.cdist(vectors[start : start + 1024], vectors)
        rows = torch.arange(len(distances))
        distances[rows, rows + start] = math.inf
        near = index[distances.topk(k, largest=False).indices]
        right += (near == index[start : start + 1024, None]).float().mean(1).sum().item()
    sizes = index.bincount().double()
    chance = (sizes * (sizes - 1)).sum().item() / (count * (count - 1))
    return {"purity": right / count, "chance": chance}


def _drawn(
    points: dict[str, Tensor], thumbnails: Tensor | None, classes: Classes, values: dict[str, Any]
) -> Image.Image:
    """The maps in rows of up to three, each with its title, and the legend beside them."""
    shown = _shown_classes(classes)
    colours = dict(zip(shown, class_colours([classes.names[i] for i in shown]), strict=True))
    panel = PANEL if thumbnails is None else WIDE_PANEL
    columns = min(len(points), COLUMNS)
    rows = math.ceil(len(points) / columns)
    legend = [short_class(classes.names[i]) for i in shown]
    legend += [f"{len(classes.names) - len(shown)} other classes"] if len(shown) < len(classes.names) else []
    lines = max(1, math.floor((panel + TITLE) * rows / ROW))
    wide = 0.45 + 0.085 * max(map(len, legend), default=0) if legend else 0.0
    room = wide * math.ceil(len(legend) / lines)
    size = (columns * (panel + MARGIN) + room + MARGIN, HEAD + rows * (panel + TITLE + MARGIN) + MARGIN / 2)
    figure = new_figure(*size, "embedding", "umap")
    note = f" ({values['note']})" if values["note"] else ""
    name = {"umap": "UMAP", "pca": "PCA", "tsne": "t-SNE"}[values["method"]]
    write(figure, MARGIN, 0.2, f"{name} of {values['count']:,} images{note}", 13, weight="bold")
    for i, (layer, places) in enumerate(points.items()):
        left = MARGIN + i % columns * (panel + MARGIN)
        top = HEAD + i // columns * (panel + TITLE + MARGIN)
        write(figure, left, top + 0.04, shortened(layer or "output", 44), 10.5)
        write(figure, left, top + 0.26, _said(values["layers"][layer]), 9, color=FAINT)
        axes = axes_at(figure, left, top + TITLE, panel, panel)
        if thumbnails is not None:
            _draw_thumbnails(axes, places, thumbnails, _colours_of(classes, colours), round(panel * DPI))
        else:
            _draw_points(axes, places, _colours_of(classes, colours))
    marks = [*colours.values(), UNKNOWN]
    _draw_legend(figure, (size[0] - room, HEAD + 0.06), (wide, lines), dict(zip(legend, marks, strict=False)))
    return rendered(figure)


def _said(facts: dict[str, Any]) -> str:
    text = f"{facts['channels']:,} channels"
    if "purity" not in facts:
        return text
    return f"{text} · purity of neighbours {facts['purity']:.0%} (by chance {facts['chance']:.0%})"


def _shown_classes(classes: Classes) -> list[int]:
    """The classes that have a colour, in their order."""
    counts = classes.index[classes.index >= 0].bincount(minlength=len(classes.names))
    return sorted(counts.argsort(descending=True, stable=True)[:MOST_CLASSES].tolist())


def _colours_of(classes: Classes, colours: dict[int, tuple[float, float, float]]) -> Any:
    """``[N, 3]``: the colour of each image's class."""
    plain = (0.26, 0.41, 0.82) if not classes.names else UNKNOWN
    return np.array([colours.get(i, plain) for i in classes.index.tolist()])


def _draw_points(axes: Axes, places: Tensor, colours: Any) -> None:
    order = np.random.default_rng(0).permutation(len(places))  # so that no class lies over the others
    x, y = places.numpy()[order].T
    size = float(np.clip(16000 / len(places), 3, 45))
    edge = [(0.35, 0.35, 0.35)] if colours.min(1).max() > 0.9 else "face"  # white points have to be seen
    axes.scatter(x, y, size, colours[order], linewidths=0.3 if edge != "face" else 0, edgecolors=edge, alpha=0.9)
    axes.margins(0.04)
    axes.set_aspect("equal", adjustable="datalim")


def _draw_thumbnails(axes: Axes, places: Tensor, thumbnails: Tensor, colours: Any, pixels: int) -> None:
    """At each cell of a fine grid the image whose point is nearest to its middle, framed in the colour of its class."""
    cells = max(2, pixels // TILE)
    low, high = places.amin(0), places.amax(0)
    spread = (high - low).max().clamp_min(1e-9)
    at = ((places - (low + high) / 2) / spread + 0.5).clamp(0, 1) * (cells - 1)
    nearest: dict[tuple[int, int], tuple[float, int]] = {}
    for i, (x, y) in enumerate(at.tolist()):
        cell = (round(x), round(y))
        distance = (x - cell[0]) ** 2 + (y - cell[1]) ** 2
        nearest[cell] = min(nearest.get(cell, (math.inf, -1)), (distance, i))
    sheet = np.full((cells * TILE, cells * TILE, 3), 255, np.uint8)
    small = torch.nn.functional.interpolate(thumbnails.float(), (TILE - 8, TILE - 8), mode="bilinear", antialias=True)
    pictures = small.round().clamp(0, 255).to(torch.uint8).movedim(1, -1).numpy()
    for (x, y), (_, i) in nearest.items():
        top, left = (cells - 1 - y) * TILE, x * TILE
        sheet[top + 1 : top + TILE - 1, left + 1 : left + TILE - 1] = (colours[i] * 255).round().astype(np.uint8)
        sheet[top + 4 : top + TILE - 4, left + 4 : left + TILE - 4] = pictures[i]
    axes.imshow(sheet, interpolation="antialiased")


def _draw_legend(
    figure: Plot, corner: tuple[float, float], entry: tuple[float, int], marks: dict[str, tuple[float, float, float]]
) -> None:
    """Names with their colours in columns; ``entry`` is the width of a column in inches and its number of lines."""
    from matplotlib.patches import Rectangle

    width, height = figure.get_size_inches()
    for i, (name, colour) in enumerate(marks.items()):
        left, top = corner[0] + i // entry[1] * entry[0], corner[1] + i % entry[1] * ROW
        box = (left / width, 1 - (top + 0.13) / height)
        figure.add_artist(Rectangle(box, 0.13 / width, 0.13 / height, facecolor=colour, edgecolor=FAINT, linewidth=0.4))
        write(figure, left + 0.21, top + 0.065, name, 9, va="center")
