"""Methods that run the network on changed images, computed by Captum; they need no gradient.

Each function takes a ``Context`` and returns signed values ``[N, C, H, W]``, float32. In the formulas y is the score,
and z says for each segment whether it is kept (1) or shows the baseline (0).

Options:
    baseline: what a covered part shows, as ``as_baseline`` takes it.
    window, stride: size of the covered square and how far it moves, in pixels or (down, across). By default an eighth
        of the image, in steps of half a window.
    segments: number of segments along each side, or (down, across).
    feature_mask: ``[H, W]`` whole numbers that cut the image into segments instead.
    samples: number of random z.
    alpha: weight of LIME's L1 penalty: a larger one leaves fewer segments.
    batch_size: number of images that the network runs on at once. Values depend on it by rounding alone.
    seed: of the random numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..checks import as_count, as_number, as_size, shown
from .baselines import Baseline, as_baseline
from .captum_bridge import Scores, attributed, captum, one_by_one, seeded
from .context import Context
from .registry import method

Parts = int | Sequence[int]
"""A number for both sides of an image, or (down, across)."""


@method("occlusion", summed=False)
def occlusion(
    context: Context,
    baseline: Baseline = "black",
    window: Parts | None = None,
    stride: Parts | None = None,
    batch_size: int = 32,
) -> Tensor:
    """Mean over the squares at each pixel of y - y(square covered). Zeiler, Fergus, "Visualizing ...", 2013."""
    given = {**_windows(context, window, stride), "perturbations_per_eval": as_count("batch_size", batch_size)}

    def one(image: Context, start: Tensor) -> Tensor:
        return attributed(captum("Occlusion")(Scores(image)), image, baselines=start, **given)

    return one_by_one(context, one, context.forward.normalise(as_baseline(context, baseline)))


@method("feature_ablation", summed=False)
def feature_ablation(
    context: Context,
    baseline: Baseline = "black",
    segments: Parts = 8,
    feature_mask: Any = None,
    batch_size: int = 32,
) -> Tensor:
    """y - y(segment covered). As in Captum (``FeatureAblation``)."""
    mask = _segments(context, segments, feature_mask)
    given = {"feature_mask": mask, "perturbations_per_eval": as_count("batch_size", batch_size)}

    def one(image: Context, start: Tensor) -> Tensor:
        return attributed(captum("FeatureAblation")(Scores(image)), image, baselines=start, **given)

    return one_by_one(context, one, context.forward.normalise(as_baseline(context, baseline)))


@method("lime", summed=False)
def lime(
    context: Context,
    baseline: Baseline = "black",
    segments: Parts = 8,
    feature_mask: Any = None,
    batch_size: int = 32,
    samples: int = 200,
    seed: int = 0,
    alpha: float = 0.01,
) -> Tensor:
    """w of min Σz k(z) (y(z) - w z)² + α |w|, k larger nearer to x. Ribeiro et al., "Why Should I Trust You?", 2016."""
    as_number("alpha", alpha, 0)
    _need_sklearn("lime")
    from captum._utils.models.linear_model import SkLearnLasso

    mask, engine = _segments(context, segments, feature_mask), {"interpretable_model": SkLearnLasso(alpha=alpha)}
    return _linear(context, "Lime", engine, baseline, mask, batch_size, samples, seed)


@method("kernel_shap", summed=False)
def kernel_shap(
    context: Context,
    baseline: Baseline = "black",
    segments: Parts = 8,
    feature_mask: Any = None,
    batch_size: int = 32,
    samples: int = 200,
    seed: int = 0,
) -> Tensor:
    """w of min Σz k(z) (y(z) - w z)², k the Shapley kernel. Lundberg, Lee, "A Unified Approach", 2017."""
    _need_sklearn("kernel_shap")
    mask = _segments(context, segments, feature_mask)
    return _linear(context, "KernelShap", {}, baseline, mask, batch_size, samples, seed)


def _linear(
    context: Context,
    name: str,
    made_with: dict[str, Any],
    baseline: Baseline,
    mask: Tensor,
    batch_size: int,
    samples: int,
    seed: int,
) -> Tensor:
    """Weights of a linear model of the score, by Captum's class ``name`` made with ``made_with``."""
    given = {
        "feature_mask": mask,
        "n_samples": as_count("samples", samples),
        "perturbations_per_eval": as_count("batch_size", batch_size),
    }

    def one(image: Context, start: Tensor) -> Tensor:
        with seeded(seed):
            return attributed(captum(name)(Scores(image), **made_with), image, baselines=start, **given)

    return one_by_one(context, one, context.forward.normalise(as_baseline(context, baseline)))


def _need_sklearn(name: str) -> None:
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise ImportError(f"{name} needs scikit-learn: pip install 'optvis[lime]'") from error


def _segments(context: Context, segments: Parts, mask: Any) -> Tensor:
    """``[1, C, H, W]`` whole numbers: the segment of each pixel.

    Raises:
        ValueError: more segments than pixels, a single one, or a mask of another size or type.
    """
    height, width = context.images.shape[-2:]
    device = context.images.device
    if mask is not None:
        try:
            given = torch.as_tensor(mask, device=device)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(f"feature_mask {shown(mask)}: give whole numbers, [{height}, {width}]") from error
        if tuple(given.shape) != (height, width) or given.is_floating_point() or given.is_meta:
            raise ValueError(
                f"feature_mask has {list(given.shape)} {given.dtype}: give whole numbers, [{height}, {width}]"
            )
        found = torch.unique(given, return_inverse=True)[1].view(height, width)
    else:
        down, across = as_size(segments)
        if down > height or across > width:
            raise ValueError(f"segments {segments!r}: an image of {height} × {width} px has fewer pixels than that")
        rows = torch.arange(height, device=device) * down // height
        columns = torch.arange(width, device=device) * across // width
        found = rows[:, None] * across + columns
    if int(found.max()) < 1:
        raise ValueError("a single segment tells nothing: give two or more")
    return found.expand(1, context.images.shape[1], -1, -1)


def _windows(context: Context, window: Parts | None, stride: Parts | None) -> dict[str, Any]:
    """Captum's window and strides.

    Raises:
        ValueError: a window larger than the image, or a stride larger than the window.
    """
    channels, height, width = context.images.shape[1:]
    high, wide = (max(1, height // 8), max(1, width // 8)) if window is None else as_size(window)
    if high > height or wide > width:
        raise ValueError(f"window {window!r} is larger than the image of {height} × {width} px")
    down, across = (max(1, high // 2), max(1, wide // 2)) if stride is None else as_size(stride)
    if down > high or across > wide:
        raise ValueError(f"stride {stride!r} would leave gaps between windows of {high} × {wide} px: give less")
    return {"sliding_window_shapes": (channels, high, wide), "strides": (channels, down, across)}
