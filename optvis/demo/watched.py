"""Training the bundled network from nothing, with pictures of what it learns meanwhile."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import torch

from ..checks import as_number, as_whole
from ..objectives import Class
from ..training import Film, Folder, TensorBoard, Watch
from ..view import VIEWS, View
from .networks import DemoNetwork
from .patterns import PATTERNS, make_pictures
from .train import train

STEPS = 380
"""Steps in a minute on one core, with the pictures."""
FRAMES, PICTURES = 60, 6
"""Number of frames of the film, and of pictures of each other view, besides those of the untrained network."""
SHOWN, UNSEEN = 480, 1 << 21
"""Number of pictures that views are shown, and their seed."""


def train_demo(folder: str | os.PathLike[str], minutes: float = 3.0, seed: int = 0) -> Watch:
    """Train a new ``DemoNetwork`` and draw what it learns: pictures of its classes, maps, and a film of *rings*.

    ``index.html`` in the folder shows all pictures; ``tensorboard`` in it is a log, if TensorBoard is installed. Views
    whose libraries are missing are left out.

    Args:
        folder: for the pictures; it is made.
        minutes: how long to train, on one core; the number of steps follows from it, and not from the clock.
        seed: of the initial weights and the training pictures.

    Returns:
        The ``Watch``, which holds the film.

    Raises:
        ValueError: ``minutes`` or ``seed`` out of range.
        OSError: the folder cannot be made.
    """
    steps = FRAMES * max(1, round(as_number("minutes", minutes, 0, ends="(]") * STEPS / FRAMES))
    seed = as_whole("seed", seed, 0, 2**32)
    sinks: list[Any] = [Folder(folder)]
    if importlib.util.find_spec("tensorboard"):
        sinks.append(TensorBoard(Path(folder) / "tensorboard"))
    film = Film(Class("pattern", "rings"), size=96, endings=_film_endings())
    views = [("film of rings", film), *_views()]
    every = {title: steps // PICTURES for title, _ in views} | {"film of rings": steps // FRAMES}
    images, patterns, _ = make_pictures(SHOWN, seed=UNSEEN)
    names = [PATTERNS[pattern] for pattern in patterns]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = DemoNetwork()
    with Watch(views, every, (images, names), sinks, n_data=SHOWN) as watch:
        watch.step(network, 0)
        train(network, steps, seed=seed, batch=32, reach=2.5, after=lambda step: watch.step(network, step))
    return watch


def _film_endings() -> tuple[str, ...]:
    return (".webp", ".mp4") if importlib.util.find_spec("av") else (".webp",)


_VIEWS: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "rings": ("vis", {"objective": Class("pattern", "rings"), "size": 96, "steps": 64}, ()),
    "classes": ("collage", {"layer": Class("pattern", PATTERNS), "size": 64, "steps": 48}, ()),
    "Grad-CAM": ("gradcam", {"layer": "features/18"}, ()),
    "confusion": ("confusion", {"layer": "pattern"}, ("matplotlib", "torchmetrics")),
    "embedding": ("embed", {"layers": ["features/10", "flatten"]}, ("matplotlib",)),
}
"""Views by title: name, options, and the libraries that they need."""


def _views() -> list[tuple[str, View]]:
    """Those views that are registered and whose libraries are installed."""
    return [
        (title, View(name, **options))
        for title, (name, options, libraries) in _VIEWS.items()
        if name in VIEWS and all(importlib.util.find_spec(library) for library in libraries)
    ]
