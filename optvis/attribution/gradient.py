"""Methods that combine gradients of the score, computed by Captum.

Each function takes a ``Context``, and a layer where it attributes to one, and returns signed values, float32:
``[N, C, H, W]`` with respect to the network's normalised input, or ``[N, K, h, w]`` of the layer. In the formulas y is
the score, x the input, b the baseline, a the layer's activations and ε noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from ..checks import as_count, as_number
from .baselines import Baseline, as_baseline, as_distribution
from .captum_bridge import Scores, attributed, captum, one_by_one, seeded
from .context import Context
from .registry import method


@method("saliency", summed=False)
def saliency(context: Context, abs: bool = False) -> Tensor:
    """Gradient ∂y/∂x. Simonyan et al., "Deep Inside Convolutional Networks", 2013."""
    return attributed(captum("Saliency")(Scores(context)), context, abs=abs).float()


@method("input_x_gradient", summed=False)
def input_x_gradient(context: Context) -> Tensor:
    """Input times gradient, x ∂y/∂x. Shrikumar et al., "Not Just a Black Box", 2016."""
    return attributed(captum("InputXGradient")(Scores(context)), context).float()


@method("smoothgrad", summed=False)
def smoothgrad(context: Context, samples: int = 25, noise: float = 0.15, batch_size: int = 32, seed: int = 0) -> Tensor:
    """Mean over ε of ∂y/∂x at x + ε. Smilkov et al., "SmoothGrad", 2017."""
    return _under_noise(context, "smoothgrad", samples, noise, batch_size, seed)


@method("smoothgrad_sq", summed=False)
def smoothgrad_sq(
    context: Context, samples: int = 25, noise: float = 0.15, batch_size: int = 32, seed: int = 0
) -> Tensor:
    """Mean over ε of (∂y/∂x)² at x + ε. Hooker et al., "A Benchmark for Interpretability", 2019."""
    return _under_noise(context, "smoothgrad_sq", samples, noise, batch_size, seed)


@method("vargrad", summed=False)
def vargrad(context: Context, samples: int = 25, noise: float = 0.15, batch_size: int = 32, seed: int = 0) -> Tensor:
    """Variance over ε of ∂y/∂x at x + ε. Adebayo et al., "Local Explanation Methods", 2018."""
    return _under_noise(context, "vargrad", samples, noise, batch_size, seed)


def _under_noise(context: Context, kind: str, samples: int, noise: float, batch_size: int, seed: int) -> Tensor:
    """Gradients under noise, combined by Captum's ``NoiseTunnel``; ``kind`` is its ``nt_type``."""
    given = {"nt_type": kind, "nt_samples": as_count("samples", samples), "abs": False}
    given["nt_samples_batch_size"] = as_count("batch_size", batch_size)
    as_number("noise", noise, 0)
    context.progress.begin(samples * len(context.images))

    def one(image: Context) -> Tensor:
        tunnel = captum("NoiseTunnel")(captum("Saliency")(Scores(image)))
        with seeded(seed):
            return attributed(tunnel, image, stdevs=_deviation(image, noise), **given)

    return one_by_one(context, one)


@method("gradient_shap", summed=False)
def gradient_shap(
    context: Context,
    baselines: Sequence[Baseline] | Tensor = ("black", "white"),
    samples: int = 25,
    noise: float = 0.0,
    seed: int = 0,
) -> Tensor:
    """Mean over b, ε, t of (x - b) ∂y/∂x at b + t (x + ε - b), 0 ≤ t ≤ 1. Lundberg, Lee, "A Unified ...", 2017."""
    as_count("samples", samples)
    as_number("noise", noise, 0)
    context.progress.begin(samples * len(context.images))

    def one(image: Context) -> Tensor:
        engine, starts = captum("GradientShap")(Scores(image)), as_distribution(image, baselines)
        with seeded(seed):
            return attributed(engine, image, baselines=starts, n_samples=samples, stdevs=_deviation(image, noise))

    return one_by_one(context, one)


def _deviation(image: Context, noise: float) -> float:
    """Standard deviation of noise given as a fraction of the range of the network's input."""
    inputs = image.inputs.detach()
    return float(noise) * float(inputs.max() - inputs.min())


@method("layer_conductance", layer=True, summed=False)
def layer_conductance(
    context: Context, layer: str, baseline: Baseline = "black", steps: int = 50, batch_size: int = 32
) -> Tensor:
    """Σ ∂y/∂a Δa along the path from b to x. Dhamdhere et al., "How Important Is a Neuron?", 2018."""
    # Captum takes differences between consecutive points of a batch.
    batch_size = max(2, as_count("batch_size", batch_size))
    return _along_path(context, layer, "LayerConductance", baseline, steps, batch_size)


@method("internal_influence", layer=True, summed=False, uneven=True)
def internal_influence(
    context: Context, layer: str, baseline: Baseline = "black", steps: int = 50, batch_size: int = 32
) -> Tensor:
    """Mean of ∂y/∂a along the path from b to x. Leino et al., "Influence-Directed Explanations", 2018."""
    return _along_path(context, layer, "InternalInfluence", baseline, steps, as_count("batch_size", batch_size))


def _along_path(context: Context, layer: str, name: str, baseline: Baseline, steps: int, batch_size: int) -> Tensor:
    # For conductance, a batch begins with the last point of the batch before it.
    steps = as_count("steps", steps)
    again = math.ceil(steps / (batch_size - 1)) if name == "LayerConductance" else 0
    context.progress.begin((steps + again) * len(context.images))

    def one(image: Context, start: Tensor) -> Tensor:
        scores = Scores(image, layer=layer)
        engine = captum(name)(scores, scores.at_layer)
        values = attributed(engine, image, baselines=start, n_steps=steps, internal_batch_size=batch_size)
        return image.as_map(layer, values)

    return one_by_one(context, one, context.forward.normalise(as_baseline(context, baseline)))


@method("layer_gradient_x_activation", layer=True, summed=False)
def layer_gradient_x_activation(context: Context, layer: str) -> Tensor:
    """Activation times gradient, a ∂y/∂a. As in Captum (``LayerGradientXActivation``)."""
    scores = Scores(context, layer=layer)
    return context.as_map(layer, attributed(captum("LayerGradientXActivation")(scores, scores.at_layer), context))
