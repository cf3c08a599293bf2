"""The bundled network: small, its truth known, and there without a download."""

from pathlib import Path
from typing import TypeVar

from safetensors.torch import load_file

from optvis.demo.networks import DemoNetwork, JudgeNetwork
from optvis.demo.patterns import COLOURS, PATTERNS, make_pictures

_Bundled = TypeVar("_Bundled", DemoNetwork, JudgeNetwork)

__all__ = ["COLOURS", "PATTERNS", "DemoNetwork", "JudgeNetwork", "demo_network", "judge_network", "make_pictures"]


def demo_network() -> DemoNetwork:
    """The bundled network, trained, in eval mode."""
    return _load(DemoNetwork(), "demo")


def judge_network() -> JudgeNetwork:
    """A network of another make and seed, trained, in eval mode: it names what pictures made from the first show."""
    return _load(JudgeNetwork(), "judge")


def _load(network: _Bundled, name: str) -> _Bundled:
    network.load_state_dict(load_file(Path(__file__).with_name(f"{name}.safetensors")))  # half to float as it copies
    return network.eval()
