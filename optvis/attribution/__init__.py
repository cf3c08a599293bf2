"""Attribution: which parts of an image made a network say what it said."""

from . import cam, pixels  # each method registers itself
from .attribute import Gradcam, attribute
from .registry import METHODS
from .result import Attribution, compare

__all__ = ["METHODS", "Attribution", "Gradcam", "attribute", "cam", "compare", "pixels"]
