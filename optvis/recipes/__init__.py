"""Recipes: complete uses of optvis, one in each file; each is registered as a view."""

from .caricature import caricature
from .collage import collage
from .confusion import confusion
from .embedding import embedding
from .gradcam import gradcam
from .inversion import invert
from .pca_map import pca_map
from .saliency import saliency
from .top_examples import top_examples
from .visualise import visualise

__all__ = [
    "caricature",
    "collage",
    "confusion",
    "embedding",
    "gradcam",
    "invert",
    "pca_map",
    "saliency",
    "top_examples",
    "visualise",
]
