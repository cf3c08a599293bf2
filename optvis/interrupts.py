"""Ctrl-C between steps: the first one asks a run to end, the second one ends it at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Interrupt:
    """Whether the user has asked a run to end.

    Attributes:
        requested: True after the first Ctrl-C.
    """

    def __init__(self) -> None:
        self.requested = False

    def request(self, number: int = signal.SIGINT, frame: Any = None) -> None:
        """Ask for the end; raises ``KeyboardInterrupt`` where that was asked for already."""
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Within the block a first Ctrl-C sets ``requested`` and a second one raises ``KeyboardInterrupt``.

    Signals reach the main thread alone: in any other, and where the program handles Ctrl-C in its own way, the block
    changes nothing. A handler that does no more than raise ``KeyboardInterrupt`` says so by an attribute
    ``raises_interrupt``.
    """
    interrupt = Interrupt()
    before = signal.getsignal(signal.SIGINT)
    raises = before is signal.default_int_handler or getattr(before, "raises_interrupt", False)
    if not raises or threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    signal.signal(signal.SIGINT, interrupt.request)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def postponed() -> Iterator[None]:
    """Within the block a first Ctrl-C waits, and is raised at the end of the block."""
    with interruptible() as interrupt:
        yield
    if interrupt.requested:
        raise KeyboardInterrupt
