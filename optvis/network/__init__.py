"""Reading a network: addresses of its layers, the tap, what it takes, freezing it and handing it back."""

from .addresses import Address, find_layer, unwrap
from .channel_noise import channel_noise
from .fast_conv import fast_first_conv
from .frozen import frozen
from .probe import LayerShape, NetworkInput, Probe
from .soft_relu import soft_relu
from .summary import get_layer_names
from .tap import Tap
from .working_copy import working_copy

__all__ = [
    "Address",
    "LayerShape",
    "NetworkInput",
    "Probe",
    "Tap",
    "channel_noise",
    "fast_first_conv",
    "find_layer",
    "frozen",
    "get_layer_names",
    "soft_relu",
    "unwrap",
    "working_copy",
]
