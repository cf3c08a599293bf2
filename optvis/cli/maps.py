"""The command ``attribute``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from torch import nn

from ..attribution import Attribution
from ..attribution import attribute as attribute_image
from ..attribution.comparison import Comparison
from ..attribution.plotting import SIGNS
from ..attribution.registry import Method, find_method
from ..attribution.result import ENDINGS
from ..attribution.targets import percent
from ..checks import choice
from ..files import check_path
from ..objectives import channel_of
from ..result import PICTURES
from . import options as opt
from .command import command
from .pictures import as_pictures, named
from .terminal import current, say, write
from .texts import as_kind, as_size


@command(
    "optvis attribute efficientnet_lite0 dog.jpg",
    "optvis attribute torchvision:resnet50 photos/ --method gradcam --method layercam "
    "--target 'golden retriever' -o dogs.png",
    "optvis attribute efficientnet_lite0 'photos/*.jpg' -o '{name}-why.png'",
)
def attribute(
    given: opt.Given,
    image: opt.Images = None,
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help="File to write: .png .webp .jpg, .npy values, .json settings; {name}: one an image"
        ),
    ] = Path("attribution.png"),
    method: Annotated[
        list[str] | None, typer.Option(help="gradcam (the default), layercam, occlusion, ...; may be repeated.")
    ] = None,
    target: Annotated[str | None, typer.Option(help="A class, by number or name; the highest by default.")] = None,
    layer: Annotated[
        list[str] | None, typer.Option(help="For CAMs: the layer's address; by default the last with a map.")
    ] = None,
    size: opt.NetworkSize = None,
    kind: opt.MapKind = "overlay",
    sign: opt.Sign = "positive",
    alpha: opt.Alpha = None,
) -> int:
    """Show which parts of pictures a network's output depends on, and print their five most probable classes."""
    files, methods = as_pictures(image), [find_method(one) for one in method or ["gradcam"]]
    outs = named(out, files) if "{name}" in str(out) else [out]
    groups = [[file] for file in files] if "{name}" in str(out) else [files]
    alone = len(groups[0]) == len(methods) == 1
    for one in outs:
        check_path(one, ENDINGS if alone else PICTURES)
    how: Any = {"kind": as_kind(kind), "sign": choice("sign", sign, SIGNS), "alpha": alpha}
    options: Any = {**given.normalisation, "size": as_size(size), "verbose": current().verbose}
    options["target"] = None if target is None else channel_of(target)
    loaded = given.on_device()
    current().stage = "drawing"
    code = 0
    for one, group in zip(outs, groups, strict=True):
        rows = [_row(loaded, file, methods, layer, options) for file in group]
        result = rows[0][0] if alone else Comparison(rows)
        code = write(result, one, given.origin, _lines(group, rows), **how) or code
        if code:
            break
    return code


def _row(
    network: nn.Module, file: str, methods: Sequence[Method], layer: list[str] | None, options: Any
) -> list[Attribution]:
    """The attributions of an image by several methods; its most probable classes are printed."""
    row = []
    for one in methods:
        at = layer if one.layer or len(methods) == 1 else None  # of several, those on pixels have no layer
        row.append(attribute_image(network, file, one.name, layer=at or None, **options))
    for top in row[0].target.top:
        say(f"{file}: {', '.join(f'{name} {percent(probability)}' for name, probability in top)}")
    return row


def _lines(files: Sequence[str], rows: Sequence[Sequence[Attribution]]) -> list[str]:
    """A line for each map."""
    lines = []
    for file, row in zip(files, rows, strict=True):
        for one in row:
            where = f" at {', '.join(one.layer)}" if one.layer else ""
            of = f" of {file}" if len(files) > 1 else ""
            lines.append(f"{one.method}{where}{of} for {one.target.labels[0]}, score {one.scores[0]:.4g}")
    return lines
