"""Functions of torch replaced within a block."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from optvis.network.overrides import Overrides


def doubled(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return 2 * function(*args, **kwargs)


def rectified(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return F.relu(args[0])


X = torch.tensor([-1.0, 3.0])


def test_both_replace_and_what_they_call_is_not_replaced_in_turn() -> None:
    with Overrides({F.relu: doubled}) | Overrides({torch.sin: rectified}):
        assert F.relu(X, inplace=False).tolist() == [0, 6] and torch.nn.ReLU()(X).tolist() == [0, 6]
        assert torch.sin(X).tolist() == [0, 3]
        assert torch.equal(torch.cos(X), X.cos())
    assert F.relu(X).tolist() == [0, 3] and torch.equal(torch.sin(X), X.sin())


def test_what_both_replace_the_second_replaces_on_top_of_the_first() -> None:
    def plus_one(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return function(*args, **kwargs) + 1

    with Overrides({F.relu: doubled}) | Overrides({F.relu: plus_one}) | Overrides({torch.sin: rectified}):
        assert F.relu(X).tolist() == [1, 7] and torch.sin(X).tolist() == [0, 3]
    with Overrides({F.relu: plus_one}) | Overrides({F.relu: doubled}) | Overrides({F.relu: plus_one}):
        assert F.relu(X, inplace=False).tolist() == [3, 9]


def test_the_block_ends_with_an_error_too() -> None:
    with pytest.raises(KeyError), Overrides({F.relu: doubled}):
        raise KeyError
    assert F.relu(X).tolist() == [0, 3]


def test_nothing_replaced_costs_nothing() -> None:
    with Overrides({}) as nothing, nothing:
        assert torch.overrides._get_current_function_mode_stack() == []  # type: ignore[attr-defined]
