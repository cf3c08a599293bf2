"""What a picture or a map was made with: part of its settings."""

import platform
from functools import cache
from importlib.metadata import version

import torch


@cache
def versions() -> dict[str, str]:
    """Of optvis, torch and Python. To be copied by who keeps it."""
    return {"optvis": version("optvis"), "torch": torch.__version__, "python": platform.python_version()}
