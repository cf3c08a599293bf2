"""Metrics: how good an attribution is, as numbers."""

from .confidence import average_drop, increase_in_confidence
from .curves import Curve, deletion, insertion
from .infidelity import infidelity, max_sensitivity
from .localisation import energy_in_box, pointing_game
from .randomisation import Likeness, randomisation, spearman
from .road import impute, road
from .table import METRICS, table

__all__ = [
    "METRICS",
    "Curve",
    "Likeness",
    "average_drop",
    "deletion",
    "energy_in_box",
    "impute",
    "increase_in_confidence",
    "infidelity",
    "insertion",
    "max_sensitivity",
    "pointing_game",
    "randomisation",
    "road",
    "spearman",
    "table",
]
