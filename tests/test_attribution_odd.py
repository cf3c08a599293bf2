"""Attribution on every odd network: finite maps of the right shape and the network handed back, or a clear refusal."""

from __future__ import annotations

import re
import warnings
from typing import Any

import pytest
import torch
from small_networks import snapshot
from test_odd_networks import ODD, network_of
from torch import Tensor, nn

from optvis.attribution import attribute

OPTIONS: dict[str, dict[str, Any]] = {
    "gradcam": {},
    "layercam": {},
    "integrated_gradients": {"steps": 3},
    "guided_backprop": {},
}

WITHOUT_RELUS = (
    "torchvision ViT", "timm ViT", "timm ViT with registers", "timm Swin", "timm ConvNeXt", "timm EfficientNet",
    "torchvision Swin", "torchvision Swin, its attention", "Hugging Face ViT", "Hugging Face ViT, its output",
    "no weights",
)  # fmt: skip

REFUSED = {
    "torchvision ViT, pictures of another size": "takes images of 32 × 32 px, not 36 × 48 px",
    "no_grad within": "no gradient reaches the image from '2'.*no_grad",
    "inference_mode within": "no gradient reaches the image from '2'",
}


def patches(output: Any) -> Tensor:
    return output.last_hidden_state[:, 1:, 0].mean(1)


TARGETS: dict[str, Any] = {"Hugging Face ViT": patches}
"""The mean of what it puts out, which is taken otherwise, is 0 by its layer norm."""


def refusal(name: str, method: str) -> str | None:
    """What is said where it does not work; ``None`` where it does."""
    if name in REFUSED:
        return REFUSED[name]
    if method == "guided_backprop" and name in WITHOUT_RELUS:
        return "changes how gradients pass ReLUs, of which .* has none .*choose saliency"
    if name == "torchvision ViT" and method != "integrated_gradients":
        return "'0' does not depend on the image"  # its head is made of zeros
    return None


def made(name: str) -> tuple[nn.Module, Tensor]:
    """An odd network, and two images for it."""
    odd = ODD[name]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*weight_norm. is deprecated")
        network = network_of(name)
    height, width = (odd.size, odd.size) if isinstance(odd.size, int) else odd.size
    return network, torch.rand(2, odd.channels, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("method", OPTIONS)
@pytest.mark.parametrize("name", ODD)
def test_it_works_or_says_why_not(name: str, method: str) -> None:
    odd, (network, images) = ODD[name], made(name)
    height, width = images.shape[2:]
    before, random = snapshot(network), torch.get_rng_state()
    expected = refusal(name, method)
    with odd.around(), warnings.catch_warnings():
        if name == "torchvision ViT":
            warnings.filterwarnings("ignore", ".*a map without evidence")
        modes = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        if expected is not None:
            with pytest.raises(ValueError, match=expected):
                attribute(network, images, method, target=TARGETS.get(name), **odd.options, **OPTIONS[method])
        else:
            found = attribute(network, images, method, target=TARGETS.get(name), **odd.options, **OPTIONS[method])
        assert modes == (torch.is_grad_enabled(), torch.is_inference_mode_enabled())
    assert snapshot(network) == before
    assert torch.equal(torch.get_rng_state(), random)
    if expected is not None:
        return
    assert found.values.dtype == torch.float32 and torch.isfinite(found.values).all()
    assert found.scores.shape == (2,) and torch.isfinite(found.scores).all()
    assert found.heatmap().shape == (2, height, width)
    if found.layer:
        rows, columns = found.values.shape[2:]
        assert found.values.shape[:2] == (2, 1) and 1 < rows <= height and 1 < columns <= width
        assert abs(rows / height - columns / width) <= 1 / min(rows, columns), "as wide and as high as the picture is"
        assert re.fullmatch(r"[\w/]+", found.layer[0])
    else:
        assert found.values.shape == images.shape
    if name != "torchvision ViT":
        assert (found.values != 0).flatten(1).any(1).all()


@pytest.mark.parametrize("name", [name for name in ODD if refusal(name, "gradcam") is None])
def test_a_layer_that_is_named_has_the_map_that_it_has_when_found(name: str) -> None:
    """Gradients then begin at the layer, and not at the images."""
    odd, (network, images) = ODD[name], made(name)
    before = snapshot(network)
    with odd.around():
        found = attribute(network, images, target=TARGETS.get(name), **odd.options)
        named = attribute(network, images, target=TARGETS.get(name), layer=found.layer[0], **odd.options)
    assert snapshot(network) == before
    if name != "dropout in every mode":
        torch.testing.assert_close(named.values, found.values, rtol=1e-3, atol=1e-6)
        torch.testing.assert_close(named.scores, found.scores)
