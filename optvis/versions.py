"""Versions of the software that made a picture or map, for its settings."""

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version

import torch


def versions() -> dict[str, str]:
    """The versions of optvis, torch and Python."""
    return {"optvis": own_version(), "torch": torch.__version__, "python": platform.python_version()}


@cache
def own_version() -> str:
    """The version of the installed package; ``"unknown"`` in a checkout that was never installed."""
    try:
        return version("optvis")  # reads a file, and so is cached
    except PackageNotFoundError:
        return "unknown"
