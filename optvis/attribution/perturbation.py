"""Methods that run the network on changed images, computed by Captum; they need no gradient.

Each function takes a ``Context`` and returns signed values ``[N, C, H, W]``, float32. In the formulas y is the score,
and z is 1 for each segment that is kept and 0 for each that is replaced by the baseline.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
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
    """Mean of y - y(window covered) over the windows at each pixel. Zeiler, Fergus, "Visualizing ...", 2013."""
    channels, height, width = context.images.shape[1:]
    high, wide = (max(1, height // 8), max(1, width // 8)) if window is None else as_size(window)
    if high > height or wide > width:
        raise ValueError(f"window {window!r} is larger than the image of {height} × {width} px")
    down, across = (max(1, high // 2), max(1, wide // 2)) if stride is None else as_size(stride)
    if down > high or across > wide:
        raise ValueError(f"stride {stride!r} would leave gaps between windows of {high} × {wide} px: give less")
    given = {"sliding_window_shapes": (channels, high, wide), "strides": (channels, down, across)}
    windows = (math.ceil((height - high) / down) + 1) * (math.ceil((width - wide) / across) + 1)
    return _computed(context, captum("Occlusion"), baseline, batch_size, given, passes=windows + 1)


@method("feature_ablation", summed=False)
def feature_ablation(
    context: Context, baseline: Baseline = "black", segments: Parts = 8, feature_mask: Any = None, batch_size: int = 32
) -> Tensor:
    """Fall of the score, y - y(segment covered). As in Captum (``FeatureAblation``)."""
    mask = _segments(context, segments, feature_mask)
    given = {"feature_mask": mask}
    return _computed(context, captum("FeatureAblation"), baseline, batch_size, given, passes=len(mask.unique()) + 1)


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
    """W of min Σz k(z) (y(z) - W z)² + α |W|, k larger nearer to x. Ribeiro et al., "Why Should I Trust You?", 2016."""
    as_number("alpha", alpha, 0)
    linear = _linear_models("lime")
    kind = partial(captum("Lime"), interpretable_model=linear.SkLearnLasso(alpha=alpha))
    given = {"feature_mask": _segments(context, segments, feature_mask), "n_samples": as_count("samples", samples)}
    return _computed(context, kind, baseline, batch_size, given, partial(seeded, seed), samples)


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
    """W of min Σz k(z) (y(z) - W z)², k the Shapley kernel. Lundberg, Lee, "A Unified Approach", 2017."""
    _linear_models("kernel_shap")
    given = {"feature_mask": _segments(context, segments, feature_mask), "n_samples": as_count("samples", samples)}
    return _computed(context, captum("KernelShap"), baseline, batch_size, given, partial(seeded, seed), samples)


def _computed(
    context: Context,
    kind: Callable[..., Any],
    baseline: Baseline,
    batch_size: int,
    given: dict[str, Any],
    around: Callable[[], AbstractContextManager[None]] = nullcontext,
    passes: int = 1,
) -> Tensor:
    """The values of a class of Captum for each image.

    ``given`` is for its ``attribute``, which passes ``passes`` versions of an image through the network.
    """
    as_count("batch_size", batch_size)
    context.progress.begin(passes * len(context.images))

    def one(image: Context, start: Tensor) -> Tensor:
        with around():
            return attributed(kind(Scores(image)), image, baselines=start, perturbations_per_eval=batch_size, **given)

    return one_by_one(context, one, context.forward.normalise(as_baseline(context, baseline)))


def _linear_models(name: str) -> Any:
    """Captum's module of linear models, which need scikit-learn."""
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise ImportError(f"{name} needs scikit-learn: pip install 'optvis[lime]'") from error
    return importlib.import_module("captum._utils.models.linear_model")


def _segments(context: Context, segments: Parts, mask: Any) -> Tensor:
    """``[1, C, H, W]`` whole numbers: the segment of each pixel."""
    height, width = context.images.shape[-2:]
    device = context.images.device
    if mask is None:
        down, across = as_size(segments)
        if down > height or across > width:
            raise ValueError(f"segments {segments!r}: an image of {height} × {width} px has fewer pixels than that")
        rows = torch.arange(height, device=device) * down // height
        found = rows[:, None] * across + torch.arange(width, device=device) * across // width
    else:
        try:
            found = torch.as_tensor(mask, device=device)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(f"feature_mask {shown(mask)}: give whole numbers, [{height}, {width}]") from error
        if tuple(found.shape) != (height, width) or found.is_floating_point() or found.is_meta:
            raise ValueError(
                f"feature_mask has {list(found.shape)} {found.dtype}: give whole numbers, [{height}, {width}]"
            )
        found = torch.unique(found, return_inverse=True)[1].view(height, width)
    if int(found.max()) < 1:
        raise ValueError("a single segment cannot be compared with others: give two or more")
    return found.expand(1, context.images.shape[1], -1, -1)
