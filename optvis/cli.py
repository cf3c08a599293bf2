"""The command line: a thin face on the public names."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from . import arguments as arg
from . import get_layer_names
from .attribution import attribute as attribute_image
from .attribution.comparison import Comparison
from .attribution.plotting import SIGNS
from .attribution.registry import find_method
from .attribution.result import ENDINGS
from .attribution.targets import percent
from .bench import bench as measure
from .checks import MOST, choice
from .checks import as_size as as_pair
from .engine import OptVis
from .files import check_path, check_picture_size
from .images import grid_size
from .network.inputs import named_outputs, usable_device
from .objectives import Channel, Class, as_objective, channel_of
from .params import CPPNParam, ImageFile, ImageParam
from .recipes import collage as make_collage
from .redraw import redraw as draw_again
from .result import PICTURES, read_settings
from .terminal import ERRORS, Call, current, origin, say, write, write_maps
from .text import printable
from .versions import own_version
from .zoo import FORMS, is_name, load_network

app = typer.Typer(
    help="See what a part of a network looks for.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


_UsageError: Any = typer.BadParameter.__base__
"""The base of typer's usage errors. Newer versions of typer contain a copy of click with errors of its own."""


def _print_version(wanted: bool) -> None:
    if wanted:
        say(f"optvis {own_version()}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """See what a part of a network looks for."""


@app.command(epilog="Examples: optvis layers efficientnet_lite0 --depth 2 | optvis layers torchvision:vgg11 --size 224")
def layers(
    network: arg.Network,
    pattern: Annotated[
        str | None, typer.Argument(help="Only layers whose address or class contains this.", metavar="[PATTERN]")
    ] = None,
    depth: Annotated[
        int | None, typer.Option(help="Only addresses of at most this many parts.", min=1, max=MOST)
    ] = None,
    size: arg.Size = None,
) -> None:
    """List a network's layers; with --size also the shape of the output of each. Weights are not loaded."""
    get_layer_names(load_network(network, pretrained=False), arg.as_size(size), True, depth, pattern)


@app.command(epilog="Examples: optvis classes efficientnet_lite0 | optvis classes torchvision:vgg11 eagle")
def classes(
    network: arg.Network,
    pattern: Annotated[str | None, typer.Argument(help="Only names that contain this.", metavar="[PATTERN]")] = None,
    names: arg.Names = None,
) -> None:
    """List the names of a network's classes with their numbers. Weights are not loaded."""
    found = 0
    for layer, values in named_outputs(load_network(network, names=names, pretrained=False)).items():
        for number, name in enumerate(values):
            if pattern is None or pattern.lower() in name.lower():
                found += 1
                say(f"{layer}{':' if layer else ''}{number}  {name}")
    if not found:
        raise ValueError("the network's outputs have no names" if pattern is None else f"no class contains {pattern!r}")


@app.command(
    epilog="Examples: optvis vis efficientnet_lite0 --class 'bald eagle' -o eagle.png | "
    "optvis vis demo pattern:rings -o rings.png | "
    "optvis vis torchvision:squeezenet1_1 features/12:7 -o channel.png --size 256 --seed 3"
)
def vis(
    network: arg.Network,
    layer: arg.Layer = None,
    out: arg.Out = Path("vis.png"),
    class_: Annotated[
        list[str] | None,
        typer.Option("--class", help="A class, in contrast to the others: number or name; may be repeated."),
    ] = None,
    size: arg.Size = None,
    steps: arg.Steps = None,
    frames: Annotated[
        int, typer.Option(help="Pictures of the run for an animated .gif, evenly spaced.", min=1, max=1000)
    ] = 1,
    seed: arg.Seeds = "0",
    lr: arg.Rate = 0.1,
    param: Annotated[arg.Kind, typer.Option("--param", help="What is optimised.")] = arg.Kind.fourier,
    transforms: arg.Transforms = arg.Augmentation.standard,
    weights: arg.Weights = None,
    names: arg.Names = None,
    mean: arg.Mean = None,
    std: arg.Std = None,
    device: arg.Device = None,
    precision: arg.Precision = "auto",
    tile: arg.Tile = None,
    quiet: arg.Quiet = False,
) -> int:
    """Draw what a layer, one or several of its channels, or a class responds to most."""
    if layer is None and not class_:
        raise ValueError("nothing to draw: give LAYER, LAYER:CHANNEL or --class; optvis layers lists the layers")
    check_path(out)
    if frames > 1 and out.suffix.lower() != ".gif":
        raise ValueError(f"--frames {frames}: only a .gif is animated, and {str(out)!r} is to be written")
    several = arg.as_channels(layer) if layer is not None and not class_ else None
    objective: Any = Channel(several[0], tuple(several[1])) if several is not None else layer
    if class_:
        chosen = tuple(channel_of(one) for one in class_)
        objective = Class(layer or "", chosen[0] if len(chosen) == 1 else chosen)
    given: Any = {"device": device, **arg.normalisation(mean, std)}
    optvis = OptVis(load_network(network, weights, names=names), as_objective(objective), **given)
    pixels, seeds = arg.as_size(size), arg.as_numbers("seed", seed)
    _check_sheet(out, optvis, pixels)
    start = _param(param, pixels, optvis, seeds)
    current().stage = "drawing"
    result = optvis.vis(
        start,
        thresh=_frames(steps, frames),
        transform=transforms is arg.Augmentation.standard,
        lr=lr,
        seed=seeds[0] if len(seeds) == 1 else seeds,
        precision=precision,
        tile=tile,
        verbose=not quiet,
    )
    return write(result, out, network, weights, names)


@app.command(
    epilog="Examples: optvis collage demo features/6 --channels 0-15 | "
    "optvis collage efficientnet_lite0 --classes 'goldfish, flamingo, monarch' -o classes.png"
)
def collage(
    network: arg.Network,
    layer: Annotated[
        str | None, typer.Argument(help="Address of the layer.", metavar="[LAYER]", show_default=False)
    ] = None,
    out: arg.Out = Path("collage.png"),
    channels: Annotated[str, typer.Option(help="Numbers and ranges, 0-15,20, or 'all'.")] = "0-63",
    classes: Annotated[
        str | None, typer.Option(help="Classes instead of channels: numbers and ranges, or names; commas between.")
    ] = None,
    size: arg.Size = None,
    steps: arg.Steps = None,
    seed: arg.Seed = 0,
    lr: arg.Rate = 0.1,
    transforms: arg.Transforms = arg.Augmentation.standard,
    batch: arg.Batch = None,
    until: Annotated[str | None, typer.Option(help="'plateau': stop each picture when it no longer improves.")] = None,
    weights: arg.Weights = None,
    names: arg.Names = None,
    mean: arg.Mean = None,
    std: arg.Std = None,
    device: arg.Device = None,
    precision: arg.Precision = "auto",
    compile: arg.Compile = False,
    quiet: arg.Quiet = False,
) -> int:
    """Draw many channels of a layer, or many classes, into one labelled picture."""
    if layer is None and classes is None:
        raise ValueError("nothing to draw: give LAYER or --classes; optvis layers lists the layers")
    check_path(out)
    wanted: Any = None if channels == "all" else arg.as_numbers("channels", channels, ", or 'all'")
    loaded = load_network(network, weights, names=names)
    pixels = arg.as_size(size)
    given: Any = {"device": device, **arg.normalisation(mean, std)}
    objective: Any = Class(layer or "", arg.as_classes(classes)) if classes is not None else layer or ""
    if classes is not None or wanted is not None:
        shown = objective if classes is not None else Channel(layer or "", wanted)
        _check_sheet(out, OptVis(loaded, shown, **given), pixels)
    current().stage = "drawing"
    result = make_collage(
        loaded,
        objective,
        wanted,
        pixels,
        batch,
        seed,
        verbose=not quiet,
        thresh=steps,
        transform=transforms is arg.Augmentation.standard,
        lr=lr,
        precision=precision,
        until=until,
        compile=compile,
        **given,
    )
    return write(result, out, network, weights, names)


@app.command(epilog="Example: optvis dream efficientnet_lite0 blocks/3 photo.jpg -o dream.jpg --size 400")
def dream(
    network: arg.Network,
    layer: Annotated[str, typer.Argument(help="LAYER, or LAYER:CHANNEL for one channel's dream.", metavar="LAYER")],
    image: Annotated[str, typer.Argument(help="The photograph to start from.", metavar="IMAGE")],
    out: arg.Out = Path("dream.png"),
    size: arg.Size = None,
    steps: Annotated[int, typer.Option(help="Number of steps.", min=1, max=MOST)] = 64,
    lr: Annotated[float, typer.Option(help="Learning rate: how far it departs from the photograph.")] = 0.02,
    seed: arg.Seed = 0,
    weights: arg.Weights = None,
    mean: arg.Mean = None,
    std: arg.Std = None,
    device: arg.Device = None,
    precision: arg.Precision = "auto",
    tile: arg.Tile = None,
    quiet: arg.Quiet = False,
) -> int:
    """Amplify what a layer responds to in a photograph."""
    check_path(out)
    start = ImageFile(image, arg.as_size(size))
    make = OptVis if ":" in layer else OptVis.from_dream
    given: Any = {"device": device, **arg.normalisation(mean, std)}
    optvis = make(load_network(network, weights), layer, **given)
    current().stage = "drawing"
    result = optvis.vis(start, thresh=steps, lr=lr, seed=seed, precision=precision, tile=tile, verbose=not quiet)
    return write(result, out, network, weights)


@app.command(epilog="Examples: optvis redraw rings.png | optvis redraw channel.png nets.py:make -o again.png")
def redraw(
    file: Annotated[Path, typer.Argument(help="A .png that optvis saved.", metavar="FILE")],
    network: Annotated[
        str | None, typer.Argument(help=f"{FORMS}; by default the one that the file names.", metavar="NETWORK")
    ] = None,
    out: arg.Out = Path("redrawn.png"),
    weights: arg.Weights = None,
    names: arg.Names = None,
    quiet: arg.Quiet = False,
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
    return write(draw_again(file, loaded, verbose=not quiet), out, name, weights, names)


@app.command(
    epilog="Examples: optvis attribute efficientnet_lite0 dog.jpg | optvis attribute torchvision:resnet50 "
    "photos/ --method gradcam --method integrated_gradients --target 'golden retriever' -o dogs.png"
)
def attribute(
    network: arg.Network,
    image: Annotated[list[str], typer.Argument(help="Pictures, or folders of pictures.", metavar="IMAGE...")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="File to write: .png .webp .jpg, .npy values, .json settings")
    ] = Path("attribution.png"),
    method: Annotated[
        list[str] | None, typer.Option(help="gradcam (the default), layercam, occlusion, ...; may be repeated.")
    ] = None,
    target: Annotated[str | None, typer.Option(help="A class, by number or name; the highest by default.")] = None,
    layer: Annotated[
        list[str] | None, typer.Option(help="For CAMs: the layer's address; by default the last with a map.")
    ] = None,
    size: arg.NetworkSize = None,
    kind: arg.MapKind = "overlay",
    sign: arg.Sign = "positive",
    alpha: arg.Alpha = None,
    weights: arg.Weights = None,
    names: arg.Names = None,
    mean: arg.Mean = None,
    std: arg.Std = None,
    device: arg.Device = None,
    quiet: arg.Quiet = False,
) -> int:
    """Show which parts of pictures a network's output depends on, and print their five most probable classes."""
    files, methods = arg.as_pictures(image), [find_method(one) for one in method or ["gradcam"]]
    alone = len(files) == len(methods) == 1
    check_path(out, ENDINGS if alone else PICTURES)
    how: Any = {"kind": arg.as_kind(kind), "sign": choice("sign", sign, SIGNS), "alpha": alpha}
    loaded = load_network(network, weights, names=names)
    loaded = loaded if device is None else loaded.to(usable_device(device))
    current().stage = "drawing"
    given: Any = {**arg.normalisation(mean, std), "size": arg.as_size(size)}
    given = {**given, "target": None if target is None else channel_of(target), "verbose": not quiet}
    rows = []
    for file in files:
        row = []
        for one in methods:
            at = layer if one.layer or len(methods) == 1 else None  # of several, those on pixels have no layer
            row.append(attribute_image(loaded, file, one.name, layer=at or None, **given))
        for top in row[0].target.top:
            say(f"{file}: {', '.join(f'{name} {percent(probability)}' for name, probability in top)}")
        rows.append(row)
    result = rows[0][0] if alone else Comparison(rows)
    result.settings.update(origin(network, weights, names))
    return write_maps(lambda: result.save(out, **how), files, rows)


@app.command(epilog="Examples: optvis bench efficientnet_lite0 | optvis bench torchvision:resnet18 --layer layer3")
def bench(
    network: arg.Network,
    layer: Annotated[
        list[str] | None, typer.Option(help="Layers; by default an early one, a middle one and the last.")
    ] = None,
    size: Annotated[int | None, typer.Option(help="Pixels; by default the network's own, or 224.", min=8)] = None,
    batch: Annotated[int, typer.Option(help="Pictures at once.", min=1, max=MOST)] = 1,
    weights: arg.Weights = None,
) -> None:
    """Compare the cost of a step with that of a minimal loop in plain torch, on this machine."""
    measure(load_network(network, weights), layer, arg.as_size(None if size is None else str(size)), batch)


def _frames(steps: int | None, frames: int) -> Any:
    """The steps at which a frame is kept."""
    if frames == 1:
        return steps
    last = steps or 256
    if frames > last:
        raise ValueError(f"--frames {frames}: these are more than the {last} steps")
    return [round(last * (i + 1) / frames) for i in range(frames)]


def _param(kind: arg.Kind, size: Any, optvis: OptVis, seeds: list[int]) -> Any:
    """The start of ``vis``: a size for the default, or a parameterisation of another kind."""
    if kind is arg.Kind.fourier:
        return size
    size = size or optvis.input.default_size
    batch, channels = optvis.objective.pictures or len(seeds), optvis.input.channels
    seed = seeds[0] if len(seeds) == 1 else seeds
    if kind is arg.Kind.cppn:
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


def run(arguments: list[str] | None = None) -> int:
    """Run a command.

    Returns:
        0; 2 for an error before the first step, 1 for an error later; 130 after Ctrl-C, 143 after SIGTERM.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    call = Call(arguments)
    with call.entered():
        try:
            code = app(arguments, standalone_mode=False, prog_name="optvis")
            sys.stdout.flush()
            if call.interrupts.code is not None:  # some versions of typer catch KeyboardInterrupt
                return call.report_interrupt()
            return code if isinstance(code, int) else 0
        except _UsageError as error:
            usage = io.StringIO()
            error.show(usage)
            print("\n".join(map(printable, usage.getvalue().splitlines())), file=sys.stderr)
            return 2
        except (typer.Abort, KeyboardInterrupt):
            return call.report_interrupt()
        except ERRORS as error:
            return call.report(error)
