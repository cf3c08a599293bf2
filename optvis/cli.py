"""The command line: a thin face on the public names."""

from __future__ import annotations

import shlex
import sys
from contextvars import ContextVar
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from . import get_layer_names
from .attribution import Attribution
from .attribution import attribute as attribute_image
from .attribution.result import ENDINGS
from .bench import bench as measure
from .engine import OptVis, usable_device
from .files import check_path
from .objectives import Class, as_objective, channel_of
from .params import CPPNParam, ImageFile, ImageParam, Param
from .recipes import collage as make_collage
from .visualisation import Visualisation
from .zoo import FORMS, load_network

app = typer.Typer(
    help="See what a part of a network looks for.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


# Newer versions of typer bring a click of their own, whose errors are not those of the package click.
_UsageError: Any = typer.BadParameter.__base__


_ARGUMENTS: ContextVar[list[str]] = ContextVar("_ARGUMENTS")
"""What the command was called with; a picture carries it."""


class Kind(str, Enum):
    """What is optimised."""

    fourier = "fourier"
    pixel = "pixel"
    cppn = "cppn"


Network = Annotated[str, typer.Argument(help=f"{FORMS}; may be left out for demo.", metavar="NETWORK")]
Weights = Annotated[Path | None, typer.Option(help="File of weights: .safetensors, or .pth of weights alone.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="File to write: .png .webp .jpg .gif .npy")]
Size = Annotated[str | None, typer.Option(help="Pixels: 224, or HEIGHTxWIDTH.")]
Steps = Annotated[int | None, typer.Option(help="Steps in all.", min=1)]
Seed = Annotated[int, typer.Option(help="Seed of everything random.", min=0)]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps, ...")]
Precision = Annotated[str, typer.Option(help="Of the network's arithmetic: auto, fp32, bf16 or fp16.")]
Compile = Annotated[bool, typer.Option("--compile", help="Compile the step: a minute or two, then quicker steps.")]
Tile = Annotated[int | None, typer.Option(help="Show large pictures in tiles of so many pixels.", min=1)]
KindOption = Annotated[Kind, typer.Option("--param", help="What is optimised.")]


@app.command(epilog="Examples: optvis layers | optvis layers torchvision:vgg11 --size 224")
def layers(network: Network = "demo", size: Size = None, weights: Weights = None) -> None:
    """List a network's layers; with --size also the shape that each puts out."""
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
        str | None, typer.Option("--class", help="A class, told from the others: number or name.")
    ] = None,
    size: Size = None,
    steps: Steps = None,
    seed: Seed = 0,
    param: KindOption = Kind.fourier,
    weights: Weights = None,
    device: Device = None,
    precision: Precision = "auto",
    tile: Tile = None,
) -> None:
    """Draw what a layer, one of its channels, or a class looks for."""
    if layer is None and class_ is None:
        network, layer = "demo", network
    check_path(out)
    objective = as_objective(layer) if class_ is None else Class(layer or "", channel_of(class_))
    optvis = OptVis(load_network(network, weights), objective, device=device)
    start = _param(param, _size(size), optvis, seed)
    _write(optvis.vis(start, thresh=steps, seed=seed, precision=precision, tile=tile), out, network)


@app.command(
    epilog="Examples: optvis collage features/6 --channels 0-15 | optvis collage timm:resnet18 layer3 -o c.png"
)
def collage(
    network: Network,
    layer: Annotated[str | None, typer.Argument(help="Address of the layer.")] = None,
    out: Out = Path("collage.png"),
    channels: Annotated[str, typer.Option(help="Numbers and ranges, 0-15,20, or 'all'.")] = "0-63",
    classes: Annotated[
        str | None, typer.Option(help="Classes instead: numbers and ranges, or names, with commas.")
    ] = None,
    size: Size = None,
    steps: Steps = None,
    seed: Seed = 0,
    batch: Annotated[int | None, typer.Option(help="Pictures at once; fewer where memory runs out.", min=1)] = None,
    until: Annotated[str | None, typer.Option(help="'plateau': each only until it gets no better.")] = None,
    weights: Weights = None,
    device: Device = None,
    precision: Precision = "auto",
    compile: Compile = False,
) -> None:
    """Draw many channels of a layer, or many classes, into one labelled picture."""
    if layer is None and classes is None:
        network, layer = "demo", network
    check_path(out)
    wanted = None if channels == "all" else _channels(channels)
    result = make_collage(
        load_network(network, weights),
        Class(layer or "", _classes(classes)) if classes is not None else layer or "",
        wanted,
        _size(size),
        batch,
        seed,
        device=device,
        thresh=steps,
        precision=precision,
        until=until,
        compile=compile,
    )
    _write(result, out, network)


@app.command(epilog="Example: optvis dream torchvision:squeezenet1_1 features/9 photo.jpg -o dream.jpg --size 400")
def dream(
    network: Network,
    layer: Annotated[str, typer.Argument(help="LAYER, or LAYER:CHANNEL for one channel's dream.")],
    image: Annotated[str | None, typer.Argument(help="The photograph to begin with.")] = None,
    out: Out = Path("dream.png"),
    size: Size = None,
    steps: Annotated[int, typer.Option(help="Steps in all.", min=1)] = 64,
    lr: Annotated[float, typer.Option(help="Learning rate: how far it departs from the photograph.")] = 0.02,
    seed: Seed = 0,
    weights: Weights = None,
    device: Device = None,
    precision: Precision = "auto",
    tile: Tile = None,
) -> None:
    """See more of what a layer sees in a photograph."""
    network, layer, image = ("demo", network, layer) if image is None else (network, layer, image)
    check_path(out)
    start = ImageFile(image, _size(size))
    loaded = load_network(network, weights)
    optvis = OptVis(loaded, layer, device=device) if ":" in layer else OptVis.from_dream(loaded, layer, device=device)
    _write(optvis.vis(start, thresh=steps, lr=lr, seed=seed, precision=precision, tile=tile), out, network)


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
    method: Annotated[str, typer.Option(help="How: gradcam, layercam, integrated_gradients, ...")] = "gradcam",
    target: Annotated[str | None, typer.Option(help="A class, by number or name; its highest by default.")] = None,
    layer: Annotated[list[str] | None, typer.Option(help="For CAMs: address; the last with a map by default.")] = None,
    weights: Weights = None,
    device: Device = None,
) -> None:
    """Show which parts of a picture made a network say what it said."""
    network, image = ("demo", network) if image is None else (network, image)
    check_path(out, ENDINGS)
    loaded = load_network(network, weights)
    wanted = None if target is None else channel_of(target)
    loaded = loaded if device is None else loaded.to(usable_device(device))
    result = attribute_image(loaded, image, method, wanted, layer or None)
    result.settings = _settings(result, network)
    path = result.save(out)
    where = f" at {', '.join(result.layer)}" if result.layer else ""
    print(f"{path}: {result.method}{where} for {result.target.labels[0]}, score {result.scores[0]:.4g}")


