"""The bundled networks: small, trained on pictures with known patterns and colours, usable without a download."""

from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import load_file

from optvis.demo.networks import DemoNetwork, JudgeNetwork
from optvis.demo.patterns import COLOURS, PATTERNS, make_pictures

_Bundled = TypeVar("_Bundled", DemoNetwork, JudgeNetwork)

__all__ = ["COLOURS", "PATTERNS", "DemoNetwork", "JudgeNetwork", "demo_network", "judge_network", "make_pictures"]


def demo_network() -> DemoNetwork:
    """The bundled network, trained, in eval mode. Torch's random state is not used."""
    return _load(DemoNetwork, "demo")


def judge_network() -> JudgeNetwork:
    """A second network that evaluates pictures made from the first: another architecture and seed, trained, eval mode.

    Torch's random state is not used.
    """
    return _load(JudgeNetwork, "judge")


def _load(kind: type[_Bundled], name: str) -> _Bundled:
    home = torch.get_default_device()
    with torch.device("meta"):  # draws no random numbers for initial weights
        network = kind()
    network.to_empty(device=home)
    network.load_state_dict(load_file(Path(__file__).with_name(f"{name}.safetensors")))  # float16 to float32
    return network.eval()
