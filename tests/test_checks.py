"""Checks of arguments: what is taken, and what the errors say."""

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from optvis.checks import as_count, as_number, as_seeds, as_size, as_whole, choice, nearest, real, whole

WHOLE = [3, np.int64(3), np.uint8(3), np.array(3), torch.tensor(3), torch.tensor(3, dtype=torch.uint8)]
NO_WHOLE = [True, np.bool_(True), np.array(True), torch.tensor(True), 3.0, np.float32(3), np.array(3.0), "3", None,
            [3], np.array([3]), torch.tensor([[3]]), math.nan, 3j]  # fmt: skip


@pytest.mark.parametrize("value", WHOLE, ids=repr)
def test_whole_numbers(value: Any) -> None:
    for read in (whole(value), as_count("batch", value), as_whole("depth", value, 3, 3)):
        assert read == 3 and type(read) is int
    assert as_size(value) == (3, 3) and as_size((value, 4)) == (3, 4)
    assert as_seeds(value, 2) == (3, 4) and as_seeds([value, 9], 2) == (3, 9)
    assert all(type(n) is int for n in (*as_size(value), *as_seeds(value, 2)))


@pytest.mark.parametrize("value", NO_WHOLE, ids=repr)
def test_what_is_no_whole_number(value: Any) -> None:
    assert whole(value) is None
    for check in (lambda: as_count("batch", value), lambda: as_whole("batch", value, 1, 9)):
        with pytest.raises(ValueError, match=r"batch .*: give a whole number of at least 1"):
            check()
    with pytest.raises(ValueError, match=r"size .*: give a number of pixels, or \(height, width\), both whole and pos"):
        as_size((4, value))


def test_limits_of_whole_numbers() -> None:
    for value in (0, -3, np.int64(-1)):
        with pytest.raises(ValueError, match=r"samples .*: give a whole number of at least 1"):
            as_count("samples", value)
    with pytest.raises(ValueError, match="samples 1000001: give a whole number of at most 1000000"):
        as_count("samples", 1_000_001)
    assert as_whole("depth", 0, 0, 4) == 0


@pytest.mark.parametrize("size", [[4, 5], (4, 5), torch.Size([4, 5]), np.array([4, 5]), (np.int32(4), 5)], ids=repr)
def test_sizes(size: Any) -> None:
    assert as_size(size) == (4, 5)


@pytest.mark.parametrize("size", [10**9, (16385, 16384), np.int64(2**40), (1, 2**28 + 1)], ids=repr)
def test_a_size_has_a_limit(size: Any) -> None:
    with pytest.raises(ValueError, match=r"size .*of at most 268435456 pixels in all \(16384 × 16384\)"):
        as_size(size)
    assert as_size(16384) == (16384, 16384)


@pytest.mark.parametrize("size", [-4, (4, -4), (), (4,), (4, 4, 4), "44", {}, np.ones((2, 2), int), np.array([4.5, 5])])
def test_what_is_no_size(size: Any) -> None:
    with pytest.raises(ValueError, match=r"size .*: give a number of pixels"):
        as_size(size)


@pytest.mark.parametrize("value", [1, 1.0, np.float32(1), np.int8(1), np.array(1.0), torch.tensor(1.0), Fraction(2, 2)])
def test_numbers(value: Any) -> None:
    number = as_number("lr", value, 0, 1)
    assert number == real(value) == 1 and type(number) is float


@pytest.mark.parametrize(
    ("value", "limits", "message"),
    [
        (math.nan, {}, "lr nan: give a finite number"),
        (math.inf, {}, "lr inf: give a finite number"),
        (10**400, {}, "lr 1000.*…: give a finite number"),
        (1e39, {}, r"lr 1e\+39: give a finite number"),
        ("1", {}, "lr '1': give a finite number"),
        (True, {"low": 0}, "lr True: give a number of at least 0"),
        (np.bool_(True), {"low": 0}, "lr True: give a number of at least 0"),
        (1j, {"low": 0}, "lr 1j: give a number of at least 0"),
        (None, {"low": 0}, "lr None: give a number of at least 0"),
        ([1.0], {"low": 0}, r"lr \[1.0\]: give a number of at least 0"),
        (-1, {"low": 0}, "lr -1: give a number of at least 0"),
        (math.nan, {"low": 0}, "lr nan: give a finite number of at least 0"),
        (np.float32(math.nan), {"low": 0}, "lr nan: give a finite number of at least 0"),
        (0, {"low": 0, "ends": "(]"}, "lr 0: give a number above 0$"),
        (2, {"high": 1}, "lr 2: give a number of at most 1"),
        (1, {"high": 1, "ends": "[)"}, "lr 1: give a number below 1"),
        (2, {"low": 0, "high": 1}, "lr 2: give a number from 0 to 1"),
        (1, {"low": 0, "high": 1, "ends": "[)"}, "lr 1: give a number from 0 to below 1"),
        (0, {"low": 0, "high": 1, "ends": "(]"}, "lr 0: give a number above 0 and up to 1"),
        (9, {"low": 0, "high": 1, "kind": "a share"}, "lr 9: give a share from 0 to 1"),
    ],
)
def test_what_is_no_number_of_the_range(value: Any, limits: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        as_number("lr", value, **limits)


def test_the_ends_of_a_range() -> None:
    assert as_number("lr", 0, 0, 1) == 0 and as_number("lr", 1, 0, 1) == 1
    assert as_number("lr", 0, 0, 1, "[)") == 0 and as_number("lr", 1, 0, 1, "(]") == 1
    assert as_number("lr", -3e38) == -3e38


@pytest.mark.parametrize("seed", [1.5, True, None, "1", [1, 2.5], 2**63, -(2**63) - 1, [2**64, 1]])
def test_what_is_no_seed(seed: Any) -> None:
    with pytest.raises(ValueError, match=r"seed .*: give a whole number"):
        as_seeds(seed, 2)


def test_the_nearest_choice() -> None:
    names = ["gradcam", "gradcam++", "saliency"]
    assert nearest("gradcm", names) == "did you mean 'gradcam' or 'gradcam++'?"
    assert nearest("xyz", names) == "choose one of 'gradcam', 'gradcam++', 'saliency'"
    assert nearest("xyz", names, "see the manual") == "see the manual"
    assert nearest(5, map(str, range(100)), cutoff=1).startswith("did you mean '5'?")
    assert nearest("zzz", [f"layer{i}" for i in range(100)]).endswith("'layer19', …")
    assert nearest("xyz", []) == "there is nothing to choose from"


def test_names_reach_the_terminal_without_escapes() -> None:
    red = "\x1b[31mgradcam\n"
    assert "\x1b" not in nearest("gradcam", [red]) and "\n" not in nearest("xyz", [red])
    with pytest.raises(ValueError, match=r"no method '\\x1b\[31mgradcam\\n': did you mean 'gradcam'\?"):
        choice("method", red, ["gradcam"])


def test_a_choice() -> None:
    assert choice("sign", "all", ("all", "positive")) == "all"
    with pytest.raises(ValueError, match=r"no sign 'positve': did you mean 'positive'\?"):
        choice("sign", "positve", ("all", "positive"))
    with pytest.raises(ValueError, match="no sign None: choose one of 'all', 'positive'"):
        choice("sign", None, ("all", "positive"))


def test_a_long_value_is_shown_in_part() -> None:
    with pytest.raises(ValueError, match=r"batch .*…") as error:
        as_count("batch", "x" * 10_000)
    assert len(str(error.value)) < 300
