"""Other tools, called as their own documentation says, and mended where today's packages break them."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def lucent_class_picture(network: nn.Module, index: int, size: int, steps: int, seed: int) -> Tensor:
    """``[1, 3, H, W]``: torch-lucent's picture of a class logit with its defaults."""
    return lucent_picture(network, f"labels:{index}", size, steps, seed)


def lucent_picture(network: nn.Module, objective: str, size: int, steps: int, seed: int) -> Tensor:
    """``[1, 3, H, W]``: torch-lucent's picture of ``layer:channel``, the layer as it spells it, with its defaults."""
    import numpy as np

    objectives, param, render = _lucent()
    torch.manual_seed(seed)
    np.random.seed(seed)
    images = render.render_vis(
        _to_hook(network),
        objectives.as_objective(objective),
        lambda: param.image(size),
        thresholds=(steps,),
        progress=False,
        show_image=False,
    )
    return torch.from_numpy(images[-1]).permute(0, 3, 1, 2).contiguous()


class _Enough(Exception):
    pass


def lucent_until(
    network: nn.Module, objective: str, size: int, most: int, every: int, enough: Callable[[Tensor], bool]
) -> tuple[float, int, bool]:
    """torch-lucent's loop, asked every so many steps whether its image ``[1, 3, H, W]`` is good enough.

    Returns:
        CPU seconds without those for asking, steps, and whether it was good enough in the end.
    """
    objectives, param, render = _lucent()
    torch.manual_seed(0)
    parameters, image = param.image(size)
    score = objectives.as_objective(objective)
    network, asked, steps = _to_hook(network), 0.0, 0

    def step(activations: Any) -> Tensor:
        nonlocal asked, steps
        if steps and steps % every == 0:
            start = time.process_time()
            good = enough(image().detach())
            asked += time.process_time() - start
            if good:
                raise _Enough
        steps += 1
        return score(activations)

    start = time.process_time()
    try:
        render.render_vis(
            network, step, lambda: (parameters, image), thresholds=(most,), progress=False, show_image=False
        )
        done = enough(image().detach())
    except _Enough:
        done = True
    return time.process_time() - start - asked, steps, done


def _to_hook(network: nn.Module) -> nn.Module:
    """A copy: the hooks that torch-lucent leaves behind would cost everybody time who uses the network after it."""
    return copy.deepcopy(network)


def _lucent() -> tuple[Any, Any, Any]:
    import kornia

    # Lucent calls these where kornia 0.4 had them.
    kornia.get_rotation_matrix2d = kornia.geometry.transform.get_rotation_matrix2d  # type: ignore[attr-defined]
    kornia.warp_affine = kornia.geometry.transform.warp_affine  # type: ignore[attr-defined]
    from lucent.optvis import objectives, param, render

    return objectives, param, render
