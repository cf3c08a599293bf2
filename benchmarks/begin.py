"""What every benchmark begins with: where the networks are, and how many threads it may use."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn


def parser(doc: str | None) -> argparse.ArgumentParser:
    """With ``--weights`` and ``--threads``; each benchmark adds its own arguments."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--weights", type=Path, required=True, help="folder with a load.py that loads networks")
    made.add_argument("--threads", type=int, default=torch.get_num_threads())
    return made


def begin(arguments: argparse.ArgumentParser) -> tuple[argparse.Namespace, Callable[[str], nn.Module]]:
    """What was given, and what loads a network by its name."""
    given = arguments.parse_args()
    torch.set_num_threads(given.threads)
    sys.path.insert(0, str(given.weights))
    from load import load

    return given, load
