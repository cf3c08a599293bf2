"""The table of a network's layers."""

from typing import Any

import pytest
from small_networks import Small, seeded, snapshot
from torch import nn

from optvis import get_layer_names


@pytest.fixture
def small() -> Small:
    return seeded(Small)


def test_layers_are_listed_in_order(small: Small, capsys: pytest.CaptureFixture[str]) -> None:
    names = get_layer_names(small)
    assert names == ["features", "features/0", "features/1", "features/2", "features/3", "relu", "unused", "classifier"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["layer", "class", "parameters"]
    assert lines[2].split() == ["features/0", "Conv2d", str(3 * 4 * 9 + 4)]
    assert [line.split()[0] for line in lines[1:]] == names
    assert get_layer_names(small, verbose=False) == names
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("channels", "size", "shape"), [(3, 10, "10 × 10"), (3, (8, 12), "8 × 12"), (6, (6, 8, 12), "8 × 12")]
)
def test_the_table_shows_shapes(channels: int, size: Any, shape: str, capsys: pytest.CaptureFixture[str]) -> None:
    network = Small(channels).train()
    before = snapshot(network)
    get_layer_names(network, input_size=size)
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert rows["features/2"].endswith(f"1 × 5 × {shape}")
    assert rows["classifier"].endswith("1 × 7")
    assert rows["unused"].endswith("not called")
    assert network.training and snapshot(network) == before


def test_the_table_lists_large_counts_readably(capsys: pytest.CaptureFixture[str]) -> None:
    get_layer_names(nn.Sequential(nn.Linear(1000, 10)))
    assert capsys.readouterr().out.splitlines()[1].split() == ["0", "Linear", "10,010"]
