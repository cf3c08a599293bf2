"""What a picture or a map was made with: part of its settings."""

import platform
from functools import cache
from importlib.metadata import version

import torch


def versions() -> dict[str, str]:
    """Of optvis, torch and Python."""
    return {"optvis": _own(), "torch": torch.__version__, "python": platform.python_version()}


@cache
def _own() -> str:
    return version("optvis")  # reads a file
