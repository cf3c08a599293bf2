"""Progress bars drawn by rich, with the time left. They have the face of tqdm's, as far as optvis uses it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from ..display import bars_made_by

SHORT = 2.0
"""Seconds. The bar of work that took less is taken away at its end."""


@contextmanager
def rich_bars() -> Iterator[None]:
    """Within the block ``progress_bar`` makes bars of rich, if it is installed."""
    if find_spec("rich") is None:
        yield
        return
    with bars_made_by(_Bars().bar):
        yield


class _Bars:
    """The bars of a call, which are drawn together: rich draws one block of lines at a time."""

    def __init__(self) -> None:
        self.progress: Any = None
        self.open = 0

    def bar(self, *, total: float, disable: bool | None, desc: str, **_: Any) -> RichBar:
        """A bar; ``disable=None`` shows it in a terminal alone. Other options of tqdm are ignored."""
        if disable is None:  # while bars are shown, the standard error is an object of rich
            disable = not (self.open or sys.stderr.isatty())
        return RichBar(self, total, disable, desc)

    def added(self, description: str, total: float) -> Any:
        """A new line in the block, which is begun where there is none."""
        if self.open == 0:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

            self.progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f} %"),
                TimeElapsedColumn(),
                TextColumn("{task.fields[left]}  {task.fields[postfix]}"),
                console=Console(stderr=True),
                redirect_stdout=sys.stdout.isatty(),
            )
            self.progress.start()
        self.open += 1
        return self.progress.add_task(_plain(description), total=total, left="", postfix="")

    def closed(self, task: Any, keep: bool) -> None:
        """A line is done; it stays on the screen if it is to be kept."""
        if not keep:
            self.progress.remove_task(task)
        self.open -= 1
        if self.open == 0:
            self.progress.live.transient = not self.progress.tasks
            self.progress.stop()


class RichBar:
    """A bar. The time left is that of the work so far in proportion, without the time of ``unpause``.

    Attributes:
        n: the work done.
        total: all of it.
        disable: True for a bar that is not shown.
        mininterval: seconds between two changes of its text.
        last_print_t: when its text was last changed.
    """

    mininterval = 0.1

    def __init__(self, bars: _Bars, total: float, disable: bool, description: str) -> None:
        self._bars, self.total, self.disable, self.n = bars, total, disable, 0.0
        self._start = self._since = self.last_print_t = time.time()
        self._task = None if disable else bars.added(description, total)

    def __enter__(self) -> RichBar:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def update(self, n: float = 1) -> None:
        """Advance."""
        self.n += n
        if not self.disable:
            self._show()

    def set_postfix_str(self, text: str = "", refresh: bool = True) -> None:
        """Set the text at the end."""
        if not self.disable:
            self.last_print_t = time.time()
            self._bars.progress.update(self._task, postfix=_plain(text), refresh=refresh)

    def set_description(self, text: str = "", refresh: bool = True) -> None:
        """Set the text at the beginning."""
        if not self.disable:
            self._bars.progress.update(self._task, description=_plain(text), refresh=refresh)

    def unpause(self) -> None:
        """What has passed since the last ``update`` does not count for the time left."""
        self._since += time.time() - self._last

    def write(self, text: str) -> None:
        """Print a line to the standard output, above the bars."""
        if self.disable:
            print(text)
            return
        live = self._bars.progress.live
        live.transient = True  # the bars are taken away, and drawn again below the line
        self._bars.progress.stop()
        print(text, flush=True)
        live.transient = False
        self._bars.progress.start()

    def close(self) -> None:
        """End the bar."""
        if not self.disable:
            self.disable = True
            self._bars.closed(self._task, time.time() - self._start >= SHORT)

    _last = 0.0

    def _show(self) -> None:
        self._last = now = time.time()
        left = (now - self._since) / self.n * max(self.total - self.n, 0) if self.n else 0.0
        minutes, seconds = divmod(round(left), 60)
        text = f"{minutes}:{seconds:02d} left" if self.n < self.total else ""
        self._bars.progress.update(self._task, completed=self.n, total=self.total, left=text)


def _plain(text: str) -> str:
    """A text without the markup of rich."""
    from rich.markup import escape

    return escape(text)
