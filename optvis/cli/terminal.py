"""A call of the command line: Ctrl-C and SIGTERM, exit codes, and what is printed."""

from __future__ import annotations

import io
import json
import math
import shlex
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from contextvars import ContextVar
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import typer

from ..display import has_screen
from ..result import Result
from ..text import printable
from ..visualisation import Visualisation

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
        json: True to print one JSON object to the standard output, and everything else to the standard error.
        quiet: True to print nothing but warnings and errors.
        open: True to open each file that was written in the system's viewer.
        found: what the JSON object contains.
    """

    def __init__(self, arguments: list[str]) -> None:
        self.command = shlex.join(["optvis", *arguments])
        self.stage = "preparing"
        self.interrupts = Interrupts()
        self.json = "--json" in arguments  # also where the arguments turn out to be wrong
        self.quiet = self.open = False
        self.found: dict[str, Any] = {"command": self.command, "files": [], "results": []}

    @property
    def verbose(self) -> bool:
        """True if progress is shown in a terminal."""
        return not self.quiet

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

    @contextmanager
    def printing(self) -> Iterator[None]:
        """Within the block the standard output is that of ``quiet`` and ``json``."""
        if not (self.quiet or self.json):
            yield
            return
        with redirect_stdout(io.StringIO() if self.quiet else sys.stderr):
            yield

    def wrote(self, path: Path, result: Result | None = None) -> None:
        """Note a file that was written, and open it if this was asked for."""
        self.found["files"].append(str(path))
        if result is not None:
            self.found["results"].append({"file": str(path), **result.facts()[0], "settings": result.settings})
        if self.open:
            show_file(path)

    def print_json(self, code: int) -> None:
        """Print what was found and the exit code."""
        print(json.dumps(_plain({**self.found, "exit_code": code}), default=str), flush=True)

    def exit_code(self, error: Exception) -> int:
        """2 for an error before the first step, 1 for a later one."""
        checked = (ValueError, TypeError, ImportError, FileNotFoundError)  # drawing raises these before the first step
        before = self.stage == "preparing" or (self.stage == "drawing" and isinstance(error, checked))
        return 2 if before else 1

    def report(self, error: Exception) -> int:
        """Print an error in one line, and return the exit code."""
        text = str(error).strip().split("\n")[0]
        own = isinstance(error, (ValueError, TypeError, OSError, ImportError)) and text
        self.found["error"] = text if own else f"{type(error).__name__}: {text}".removesuffix(": ")
        complain(self.found["error"])
        return self.exit_code(error)

    def report_interrupt(self) -> int:
        """Print that nothing was saved, if so, and return the exit code."""
        if self.stage != "saved":
            complain("interrupted; nothing was saved")
        return self.interrupts.code or 130


def write(result: Result, out: Path, about: dict[str, Any], lines: Sequence[str] | None = None, **how: Any) -> int:
    """Save a result and print a summary; returns the exit code.

    Args:
        result: a visualisation that was interrupted before its first step is not saved.
        out: the file.
        about: further settings, such as the name of the network.
        lines: the summary, printed after the file's name; by default size and score.
        how: as for the ``save`` of the result.
    """
    call = current()
    with call.interrupts.held():
        drawing = isinstance(result, Visualisation)
        steps = len(result.history) if isinstance(result, Visualisation) else 1
        interrupted = drawing and (result.settings.get("interrupted", False) or call.interrupts.code is not None)
        if interrupted and not steps:
            raise KeyboardInterrupt  # no step was taken
        call.stage = "saving"
        if isinstance(result, Visualisation) and not torch.isfinite(result.images).all():
            raise FloatingPointError("the picture holds NaN or infinite values; nothing was saved")
        result.settings.update(about)
        savable: Any = result
        path: Path = savable.save(out, **how)
        for line in [_summary(result)] if lines is None else lines:
            say(f"{path}: {line}")
        if interrupted:
            complain(f"interrupted after {steps} steps; the pictures so far are in {path}")
            complain(f"to draw them in full, run again: {call.command}")
        call.stage = "saved"
        call.wrote(path, result)
    return call.interrupts.code or (130 if interrupted else 0)


def _summary(result: Result) -> str:
    if not isinstance(result, Visualisation):
        width, height = result.sheet().size
        return f"{width} × {height} px"
    height, width = result.images.shape[-2:]
    count = f"{len(result)} picture{'s' if len(result) > 1 else ''}"
    return f"{count} of {width} × {height} px, score {result.scores.mean():.4g}"


def show_file(path: Path) -> None:
    """Open a file in the system's viewer; where there is none, say so."""
    if not has_screen():
        complain(f"no screen to show {path} on")
    elif typer.launch(str(path)):
        complain(f"the system has no viewer for {path}")


def _plain(value: Any) -> Any:
    """A value as JSON data, which has no NaN and no infinity."""
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


_CURRENT: ContextVar[Call] = ContextVar("_CURRENT")


def current() -> Call:
    """The current call."""
    return _CURRENT.get()


def say(text: str) -> None:
    """Print a line with control characters escaped."""
    print(printable(text))


def complain(text: str) -> None:
    """Print a line to the standard error, with control characters escaped."""
    print(f"optvis: {printable(text)}", file=sys.stderr)


def _warning_line(message: Warning | str, *_: Any, **__: Any) -> str:
    return f"optvis: {printable(message)}\n"
