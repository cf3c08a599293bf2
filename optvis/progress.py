"""The progress bar of a run."""

from __future__ import annotations

import sys
import time
from typing import Any

from torch import Tensor
from tqdm.auto import tqdm

from .checks import shown


def progress_bar(total: int, verbose: bool | str, description: str) -> Any:
    """A progress bar in a terminal or notebook; ``"always"`` also elsewhere, ``False`` never.

    Raises:
        ValueError: another value of ``verbose``.
    """
    if not isinstance(verbose, (bool, int, str)) or verbose not in (True, False, "always"):
        raise ValueError(f"verbose={shown(verbose)}: choose True, False or 'always'")
    # With ``None``, tqdm shows a bar only in a terminal.
    disabled = None if "ipykernel" not in sys.modules and verbose is True else not verbose
    return tqdm(total=total, disable=disabled, desc=description[:40])


def advance(bar: Any, scores: Tensor) -> None:
    """Advance the bar by one; scores are read, which waits for the device, only when the bar is redrawn."""
    if not bar.disable and time.time() - bar.last_print_t >= bar.mininterval:
        bar.set_postfix_str(f"score {scores.mean().item():.4g}", refresh=False)
    bar.update()
