"""What a step costs: the loops that are compared do what they say, and the network comes back as it was."""

from __future__ import annotations

import pytest
import torch
from small_networks import Tiny, seeded, snapshot
from torch import nn

from optvis.bench import Cost, _over, bare_loop, bench, compare, depths, memory, own_loop
from optvis.cli import run


@pytest.mark.parametrize("channels", [1, 3])
def test_the_bare_loop_runs_as_far_as_the_layer_and_leaves_the_network(channels: int) -> None:
    network = seeded(Tiny, channels)
    calls: list[str] = []
    network.second.register_forward_hook(lambda *_: calls.append("second"))
    network.head.register_forward_hook(lambda *_: calls.append("head"))
    before = snapshot(network)
    bare_loop(network, "second", 32, 2)(5)
    assert calls == ["second"] * 5 and snapshot(network) == before


def test_our_loop_takes_the_steps_that_it_is_asked_for() -> None:
    looks: list[int] = []
    network = seeded(Tiny)
    network.first.register_forward_hook(lambda _, inputs, out: looks.append(len(inputs[0])))
    loop = own_loop(network, "second", 16, 3)
    loop(4)
    beyond = len(looks) - 4
    looks.clear()
    loop(9)
    assert len(looks) - 9 == beyond
    assert looks.count(3) == 10, "nine steps and the last look"


def test_only_the_steps_beyond_the_first_count() -> None:
    asked: list[int] = []
    costs = compare({"a": asked.append, "b": lambda steps: None}, steps=8, rounds=2)
    assert asked == [17, 25, 17, 25] and set(costs) == {"a", "b"}
    assert all(isinstance(cost, Cost) for cost in costs.values())


def test_layers_are_taken_early_in_the_middle_and_last() -> None:
    network = nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=1) for _ in range(9)), nn.Flatten(), nn.Linear(3 * 64, 5))
    assert depths(network, 8) == ["2", "4", "8"]
    with pytest.raises(ValueError, match="no layer of Sequential puts out a map for an image of 8 px"):
        depths(nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 5)), 8)


def test_memory_is_that_of_one_more_picture() -> None:
    """A picture of twice the side takes four times as much, and at least what the first convolution puts out."""
    network = seeded(Tiny, 3, 32)
    small, large = memory(network, "second", 128), memory(network, "second", 256)
    assert 3.5 < large / small < 4.5
    assert large * 2**20 > 32 * 128 * 128 * 4


def test_it_prints_a_line_for_each_layer(capsys: pytest.CaptureFixture[str]) -> None:
    network = seeded(Tiny)
    before = snapshot(network)
    found = bench(network, ["first", "second"], size=16, batch=2, rounds=1)
    first, *about, head, one, two = capsys.readouterr().out.splitlines()
    assert first.startswith("Tiny, 16 px, batch 2, ") and "1.00 is equal" in " ".join(about)
    assert head.split()[0] == "layer" and [line.split()[0] for line in (one, two)] == list(found)
    assert len(one) == len(head) and "-" not in one + two, "no negative ratio"
    assert set(found["first"]) == {"bare loop", "optvis", "in float32", "plain"}
    assert snapshot(network) == before and torch.is_grad_enabled()


def test_no_ratio_is_negative() -> None:
    assert (_over(3, 2), _over(-1, 2), _over(1, 0), _over(2, -1)) == ("1.50", "?", "?", "?")


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "demo", "--layer", "features/2", "--size", "32"]) == 0
    assert "\nfeatures/2 " in capsys.readouterr().out
    assert run(["bench", "demo", "--layer", "features/99"]) == 2
    assert "no layer 'features/99'" in capsys.readouterr().err
