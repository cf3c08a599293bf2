"""Where pictures and the progress of a run are shown: in a notebook, on a screen or in a terminal."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from torch import Tensor
from tqdm.auto import tqdm

from .checks import shown


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


def check_verbose(verbose: bool | str) -> None:
    """Raise ``ValueError`` unless ``progress_bar`` takes this."""
    if not isinstance(verbose, (bool, int, str)) or verbose not in (True, False, "always"):
        raise ValueError(f"verbose={shown(verbose)}: choose True, False or 'always'")


def progress_bar(total: int, verbose: bool | str, description: str) -> Any:
    """A progress bar in a terminal or notebook; ``"always"`` also elsewhere, ``False`` never."""
    check_verbose(verbose)
    # With ``None``, tqdm shows a bar only in a terminal.
    disabled = None if "ipykernel" not in sys.modules and verbose is True else not verbose
    return tqdm(total=total, disable=disabled, desc=description[:40])


def advance(bar: Any, scores: Tensor) -> None:
    """Advance the bar by one; scores are read, which waits for the device, only when the bar is redrawn."""
    if not bar.disable and time.time() - bar.last_print_t >= bar.mininterval:
        bar.set_postfix_str(f"score {scores.mean().item():.4g}", refresh=False)
    bar.update()
