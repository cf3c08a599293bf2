"""Calls of the public functions and the command line with random arguments: good ones, near misses and nonsense.

``python -m random_calls 2000`` (in this folder) makes 2000 of them and prints a table; ``--seed`` and ``--only`` choose
others. Every error must be optvis's own: raised on purpose, with a message, before the first step.
"""

from __future__ import annotations

import argparse
import ast
import collections
import contextlib
import io
import linecache
import os
import random
import re
import resource
import signal
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

import torch
from random_arguments import Pool, arguments_of
from random_functions import SPECS, command_line

import optvis
from optvis import cli
from optvis.cli import terminal
from optvis.run import Run

HERE = str(Path(__file__).parent)
OWN = str(Path(optvis.__file__).parent)
WRONG_ARGUMENTS = re.compile(r"unexpected keyword|required (positional|keyword-only)|positional argument|multiple val")
HEAVY = ("OptVis", "vis", "command", "attribute", "objective", "param", "transform", "metric", "collage")
"""What is called four times as often as the others."""
LIMIT = 30
"""Seconds after which a call hangs."""


@dataclass(frozen=True)
class Outcome:
    """What a call led to: its kind (see ``classify``)."""

    kind: str
    error: BaseException | None
    call: str
    seconds: float

    @property
    def fault(self) -> bool:
        return self.kind in ("foreign", "late", "hang", "mute")

    def __str__(self) -> str:
        what = f"{type(self.error).__name__}: {str(self.error)[:200]!r} {where(self.error)}" if self.error else ""
        return f"{self.kind}: {self.call}\n    {what}"


class Hang(BaseException):
    """The call took longer than ``LIMIT``."""


@lru_cache
def raises(file: str) -> list[tuple[int, int]]:
    """The lines of a file's ``raise`` statements."""
    tree = ast.parse("".join(linecache.getlines(file)))
    return [(node.lineno, node.end_lineno or node.lineno) for node in ast.walk(tree) if isinstance(node, ast.Raise)]


def frames(tb: TracebackType | None) -> list[tuple[str, int, str]]:
    return [(frame.f_code.co_filename, line, frame.f_code.co_name) for frame, line in traceback.walk_tb(tb)]


def where(error: BaseException) -> str:
    own = [f"{Path(file).name}:{line}" for file, line, _ in frames(error.__traceback__)]
    return " > ".join(own[-5:])


def is_own(error: BaseException) -> bool:
    """Whether an error was raised on purpose by a statement of optvis, or of a function that the caller gave."""
    file, line, function = frames(error.__traceback__)[-1]
    if file.startswith(OWN):
        return any(first <= line <= last for first, last in raises(file))
    return file.startswith(HERE) and function.startswith("users_")


def classify(error: BaseException, steps: int) -> str:
    """The kind of an error after so many steps.

    No faults: ``own``; ``user's``, raised by a function that was given; ``signature``, Python's own of a wrong number
    or name of arguments; ``later``, scores that are no longer finite. Faults: ``foreign``, not raised on purpose;
    ``mute``, without a message; ``late``, after the first step; ``hang``.
    """
    if isinstance(error, Hang):
        return "hang"
    if isinstance(error, TypeError) and WRONG_ARGUMENTS.search(str(error)):
        return "signature"
    if not is_own(error):
        return "foreign"
    if frames(error.__traceback__)[-1][2].startswith("users_"):
        return "user's"
    if len(str(error)) < 8:
        return "mute"
    if steps:
        return "later" if isinstance(error, RuntimeError) and "scores of" in str(error) else "late"
    return "own"


@contextlib.contextmanager
def alarmed() -> Iterator[None]:
    def strike(*_: Any) -> None:
        raise Hang(f"more than {LIMIT} s")

    before = signal.signal(signal.SIGALRM, strike)
    signal.alarm(LIMIT)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


