"""Infidelity, whether a map predicts changes of the score, and sensitivity, how stable it is; by Captum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..attribution.baselines import Baseline, as_baseline
from ..attribution.captum_bridge import seeded
from ..checks import as_count, as_flag, as_function, as_number, as_whole
from ..network import isolated
from .scorer import Extra, Map, as_map, importance, scoring

Explain = Callable[[Tensor], Any]
"""From images ``[N, C, H, W]`` in [0, 1] to their values ``[N, C, h, w]``, or an attribution that has them."""


def infidelity(
    network: nn.Module,
    attribution: Map,
    samples: int = 32,
    share: float = 0.25,
    cells: int = 8,
    baseline: Baseline = "mean",
    scaled: bool = True,
    softmax: bool = False,
    seed: int = 0,
    batch_size: int = 32,
    extra_inputs: Extra = (),
) -> Tensor:
    """``[N]``: the error of the map as a prediction of how the score falls when parts of the image are removed.

    0 is best. The mean square of (sum of the map over the removed part - fall of the score) over random parts (Yeh et
    al., "On the (In)fidelity and Sensitivity of Explanations", 2019). The map is taken as the contribution of each
    pixel to the score: gradient × (image - baseline) is exact for a linear network.

    Arguments besides those of ``deletion``:
        samples: number of random parts, the same for each image.
        share: probability with which each cell is removed, above 0 and below 1.
        cells: the image is divided into ``cells × cells``, each of which is removed whole.
        scaled: True to multiply the map by the number that fits it best before: maps such as Grad-CAM's have no scale
            of their own.
        seed: of the random parts.
    """
    from captum.metrics import infidelity as captum_infidelity

    as_count("samples", samples)
    as_count("cells", cells)
    share = as_number("share", share, 0, 1, "()")
    seed, scaled = as_whole("seed", seed, -(2**63), 2**63 - 1), as_flag("scaled", scaled)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(samples, 1, cells, cells, generator=generator, dtype=torch.float32, device="cpu")
    with scoring(network, attribution, softmax, batch_size, extra_inputs) as scorer:
        images, empty = scorer.context.images, as_baseline(scorer.context, baseline)
        height, width = images.shape[-2:]
        # In float64, because the best factor is computed from differences of large sums.
        gone = F.interpolate((drawn < share).double(), (height, width), mode="nearest")

        def scores(kept: Tensor) -> Tensor:
            """The scores of masks ``[N * K, 1, H, W]``, with the K versions of each image adjacent."""
            masks = kept.view(len(images), -1, 1, height, width).to(torch.float32)

            def shown(image: Tensor, version: Tensor) -> Tensor:
                return torch.lerp(empty[image], images[image], masks[image.cpu(), version.cpu()].to(images))

            return scorer.versions(masks.shape[1], shown).flatten().double()

        def perturbed(kept: Tensor) -> tuple[Tensor, Tensor]:
            parts = gone.repeat(len(images), 1, 1, 1)
            return parts, kept - parts

        whole = torch.ones(len(images), 1, height, width, dtype=torch.float64)
        found: Tensor = captum_infidelity(
            scores,
            perturbed,
            whole,
            importance(attribution)[:, None].double().cpu(),
            n_perturb_samples=samples,
            normalize=scaled,
        )
    return found.detach().clamp(min=0).float()


def max_sensitivity(
    attribution: Map, explain: Explain, radius: float = 0.02, samples: int = 10, seed: int = 0
) -> Tensor:
    """``[N]``: the largest change of the map, relative to its norm, under small changes of the image; small is good.

    max ‖map(x + noise) - map(x)‖ / ‖map(x)‖ (Yeh et al., "On the (In)fidelity and Sensitivity of Explanations", 2019).

    Args:
        attribution: its images are used.
        explain: from images ``[N, C, H, W]``, always all of them in their order, to values ``[N, C, h, w]`` or an
            attribution, such as ``lambda images: attribute(network, images, "gradcam", target=7)``. Torch's and
            numpy's global random numbers are the same in each call.
        radius: the largest change of a value in [0, 1], above 0. Images stay within [0, 1].
        samples: number of changed images.
        seed: of the changes.
    """
    from captum.metrics import sensitivity_max

    as_count("samples", samples)
    radius, seed = as_number("radius", radius, 0, ends="()"), as_whole("seed", seed, 0, 2**32 - 1)
    as_function("explain", explain, "a function from images to values or an attribution")
    images = as_map(attribution).images.detach().float()
    generator = torch.Generator().manual_seed(seed)

    def near(images: Tensor) -> Tensor:
        drawn = torch.rand(images.shape[1:], generator=generator, dtype=torch.float32).to(images)
        return (images + radius * (2 * drawn - 1)).clamp(0, 1)

    def values(given: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        # Captum gives the original images in a tuple, and changed ones as a tensor.
        batch = given[0] if isinstance(given, tuple) else given
        with seeded(seed):
            return (values_of(explain(batch)).contiguous(),)

    with isolated(images.device):
        found: Tensor = sensitivity_max(
            values, images, near, n_perturb_samples=samples, max_examples_per_batch=len(images)
        )
    return found.detach().cpu()


def values_of(explained: Any) -> Tensor:
    """``[N, C, h, w]``, float32, from the result of an ``explain``; raises ``TypeError`` if these are no values."""
    values = getattr(explained, "values", None)
    values = values if isinstance(values, Tensor) else explained
    if not isinstance(values, Tensor) or values.dim() != 4:
        what = f"a tensor of shape {list(values.shape)}" if isinstance(values, Tensor) else repr(values)
        raise TypeError(f"explain gives {what}: it must give values [N, C, h, w], or an attribution")
    return values.detach().float()
