"""Attribution: which parts of an image made a network say what it said."""

from . import cam
from .attribute import Gradcam, attribute
from .methods import METHODS
from .result import Attribution

__all__ = ["METHODS", "Attribution", "Gradcam", "attribute", "cam"]