class Caller:
    """Makes random calls; ``folder`` holds the files that they use."""

    def __init__(self, folder: Path) -> None:
        self.pool = Pool(folder)
        self.steps = 0

    def call(self, seed: int, only: str | None = None) -> Outcome:
        """The call of a seed."""
        rng = random.Random(seed)
        families: dict[str, list[str]] = collections.defaultdict(list)
        for kind in SPECS:
            if only is None or only in kind:
                families[kind.split()[0]].append(kind)
        weights = [4 if family in HEAVY else 1 for family in families]
        name = rng.choice(families[rng.choices(list(families), weights)[0]])
        begin, self.steps = time.monotonic(), 0
        record = Run.record

        def counted(run: Any, turn: Any) -> None:
            self.steps += 1
            record(run, turn)

        text = name
        error: BaseException | None = None
        Run.record = counted  # type: ignore[method-assign]
        out, err = io.StringIO(), io.StringIO()
        state = torch.get_rng_state()
        try:
            with alarmed(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                if name == "command line":
                    arguments = command_line(rng, self.pool)
                    text = f"optvis {arguments!r}"
                    error = self._run(arguments)
                else:
                    function, parameters, required = SPECS[name]
                    given = arguments_of(rng, self.pool, parameters, required)
                    text = f"{name}({', '.join(f'{key}={label}' for key, (label, _) in given.items())})"
                    function(self.pool, **{key: value for key, (_, value) in given.items()})
        except (Exception, Hang) as found:
            error = found
        finally:
            Run.record = record  # type: ignore[method-assign]
        kind = "ok" if error is None else classify(error, self.steps)
        if not torch.equal(state, torch.get_rng_state()):
            kind, error = "foreign", RuntimeError("the global random state was changed")
            torch.set_rng_state(state)
        return Outcome(kind, error, text, time.monotonic() - begin)

    def _run(self, arguments: list[str]) -> BaseException | None:
        reported: list[BaseException] = []
        report = terminal.Call.report

        def noted(call: terminal.Call, error: Exception) -> int:
            reported.append(error)
            return report(call, error)

        terminal.Call.report = noted  # type: ignore[method-assign]
        try:
            code = cli.run(arguments)
        finally:
            terminal.Call.report = report  # type: ignore[method-assign]
        if reported and code not in (1, 2):
            raise AssertionError(f"exit code {code} after {reported[0]!r}")
        return reported[0] if reported else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="Only functions whose names hold this.")
    given = parser.parse_args()
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_AS, (12 << 30, 12 << 30))
    warnings.simplefilter("ignore")
    os.environ["MPLBACKEND"] = "agg"
    table: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    groups: dict[str, list[Outcome]] = collections.defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        caller = Caller(Path(folder))
        os.chdir(folder)
        for seed in range(given.seed, given.seed + given.count):
            outcome = caller.call(seed, given.only)
            table[re.split(r"[( ]", outcome.call)[0]][outcome.kind] += 1
            if outcome.fault:
                place = " > ".join(where(outcome.error).split(" > ")[-2:]) if outcome.error else ""
                groups[f"{outcome.kind} {type(outcome.error).__name__} {place}"].append(outcome)
                print(f"[{seed}] {outcome}", flush=True)
            if outcome.seconds > 8:
                print(f"[{seed}] slow: {outcome.seconds:.0f} s {outcome.call}", flush=True)
        os.chdir("/")
    total: collections.Counter[str] = sum(table.values(), collections.Counter())
    kinds = sorted(total)
    print("\n" + "  ".join([f"{'':32}", *(f"{kind:>9}" for kind in kinds)]))
    for name, counts in [*sorted(table.items()), ("all", total)]:
        print("  ".join([f"{name:32}", *(f"{counts[kind]:9}" for kind in kinds)]))
    print(f"\n{sum(map(len, groups.values()))} faults in {len(groups)} places")
    for place, outcomes in sorted(groups.items(), key=lambda one: -len(one[1])):
        print(f"{len(outcomes):4} {place}\n       {outcomes[0].call[:200]}\n       {str(outcomes[0].error)[:160]!r}")


if __name__ == "__main__":
    main()
