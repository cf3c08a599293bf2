"""Recipes: complete uses of optvis, one in each file; each is registered as a view."""

from .collage import collage
from .confusion import confusion
from .embedding import embedding
from .gradcam import gradcam
from .pca_map import pca_map
from .saliency import saliency
from .top_examples import top_examples
from .visualise import visualise

__all__ = [
    "collage",
    "confusion",
    "embedding",
    "gradcam",
    "pca_map",
    "saliency",
    "top_examples",
    "visualise",
]
