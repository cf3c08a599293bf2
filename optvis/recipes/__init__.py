"""Recipes: complete uses of optvis, one in each file; each is registered as a view."""

from .collage import collage
from .gradcam import gradcam
from .saliency import saliency
from .visualise import visualise

__all__ = ["collage", "gradcam", "saliency", "visualise"]
