"""Where pictures and the progress of a run are shown: in a notebook, on a screen or in a terminal."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm

from .checks import shown

_MAKE: ContextVar[Callable[..., Any]] = ContextVar("_MAKE", default=tqdm)


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


def show_picture(picture: Image.Image) -> None:
    """Show a picture in a notebook or in the system's viewer; without a screen, print a hint."""
    display = notebook_display()
    if display is not None:
        display(picture)
    elif has_screen():
        picture.show()
    else:
        print("no screen to show pictures on: use .save('picture.png')")


def check_verbose(verbose: bool | str) -> None:
    """Raise ``ValueError`` unless ``progress_bar`` takes this."""
    if not isinstance(verbose, (bool, int, str)) or verbose not in (True, False, "always"):
        raise ValueError(f"verbose={shown(verbose)}: choose True, False or 'always'")


def progress_bar(total: int, verbose: bool | str, description: str, **options: Any) -> Any:
    """A progress bar in a terminal or notebook; ``"always"`` also elsewhere, ``False`` never; ``options`` of tqdm."""
    check_verbose(verbose)
    # With ``None``, tqdm shows a bar only in a terminal.
    disabled = None if "ipykernel" not in sys.modules and verbose is True else not verbose
    return _MAKE.get()(total=total, disable=disabled, desc=description[:40], **options)


@contextmanager
def bars_made_by(make: Callable[..., Any]) -> Iterator[None]:
    """Within the block ``progress_bar`` calls ``make`` instead of ``tqdm``, with the same arguments."""
    token = _MAKE.set(make)
    try:
        yield
    finally:
        _MAKE.reset(token)


class RunBar:
    """The bar of a run. Its length is the work of the steps rather than their number, so that the time left is right.

    Args:
        work: of the whole run, as ``stages.work`` measures it.
        steps: number of steps of the run.
        verbose: as for ``progress_bar``.
        description: what is drawn.
    """

    def __init__(self, work: int, steps: int, verbose: bool | str, description: str) -> None:
        form = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
        self.bar = progress_bar(work, verbose, description, bar_format=form)
        self.step, self.steps = 0, steps

    def __enter__(self) -> RunBar:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def advance(self, work: int, scores: Tensor) -> None:
        """Advance by a step; scores are read, which waits for the device, only when the bar is redrawn."""
        bar, self.step = self.bar, self.step + 1
        if not bar.disable and (time.time() - bar.last_print_t >= bar.mininterval or self.step == self.steps):
            bar.set_postfix_str(f"step {self.step}/{self.steps}, score {scores.mean().item():.4g}", refresh=False)
        bar.update(work)

    @contextmanager
    def busy(self, doing: str) -> Iterator[None]:
        """Within the block the bar says what is done instead of steps; its time does not count for the time left."""
        if not self.bar.disable:
            self.bar.set_postfix_str(doing)
        yield
        if not self.bar.disable:
            self.bar.unpause()
