"""The bar that shows how far a run is."""

from __future__ import annotations

import sys
import time
from typing import Any

from torch import Tensor
from tqdm.auto import tqdm

from .checks import shown


def progress_bar(total: int, verbose: bool | str, description: str) -> Any:
    """A bar in a terminal or notebook; ``"always"`` also elsewhere, ``False`` none.

    Raises:
        ValueError: ``verbose`` is something else.
    """
    if not isinstance(verbose, (bool, int, str)) or verbose not in (True, False, "always"):
        raise ValueError(f"verbose={shown(verbose)}: choose True, False or 'always'")
    # ``None`` leaves it to whether the output is a terminal.
    disabled = None if "ipykernel" not in sys.modules and verbose is True else not verbose
    return tqdm(total=total, disable=disabled, desc=description[:40])


def advance(bar: Any, scores: Tensor) -> None:
    """Move the bar; the scores are read, and the device waited for, only when the bar is drawn anew."""
    if not bar.disable and time.time() - bar.last_print_t >= bar.mininterval:
        bar.set_postfix_str(f"score {scores.mean().item():.4g}", refresh=False)
    bar.update()
