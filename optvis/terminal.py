"""A call of the command line: Ctrl-C and SIGTERM, exit codes, and what is printed."""

from __future__ import annotations

import shlex
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch

from .text import printable
from .visualisation import Visualisation

if TYPE_CHECKING:
    from .attribution import Attribution

ERRORS = (ValueError, TypeError, OSError, ImportError, RuntimeError, MemoryError, ArithmeticError)
"""Errors that a call may raise and that are reported in one line; others are bugs and keep their traceback."""


class Interrupts:
    """Within the block Ctrl-C and SIGTERM raise ``KeyboardInterrupt``, except within ``held``.

    SIGTERM is raised again as SIGINT, so that a handler installed later, such as the loop's, handles a single signal.

    Attributes:
        code: the exit code: 130 after Ctrl-C, 143 after SIGTERM, ``None`` without a signal.
    """

    def __init__(self) -> None:
        self.code: int | None = None
        self._held = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():  # only this thread may set handlers
            for signum, handler in ((signal.SIGINT, self._on_sigint), (signal.SIGTERM, self._on_sigterm)):
                if signal.getsignal(signum) not in (signal.SIG_IGN, None):  # as in background jobs of scripts
                    self._before[signum] = signal.signal(signum, handler)
        return self

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within the block signals only set ``code``: for work that must not be interrupted, such as saving."""
        self._held = True
        try:
            yield
        finally:
            self._held = False

    def _on_sigint(self, _signum: int, _frame: FrameType | None) -> None:
        self.code = self.code or 130
        if not self._held:
            raise KeyboardInterrupt

    _on_sigint.raises_interrupt = True  # type: ignore[attr-defined]  # see interruptible

    def _on_sigterm(self, signum: int, frame: FrameType | None) -> None:
        self.code = 143
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            self._on_sigint(signum, frame)
        else:
            signal.raise_signal(signal.SIGINT)


class Call:
    """One call of the command line.

    Attributes:
        command: the command as typed in a shell, for the settings of pictures.
        stage: "preparing", "drawing", "saving" or "saved".
        interrupts: Ctrl-C and SIGTERM.
        quiet: True to print nothing but warnings and errors.
    """

    def __init__(self, arguments: list[str]) -> None:
        self.quiet = False
        self.command = shlex.join(["optvis", *arguments])
        self.stage = "preparing"
        self.interrupts = Interrupts()

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Within the block this is the ``current`` call; signals are handled, and warnings are printed like errors."""
        token, format_before = _CURRENT.set(self), warnings.formatwarning
        warnings.formatwarning = _warning_line  # type: ignore[assignment]
        try:
            with self.interrupts:
                yield
        finally:
            warnings.formatwarning = format_before
            _CURRENT.reset(token)

    def exit_code(self, error: Exception) -> int:
        """2 for an error before the first step, 1 for a later one."""
        checked = (ValueError, TypeError, ImportError, FileNotFoundError)  # drawing raises these before the first step
        before = self.stage == "preparing" or (self.stage == "drawing" and isinstance(error, checked))
        return 2 if before else 1

    def report(self, error: Exception) -> int:
        """Print an error in one line, and return the exit code."""
        text = str(error).strip().split("\n")[0]
        own = isinstance(error, (ValueError, TypeError, OSError, ImportError)) and text
        complain(text if own else f"{type(error).__name__}: {text}".removesuffix(": "))
        return self.exit_code(error)

    def report_interrupt(self) -> int:
        """Print that nothing was saved, if so, and return the exit code."""
        if self.stage != "saved":
            complain("interrupted; nothing was saved")
        return self.interrupts.code or 130


def origin(network: str, weights: Path | None = None, names: Path | None = None) -> dict[str, Any]:
    """The settings that say where a picture comes from."""
    files = {"weights": weights, "names": names}
    return {
        "network": network,
        **{name: None if file is None else str(file) for name, file in files.items()},
        "command": current().command,
    }


def write(result: Visualisation, out: Path, network: str, *files: Path | None) -> int:
    """Save the pictures and print a summary; ``network`` and ``files`` are as for ``origin``. Returns the exit code."""
    call = current()
    with call.interrupts.held():
        interrupted = result.interrupted or call.interrupts.code is not None
        if interrupted and not len(result.history):
            raise KeyboardInterrupt  # no step was taken
        call.stage = "saving"
        if not torch.isfinite(result.images).all():
            raise FloatingPointError("the picture holds NaN or infinite values; nothing was saved")
        path = result.described(**origin(network, *files)).save(out)
        height, width = result.images.shape[-2:]
        count = f"{len(result)} picture{'s' if len(result) > 1 else ''}"
        say(f"{path}: {count} of {width} × {height} px, score {result.scores.mean():.4g}")
        if interrupted:
            complain(f"interrupted after {len(result.history)} steps; the pictures so far are in {path}")
            complain(f"to draw them in full, run again: {call.command}")
        call.stage = "saved"
    return call.interrupts.code or (130 if interrupted else 0)


def write_maps(save: Callable[[], Path], files: Sequence[str], rows: Sequence[Sequence[Attribution]]) -> int:
    """Save the attributions of files, a row for each, and print a line for each; returns the exit code."""
    call = current()
    call.stage = "saving"
    with call.interrupts.held():
        path = save()
        for file, row in zip(files, rows, strict=True):
            for one in row:
                where = f" at {', '.join(one.layer)}" if one.layer else ""
                of = f" of {file}" if len(files) > 1 else ""
                say(f"{path}: {one.method}{where}{of} for {one.target.labels[0]}, score {one.scores[0]:.4g}")
        call.stage = "saved"
    return call.interrupts.code or 0


_CURRENT: ContextVar[Call] = ContextVar("_CURRENT")


def current() -> Call:
    """The current call."""
    return _CURRENT.get()


def say(text: str) -> None:
    """Print a line with control characters escaped, unless the call is quiet."""
    if not current().quiet:
        print(printable(text))


def complain(text: str) -> None:
    """Print a line to the standard error, with control characters escaped."""
    print(f"optvis: {printable(text)}", file=sys.stderr)


def _warning_line(message: Warning | str, *_: Any, **__: Any) -> str:
    return f"optvis: {printable(message)}\n"
