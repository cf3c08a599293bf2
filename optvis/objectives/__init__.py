"""Objectives: scores of images by a network's activations, to be maximised."""

from ..network.addresses import channel_of
from .algebra import Objective, Sum, as_objective, objective
from .batches import Batch
from .classes import Class
from .images import L1, L2, TotalVariation
from .layers import Channel, DeepDream, DeepDreamObjective, Direction, Layer, LayerObjective, Neuron, pick
from .matching import Match

__all__ = [
    "L1", "L2", "Batch", "Channel", "Class", "DeepDream", "DeepDreamObjective", "Direction", "Layer",
    "LayerObjective", "Match", "Neuron", "Objective", "Sum", "TotalVariation", "as_objective", "channel_of",
    "objective", "pick",
]  # fmt: skip
