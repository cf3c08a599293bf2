"""Progress bars drawn by rich: what they show, and where."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tqdm.auto import tqdm

from optvis.cli import bars
from optvis.cli.bars import RichBar, rich_bars
from optvis.display import RunBar, progress_bar


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The standard error is a terminal as far as bars can tell."""
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda self: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("LINES", "25")


def shown(capsys: pytest.CaptureFixture[str]) -> str:
    return re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", capsys.readouterr().err)


def test_bars_are_of_rich_within_the_block_alone() -> None:
    with rich_bars():
        assert isinstance(progress_bar(3, True, "work"), RichBar)
    assert isinstance(progress_bar(3, False, "work"), tqdm)


def test_without_rich_bars_are_of_tqdm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bars, "find_spec", lambda name: None)
    with rich_bars():
        assert isinstance(progress_bar(3, False, "work"), tqdm)


@pytest.mark.parametrize("verbose", [False, True])
def test_nothing_is_shown_without_a_terminal(verbose: bool, capsys: pytest.CaptureFixture[str]) -> None:
    with rich_bars(), progress_bar(3, verbose, "work") as bar:
        bar.update(2)
        bar.set_postfix_str("step 2")
        bar.write("a line")
        assert bar.disable and (bar.n, bar.total) == (2, 3)
    assert capsys.readouterr() == ("a line\n", "")


def test_a_bar_shows_time_left(
    terminal: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = time.time()
    monkeypatch.setattr(bars.time, "time", lambda: now)
    with rich_bars(), progress_bar(100, True, "work [of] layer") as bar:
        now += 10
        bar.update(10)
        bar.set_postfix_str("score [7]")
        text = shown(capsys)
        assert "1:30 left" in text and "10 %" in text and "work [of] layer" in text and "score [7]" in text
        now += 60
        bar.unpause()
        now += 10
        bar.update(10)
        bar.set_postfix_str()
        assert "1:20 left" in shown(capsys), "the pause does not count"


def test_bars_within_bars(terminal: None, capsys: pytest.CaptureFixture[str]) -> None:
    with rich_bars(), progress_bar(2, True, "outer") as outer:
        for _ in range(2):
            with progress_bar(3, True, "inner") as inner:
                inner.update(3)
                inner.set_postfix_str("inside")
            outer.update()
        outer.write("a line")
        outer.set_description("last")
        text = shown(capsys)
        assert "outer" in text and "inner" in text and "inside" in text and "last" in text


def test_a_short_bar_is_taken_away(
    terminal: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def last(seconds: float) -> str:
        now = time.time()
        monkeypatch.setattr(bars.time, "time", lambda: now)
        with rich_bars(), progress_bar(2, True, "work") as bar:
            now += seconds
            bar.update(2)
        out = capsys.readouterr().err
        return out[out.rindex("\x1b[?25l") :]

    assert "\x1b[2K" in last(1.0).rpartition("work")[2], "the line is erased"
    assert "\x1b[2K" not in last(3.0).rpartition("work")[2]


def test_a_run_uses_it(terminal: None, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    with rich_bars(), RunBar(20, 2, True, "Channel('a', 3)") as bar:
        bar.advance(10, torch.ones(2))
        with bar.busy("compiling"):
            pass
        bar.advance(10, torch.ones(2))
        bar.bar.set_description("end")
        text = shown(capsys)
    assert "Channel('a', 3)" in text and "compiling" in text and "step 2/2, score 1" in text


@pytest.mark.slow
def test_in_a_real_terminal(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "optvis", "vis", "demo", "pattern:rings", "-o", "a.png", "--steps", "150"]
    given: Any = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(command, stdout=theirs, stderr=theirs, stdin=theirs, cwd=tmp_path, env=given)
    os.close(theirs)
    text = b""
    while True:
        try:
            text += os.read(ours, 4096)
        except OSError:
            break
    assert process.wait(60) == 0
    plain = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", text.decode())
    assert re.search(r"Channel\('pattern', 'rings'\).*\d+ %.*0:\d\d left.*step \d+/150, score", plain), plain
    assert "a.png: 1 picture of 64 × 64 px" in plain.rstrip().splitlines()[-1]
