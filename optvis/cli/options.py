"""The arguments and options that commands share, with the texts of their help."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from torch import nn

from ..checks import MOST
from ..network.inputs import usable_device
from ..zoo import FORMS, load_network
from .terminal import current
from .texts import as_floats, as_size

MAX_SEED = 2**62


class Kind(str, Enum):
    """What is optimised."""

    fourier = "fourier"
    pixel = "pixel"
    cppn = "cppn"


class Augmentation(str, Enum):
    """The transforms of an image before the network sees it."""

    standard = "standard"
    none = "none"


Network = Annotated[str, typer.Argument(help=FORMS, metavar="NETWORK", show_default=False)]
Layer = Annotated[
    str | None,
    typer.Argument(help="LAYER, or LAYER:CHANNEL by number or name.", metavar="[LAYER]", show_default=False),
]
IMAGES = "Pictures: files, folders or patterns such as '*.jpg'."
Images = Annotated[list[str] | None, typer.Argument(help=IMAGES, metavar="IMAGE...", show_default=False)]
Pattern = Annotated[str | None, typer.Argument(help="Only what contains this.", metavar="[PATTERN]")]
Out = Annotated[Path, typer.Option("--out", "-o", help="File to write: .png .webp .jpg .gif .npy")]
Weights = Annotated[Path | None, typer.Option(help="File of weights: .safetensors, or .pth of a state dict.")]
Names = Annotated[Path | None, typer.Option(help="File of the names of the outputs: one in each line, or .json.")]
Mean = Annotated[str | None, typer.Option(help="Mean by which images are normalised: 0.5, or 0.485,0.456,0.406.")]
Std = Annotated[str | None, typer.Option(help="Standard deviation, likewise.")]
Size = Annotated[str | None, typer.Option(help="Pixels: 224, or HEIGHTxWIDTH.")]
Steps = Annotated[int | None, typer.Option(help="Number of steps.", min=1, max=MOST)]
Rate = Annotated[float, typer.Option("--lr", help="Learning rate.")]
Seed = Annotated[int, typer.Option(help="Seed of all random numbers.", min=0, max=MAX_SEED)]
Seeds = Annotated[str, typer.Option("--seed", help="Seed of all random numbers; several make several pictures: 0,1,2.")]
Transforms = Annotated[Augmentation, typer.Option(help="Random changes to the image at each step.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps, ...")]
Precision = Annotated[str, typer.Option(help="Precision of the network: auto, fp32, bf16 or fp16.")]
Compile = Annotated[
    bool, typer.Option("--compile", help="Compile the step: takes a minute or two, later steps are faster.")
]
Tile = Annotated[
    int | None, typer.Option(help="Largest tile, in pixels, that the network sees at once.", min=1, max=MOST)
]
Batch = Annotated[int | None, typer.Option(help="Pictures at once; fewer if memory runs out.", min=1, max=MOST)]
NetworkSize = Annotated[
    str | None, typer.Option("--size", help="Pixels at which the network sees the pictures: 224, or HEIGHTxWIDTH.")
]
MapKind = Annotated[str, typer.Option("--kind", help="overlay, heat-map, masked, blended or original.")]
Sign = Annotated[str, typer.Option(help="Parts of the map: positive, negative, absolute or all.")]
Alpha = Annotated[float | None, typer.Option(help="Opacity of overlays, 0 to 1.", min=0, max=1)]


@dataclass
class Given:
    """The network of a command, and what it does not say itself."""

    network: Network
    weights: Weights = None
    names: Names = None
    mean: Mean = None
    std: Std = None
    device: Device = None

    def load(self) -> nn.Module:
        """The network, on the CPU."""
        return load_network(self.network, self.weights, names=self.names)

    def on_device(self) -> nn.Module:
        """The network on its device."""
        loaded = self.load()
        return loaded if self.device is None else loaded.to(usable_device(self.device))

    @property
    def normalisation(self) -> dict[str, Any]:
        """The arguments ``mean`` and ``std``."""
        return {"mean": as_floats("mean", self.mean), "std": as_floats("std", self.std)}

    @property
    def own(self) -> dict[str, Any]:
        """The arguments of ``OptVis`` besides network and objective."""
        return {"device": self.device, **self.normalisation}

    @property
    def origin(self) -> dict[str, Any]:
        """The settings that say where a picture comes from."""
        return origin(self.network, self.weights, self.names)


@dataclass
class Drawing:
    """How pictures are drawn."""

    size: Size = None
    steps: Steps = None
    lr: Rate = 0.1
    transforms: Transforms = Augmentation.standard
    precision: Precision = "auto"

    @property
    def pixels(self) -> Any:
        """The size, as ``OptVis.vis`` takes it."""
        return as_size(self.size)

    @property
    def run(self) -> dict[str, Any]:
        """The arguments of ``OptVis.vis`` apart from size and steps."""
        return {
            "transform": self.transforms is Augmentation.standard,
            "lr": self.lr,
            "precision": self.precision,
            "verbose": current().verbose,
        }


def origin(network: str, weights: Path | None = None, names: Path | None = None) -> dict[str, Any]:
    """The settings that say where a picture comes from."""
    files = {"weights": weights, "names": names}
    return {
        "network": network,
        **{name: None if file is None else str(file) for name, file in files.items()},
        "command": current().command,
    }
