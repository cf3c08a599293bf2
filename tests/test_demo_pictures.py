"""The engine on a network whose truth is known: its pictures are judged by a second network of another make."""

from __future__ import annotations

import pytest
import torch

from optvis import Channel, OptVis
from optvis.demo import demo_network, judge_network
from optvis.demo.patterns import COLOURS, PATTERNS

PAIRS = [(pattern, colour) for pattern in PATTERNS for colour in COLOURS]


@torch.no_grad()
def judged(images: torch.Tensor) -> list[tuple[str, str]]:
    """What the second network names in each picture."""
    judge = judge_network()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (judge.image_mean, judge.image_std))
    outputs = judge((images - mean) / std)
    return [
        (PATTERNS[pattern], COLOURS[colour])
        for pattern, colour in zip(outputs["pattern"].argmax(1).tolist(), outputs["colour"].argmax(1).tolist())
    ]


@pytest.fixture(scope="module")
def of_pairs() -> list[tuple[str, str]]:
    wishes = [Channel("pattern", pattern) + Channel("colour", colour) for pattern, colour in PAIRS]
    return judged(OptVis(demo_network(), wishes).vis(verbose=False, batch=96).images)


def test_every_pattern_is_recognised() -> None:
    pictures = OptVis.from_layer(demo_network(), "pattern", channel=list(PATTERNS)).vis(verbose=False)
    assert [pattern for pattern, _ in judged(pictures.images)] == list(PATTERNS)


def test_every_colour_is_recognised() -> None:
    pictures = OptVis.from_layer(demo_network(), "colour", channel=list(COLOURS)).vis(verbose=False)
    assert [colour for _, colour in judged(pictures.images)] == list(COLOURS)


def test_pairs_of_pattern_and_colour_are_recognised(of_pairs: list[tuple[str, str]]) -> None:
    """The goal is all 96. Today it is 94 with seeds 0 and 1, and others' float noise may differ: 92 at least."""
    missed = {wish: found for wish, found in zip(PAIRS, of_pairs) if wish != found}
    assert len(missed) <= 4, missed
    for wish, found in missed.items():
        assert wish[0] == found[0] or wish[1] == found[1], "one of the two is recognised at least"
