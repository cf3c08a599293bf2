"""All architectures by name."""

from __future__ import annotations

from .architecture import Architecture
from .home_made_layouts import HOME_MADE_LAYOUTS
from .home_made_workings import HOME_MADE_WORKINGS
from .hugging_face import HUGGING_FACE
from .timm_convolutional import TIMM_CONVOLUTIONAL
from .timm_hybrids import TIMM_HYBRIDS
from .timm_tokens import TIMM_TOKENS
from .torchvision_networks import TORCHVISION

HOME_MADE: dict[str, Architecture] = {**HOME_MADE_LAYOUTS, **HOME_MADE_WORKINGS}
LIBRARIES: dict[str, Architecture] = {
    **TIMM_CONVOLUTIONAL,
    **TIMM_TOKENS,
    **TIMM_HYBRIDS,
    **TORCHVISION,
    **HUGGING_FACE,
}
ARCHITECTURES = {**LIBRARIES, **HOME_MADE}

QUICK = [
    *HOME_MADE,
    "convmixer",
    "densenet",
    "efficientnet (test_efficientnet)",
    "vit (test_vit)",
    "swin",
    "maxvit (test_maxvit)",
    "torchvision densenet",
    "torchvision vit_b_16",
    "torchvision swin_t",
    "hf ViT",
    "hf Swin",
]
"""The architectures of the quick tests: the home-made ones, and of each library one of each kind of layout."""
