"""The share of the time that views take, and which of them a budget lets draw."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class Cost:
    """What one view has cost so far.

    Attributes:
        drawn: number of pictures.
        left_out: number of pictures that the budget left out.
        failed: number of failures.
        seconds: in all.
        latest: seconds of the latest one.
        turn: number of the latest drawing of any view at which it was drawn.
    """

    drawn: int = 0
    left_out: int = 0
    failed: int = 0
    seconds: float = 0.0
    latest: float = 0.0
    turn: int = -1


class Timing:
    """Measures the time that views take.

    Args:
        titles: of the views.
        budget: the largest share of the time since ``begin`` that the views may take; ``None`` for any.
    """

    def __init__(self, titles: Sequence[str], budget: float | None) -> None:
        self.costs = {title: Cost() for title in titles}
        self.budget = budget
        self.spent = 0.0  # seconds, without the block that is being measured
        self._begun: float | None = None
        self._block: float | None = None
        self._turn = 0

    def begin(self) -> None:
        """Start the clock, if it does not run yet."""
        if self._begun is None:
            self._begun = time.perf_counter()

    @property
    def elapsed(self) -> float:
        """Seconds since ``begin``."""
        return 0.0 if self._begun is None else time.perf_counter() - self._begun

    @property
    def taken(self) -> float:
        """Seconds that views have taken."""
        return self.spent + (0.0 if self._block is None else time.perf_counter() - self._block)

    @property
    def share(self) -> float:
        """The share of the time since ``begin`` that views have taken, 0 to 1."""
        return self.taken / max(self.elapsed, 1e-9)

    def affordable(self, due: Sequence[str]) -> Iterator[str]:
        """The titles of those views that the budget lets draw now, those first that have waited longest.

        The time that a view takes is taken to be that of the time before. A view that has not been drawn yet is drawn
        as soon as the share is below the budget. If a view has to wait, so do all behind it, so that expensive views
        get their turn.
        """
        waiting = sorted(due, key=lambda title: self.costs[title].turn)
        while waiting and self._affords(self.costs[waiting[0]].latest):
            yield waiting.pop(0)
        for title in waiting:
            self.costs[title].left_out += 1

    def _affords(self, seconds: float) -> bool:
        if self.budget is None:
            return True
        return self.taken + seconds <= self.budget * (self.elapsed + seconds)

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """The block in which some views are drawn and written; what is not a view's own time is divided among them."""
        before = {title: cost.seconds for title, cost in self.costs.items()}
        self._turn += 1
        self._block = time.perf_counter()
        try:
            yield
        finally:
            seconds, self._block = time.perf_counter() - self._block, None
            self.spent += seconds
            drawn = [cost for cost in self.costs.values() if cost.turn == self._turn]
            rest = seconds - sum(cost.seconds for cost in self.costs.values()) + sum(before.values())
            for cost in drawn:
                cost.seconds += rest / len(drawn)
                cost.latest += rest / len(drawn)

    @contextmanager
    def view(self, title: str) -> Iterator[Cost]:
        """The block in which one view is drawn."""
        cost, begun = self.costs[title], time.perf_counter()
        cost.turn = self._turn
        try:
            yield cost
        finally:
            cost.latest = time.perf_counter() - begun
            cost.seconds += cost.latest

    def __str__(self) -> str:
        parts = []
        for title, cost in self.costs.items():
            notes = f", {cost.left_out} left out" if cost.left_out else ""
            notes += f", {cost.failed} failed" if cost.failed else ""
            parts.append(f"{title}: {cost.drawn} in {cost.seconds:.1f} s{notes}")
        return f"{self.share:.1%} of {self.elapsed:.0f} s; {'; '.join(parts)}"
