"""Draw the layers of an architecture through the public functions, and compare with what plain hooks see."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from optvis import Channel, ImageParam, OptVis, Visualisation

from .architecture import Architecture, Layout

STEPS = 3
RATES = (0.03, 0.002, 0.0001)
"""Learning rates; a smaller one is tried where the score did not rise: in a deep random network steps overshoot."""


@dataclass(frozen=True)
class Verdict:
    """What became of one layer.

    Attributes:
        outcome: ``drawn``, ``refused``, ``wrong`` (drawn, but not what the truth says) or ``unclear`` (an error that is
            none of optvis's own, that comes too late, does not name the layer, or refuses what can be drawn).
        said: the error, or how the picture is wrong.
    """

    layer: str
    kind: str
    shape: tuple[int, ...]
    layout: str
    outcome: str
    said: str = ""

    @property
    def good(self) -> bool:
        return self.outcome in ("drawn", "refused")


@dataclass
class Seen:
    """A layer as a plain forward pass shows it."""

    module: nn.Module
    raw: Tensor
    layout: Layout


def first_floating(output: Any) -> Tensor | None:
    """The first floating-point tensor in tensors, tuples, lists, mappings and model outputs."""
    if isinstance(output, Tensor):
        return output if output.is_floating_point() else None
    parts = output.values() if isinstance(output, Mapping) else output if isinstance(output, (tuple, list)) else ()
    return next((found for part in parts if (found := first_floating(part)) is not None), None)


def addresses(network: nn.Module, aliases: bool) -> dict[str, nn.Module]:
    """Modules by address; with ``aliases`` a module that has several names stands under each."""
    return {name.replace(".", "/"): module for name, module in network.named_modules(remove_duplicate=not aliases)}


@contextmanager
def recording(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """What these modules put out at their last call, in the order of their first; a copy, lest others change it."""
    seen: dict[str, Tensor] = {}

    def hook_for(address: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            tensor = first_floating(output)
            if tensor is not None:
                seen[address] = tensor.clone()

        return hook

    hooks = [module.register_forward_hook(hook_for(address)) for address, module in modules.items()]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def pick(called: Mapping[str, nn.Module], count: int) -> list[str]:
    """Up to ``count`` layers, in the order of their calls: of each class one from its middle, then another of each."""
    groups: dict[str, list[str]] = {}
    for address, module in called.items():
        groups.setdefault(type(module).__name__, []).append(address)
    chosen = [""] if "" in called else []
    rounds = [sorted(group, key=lambda a: _spread(group.index(a), len(group))) for group in groups.values()]
    for turn in range(count):
        row = [group[turn] for group in rounds if turn < len(group) and group[turn] not in chosen]
        room = count - len(chosen)
        chosen += row if len(row) <= room else [row[int((i + 0.5) * len(row) / room)] for i in range(room)]
    return [address for address in called if address in chosen]


def _spread(index: int, count: int) -> tuple[int, int]:
    """Sorts the middle of a list first, then its quarters and so on."""
    place, step, depth = count // 2, count // 2, 0
    while step > 0 and (index - place) % max(step, 1):
        step //= 2
        depth += 1
    return depth, index


class Truth:
    """An architecture seen through plain hooks, without optvis."""

    def __init__(self, architecture: Architecture) -> None:
        self.architecture = architecture
        self.network = architecture.made_plain().eval()
        size = architecture.size
        self.size = (size, size) if isinstance(size, int) else size
        modules = addresses(self.network, aliases=bool(architecture.draw))
        some = torch.rand(2, architecture.channels, *self.size, generator=torch.Generator().manual_seed(0))
        with recording(modules) as seen:
            self.run(some[:1])
        called = {address: modules[address] for address in seen}
        chosen = architecture.draw or pick(called, architecture.count)
        self.layers = {
            address: Seen(modules[address], seen[address], architecture.layout(address, modules[address]))
            for address in chosen
            if address in seen
        }
        self.unseen = [address for address in chosen if address not in seen]
        self._confirm(some)

    def run(self, images: Tensor) -> None:
        """A forward pass with gradients, as some modules call others only where gradients are wanted."""
        images = images if images.requires_grad else images.detach().requires_grad_()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.network(images, **self.architecture.inputs)

    def _confirm(self, some: Tensor) -> None:
        """The truth fits the network: two pictures in one batch come out as each alone, channels have their number."""
        modules = {a: layer.module for a, layer in self.layers.items() if not layer.layout.must_be_refused}
        outputs = [some[:1], some[1:]] if self.architecture.alone else [some[:1], some[1:], some]
        seen = []
        for images in outputs:
            with recording(modules) as outs:
                self.run(images)
            seen.append(outs)
        faults = [fault for address in modules if (fault := self._misfit(address, [outs[address] for outs in seen]))]
        assert not faults, "the truth does not fit: " + "; ".join(faults)

    def _misfit(self, address: str, outputs: Sequence[Tensor]) -> str:
        """How the layout does not fit what the layer put out for one picture, another and both; ``""`` if it does."""
        layer = self.layers[address]
        what = f"{address} ({type(layer.module).__name__}), {layer.layout.text} of {list(layer.raw.shape)}"
        try:
            channels = layer.layout.channels(layer.raw)
            alone = torch.cat([layer.layout.pictures(output, 1) for output in outputs[:2]])
            together = layer.layout.pictures(outputs[2], 2) if len(outputs) > 2 else alone
        except (ValueError, RuntimeError) as error:
            return f"{what}: {error}"
        for name in ("out_channels", "out_features", "num_features"):
            width = getattr(layer.module, name, channels)
            if type(layer.module).__module__.startswith("torch.nn.modules") and width != channels:
                return f"{what}: {channels} channels, but {name} is {width}"
        if self.architecture.noisy:
            return ""
        close = together.shape == alone.shape and torch.allclose(
            together, alone, rtol=1e-3, atol=1e-3 * float(alone.square().mean().sqrt())
        )
        return "" if close else f"{what}: the pictures are mixed up"

    def channel(self, address: str, number: int) -> int:
        layer = self.layers[address]
        return (5 + 7 * number) % layer.layout.channels(layer.raw)

    def scores(self, images: Tensor, wanted: Sequence[tuple[str, int]]) -> tuple[Tensor, Tensor]:
        """The score of each normalised picture for its layer and channel, and the layer's root mean square, ``[N]``."""
        modules = {address: self.layers[address].module for address, _ in wanted}
        scores, scales = [], []
        groups = images.split(1) if self.architecture.alone else [images]
        at = 0
        for group in groups:
            with recording(modules) as seen:
                self.run(group)
            for i in range(len(group)):
                address, channel = wanted[at]
                activation = self.layers[address].layout.pictures(seen[address], len(group))[i]
                scores.append(activation[channel].mean())
                scales.append(activation.detach().square().mean().sqrt())
                at += 1
        return torch.stack(scores), torch.stack(scales)


def reported(result: Visualisation, name: str) -> Any:
    settings: Any = result.settings
    return settings[name] if isinstance(settings, Mapping) else getattr(settings, name)


class Refused(Exception):
    """optvis refused, before the first step."""


class Unclear(Exception):
    """An error that is none of optvis's refusals."""


def draw(
    truth: Truth, network: nn.Module, objective: Any, start: ImageParam, lr: float, steps: int = STEPS
) -> Visualisation:
    stepped: list[int] = []
    try:
        return OptVis(network, objective, **truth.architecture.options).vis(
            start, stages=[(truth.size, steps)], transform=False, lr=lr, verbose=False, batch=start.batch,
            precision="fp32",
            callback=lambda step, _: stepped.append(step) and None,
        )  # fmt: skip
    except ValueError as error:
        if stepped:
            raise Unclear(f"after {len(stepped)} steps: {_brief(error)}") from error
        raise Refused(str(error)) from error
    except Exception as error:
        raise Unclear(f"{'after a step: ' if stepped else ''}{type(error).__name__}: {_brief(error)}") from error


Wanted = Sequence[tuple[str, int]]
"""A layer and a channel for each picture."""


def faults(truth: Truth, network: nn.Module, wanted: Wanted, objective: Any) -> list[str]:
    """Draw, and say of each picture what is wrong with it; ``""`` where nothing is."""
    start = starts(truth, range(len(wanted)))
    result = draw(truth, network, objective, start, RATES[0])
    found = _compare(truth, wanted, start, result)
    stubborn = [i for i, fault in enumerate(found) if fault.startswith("did not rise")]
    for i in stubborn:
        if _is_flat(truth, wanted[i], i, result):
            found[i] = ""
    for lr in RATES[1:]:
        again = [i for i in stubborn if found[i]]
        if len(set(wanted)) == 1 and again:
            start = starts(truth, range(len(wanted)))
            new = _compare(truth, wanted, start, draw(truth, network, objective, start, lr))
            found = [new[i] if i in again else fault for i, fault in enumerate(found)]
        elif again:
            few, start = [wanted[i] for i in again], starts(truth, again)
            new = _compare(truth, few, start, draw(truth, network, [Channel(*one) for one in few], start, lr))
            found = [new[again.index(i)] if i in again else fault for i, fault in enumerate(found)]
        stubborn = [i for i in again if found[i].startswith("did not rise")]
    return found


def starts(truth: Truth, seeds: Sequence[int]) -> ImageParam:
    return ImageParam(truth.size, len(seeds), channels=truth.architecture.channels, seed=list(seeds))


def _normalised(images: Tensor, result: Visualisation) -> Tensor:
    mean, std = (torch.tensor(reported(result, name)).view(1, -1, 1, 1) for name in ("mean", "std"))
    return (images - mean) / std


def _compare(truth: Truth, wanted: Wanted, start: ImageParam, result: Visualisation) -> list[str]:
    before, _ = truth.scores(_normalised(start().detach().clamp(0, 1), result), wanted)
    after, scales = truth.scores(_normalised(result.images, result), wanted)
    rough = 0.2 if truth.architecture.noisy else 1e-3
    found = []
    for said, is_, was, scale in zip(result.scores.tolist(), after.tolist(), before.tolist(), scales.tolist()):
        if not abs(said - is_) <= rough * (abs(is_) + 0.1 * scale):
            found.append(f"score {said:.5g}, but the channel's mean is {is_:.5g}")
        else:
            found.append("" if is_ > was else f"did not rise: {was:.7g} to {is_:.7g}")
    return found


def _is_flat(truth: Truth, wanted: tuple[str, int], seed: int, result: Visualisation) -> bool:
    """Whether the score's gradient at the start is zero, rounding errors apart."""
    start = ImageParam(truth.size, 1, channels=truth.architecture.channels, seed=[seed])().detach().clamp(0, 1)
    images = _normalised(start, result).requires_grad_()
    score, scale = truth.scores(images, [wanted])
    if not score.requires_grad:
        return True
    return float(torch.autograd.grad(score.sum(), images)[0].abs().sum()) <= 1e-4 * float(scale)


def check(architecture: Architecture, several: int = 1) -> list[Verdict]:
    """Draw all layers of an architecture, and some of them in a batch of one channel.

    Args:
        several: how many layers are also drawn three times in one batch.
    """
    truth, network = Truth(architecture), architecture.made()
    verdicts: dict[str, Verdict] = {}

    def note(address: str, outcome: str, said: str = "") -> None:
        layer = truth.layers[address]
        kind, shape = type(layer.module).__name__, tuple(layer.raw.shape)
        verdicts[address] = Verdict(address, kind, shape, layer.layout.text, outcome, said)

    for address in truth.unseen:
        verdicts[address] = Verdict(address, "", (), "refused", *_refusal(truth, network, address))
    sure = [address for address, layer in truth.layers.items() if not layer.layout.may_be_refused]
    together = _together(truth, network, sure) if len(sure) > 1 and not architecture.alone else None
    for address, layer in truth.layers.items():
        if layer.layout.must_be_refused:
            note(address, *_refusal(truth, network, address))
        elif together is not None and address in together:
            fault = together[address]
            note(address, "wrong" if fault else "drawn", fault)
        else:
            note(address, *_one(truth, network, address, 1))
    for address in _for_several(truth, several):
        if verdicts[address].outcome == "drawn":
            outcome, said = _one(truth, network, address, 3)
            if outcome != "drawn":
                note(address, outcome, f"3 pictures of one channel: {said}")
    return list(verdicts.values())


def _for_several(truth: Truth, count: int) -> list[str]:
    """The layers whose layout is oddest."""
    layers = [address for address, layer in truth.layers.items() if not layer.layout.must_be_refused]

    def oddness(address: str) -> int:
        text = truth.layers[address].layout.letters(truth.layers[address].raw.dim())
        return 2 * (text[0] != "N") + (text[:2] != "NC")

    return sorted(layers, key=oddness, reverse=True)[:count]


def _together(truth: Truth, network: nn.Module, layers: Sequence[str]) -> dict[str, str] | None:
    wanted = [(address, truth.channel(address, i)) for i, address in enumerate(layers)]
    objective = [f"{address}:{channel}" if address else Channel(address, channel) for address, channel in wanted]
    try:
        found = faults(truth, network, wanted, objective)
    except (Refused, Unclear):
        return None  # which layer it was shows when each is drawn alone
    return dict(zip(layers, found))


def _one(truth: Truth, network: nn.Module, address: str, copies: int) -> tuple[str, str]:
    channel = truth.channel(address, 0)
    try:
        found = faults(truth, network, [(address, channel)] * copies, Channel(address, [channel] * copies))
    except Refused as error:
        named = _is_named(truth, address, str(error))
        allowed = truth.layers[address].layout.may_be_refused or _matches(truth, str(error))
        outcome = "refused" if named and allowed else "unclear"
        return outcome, f"{'' if allowed else 'refused, but it can be drawn: '}{_brief(error)}"
    except Unclear as error:
        return "unclear", str(error)
    fault = next((f"picture {i} of {copies}: {f}" for i, f in enumerate(found) if f), "")
    return ("wrong", fault) if fault else ("drawn", "")


def _refusal(truth: Truth, network: nn.Module, address: str) -> tuple[str, str]:
    """Ask for what cannot be drawn."""
    try:
        draw(truth, network, Channel(address, 0), ImageParam(truth.size, 1, channels=truth.architecture.channels), 0.03)
    except Refused as error:
        return "refused" if _is_named(truth, address, str(error)) else "unclear", _brief(error)
    except Unclear as error:
        return "unclear", str(error)
    return "wrong", "drawn, but it cannot be"


def _is_named(truth: Truth, address: str, message: str) -> bool:
    return bool(address and re.search(rf"(?<![\w/]){re.escape(address)}(?![\w/])", message)) or (
        not address and ("''" in message or "output" in message)
    ) or _matches(truth, message)  # fmt: skip


def _matches(truth: Truth, message: str) -> bool:
    return truth.architecture.refusal is not None and bool(re.search(truth.architecture.refusal, message))


def _brief(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
