"""The engine on a network whose truth is known: its pictures are judged by a second network of another make."""

from __future__ import annotations

import pytest
import torch

from optvis import Class, OptVis
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
        for pattern, colour in zip(
            outputs["pattern"].argmax(1).tolist(), outputs["colour"].argmax(1).tolist(), strict=True
        )
    ]


@pytest.mark.slow
def test_every_pattern_is_recognised() -> None:
    pictures = OptVis.from_layer(demo_network(), "pattern", channel=list(PATTERNS)).vis(verbose=False)
    assert [pattern for pattern, _ in judged(pictures.images)] == list(PATTERNS)


@pytest.mark.slow
def test_every_colour_is_recognised() -> None:
    pictures = OptVis.from_layer(demo_network(), "colour", channel=list(COLOURS)).vis(verbose=False)
    assert [colour for _, colour in judged(pictures.images)] == list(COLOURS)


@pytest.mark.slow
def test_every_pair_of_pattern_and_colour_is_recognised() -> None:
    """All 96, where the sum of two outputs alone gives up the pattern for the colour in two or three."""
    wishes = [Class("pattern", pattern) + Class("colour", colour) for pattern, colour in PAIRS]
    found = judged(OptVis(demo_network(), wishes).vis(verbose=False, batch=96).images)
    assert not {wish: seen for wish, seen in zip(PAIRS, found, strict=True) if wish != seen}
