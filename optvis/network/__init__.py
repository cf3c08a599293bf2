"""Reading a network: addresses of its layers, the tap, what it takes, freezing it and handing it back."""

from .addresses import find_layer, parse_layer, unwrap
from .frozen import frozen
from .noise import channel_noise
from .probe import LayerShape, NetworkInput, Probe
from .relus import soft_relus
from .stems import quick_stems
from .table import get_layer_names
from .tap import Tap
from .working import working_copy

__all__ = [
    "LayerShape",
    "NetworkInput",
    "Probe",
    "Tap",
    "channel_noise",
    "find_layer",
    "frozen",
    "get_layer_names",
    "parse_layer",
    "quick_stems",
    "soft_relus",
    "unwrap",
    "working_copy",
]
