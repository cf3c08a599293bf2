"""Drawing a saved picture again from its file."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import fields

from torch import nn

from .checks import as_list, as_whole
from .engine import OPTIONS, OptVis
from .network import unwrap
from .prepared import fingerprint_of
from .result import read_settings, read_tensors
from .settings import Settings
from .visualisation import Visualisation
from .zoo import load_network


def redraw(
    path: str | os.PathLike[str],
    network: nn.Module | None = None,
    weights: str | os.PathLike[str] | None = None,
    verbose: bool | str = True,
) -> Visualisation:
    """Draw a saved picture again, with all steps; on the same machine with the same versions it is bit-equal.

    Pictures that were drawn in a batch with others are drawn without these, which may change the last bits.

    Args:
        path: a PNG that ``Visualisation.save`` wrote.
        network: the network of the picture. Not needed if the picture was made on the command line, or if the settings
            name a network that ``optvis.zoo.load_network`` can load.
        weights: a file of weights for a network that is loaded by its name.
        verbose: as for ``OptVis.vis``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file contains no settings of a picture, was drawn with a function that a file cannot hold, or
            from another network.
    """
    about = read_settings(path)
    plan = about.get("plan")
    if not isinstance(plan, Mapping):
        raise ValueError(f"{str(path)!r} carries no plan of a visualisation: it cannot be drawn again")
    settings = Settings.from_data(plan, read_tensors(path))
    if network is None:
        name = about.get("network")
        if not isinstance(name, str) or name == about.get("kind"):
            raise ValueError(f"{str(path)!r} was drawn from a {name} made in Python: give it, redraw(path, network)")
        network = load_network(name, weights or about.get("weights"))
    kind = type(unwrap(network)).__name__
    if kind != about.get("kind"):
        raise ValueError(f"{str(path)!r} was drawn from a {about.get('kind')}, not from a {kind}: give that network")
    if fingerprint_of(network) != about.get("fingerprint"):
        warnings.warn(f"{str(path)!r} was drawn from a {kind} with other weights", stacklevel=2)
    pictures = as_list("pictures", about.get("pictures", range(settings.count)), "the numbers of the pictures")
    pictures = [as_whole("picture", one, 0, settings.count - 1) for one in pictures]
    if len(pictures) < settings.count:
        settings = settings.take(pictures)
    run = {f.name: getattr(settings, f.name) for f in fields(settings)}
    own = {name: run.pop(name) for name in ("objective", *OPTIONS) if name in run}
    size = run.pop("size")
    start = size if settings.img_param is None else settings.img_param
    return OptVis(network, **own).vis(**{**run, "img_param": start}, verbose=verbose)
