"""The bundled network: small, its truth known, and there without a download."""

from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import load_file

from optvis.demo.networks import DemoNetwork, JudgeNetwork
from optvis.demo.patterns import COLOURS, PATTERNS, make_pictures

_Bundled = TypeVar("_Bundled", DemoNetwork, JudgeNetwork)

__all__ = ["COLOURS", "PATTERNS", "DemoNetwork", "JudgeNetwork", "demo_network", "judge_network", "make_pictures"]


def demo_network() -> DemoNetwork:
    """The bundled network, trained, in eval mode. Torch's random state is left alone."""
    return _load(DemoNetwork, "demo")


def judge_network() -> JudgeNetwork:
    """A network of another architecture and seed, trained, in eval mode; it classifies pictures made from the first.

    Torch's random state is left alone.
    """
    return _load(JudgeNetwork, "judge")


def _load(kind: type[_Bundled], name: str) -> _Bundled:
    home = torch.get_default_device()
    with torch.device("meta"):  # initial weights there draw no random numbers
        network = kind()
    network.to_empty(device=home)
    network.load_state_dict(load_file(Path(__file__).with_name(f"{name}.safetensors")))  # half to float as it copies
    return network.eval()
