"""A network by name: ``demo``, ``torchvision:NAME``, ``timm:NAME``, ``hf:NAME``, ``FILE.py:FUNCTION``."""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Callable, Iterable
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

FORMS = "demo, torchvision:NAME, timm:NAME, hf:NAME or FILE.py:FUNCTION"


def load_network(name: str, weights: str | PathLike[str] | None = None) -> nn.Module:
    """A network in eval mode.

    Args:
        name: ``demo`` (bundled), ``torchvision:NAME``, ``timm:NAME``, ``hf:NAME`` (a Hugging Face name or folder),
            or ``FILE.py:FUNCTION``, a function without arguments that gives a network.
        weights: a file of weights, ``.safetensors`` or ``.pth`` (read with ``weights_only``). Without it the
            pretrained weights are used, which are downloaded once.

    Raises:
        ValueError: an unknown name, or weights that do not fit; the message names the nearest choice.
        ImportError: the package for it is not installed; the message says what to install.
        OSError: weights that cannot be downloaded or read.
    """
    kind, _, rest = name.partition(":")
    makers: dict[str, Callable[[str, bool], nn.Module]] = {"torchvision": _torchvision, "timm": _timm, "hf": _hf}
    pretrained = weights is None
    if name == "demo":
        from .demo import demo_network

        network: nn.Module = demo_network()
    elif kind in makers and rest:
        network = makers[kind](rest, pretrained)
    elif ".py:" in name:
        network = _from_file(*name.rsplit(":", 1))
    else:
        raise ValueError(f"no network {name!r}: give {FORMS}")
    if weights is not None:
        load_weights(network, weights)
    return network.eval()


def load_weights(network: nn.Module, path: str | PathLike[str]) -> None:
    """Fill a network from a ``.safetensors`` or ``.pth`` file; nothing is changed where the file does not fit."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file of weights {str(path)!r}")
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        try:
            state: Any = load_file(path)
        except Exception as error:
            raise ValueError(f"{str(path)!r} is no safetensors file: {error}") from error
    else:
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise ValueError(f"{str(path)!r} cannot be read as weights alone: {str(error).splitlines()[0]}") from error
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{str(path)!r} holds no state dict: save network.state_dict()")
    state = {key.removeprefix("module."): value for key, value in state.items()}
    own = network.state_dict()
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    unknown = [key for key in state if key not in own]
    wrong = [key for key in state if key in own and state[key].shape != own[key].shape]
    if missing or unknown or wrong:
        parts = [f"{len(keys)} {what} ({keys[0]}, …)" for what, keys in
                 (("missing", missing), ("unknown", unknown), ("of another shape", wrong)) if keys]  # fmt: skip
        raise ValueError(f"the weights in {path.name!r} do not fit {type(network).__name__}: {', '.join(parts)}")
    network.load_state_dict(state, strict=False)


def _torchvision(name: str, pretrained: bool) -> nn.Module:
    from torchvision import models

    names = models.list_models()
    if name not in names:
        raise ValueError(f"torchvision has no network {name!r}: {_nearest(name, names)}")
    weights = getattr(models.get_model_weights(name), "DEFAULT", None)
    try:
        network = models.get_model(name, weights=weights if pretrained else None)
    except OSError as error:  # URLError among them
        raise OSError(f"the weights of {name} could not be downloaded ({error}): give a file with --weights") from error
    if weights is not None:
        # torchvision keeps these beside the network, not in it.
        preset = weights.transforms()
        network.output_names = weights.meta.get("categories")  # type: ignore[assignment]
        if hasattr(preset, "crop_size"):
            side = preset.crop_size[0]
            network.input_size = (3, side, side)  # type: ignore[assignment]
            network.image_mean, network.image_std = list(preset.mean), list(preset.std)  # type: ignore[assignment]
    return network


def _timm(name: str, pretrained: bool) -> nn.Module:
    timm = _needs("timm", "timm")
    if not timm.is_model(name.split(".")[0]):
        raise ValueError(f"timm has no network {name!r}: {_nearest(name, timm.list_models())}")
    try:
        return timm.create_model(name, pretrained=pretrained)
    except (OSError, RuntimeError) as error:
        raise OSError(f"the weights of {name} could not be loaded ({error}): give a file with --weights") from error


def _hf(name: str, pretrained: bool) -> nn.Module:
    transformers = _needs("transformers", "hf")
    try:
        config = transformers.AutoConfig.from_pretrained(name)
        kinds = config.architectures or []
        classifies = any(kind.endswith("ForImageClassification") for kind in kinds)
        auto = transformers.AutoModelForImageClassification if classifies else transformers.AutoModel
        return auto.from_pretrained(name) if pretrained else auto.from_config(config)
    except (OSError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise OSError(f"Hugging Face has no network {name!r} here, or it could not be loaded: {first}") from error


def _from_file(path: str, function: str) -> nn.Module:
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path!r}")
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    make = getattr(module, function, None)
    if not callable(make):
        names = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        raise ValueError(f"{path} has no function {function!r}: {_nearest(function, names)}")
    network = make()
    if not isinstance(network, nn.Module):
        raise ValueError(f"{function} of {path} gives a {type(network).__name__}, not a torch.nn.Module")
    return network


def _needs(package: str, extra: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ImportError(f"this needs {package}: pip install 'optvis[{extra}]'") from error


def _nearest(name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(names), n=3, cutoff=0.4)
    return f"did you mean {' or '.join(near)}?" if near else "see its documentation for the names"
