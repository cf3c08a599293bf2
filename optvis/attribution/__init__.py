"""Attribution: which parts of an image a score of a network depends on."""

from . import backprop, cam, gradient, integrated_gradients, perturbation  # each method registers itself
from .attribute import Gradcam, attribute
from .registry import METHODS
from .result import Attribution, compare

__all__ = [
    "METHODS",
    "Attribution",
    "Gradcam",
    "attribute",
    "backprop",
    "cam",
    "compare",
    "gradient",
    "integrated_gradients",
    "perturbation",
]
