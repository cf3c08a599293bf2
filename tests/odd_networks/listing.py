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

ARCHITECTURES: dict[str, Architecture] = {
    **TIMM_CONVOLUTIONAL,
    **TIMM_TOKENS,
    **TIMM_HYBRIDS,
    **TORCHVISION,
    **HUGGING_FACE,
    **HOME_MADE_LAYOUTS,
    **HOME_MADE_WORKINGS,
}
