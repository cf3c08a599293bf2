"""The CAM family: the activations of a layer, weighted by their effect on the score.

Each method is a function from a ``Context`` and a layer to signed values ``[N, K, h, w]`` of the layer's own size. The
map is their sum over the channels or their first principal component. In the formulas A stands for the layer's
activations, G for the gradients of the score with respect to them, and W for weights; sums run over the positions ij.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..checks import as_whole
from ..network.addresses import layers_of
from .context import Context, parts, scoring, scoring_from
from .plotting import resized, stretched
from .registry import method


def _weighted(weights: Tensor, a: Tensor) -> Tensor:
    return weights[..., None, None] * a


@method("gradcam", layer=True)
def gradcam(context: Context, layer: str) -> Tensor:
    """mean(G) A. Selvaraju et al., "Grad-CAM", 2017."""
    a, g = context.activations(layer), context.gradients(layer)
    return _weighted(g.mean((2, 3)), a)


@method("gradcam++", layer=True)
def gradcam_plus_plus(context: Context, layer: str) -> Tensor:
    """(Σij α relu(G)) A, α = G² / (2 G² + ΣijA G³). Chattopadhay et al., "Grad-CAM++", 2018."""
    a, g = context.activations(layer), context.gradients(layer)
    below = 2 * g**2 + a.sum((2, 3), keepdim=True) * g**3
    alpha = torch.where(g != 0, g**2 / (below + 1e-6), 0)
    return _weighted((alpha * g.relu()).sum((2, 3)), a)


@method("xgradcam", layer=True)
def xgradcam(context: Context, layer: str) -> Tensor:
    """(Σij G A / Σij A) A. Fu et al., "Axiom-based Grad-CAM", 2020."""
    a, g = context.activations(layer), context.gradients(layer)
    return _weighted((g * a).sum((2, 3)) / (a.sum((2, 3)) + 1e-7), a)


@method("hirescam", layer=True)
def hirescam(context: Context, layer: str) -> Tensor:
    """G A. Draelos, Carin, "Use HiResCAM instead of Grad-CAM", 2020."""
    return context.gradients(layer) * context.activations(layer)


@method("gradcam_elementwise", layer=True)
def gradcam_elementwise(context: Context, layer: str) -> Tensor:
    """relu(G A). As in pytorch-grad-cam (``GradCAMElementWise``)."""
    return (context.gradients(layer) * context.activations(layer)).relu()


@method("layercam", layer=True)
def layercam(context: Context, layer: str) -> Tensor:
    """relu(G) A. Jiang et al., "LayerCAM", 2021."""
    return context.gradients(layer).relu() * context.activations(layer)


@method("eigencam", layer=True)
def eigencam(context: Context, layer: str) -> Tensor:
    """A projected onto its first principal component, for any target. Muhammad, Yeasin, "Eigen-CAM", 2020."""
    return first_component(context.activations(layer))


@method("eigengradcam", layer=True)
def eigengradcam(context: Context, layer: str) -> Tensor:
    """G A projected onto its first principal component. As in pytorch-grad-cam (``EigenGradCAM``)."""
    return first_component(context.gradients(layer) * context.activations(layer))


def first_component(maps: Tensor) -> Tensor:
    """``[N, 1, h, w]``: maps ``[N, K, h, w]`` projected onto their first principal component; positions are samples.

    The arbitrary sign of the component is chosen so that it correlates with the sum over the channels.
    """
    rows: Tensor = maps.flatten(2).mT.double()  # [N, hw, K]
    rows = rows - rows.mean(1, keepdim=True)
    _, _, components = torch.linalg.svd(rows, full_matrices=False)
    along: Tensor = rows @ components[:, 0, :, None]
    sign = (along * rows.sum(2, keepdim=True)).sum(1, keepdim=True).sign()
    along = along * torch.where(sign == 0, 1, sign)
    return along.mT.reshape(len(maps), 1, *maps.shape[2:]).to(maps.dtype)


@method("random_cam", layer=True)
def random_cam(context: Context, layer: str, seed: int = 0) -> Tensor:
    """W A with random W in [-1, 1]: the baseline that any method must beat."""
    as_whole("seed", seed, -(2**63), 2**63 - 1)
    a = context.activations(layer)
    drawn = torch.rand(a.shape[:2], generator=torch.Generator().manual_seed(seed), dtype=torch.float32)
    return _weighted((2 * drawn - 1).to(a), a)


@method("scorecam", layer=True)
def scorecam(context: Context, layer: str, batch_size: int | None = None) -> Tensor:
    """softmax(scores of the image times A's k-th map) A. Wang et al., "Score-CAM", 2020.

    Each map is enlarged to the size of the image and scaled to [0, 1]; the normalised image is multiplied by it.
    """
    a = context.activations(layer)
    weights = a.new_empty(a.shape[:2])
    score = scoring(context)
    context.progress.begin(weights.numel())
    for i, some in parts(a, batch_size):
        masks = stretched(resized(a[i, some, None], context.images.shape[-2:]), 1e-8)
        weights[i, some] = score(i, context.inputs[i].detach() * masks).to(weights)
    return _weighted(weights.softmax(1), a)


@method("ablationcam", layer=True)
def ablationcam(context: Context, layer: str, batch_size: int | None = None) -> Tensor:
    """((y - y without k) / y) A. Desai, Ramaswamy, "Ablation-CAM", 2020. A channel is removed by setting it to 0."""
    a = context.activations(layer)
    weights = a.new_empty(a.shape[:2])
    score = scoring_from(context, layer)
    context.progress.begin(weights.numel())
    for i, some in parts(a, batch_size):
        kept = torch.ones(len(some), a.shape[1], 1, 1).to(a)
        kept[torch.arange(len(some)), some] = 0
        weights[i, some] = context.scores[i] - score(i, a[i] * kept).to(weights)
    whole = context.scores[:, None].to(weights)
    return _weighted(weights / torch.where(whole == 0, 1, whole), a)


@method("cam", layer=True)
def cam(context: Context, layer: str) -> Tensor:
    """W A, with W the weights of the class after the pooling. Zhou et al., "Learning Deep Features ...", 2016.

    For networks whose class outputs are the layer's spatial means times the weights of a fully connected layer (or the
    layer's spatial means themselves).

    Raises:
        ValueError: the target is not a class, or the network ends in another way.
    """
    if context.target.classes is None:
        raise ValueError(f"cam explains only classes, not {context.target.labels[0]!r}: use gradcam")
    a = context.activations(layer)
    classes = torch.tensor(context.target.classes, device=a.device)
    means, rows = a.mean((2, 3)), torch.arange(len(a), device=a.device)
    if len(means[0]) > max(context.target.classes) and torch.allclose(means[rows, classes], context.scores, rtol=1e-3):
        return a[rows, classes, None]
    for module in context.network.modules():
        if isinstance(module, nn.Linear) and module.in_features == a.shape[1] > 0:
            weights, bias = module.weight.float(), 0.0 if module.bias is None else module.bias.float()
            found = means @ weights.T + bias
            if found.shape[1] > max(context.target.classes) and torch.allclose(
                found[rows, classes], context.scores, rtol=1e-3, atol=1e-3
            ):
                return _weighted(weights[classes], a)
    raise ValueError(
        f"cam needs a network whose outputs are the means of {layer!r} times the weights of a fully connected layer; "
        f"{type(context.network).__name__} ends in another way: use gradcam or another layer"
    )


@method("fullgrad")
def fullgrad(context: Context) -> Tensor:
    """ψ(G x) + Σl ψ(G b), of the image and of each layer with a bias. Srinivas, Fleuret, "Full-Gradient ...", 2019.

    ψ takes absolute values, scales them to [0, 1] in each channel, enlarges them to the image and sums them over the
    channels. b are the biases of convolutions and of batch norms (with the running means folded in).
    """
    found = {name: _bias(module) for name, module in layers_of(context.network).items()}
    biases = {name: bias.view(-1, 1, 1) for name, bias in found.items() if bias is not None}
    scores, seen = context.run(context.inputs, list(biases))
    slopes = torch.autograd.grad(scores.sum(), [context.inputs, *seen.values()], allow_unused=True)
    total = _spread(slopes[0] * context.inputs.detach(), context.images.shape[-2:])
    for name, slope in zip(seen, slopes[1:], strict=True):
        if slope is not None:
            total = total + _spread(slope * biases[name], context.images.shape[-2:])
    return total


def _bias(module: nn.Module) -> Tensor | None:
    if isinstance(module, nn.BatchNorm2d):
        if module.running_mean is None or module.running_var is None:
            return None
        factor = (module.running_var + module.eps).rsqrt() * (1 if module.weight is None else module.weight)
        return (0 if module.bias is None else module.bias) - module.running_mean * factor
    return module.bias if isinstance(module, nn.Conv2d) else None


def _spread(maps: Tensor, size: Sequence[int]) -> Tensor:
    """``[N, 1, H, W]``: ψ of maps ``[N, K, h, w]``."""
    return resized(stretched(maps.detach().float().abs()), size).sum(1, keepdim=True)
