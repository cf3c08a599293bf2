"""Other tools, called as their own documentation says, and mended where today's packages break them."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def lucent_class_picture(network: nn.Module, index: int, size: int, steps: int, seed: int) -> Tensor:
    """``[1, 3, H, W]``: torch-lucent's picture of a class logit with its defaults."""
    return lucent_picture(network, f"labels:{index}", size, steps, seed)


def lucent_picture(network: nn.Module, objective: str, size: int, steps: int, seed: int) -> Tensor:
    """``[1, 3, H, W]``: torch-lucent's picture of ``layer:channel``, the layer as it spells it, with its defaults."""
    import kornia
    import numpy as np

    # Lucent calls these where kornia 0.4 had them.
    kornia.get_rotation_matrix2d = kornia.geometry.transform.get_rotation_matrix2d  # type: ignore[attr-defined]
    kornia.warp_affine = kornia.geometry.transform.warp_affine  # type: ignore[attr-defined]
    from lucent.optvis import objectives, param, render

    torch.manual_seed(seed)
    np.random.seed(seed)
    images = render.render_vis(
        network,
        objectives.as_objective(objective),
        lambda: param.image(size),
        thresholds=(steps,),
        progress=False,
        show_image=False,
    )
    return torch.from_numpy(images[-1]).permute(0, 3, 1, 2).contiguous()
