"""Commands that show optvis at work: training the bundled network, and the live view in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from . import options as opt
from .command import command
from .terminal import current, say


@command("optvis train-demo", "optvis train-demo watched --minutes 1 --seed 2", name="train-demo")
def train_demo(
    folder: Annotated[
        Path, typer.Argument(help="Folder for the pictures; made where it is missing.", metavar="[FOLDER]")
    ] = Path("train-demo"),
    minutes: Annotated[float, typer.Option(help="How long to train.", min=0.01, max=1440)] = 3.0,
    seed: opt.Seed = 0,
) -> None:
    """Train the bundled network from nothing, with pictures of what it learns meanwhile."""
    from ..demo.watched import train_demo as train

    current().stage = "drawing"
    train(folder, minutes, seed)
    say(f"{folder / 'index.html'}: what the network learned, step by step")
    current().wrote(folder / "index.html")


@command("optvis live efficientnet_lite0", "optvis live demo --port 7861")
def live(
    given: opt.Given,
    port: Annotated[int, typer.Option(help="Port of the page, on this machine alone.", min=1, max=65535)] = 7860,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")] = True,
) -> None:
    """Watch pictures grow in a browser, and change what is drawn meanwhile; Ctrl-C ends it."""
    from ..live import launch

    network = given.on_device()
    current().stage = "drawing"
    names: Any = {"name": given.network, "weights": given.weights, "names": given.names}
    launch(network, port=port, open_browser=browser, **names, **given.normalisation)