@app.command(epilog="Examples: optvis bench | optvis bench torchvision:resnet18 --layer layer3 --batch 8")
def bench(
    network: Network = "demo",
    layer: Annotated[list[str] | None, typer.Option(help="Layers; an early, a middle and the last by default.")] = None,
    size: Annotated[int | None, typer.Option(help="Pixels; the network's own, or 224, by default.", min=8)] = None,
    batch: Annotated[int, typer.Option(help="Pictures at once.", min=1)] = 1,
    weights: Weights = None,
) -> None:
    """Print what a step costs on this machine, beside a bare loop in plain torch."""
    measure(load_network(network, weights), layer, size, batch)


def _param(kind: Kind, size: Any, optvis: OptVis, seed: int) -> Param | None:
    if size is None and kind is Kind.fourier:
        return None
    size = size or optvis.input.default_size
    batch, channels = optvis.objective.pictures or 1, optvis.input.channels
    if kind is Kind.cppn:
        return CPPNParam(size, batch, channels, seed)
    return ImageParam(size, batch, fft=kind is Kind.fourier, channels=channels, seed=seed)


def _size(text: str | None) -> Any:
    if text is None:
        return None
    parts = text.lower().split("x")
    if not all(part.isdigit() and int(part) for part in parts) or len(parts) > 2:
        raise ValueError(f"size {text!r}: give pixels, as 224, or HEIGHTxWIDTH, as 120x160")
    return int(parts[0]) if len(parts) == 1 else (int(parts[0]), int(parts[1]))


def _channels(text: str) -> list[int]:
    wanted: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()) or (dash and int(last) < int(first)):
            raise ValueError(f"channels {text!r}: give numbers and ranges, as 0-15,20, or 'all'")
        wanted.extend(range(int(first), int(last or first) + 1))
    return wanted


def _classes(text: str) -> tuple[int | str, ...]:
    if any(part.strip()[:1].isdigit() for part in text.split(",")):
        return tuple(_channels(text))
    return tuple(part.strip() for part in text.split(","))


def _settings(result: Visualisation | Attribution, network: str) -> dict[str, Any]:
    return {**result.settings, "network": network, "command": shlex.join(["optvis", *_ARGUMENTS.get()])}


def _write(result: Visualisation, out: Path, network: str) -> None:
    result.settings = _settings(result, network)
    path = result.save(out)
    height, width = result.images.shape[-2:]
    count = len(result)
    print(f"{path}: {count} picture{'s' if count > 1 else ''} of {width} × {height} px, "
          f"score {result.scores.mean():.4g}")  # fmt: skip


def run(arguments: list[str] | None = None) -> int:
    """Run a command; returns 0, or 2 for input that cannot work, 1 for a failure on the way, 130 for Ctrl-C."""
    arguments = sys.argv[1:] if arguments is None else arguments
    _ARGUMENTS.set(arguments)
    try:
        code = app(arguments, standalone_mode=False, prog_name="optvis")
        return code if isinstance(code, int) else 0
    except _UsageError as error:
        error.show()
        return 2
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except (ValueError, TypeError, OSError, ImportError) as error:
        print(f"optvis: {error}", file=sys.stderr)
        return 2
    except RuntimeError as error:
        print(f"optvis: {type(error).__name__}: {str(error).splitlines()[0]}", file=sys.stderr)
        return 1
