"""All architectures by name."""

from __future__ import annotations

from .architecture import Architecture
from .timm_convolutional import TIMM_CONVOLUTIONAL
from .timm_hybrids import TIMM_HYBRIDS
from .timm_tokens import TIMM_TOKENS

ARCHITECTURES: dict[str, Architecture] = {**TIMM_CONVOLUTIONAL, **TIMM_TOKENS, **TIMM_HYBRIDS}
