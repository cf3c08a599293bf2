"""Reading a network: addresses of its layers, its shadow, its inputs, and the forward pass."""

from .addresses import find_layer, unwrap
from .channel_noise import channel_noise
from .fast_conv import fast_first_conv
from .forward import Forward, Pass, isolated, to_the_end
from .inputs import Extra, NetworkInput
from .memory import out_of_memory
from .probe import LayerShape, Probe, Probed
from .shadow import shadow
from .soft_relu import soft_relu
from .summary import get_layer_names
from .tap import Tap
from .working_copy import working_copy

__all__ = [
    "Extra",
    "Forward",
    "LayerShape",
    "NetworkInput",
    "Pass",
    "Probe",
    "Probed",
    "Tap",
    "channel_noise",
    "fast_first_conv",
    "find_layer",
    "get_layer_names",
    "isolated",
    "out_of_memory",
    "shadow",
    "soft_relu",
    "to_the_end",
    "unwrap",
    "working_copy",
]
