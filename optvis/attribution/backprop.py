"""Methods that change the gradient in the backward pass.

Each function takes a ``Context`` and returns signed values ``[N, C, H, W]``, float32. The network runs within
``Rules``, so that functions, modules that are called twice and modules that work in place are all covered; a call
without a rule is an error that names it. In the formulas y is the score, x the input, b the baseline, R relevance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checks import as_number, choice
from .baselines import Baseline, as_baseline, as_distribution
from .cam import gradcam
from .captum_bridge import Scores, one_by_one
from .context import Context
from .registry import method
from .rules import Backward, RelevanceTarget, Rules, deconvolved, guided, relevance, relus, rescale


@method("guided_backprop", summed=False)
def guided_backprop(context: Context) -> Tensor:
    """∂y/∂x, where ReLUs pass back relu(∂y/∂a) if a > 0, else 0. Springenberg, "Striving for Simplicity", 2014."""
    return _by_relus(context, "guided_backprop", guided)


@method("deconvolution", summed=False)
def deconvolution(context: Context) -> Tensor:
    """∂y/∂x, where ReLUs pass back relu(∂y/∂a) for any a. Zeiler, Fergus, "Visualizing ... Networks", 2013."""
    return _by_relus(context, "deconvolution", deconvolved)


@method("guided_gradcam", layer=True)
def guided_gradcam(context: Context, layer: str) -> Tensor:
    """Guided backprop times relu(Grad-CAM), enlarged to the image. Selvaraju et al., "Grad-CAM", 2017."""
    cam = gradcam(context, layer).sum(1, keepdim=True).relu()
    return guided_backprop(context) * F.interpolate(cam, context.images.shape[-2:], mode="nearest")


@method("deeplift", summed=False)
def deeplift(context: Context, baseline: Baseline = "black") -> Tensor:
    """(x - b) times Δy/Δx by the rescale rule. Shrikumar et al., "Learning Important Features", 2017."""
    starts = context.forward.normalise(as_baseline(context, baseline))
    return one_by_one(context, lambda image, start: _rescaled(image, "deeplift", start), starts)


@method("deeplift_shap", summed=False)
def deeplift_shap(context: Context, baselines: Sequence[Baseline] | Tensor = ("black", "white")) -> Tensor:
    """Mean of DeepLIFT over the baselines. Lundberg, Lee, "A Unified Approach", 2017."""
    return one_by_one(context, lambda image: _rescaled(image, "deeplift_shap", as_distribution(image, baselines)))


@method("lrp", summed=False)
def lrp(context: Context, rule: str = "epsilon", epsilon: float = 0.01) -> Tensor:
    """Rᵢ = Σⱼ aᵢwᵢⱼ / (Σᵢ aᵢwᵢⱼ ± ε) Rⱼ from the score back to x. Bach et al., "On Pixel-Wise Explanations", 2015."""
    choice("rule", rule, ("epsilon", "zero"))
    as_number("epsilon", epsilon, 0)

    def one(image: Context) -> Tensor:
        rules = Rules(image.network, "lrp", relevance(float(epsilon) if rule == "epsilon" else 0.0))
        paid = replace(image, target=RelevanceTarget(**vars(image.target), rules=rules))
        return torch.autograd.grad(Scores(paid, rules)(image.inputs).sum(), image.inputs)[0]

    return one_by_one(context, one)


def _by_relus(context: Context, name: str, backward: Backward) -> Tensor:
    """The gradient with another backward pass for each ReLU."""
    rules = Rules(context.network, name, relus(backward))
    scores = Scores(context, rules)(context.inputs)
    if not rules.count:
        raise ValueError(
            f"{name} changes how gradients pass ReLUs, of which {type(context.network).__name__} has none before the "
            "target: choose saliency, which would give the same map, or integrated_gradients"
        )
    return torch.autograd.grad(scores.sum(), context.inputs)[0].float()


def _rescaled(image: Context, name: str, baselines: Tensor) -> Tensor:
    """The mean of DeepLIFT over some baselines of one image."""
    scores = Scores(image, Rules(image.network, name, rescale))
    x = image.inputs.detach().expand_as(baselines).clone().requires_grad_()
    (gradient,) = torch.autograd.grad(scores(torch.cat([x, baselines])).sum(), x)
    return ((x.detach() - baselines) * gradient).mean(0, keepdim=True)
