"""Recipes: complete uses of optvis, one in each file."""

from .collage import collage

__all__ = ["collage"]
