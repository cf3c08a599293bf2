"""The command line: a thin face on the public names."""

from __future__ import annotations

import io
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from . import get_layer_names
from .attribution import attribute as attribute_image
from .attribution.result import ENDINGS
from .bench import bench as measure
from .checks import MOST, as_size
from .engine import OptVis
from .files import check_path, check_picture_size
from .images import MAX_PIXELS, grid_size
from .network.inputs import usable_device
from .objectives import Channel, Class, as_objective, channel_of
from .params import CPPNParam, ImageFile, ImageParam
from .recipes import collage as make_collage
from .redraw import redraw as draw_again
from .result import read_settings
from .terminal import ERRORS, Call, complain, current, say
from .text import printable
from .visualisation import Visualisation
from .zoo import FORMS, load_network

app = typer.Typer(
    help="See what a part of a network looks for.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


_UsageError: Any = typer.BadParameter.__base__
"""The base of typer's usage errors. Newer versions of typer contain a copy of click with errors of its own."""

MAX_SEED = 2**63 - 1


class Kind(str, Enum):
    """What is optimised."""

    fourier = "fourier"
    pixel = "pixel"
    cppn = "cppn"


Network = Annotated[str, typer.Argument(help=f"{FORMS}; may be left out for demo.", metavar="NETWORK")]
Weights = Annotated[Path | None, typer.Option(help="File of weights: .safetensors, or .pth of a state dict.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="File to write: .png .webp .jpg .gif .npy")]
Size = Annotated[str | None, typer.Option(help="Pixels: 224, or HEIGHTxWIDTH.")]
Steps = Annotated[int | None, typer.Option(help="Number of steps.", min=1, max=MOST)]
Seed = Annotated[int, typer.Option(help="Seed of all random numbers.", min=0, max=MAX_SEED)]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps, ...")]
Precision = Annotated[str, typer.Option(help="Precision of the network: auto, fp32, bf16 or fp16.")]
Compile = Annotated[
    bool, typer.Option("--compile", help="Compile the step: takes a minute or two, later steps are faster.")
]
Tile = Annotated[
    int | None, typer.Option(help="Largest tile, in pixels, that the network sees at once.", min=1, max=MOST)
]
Batch = Annotated[int | None, typer.Option(help="Pictures at once; fewer if memory runs out.", min=1, max=MOST)]


@app.command(epilog="Examples: optvis layers | optvis layers torchvision:vgg11 --size 224")
def layers(network: Network = "demo", size: Size = None, weights: Weights = None) -> None:
    """List a network's layers; with --size also the shape of the output of each."""
    get_layer_names(load_network(network, weights), _size(size))


@app.command(
    epilog="Examples: optvis vis pattern:rings -o rings.png | "
    "optvis vis torchvision:squeezenet1_1 features/12:7 -o channel.png --size 256 --seed 3 | "
    "optvis vis torchvision:mobilenet_v2 --class 'golden retriever'"
)
def vis(
    network: Network,
    layer: Annotated[str | None, typer.Argument(help="LAYER or LAYER:CHANNEL, by number or name.")] = None,
    out: Out = Path("vis.png"),
    class_: Annotated[
        str | None, typer.Option("--class", help="A class, in contrast to the others: number or name.")
    ] = None,
    size: Size = None,
    steps: Steps = None,
    seed: Seed = 0,
    param: Annotated[Kind, typer.Option("--param", help="What is optimised.")] = Kind.fourier,
    weights: Weights = None,
    device: Device = None,
    precision: Precision = "auto",
    tile: Tile = None,
) -> int:
    """Draw what a layer, one of its channels, or a class responds to most."""
    if layer is None and class_ is None:
        network, layer = "demo", network
    check_path(out)
    objective = as_objective(layer) if class_ is None else Class(layer or "", channel_of(class_))
    optvis = OptVis(load_network(network, weights), objective, device=device)
    pixels = _size(size)
    _check_sheet(out, optvis, pixels)
    start = _param(param, pixels, optvis, seed)
    current().stage = "drawing"
    result = optvis.vis(start, thresh=steps, seed=seed, precision=precision, tile=tile)
    return _write(result, out, network, weights)


@app.command(
    epilog="Examples: optvis collage features/6 --channels 0-15 | optvis collage timm:resnet18 layer3 -o c.png"
)
def collage(
    network: Network,
    layer: Annotated[str | None, typer.Argument(help="Address of the layer.")] = None,
    out: Out = Path("collage.png"),
    channels: Annotated[str, typer.Option(help="Numbers and ranges, 0-15,20, or 'all'.")] = "0-63",
    classes: Annotated[
        str | None, typer.Option(help="Classes instead of channels: numbers and ranges, or names; commas between.")
    ] = None,
    size: Size = None,
    steps: Steps = None,
    seed: Seed = 0,
    batch: Batch = None,
    until: Annotated[str | None, typer.Option(help="'plateau': stop each picture when it no longer improves.")] = None,
    weights: Weights = None,
    device: Device = None,
    precision: Precision = "auto",
    compile: Compile = False,
) -> int:
    """Draw many channels of a layer, or many classes, into one labelled picture."""
    if layer is None and classes is None:
        network, layer = "demo", network
    check_path(out)
    wanted: Any = None if channels == "all" else _channels("channels", channels)
    loaded = load_network(network, weights)
    pixels = _size(size)
    objective: Any = Class(layer or "", _classes(classes)) if classes is not None else layer or ""
    if classes is not None or wanted is not None:
        _check_sheet(out, OptVis(loaded, objective if classes is not None else Channel(layer or "", wanted)), pixels)
    current().stage = "drawing"
    result = make_collage(
        loaded,
        objective,
        wanted,
        pixels,
        batch,
        seed,
        device=device,
        thresh=steps,
        precision=precision,
        until=until,
        compile=compile,
    )
    return _write(result, out, network, weights)


@app.command(epilog="Example: optvis dream torchvision:squeezenet1_1 features/9 photo.jpg -o dream.jpg --size 400")
def dream(
    network: Network,
    layer: Annotated[str, typer.Argument(help="LAYER, or LAYER:CHANNEL for one channel's dream.")],
    image: Annotated[str | None, typer.Argument(help="The photograph to start from.")] = None,
    out: Out = Path("dream.png"),
    size: Size = None,
    steps: Annotated[int, typer.Option(help="Number of steps.", min=1, max=MOST)] = 64,
    lr: Annotated[float, typer.Option(help="Learning rate: how far it departs from the photograph.")] = 0.02,
    seed: Seed = 0,
    weights: Weights = None,
    device: Device = None,
    precision: Precision = "auto",
    tile: Tile = None,
) -> int:
    """Amplify what a layer responds to in a photograph."""
    network, layer, image = ("demo", network, layer) if image is None else (network, layer, image)
    check_path(out)
    start = ImageFile(image, _size(size))
    loaded = load_network(network, weights)
    optvis = OptVis(loaded, layer, device=device) if ":" in layer else OptVis.from_dream(loaded, layer, device=device)
    current().stage = "drawing"
    result = optvis.vis(start, thresh=steps, lr=lr, seed=seed, precision=precision, tile=tile)
    return _write(result, out, network, weights)


@app.command(epilog="Examples: optvis redraw rings.png | optvis redraw channel.png nets.py:make -o again.png")
def redraw(
    file: Annotated[Path, typer.Argument(help="A .png that optvis saved.", metavar="FILE")],
    network: Annotated[
        str | None, typer.Argument(help=f"{FORMS}; by default the one that the file names.", metavar="NETWORK")
    ] = None,
    out: Out = Path("redrawn.png"),
    weights: Weights = None,
) -> int:
    """Draw a saved picture again from the settings that it carries."""
    check_path(out)
    settings = read_settings(file)
    name = network or _named_network(settings.get("network"), file)
    if weights is None and network is None and settings.get("weights"):
        weights = Path(str(settings["weights"]))
    loaded = load_network(name, weights)
    current().stage = "drawing"
    return _write(draw_again(file, loaded), out, name, weights)


@app.command(
    epilog="Examples: optvis attribute torchvision:mobilenet_v2 dog.jpg | optvis attribute torchvision:resnet50 "
    "dog.jpg --method integrated_gradients --target 'golden retriever' -o dog.png"
)
def attribute(
    network: Network,
    image: Annotated[str | None, typer.Argument(help="The picture.")] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="File to write: .png .webp .jpg, .npy values, .json settings")
    ] = Path("attribution.png"),
    method: Annotated[str, typer.Option(help="gradcam, layercam, integrated_gradients, ...")] = "gradcam",
    target: Annotated[str | None, typer.Option(help="A class, by number or name; the highest by default.")] = None,
    layer: Annotated[
        list[str] | None, typer.Option(help="For CAMs: the layer's address; by default the last with a map.")
    ] = None,
    weights: Weights = None,
    device: Device = None,
) -> int:
    """Show which parts of a picture a network's output depends on."""
    network, image = ("demo", network) if image is None else (network, image)
    check_path(out, ENDINGS)
    loaded = load_network(network, weights)
    wanted = None if target is None else channel_of(target)
    loaded = loaded if device is None else loaded.to(usable_device(device))
    current().stage = "drawing"
    result = attribute_image(loaded, image, method, wanted, layer or None)
    result.settings.update(_origin(network, weights))
    current().stage = "saving"
    with current().interrupts.held():
        path = result.save(out)
        where = f" at {', '.join(result.layer)}" if result.layer else ""
        say(f"{path}: {result.method}{where} for {result.target.labels[0]}, score {result.scores[0]:.4g}")
        current().stage = "saved"
    return current().interrupts.code or 0


@app.command(epilog="Examples: optvis bench | optvis bench torchvision:resnet18 --layer layer3 --batch 8")
def bench(
    network: Network = "demo",
    layer: Annotated[
        list[str] | None, typer.Option(help="Layers; by default an early one, a middle one and the last.")
    ] = None,
    size: Annotated[int | None, typer.Option(help="Pixels; by default the network's own, or 224.", min=8)] = None,
    batch: Annotated[int, typer.Option(help="Pictures at once.", min=1, max=MOST)] = 1,
    weights: Weights = None,
) -> None:
    """Compare the cost of a step with that of a minimal loop in plain torch, on this machine."""
    measure(load_network(network, weights), layer, _size(None if size is None else str(size)), batch)


def _param(kind: Kind, size: Any, optvis: OptVis, seed: int) -> Any:
    """The start of ``vis``: a size for the default, or a parameterisation of another kind."""
    if kind is Kind.fourier:
        return size
    size = size or optvis.input.default_size
    batch, channels = optvis.objective.pictures or 1, optvis.input.channels
    if kind is Kind.cppn:
        return CPPNParam(size, batch, channels, seed)
    return ImageParam(size, batch, fft=False, channels=channels, seed=seed)


def _number(text: str) -> int | None:
    """A whole number of at least 0 from ASCII digits; ``None`` for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None


def _size(text: str | None) -> Any:
    if text is None:
        return None
    sides = [_number(part) for part in text.lower().split("x")]
    if not all(sides) or len(sides) > 2:
        raise ValueError(f"size {text!r}: give pixels, as 224, or HEIGHTxWIDTH, as 120x160")
    height, width = sides[0], sides[-1]
    if height * width > MAX_PIXELS:  # type: ignore[operator]
        raise ValueError(f"size {text!r}: a picture has at most {MAX_PIXELS:,} pixels")
    return height if len(sides) == 1 else (height, width)


def _channels(name: str, text: str) -> list[int]:
    ranges: list[range] = []
    for part in text.split(","):
        first, dash, last = (side.strip() for side in part.partition("-"))
        start, end = _number(first), _number(last if dash else first)
        if start is None or end is None or end < start:
            raise ValueError(f"{name} {text!r}: give numbers and ranges, as 0-15,20{_OR_ALL.get(name, '')}")
        ranges.append(range(start, end + 1))
    count = sum(one.stop - one.start for one in ranges)  # len() fails above sys.maxsize
    if count > MOST:
        raise ValueError(f"{name} {text!r}: these are {count:,}, at most {MOST:,} can be drawn")
    return [number for one in ranges for number in one]


_OR_ALL = {"channels": ", or 'all'", "classes": ", or names"}


def _classes(text: str) -> tuple[int | str, ...]:
    if any(part.strip()[:1].isdigit() for part in text.split(",")):
        return tuple(_channels("classes", text))
    return tuple(part.strip() for part in text.split(","))


def _named_network(name: Any, file: Path) -> str:
    """The network that a picture's settings name. Python files are refused, so that a picture never runs code."""
    found, drawn = str(name), f"{str(file)!r} was drawn from {str(name)!r}"
    if ".py:" in found:
        raise ValueError(f"{drawn}, which is Python code: if you trust it, give it after FILE")
    if found != "demo" and ":" not in found:
        raise ValueError(f"{drawn}, and does not say where to find it: give {FORMS} after FILE")
    return found


def _origin(network: str, weights: Path | None) -> dict[str, Any]:
    """The settings that say where a picture comes from."""
    return {"network": network, "weights": None if weights is None else str(weights), "command": current().command}


def _check_sheet(out: Path, optvis: OptVis, size: Any) -> None:
    """Raise ``ValueError`` if the format of the file cannot hold the grid of all pictures."""
    count = optvis.settings.count
    height, width = grid_size(count, as_size(size or optvis.input.default_size), labelled=count > 1)
    check_picture_size(out, width, height)


def _write(result: Visualisation, out: Path, network: str, weights: Path | None) -> int:
    """Save the pictures and print a summary; returns the exit code."""
    call = current()
    with call.interrupts.held():
        interrupted = getattr(result, "interrupted", False) or call.interrupts.code is not None
        if interrupted and not len(result.history):
            raise KeyboardInterrupt  # no step was taken
        call.stage = "saving"
        if not torch.isfinite(result.images).all():
            raise FloatingPointError("the picture holds NaN or infinite values; nothing was saved")
        result = result.described(**_origin(network, weights))
        path = result.save(out)
        height, width = result.images.shape[-2:]
        count = f"{len(result)} picture{'s' if len(result) > 1 else ''}"
        say(f"{path}: {count} of {width} × {height} px, score {result.scores.mean():.4g}")
        if interrupted:
            complain(f"interrupted after {len(result.history)} steps; the pictures so far are in {path}")
            complain(f"to draw them in full, run again: {call.command}")
        call.stage = "saved"
    return call.interrupts.code or (130 if interrupted else 0)


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
