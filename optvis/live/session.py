"""The one picture that the live view draws: a sequence of runs in a thread, each from where the last one ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from PIL import Image
from torch import nn

from ..text import printable
from ..visualisation import Visualisation
from .choice import Choice

REFRESH = 0.2
"""Seconds between two pictures that are shown."""
SETTLED = 0.4
"""A setting takes effect when none has changed for this number of seconds, so that a slider makes one run, not many."""


@dataclass(frozen=True)
class Segment:
    """A run, or the part of it that has been made.

    Attributes:
        choice: what it draws.
        stages: ``[[(height, width), steps], ...]`` of the whole run.
        steps: number of those that were made.
        grown: the size to which the picture before it was brought; ``None`` if it had that size, or there is none.
    """

    choice: Choice
    stages: Sequence[Any] = ()
    steps: int = 0
    grown: int | None = None

    def call(self, first: bool) -> str:
        """The call of ``vis`` that makes it."""
        total = sum(steps for _, steps in self.stages)
        if first and len(self.stages) > 1:
            stages = ", ".join(f"({_size(size)}, {steps})" for size, steps in self.stages)
            start = f"stages=[{stages}]" + (f", steps={self.steps}" if self.steps < total else "")
        elif first:
            start = f"{self.choice.size}, steps={self.steps}"
        else:
            grown = "" if self.grown is None else f".grow({self.grown})"
            start = f"result.param{grown}, steps={self.steps}"
        seed = f", seed={self.choice.seed}" if self.choice.seed else ""
        return f"result = engine.vis({start}{seed})"


@dataclass(frozen=True)
class Shot:
    """What is on the screen: a picture, the Python that makes it, and a line about it."""

    picture: Image.Image | None = None
    code: str = ""
    status: str = "Settings may change while the picture grows."
    running: bool = False
    number: int = 0


@dataclass(eq=False)
class Session:
    """Draws one picture at a time in a thread. All methods return at once, except ``watch`` and ``wait``.

    Attributes:
        network: whose part is drawn.
        preamble: lines of Python that make ``network``.
        options: further arguments of ``OptVis``.
    """

    network: nn.Module
    preamble: Sequence[str]
    options: Mapping[str, Any] = field(default_factory=dict)
    shot: Shot = field(default_factory=Shot, init=False)

    def __post_init__(self) -> None:
        self._news = threading.Condition()
        self._thread: threading.Thread | None = None
        self._segments: list[Segment] = []  # those that have ended
        self._result: Visualisation | None = None  # of the last of them
        self._wanted: Choice | None = None
        self._changed = 0.0  # when ``_wanted`` was given; 0 when it has taken effect
        self._stopping = False

    @property
    def running(self) -> bool:
        """True while a picture grows."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, choice: Choice) -> None:
        """Begin a new picture from noise."""
        self.stop()
        self.wait()
        self._segments, self._result = [], None
        self._begin(choice)

    def resume(self, choice: Choice) -> None:
        """Go on from the picture on the screen; begin one if there is none."""
        if self.running:
            self.change(choice)
        else:
            self._begin(choice)

    def change(self, choice: Choice) -> None:
        """Let the picture that is growing go on with other settings; does nothing if none is growing."""
        if self.running and choice != self._wanted:
            self._wanted, self._changed = choice, time.monotonic()

    def stop(self) -> None:
        """End the run after the step that it takes."""
        self._stopping = True

    def wait(self, timeout: float | None = None) -> None:
        """Wait until no picture grows."""
        if self._thread is not None:
            self._thread.join(timeout)

    def watch(self) -> Iterator[Shot]:
        """What is on the screen, whenever it changes, until no picture grows."""
        seen = -1
        while True:
            with self._news:
                self._news.wait_for(lambda: self.shot.number != seen or not self.shot.running, timeout=1)
                shot = self.shot
            if shot.number != seen:
                seen = shot.number
                yield shot
            if not shot.running:
                return

    def _begin(self, choice: Choice) -> None:
        self._wanted, self._changed, self._stopping = choice, 0.0, False
        self._show(status="preparing the network", running=True)
        self._thread = threading.Thread(target=self._work, name="optvis live", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            again = True
            while again:
                assert self._wanted is not None
                choice, self._changed = self._wanted, 0.0
                self._run(choice)
                again = bool(self._changed) and not self._stopping
            how = "stopped" if self._stopping else "finished"
            self._show(status=f"{how}: {self.shot.status}", running=False)
        except Exception as error:  # any: it is shown, and the page goes on
            self._show(status=f"**{printable(str(error))}**", running=False)

    def _run(self, choice: Choice) -> None:
        """A run from the last result, which ends early if it is asked to stop or other settings are wanted."""
        engine, before = choice.engine(self.network, self.options), self._result
        segment, shown = Segment(replace(choice, seed=choice.seed + len(self._segments))), 0.0
        start: Any = choice.size
        if before is not None:
            start, size = before.param, (choice.size, choice.size)
            if start.size != size:
                start, segment = start.grow(size), replace(segment, grown=choice.size)

        def callback(step: int, state: Visualisation) -> bool:
            nonlocal segment, shown
            segment = replace(segment, stages=state.settings["stages"], steps=step)
            if time.monotonic() - shown > REFRESH:
                self._show_state(segment, state)
                shown = time.monotonic()
            settled = self._changed and time.monotonic() - self._changed > SETTLED
            return not (self._stopping or settled)

        result = engine.vis(start, steps=choice.steps, seed=segment.choice.seed, verbose=False, callback=callback)
        self._result = result
        self._show_state(segment, result)
        self._segments.append(segment)

    def _show_state(self, segment: Segment, state: Visualisation) -> None:
        total = sum(steps for _, steps in segment.stages)
        height, width = state.images.shape[-2:]
        score = float(state.scores[0])
        status = f"step {segment.steps} of {total} · {width} × {height} px · score {score:.4g}"
        if self._segments:
            status += f" · run {len(self._segments) + 1}"
        self._show(picture=state.to_pil()[0], code=self._code([*self._segments, segment]), status=status)

    def _show(self, **changes: Any) -> None:
        with self._news:
            self.shot = replace(self.shot, **changes, number=self.shot.number + 1)
            self._news.notify_all()

    def _code(self, segments: Sequence[Segment]) -> str:
        """The Python that makes the picture after these runs."""
        lines: list[str] = []
        for i, segment in enumerate(segments):
            made = segment.choice.lines(self.options)
            if i == 0 or made != segments[i - 1].choice.lines(self.options):
                lines += made
            lines.append(segment.call(i == 0))
        lines.append('result.save("picture.png")')
        text = "\n".join(lines)
        imports = ["import torch"] if "torch." in text else []
        imports += ["import optvis", f"from optvis import {', '.join(_objectives(text))}, OptVis"]
        names = sorted(set().union(*(segment.choice.amounts.names for segment in segments)))
        imports += [f"from optvis.transforms import {', '.join(names)}"] if names else []
        return "\n".join([*imports, "", *self.preamble, *lines]) + "\n"


def _objectives(text: str) -> list[str]:
    return [name for name in ("Channel", "Class", "Direction", "Layer") if f"(network, {name}(" in text]


def _size(size: Sequence[int]) -> str:
    height, width = size
    return str(height) if height == width else str((height, width))
