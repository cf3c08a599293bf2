"""Whole uses, one file an idea."""

from .collage import collage

__all__ = ["collage"]
