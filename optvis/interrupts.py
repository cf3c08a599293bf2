"""Ctrl-C between steps: the first one asks a run to end, the second one raises ``KeyboardInterrupt``."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Interrupt:
    """Records whether the user has asked a run to end: ``requested`` is True after the first Ctrl-C."""

    requested = False

    def request(self, _number: int = signal.SIGINT, _frame: Any = None) -> None:
        """Ask for the end; raises ``KeyboardInterrupt`` the second time."""
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Within the block a first Ctrl-C sets ``requested`` and a second one raises ``KeyboardInterrupt``.

    Python handles signals only in the main thread: in other threads, and if the program has its own handler for
    Ctrl-C, the block changes nothing. A handler that only raises ``KeyboardInterrupt`` may be replaced if it has an
    attribute ``raises_interrupt``.
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
    """Postpone a first Ctrl-C within the block to its end."""
    with interruptible() as interrupt:
        yield
    if interrupt.requested:
        raise KeyboardInterrupt
