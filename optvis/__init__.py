"""Feature visualisation for PyTorch: see what a layer, channel, neuron or direction of a network looks for."""

from .activations import activations
from .attribution import Gradcam, attribute
from .engine import OptVis
from .figure import Figure
from .images import denorm, norm
from .network import get_layer_names
from .objectives import (
    L1,
    L2,
    Batch,
    Channel,
    Class,
    DeepDream,
    DeepDreamObjective,
    Direction,
    Layer,
    LayerObjective,
    Match,
    Neuron,
    Objective,
    TotalVariation,
)
from .params import CPPNParam, FourierParam, ImageFile, ImageParam, Param, PixelParam
from .recipes import (
    caricature,
    collage,
    confusion,
    embedding,
    gradcam,
    invert,
    pca_map,
    saliency,
    top_examples,
    visualise,
)
from .redraw import redraw
from .training import Film, Watch
from .versions import own_version
from .view import VIEWS, Context, View, view
from .visualisation import Visualisation
from .zoo import load_network

__version__ = own_version()

__all__ = [
    "L1",
    "L2",
    "VIEWS",
    "Batch",
    "CPPNParam",
    "Channel",
    "Class",
    "Context",
    "DeepDream",
    "DeepDreamObjective",
    "Direction",
    "Figure",
    "Film",
    "FourierParam",
    "Gradcam",
    "ImageFile",
    "ImageParam",
    "Layer",
    "LayerObjective",
    "Match",
    "Neuron",
    "Objective",
    "OptVis",
    "Param",
    "PixelParam",
    "TotalVariation",
    "View",
    "Visualisation",
    "Watch",
    "__version__",
    "activations",
    "attribute",
    "caricature",
    "collage",
    "confusion",
    "denorm",
    "embedding",
    "get_layer_names",
    "gradcam",
    "invert",
    "load_network",
    "norm",
    "pca_map",
    "redraw",
    "saliency",
    "top_examples",
    "view",
    "visualise",
]
