"""Recipes: complete uses of optvis, one in each file; each is registered as a view."""

from .collage import collage
from .embedding import embedding
from .visualise import visualise

__all__ = ["collage", "embedding", "visualise"]
