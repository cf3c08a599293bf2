"""Recipes: complete uses of optvis, one in each file; each is registered as a view."""

from .caricature import caricature
from .collage import collage
from .inversion import invert
from .visualise import visualise

__all__ = ["caricature", "collage", "invert", "visualise"]
