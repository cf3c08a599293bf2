"""A table of several methods by several metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, nn

from ..checks import as_function, as_list, choice
from .confidence import average_drop, increase_in_confidence
from .curves import Curve, deletion, insertion
from .infidelity import infidelity
from .road import road
from .scorer import Map, as_map

Metric = Callable[..., Tensor | Curve]
"""From a network and an attribution to ``[N]`` values, or to a curve, whose area is the value."""

METRICS: dict[str, Metric] = {
    metric.__name__: metric for metric in (deletion, insertion, average_drop, increase_in_confidence, road, infidelity)
}
"""Metrics by name."""

_BETTER = {**dict.fromkeys(METRICS, "↓"), "insertion": "↑", "increase_in_confidence": "↑"}

Row = dict[str, str | float]


def table(
    network: nn.Module,
    attributions: Mapping[str, Map] | Sequence[Map],
    metrics: Sequence[str] | Mapping[str, Metric] = ("deletion", "insertion", "average_drop", "increase_in_confidence"),
    verbose: bool = True,
) -> list[Row]:
    """Several maps by several metrics: one row for each map.

    Args:
        network: the network that was explained.
        attributions: by name; or a list, whose names are those of the methods (with the layer if two are the same).
        metrics: names of ``METRICS``, or functions of network and attribution by name, such as
            ``{"blackened": partial(deletion, baseline="black")}``.
        verbose: True to print the table. ``↑``: higher is better; ``↓``: lower is better.

    Returns:
        Rows ``{"method": name, metric: mean over the images, ...}``.

    Raises:
        ValueError: an unknown metric, or no attributions.
    """
    named = attributions if isinstance(attributions, Mapping) else _named(attributions)
    if not named:
        raise ValueError("no attributions: give at least one")
    if isinstance(metrics, str):
        metrics = (metrics,)
    if not isinstance(metrics, Mapping):
        names = as_list("metrics", metrics, f"some of {', '.join(METRICS)}, or functions by name")
        metrics = {name: METRICS[choice("metric", name, list(METRICS))] for name in names}
    for name, measure in metrics.items():
        as_function(f"metric {name!r}", measure, "a function of a network and an attribution")
    rows: list[Row] = []
    for name, attribution in named.items():
        row: Row = {"method": name}
        for metric, measure in metrics.items():
            found = measure(network, attribution)
            row[metric] = float((found.area if isinstance(found, Curve) else found).float().mean())
        rows.append(row)
    if verbose:
        print(_aligned(rows))
    return rows


def _named(attributions: Sequence[Map]) -> dict[str, Map]:
    attributions = [as_map(one) for one in as_list("attributions", attributions, "attributions, in a list or by name")]
    methods = Counter(attribution.method for attribution in attributions)
    named: dict[str, Map] = {}
    for attribution in attributions:
        name = attribution.method
        if methods[name] > 1 and attribution.layer:
            name += " " + ", ".join(attribution.layer)
        again = 1 + sum(known == name or known.startswith(f"{name} #") for known in named)
        named[name if again == 1 else f"{name} #{again}"] = attribution
    return named


def _aligned(rows: Sequence[Row]) -> str:
    heads = [f"{name} {_BETTER[name]}" if name in _BETTER else name for name in rows[0]]
    cells = [[f"{value:.4f}" if isinstance(value, float) else value for value in row.values()] for row in rows]
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
    lines = [
        "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))])
        for line in (heads, *cells)
    ]
    return "\n".join(line.rstrip() for line in lines)
