"""Commands that draw pictures: ``vis``, ``collage``, ``dream`` and ``redraw``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..checks import MOST
from ..checks import as_size as as_pair
from ..engine import OptVis
from ..files import check_path, check_picture_size
from ..images import grid_size
from ..objectives import Channel, Class, as_objective, channel_of
from ..params import CPPNParam, ImageFile, ImageParam
from ..recipes import collage as make_collage
from ..redraw import redraw as draw_again
from ..result import read_settings
from ..zoo import FORMS, is_name, load_network
from . import options as opt
from .command import command
from .terminal import current, write
from .texts import as_channels, as_numbers, as_numbers_or_names, as_size


@command(
    "optvis vis efficientnet_lite0 --class 'bald eagle' -o eagle.png",
    "optvis vis demo pattern:rings -o rings.png",
    "optvis vis torchvision:squeezenet1_1 features/12:7 -o channel.png --size 256 --seed 3",
)
def vis(
    given: opt.Given,
    drawing: opt.Drawing,
    layer: opt.Layer = None,
    out: opt.Out = Path("vis.png"),
    class_: Annotated[
        list[str] | None,
        typer.Option("--class", help="A class, in contrast to the others: number or name; may be repeated."),
    ] = None,
    frames: Annotated[
        int, typer.Option(help="Pictures of the run for an animated .gif, evenly spaced.", min=1, max=1000)
    ] = 1,
    seed: opt.Seeds = "0",
    param: Annotated[opt.Kind, typer.Option("--param", help="What is optimised.")] = opt.Kind.fourier,
    tile: opt.Tile = None,
) -> int:
    """Draw what a layer, one or several of its channels, or a class responds to most."""
    if layer is None and not class_:
        raise ValueError("nothing to draw: give LAYER, LAYER:CHANNEL or --class; optvis layers lists the layers")
    check_path(out)
    if frames > 1 and out.suffix.lower() != ".gif":
        raise ValueError(f"--frames {frames}: only a .gif is animated, and {str(out)!r} is to be written")
    several = as_channels(layer) if layer is not None and not class_ else None
    objective: Any = Channel(several[0], tuple(several[1])) if several is not None else layer
    if class_:
        chosen = tuple(channel_of(one) for one in class_)
        objective = Class(layer or "", chosen[0] if len(chosen) == 1 else chosen)
    own = given.own
    optvis = OptVis(given.load(), as_objective(objective), **own)
    pixels, seeds = drawing.pixels, as_numbers("seed", seed)
    _check_sheet(out, optvis, pixels)
    start = _param(param, pixels, optvis, seeds)
    current().stage = "drawing"
    result = optvis.vis(
        start,
        thresh=_frames(drawing.steps, frames),
        seed=seeds[0] if len(seeds) == 1 else seeds,
        tile=tile,
        **drawing.run,
    )
    return write(result, out, given.origin)


@command(
    "optvis collage demo features/6 --channels 0-15",
    "optvis collage efficientnet_lite0 --classes 'goldfish, flamingo, monarch' -o classes.png",
)
def collage(
    given: opt.Given,
    drawing: opt.Drawing,
    layer: Annotated[
        str | None, typer.Argument(help="Address of the layer.", metavar="[LAYER]", show_default=False)
    ] = None,
    out: opt.Out = Path("collage.png"),
    channels: Annotated[str, typer.Option(help="Numbers and ranges, 0-15,20, or 'all'.")] = "0-63",
    classes: Annotated[
        str | None, typer.Option(help="Classes instead of channels: numbers and ranges, or names; commas between.")
    ] = None,
    seed: opt.Seed = 0,
    batch: opt.Batch = None,
    until: Annotated[str | None, typer.Option(help="'plateau': stop each picture when it no longer improves.")] = None,
    compile: opt.Compile = False,
) -> int:
    """Draw many channels of a layer, or many classes, into one labelled picture."""
    if layer is None and classes is None:
        raise ValueError("nothing to draw: give LAYER or --classes; optvis layers lists the layers")
    check_path(out)
    wanted: Any = None if channels == "all" else as_numbers("channels", channels, ", or 'all'")
    loaded, pixels, own = given.load(), drawing.pixels, given.own
    objective: Any = layer
    if classes is not None:
        objective = Class(layer or "", as_numbers_or_names("classes", [classes]))
    if classes is not None or wanted is not None:
        shown = objective if classes is not None else Channel(layer or "", wanted)
        _check_sheet(out, OptVis(loaded, shown, **own), pixels)
    current().stage = "drawing"
    result = make_collage(
        loaded,
        objective,
        wanted,
        pixels,
        batch,
        seed,
        thresh=drawing.steps,
        until=until,
        compile=compile,
        **drawing.run,
        **own,
    )
    return write(result, out, given.origin)


@command("optvis dream efficientnet_lite0 blocks/3 photo.jpg -o dream.jpg --size 400")
def dream(
    given: opt.Given,
    layer: Annotated[str, typer.Argument(help="LAYER, or LAYER:CHANNEL for one channel's dream.", metavar="LAYER")],
    image: Annotated[str, typer.Argument(help="The photograph to start from.", metavar="IMAGE")],
    out: opt.Out = Path("dream.png"),
    size: opt.Size = None,
    steps: Annotated[int, typer.Option(help="Number of steps.", min=1, max=MOST)] = 64,
    lr: Annotated[float, typer.Option(help="Learning rate: how far it departs from the photograph.")] = 0.02,
    seed: opt.Seed = 0,
    precision: opt.Precision = "auto",
    tile: opt.Tile = None,
) -> int:
    """Amplify what a layer responds to in a photograph."""
    check_path(out)
    start = ImageFile(image, as_size(size))
    make = OptVis if ":" in layer else OptVis.from_dream
    own = given.own
    optvis = make(given.load(), layer, **own)
    current().stage = "drawing"
    verbose = current().verbose
    result = optvis.vis(start, thresh=steps, lr=lr, seed=seed, precision=precision, tile=tile, verbose=verbose)
    return write(result, out, given.origin)


@command("optvis redraw rings.png", "optvis redraw channel.png nets.py:make -o again.png")
def redraw(
    file: Annotated[Path, typer.Argument(help="A .png that optvis saved.", metavar="FILE")],
    network: Annotated[
        str | None, typer.Argument(help=f"{FORMS}; by default the one that the file names.", metavar="NETWORK")
    ] = None,
    out: opt.Out = Path("redrawn.png"),
    weights: opt.Weights = None,
    names: opt.Names = None,
) -> int:
    """Draw a saved picture again from the settings that it carries."""
    check_path(out)
    settings = read_settings(file)
    name = network or _named_network(settings.get("network"), file)
    if network is None:
        weights = weights or (Path(str(settings["weights"])) if settings.get("weights") else None)
        names = names or (Path(str(settings["names"])) if settings.get("names") else None)
    loaded = load_network(name, weights, names=names)
    current().stage = "drawing"
    return write(draw_again(file, loaded, verbose=current().verbose), out, opt.origin(name, weights, names))


def _frames(steps: int | None, frames: int) -> Any:
    """The steps at which a frame is kept."""
    if frames == 1:
        return steps
    last = steps or 256
    if frames > last:
        raise ValueError(f"--frames {frames}: these are more than the {last} steps")
    return [round(last * (i + 1) / frames) for i in range(frames)]


def _param(kind: opt.Kind, size: Any, optvis: OptVis, seeds: list[int]) -> Any:
    """The start of ``vis``: a size for the default, or a parameterisation of another kind."""
    if kind is opt.Kind.fourier:
        return size
    size = size or optvis.input.default_size
    batch, channels = optvis.objective.pictures or len(seeds), optvis.input.channels
    seed = seeds[0] if len(seeds) == 1 else seeds
    if kind is opt.Kind.cppn:
        return CPPNParam(size, batch, channels, seed)
    return ImageParam(size, batch, fft=False, channels=channels, seed=seed)


def _named_network(name: Any, file: Path) -> str:
    """The network that a picture's settings name. Python files are refused, so that a picture never runs code."""
    found, drawn = str(name), f"{str(file)!r} was drawn from {str(name)!r}"
    if ".py:" in found:
        raise ValueError(f"{drawn}, which is Python code: if you trust it, give it after FILE")
    if not is_name(found):
        raise ValueError(f"{drawn}, and does not say where to find it: give {FORMS} after FILE")
    return found


def _check_sheet(out: Path, optvis: OptVis, size: Any) -> None:
    """Raise ``ValueError`` if the format of the file cannot hold the grid of all pictures."""
    count = optvis.settings.count
    height, width = grid_size(count, as_pair(size or optvis.input.default_size), labelled=count > 1)
    check_picture_size(out, width, height)
