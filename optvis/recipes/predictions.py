"""What the figures of attributions say of each image: its target, and the network's most probable classes."""

from __future__ import annotations

from typing import Any

from ..attribution import Attribution
from ..attribution.targets import percent

MAP_DPI = 110
"""Pixels per inch of the figures of attributions."""


def predictions(result: Attribution, top: int = 5) -> list[dict[str, Any]]:
    """For each image the target, its probability, and the most probable classes, as JSON data.

    Args:
        result: of which ``target.top`` holds the classes; it is empty for a target that is no class.
        top: number of classes.

    Returns:
        Dictionaries with ``"target"`` (the label), ``"probability"`` (of the target; ``None`` if not known) and
        ``"top"`` (pairs of a name and a probability, the highest first).
    """
    target, count = result.target, len(result)
    chances = target.probabilities or (None,) * count
    classes = target.top or ((),) * count
    return [
        {"target": label, "probability": chance, "top": [[name, p] for name, p in known[:top]]}
        for label, chance, known in zip(target.labels, chances, classes, strict=True)
    ]


def prediction_text(facts: dict[str, Any]) -> str:
    """The most probable class with its probability; and the target on a second line, if it is another one."""
    target = facts["target"] if facts["probability"] is None else f"{facts['target']} ({percent(facts['probability'])})"
    if not facts["top"]:
        return target
    name, chance = facts["top"][0]
    best = f"{name} ({percent(chance)})"
    return best if name == facts["target"] else f"{best}\ntarget: {target}"
