"""Random calls of everything public: see ``random_calls``, which makes thousands."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from random_calls import Caller

SEEDS = range(150)


@pytest.fixture(scope="module")
def caller(tmp_path_factory: pytest.TempPathFactory) -> Caller:
    return Caller(tmp_path_factory.mktemp("calls"))


@pytest.mark.parametrize("first", SEEDS[::30])
def test_every_error_is_our_own_and_before_the_first_step(
    first: int, caller: Caller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outcomes = [caller.call(seed) for seed in range(first, first + 30)]
    assert not [str(outcome) for outcome in outcomes if outcome.fault]
    assert {"ok", "own"} <= {outcome.kind for outcome in outcomes}
