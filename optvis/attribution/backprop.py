"""Methods that change the gradient in the backward pass, computed by Captum.

Each function takes a ``Context`` and returns signed values ``[N, C, H, W]``, float32. The network runs within
``FunctionModules``, so that functions, modules that are called twice and modules that work in place are all covered; a
call without a rule is an error that names it. In the formulas y is the score, x the input, b the baseline, R relevance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch.nn.functional as F
from torch import Tensor

from ..checks import as_number, choice
from .baselines import Baseline, as_baseline, as_distribution
from .cam import gradcam
from .captum_bridge import Scores, attributed, captum, one_by_one
from .context import Context
from .function_modules import FunctionModules
from .registry import method
from .rules import RelevanceTarget, relevance, relus, rescale


@method("guided_backprop", summed=False)
def guided_backprop(context: Context) -> Tensor:
    """∂y/∂x, where ReLUs pass back relu(∂y/∂a) if a > 0, else 0. Springenberg, "Striving for Simplicity", 2014."""
    return attributed(captum("GuidedBackprop")(_by_relus(context, "guided_backprop")), context).float()


@method("deconvolution", summed=False)
def deconvolution(context: Context) -> Tensor:
    """∂y/∂x, where ReLUs pass back relu(∂y/∂a) for any a. Zeiler, Fergus, "Visualizing ... Networks", 2013."""
    return attributed(captum("Deconvolution")(_by_relus(context, "deconvolution")), context).float()


@method("guided_gradcam", layer=True)
def guided_gradcam(context: Context, layer: str) -> Tensor:
    """Guided backprop times relu(Grad-CAM), enlarged to the image. Selvaraju et al., "Grad-CAM", 2017."""
    cam = gradcam(context, layer).sum(1, keepdim=True).relu()
    return guided_backprop(context) * F.interpolate(cam, context.images.shape[-2:], mode="nearest")


@method("deeplift", summed=False)
def deeplift(context: Context, baseline: Baseline = "black") -> Tensor:
    """(x - b) times Δy/Δx by the rescale rule. Shrikumar et al., "Learning Important Features", 2017."""

    def one(image: Context, start: Tensor) -> Tensor:
        scores = Scores(image, FunctionModules(image.network, "deeplift", rescale))
        return attributed(captum("DeepLift")(scores), image, baselines=start)

    return one_by_one(context, one, context.forward.normalise(as_baseline(context, baseline)))


@method("deeplift_shap", summed=False)
def deeplift_shap(context: Context, baselines: Sequence[Baseline] | Tensor = ("black", "white")) -> Tensor:
    """Mean of DeepLIFT over the baselines. Lundberg, Lee, "A Unified Approach", 2017."""

    def one(image: Context) -> Tensor:
        scores = Scores(image, FunctionModules(image.network, "deeplift_shap", rescale))
        return attributed(captum("DeepLiftShap")(scores), image, baselines=as_distribution(image, baselines))

    return one_by_one(context, one)


@method("lrp", summed=False)
def lrp(context: Context, rule: str = "epsilon", epsilon: float = 0.01) -> Tensor:
    """Rᵢ = Σⱼ aᵢwᵢⱼ / (Σᵢ aᵢwᵢⱼ ± ε) Rⱼ from the score back to x. Bach et al., "On Pixel-Wise Explanations", 2015."""
    choice("rule", rule, ("epsilon", "zero"))
    as_number("epsilon", epsilon, 0)

    def one(image: Context) -> Tensor:
        calls = FunctionModules(image.network, "lrp", relevance(float(epsilon) if rule == "epsilon" else 0.0))
        paid = replace(image, target=RelevanceTarget(**vars(image.target), calls=calls))
        return attributed(captum("LRP")(Scores(paid, calls)), image)

    return one_by_one(context, one)


def _by_relus(context: Context, name: str) -> Scores:
    """The scores with a module for each ReLU."""
    calls = FunctionModules(context.network, name, relus)
    scores = Scores(context, calls)
    if not len(calls.modules):
        raise ValueError(
            f"{name} changes how gradients pass ReLUs, of which {type(context.network).__name__} has none before the "
            "target: choose saliency, which would give the same map, or integrated_gradients"
        )
    return scores
