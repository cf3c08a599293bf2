"""Versions of the software that made a picture or map, for its settings."""

import platform
from functools import cache
from importlib.metadata import version

import torch


def versions() -> dict[str, str]:
    """The versions of optvis, torch and Python."""
    return {"optvis": _own(), "torch": torch.__version__, "python": platform.python_version()}


@cache
def _own() -> str:
    return version("optvis")  # reads a file, and so is cached
