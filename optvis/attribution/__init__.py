"""Attribution: which parts of an image a score of a network depends on.

Options of the methods that work on pixels, of which each has some:
    baseline: the image at which a path begins, or that replaces a covered part, as ``baselines.as_baseline`` takes it;
        ``baselines`` is two or more of these.
    steps: number of points on the path from the baseline.
    samples: number of random images, or of random choices of segments.
    noise: standard deviation of the noise, as a fraction of the range of the network's input.
    window, stride: size of the covered rectangle and its step, in pixels or (down, across). By default an eighth of
        the image and half a window.
    segments: number of segments along each side, or (down, across).
    feature_mask: ``[H, W]`` whole numbers, the segment of each pixel; used instead of ``segments``.
    alpha: weight of LIME's L1 penalty; a larger one gives weight to fewer segments.
    rule: of LRP, ``"epsilon"`` or ``"zero"`` (LRP-0).
    epsilon: of LRP, stabilises the division, as a fraction of the root mean square of each layer's output.
    abs: of saliency, the absolute value of the gradient.
    batch_size: number of images in a forward pass; it changes values only by rounding.
    seed: of the random numbers.
"""

from . import backprop, cam, gradient, integrated_gradients, perturbation  # each method registers itself
from .attribute import Gradcam, attribute
from .comparison import compare
from .registry import METHODS
from .result import Attribution

__all__ = [
    "METHODS",
    "Attribution",
    "Gradcam",
    "attribute",
    "backprop",
    "cam",
    "compare",
    "gradient",
    "integrated_gradients",
    "perturbation",
]
