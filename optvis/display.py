"""Finding out where pictures can be shown: in a notebook or on a screen."""

from __future__ import annotations

import os
import sys
from typing import Any


def has_screen() -> bool:
    """True if the system's image viewer has a screen."""
    if os.name != "posix" or os.uname().sysname == "Darwin":
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def notebook_display() -> Any:
    """The ``display`` function of a running notebook, or ``None``. Imports IPython only where a notebook runs."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None or "IPKernelApp" not in shell.config:
        return None
    from IPython.display import display

    return display
