"""OptVis: the loop that optimises an image until a part of a network responds as strongly as it can."""

from __future__ import annotations

import copy
import inspect
import platform
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from .network import NetworkInput, find_layer, frozen, open_relus, unwrap
from .objectives import DeepDream, LayerObjective, Objective, as_objective
from .params import Param
from .pictures import Visualisation
from .run import Run
from .transforms import Compose, standard

OPEN_STEPS = 16
"""For so many first steps gradients pass shut ReLUs (as in Lucid), and on for as long as a picture is silent."""

Callback = Callable[[int, Visualisation], Any]


class OptVis:
    """Optimise images until an objective is as high as it can be.

    ::

        OptVis.from_layer(network, layer="features/18", channel=12).vis().save("channel.png")

    Args:
        network: any ``nn.Module`` that takes images; it is frozen while a run lasts and handed back as it came.
        objective: an ``Objective``, a string (``"features/18:12"``) or a list of these, one picture for each.
        transforms: the jostling, a callable or a list of them; ``None`` for the default (``transforms.standard``).
        optim: class of the optimiser, called with parameters, ``lr=`` and ``weight_decay=``.
        device: where to run; by default where the network is. On another device a copy of the network is used.
        grad_tfms: a callable or a list of them, applied to the gradient of each parameter after each backward pass.
        mean: per channel, by default what the network's configuration says, or ImageNet's.
        std: likewise.
        extra_inputs: what the network takes beside the image: a tuple, or a dict of named inputs. Tensors whose
            first axis is 1 are repeated for each picture.
        channel_axis: where the channel stands in a layer's output, for all layers or ``{layer: axis}``; found by
            looking where not given.
        channel_noise: at each step every channel that a convolution or fully connected layer puts out is scaled by a
            random factor between 1 - this and 1 + this, so that the picture shows what many networks like this one
            would agree on. By default 0.6 over the root of the number of such layers on the way, at most 0.1.

    Raises:
        ValueError: an unknown layer, mean and std that do not fit, or no such device; the message names what would do.
        TypeError: no network, or no objective.
    """

    def __init__(
        self,
        network: nn.Module,
        objective: Any,
        transforms: Any = None,
        optim: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
        device: torch.device | str | None = None,
        grad_tfms: Any = None,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        *,
        extra_inputs: Sequence[Any] | Mapping[str, Any] | Tensor = (),
        channel_axis: int | Mapping[str, int] | None = None,
        channel_noise: float | None = None,
    ) -> None:
        if not isinstance(network, nn.Module):
            raise TypeError(f"a network is a torch.nn.Module, not {network!r}")
        self.network = network
        self.objective: Objective = as_objective(objective).located(lambda layer: find_layer(network, layer))
        self.transforms = standard() if transforms is None else Compose(_listed(transforms))
        self.optim = optim
        self.grad_tfms = [] if grad_tfms is None else _listed(grad_tfms)
        self.input = NetworkInput.of(network, mean, std)
        self.device = _usable(device) if device is not None else self.input.device
        self.extra_inputs = (extra_inputs,) if isinstance(extra_inputs, Tensor) else extra_inputs
        if isinstance(channel_axis, Mapping):
            channel_axis = {find_layer(network, layer): axis for layer, axis in channel_axis.items()}
        self.channel_axis = channel_axis
        if channel_noise is not None and not 0 <= channel_noise < 1:
            raise ValueError(f"channel_noise {channel_noise}: give a number from 0 (none) to below 1")
        self.channel_noise = channel_noise

    @classmethod
    def from_layer(
        cls,
        network: nn.Module,
        layer: str | nn.Module,
        channel: int | str | Sequence[int | str] | None = None,
        neuron: int | Sequence[int] | None = None,
        **options: Any,
    ) -> OptVis:
        """For a layer, one of its channels or one of its neurons.

        Args:
            network: any ``nn.Module`` that takes images.
            layer: an address (``features/18``, ``features.18``, ``features/18:12``) or the module itself.
            channel: index or name; a list makes one picture for each.
            neuron: position ``(y, x)`` in the layer's map, or the unit of a fully connected layer.
            options: of ``OptVis``.
        """
        return cls(network, LayerObjective(layer, channel, neuron), **options)

    @classmethod
    def from_dream(cls, network: nn.Module, layer: str | nn.Module, **options: Any) -> OptVis:
        """For a dream: give ``vis`` an ``ImageFile``, and see more of what the layer sees in it."""
        return cls(network, DeepDream(layer), **options)

    def vis(
        self,
        img_param: Param | None = None,
        stages: Iterable[tuple[int | Sequence[int], int]] | None = None,
        thresh: int | Iterable[int] | None = None,
        transform: bool = True,
        lr: float = 0.05,
        wd: float = 0.0,
        verbose: bool | str = True,
        seed: int = 0,
        callback: Callback | None = None,
        precision: str = "auto",
    ) -> Visualisation:
        """Run, and return the pictures.

        Args:
            img_param: where to begin; not changed. By default Fourier noise of the network's own size, or 224 px.
            stages: ``[(size, steps), ...]`` from coarse to fine, sizes in pixels or (height, width). By default a
                new picture begins at half its size, or less, and a given one keeps its size.
            thresh: steps, counted over all stages, at which a frame is kept; the last one ends the run, and given
                without stages stretches the default ones.
            transform: whether the image, and the network's channels, are jostled.
            lr: learning rate (the CPPN takes a tenth of it).
            wd: weight decay.
            verbose: a bar with the score in a terminal or notebook; ``"always"`` also elsewhere, ``False`` silent.
            seed: of everything that is drawn; the global random state is neither used nor changed.
            callback: called as ``callback(step, visualisation)`` after every step; ``False`` ends the run.
            precision: of the network's arithmetic: ``"fp32"``, ``"bf16"``, ``"fp16"``, or ``"auto"`` for bfloat16
                where the hardware computes in it natively. Image, colours and scores stay float32.

        Raises:
            ValueError: before the first step, on anything that cannot work: the message says what would.
        """
        with self._working_network() as network, _own_random_state(self.device, seed):
            run = Run(
                network, self.objective, self.input, self.device, img_param, stages, thresh, seed,
                self.extra_inputs, self.channel_axis, self.channel_noise if transform else 0.0, precision,
            )  # fmt: skip
            history: list[Tensor] = []
            frames: dict[int, Tensor] = {}
            settings = self._settings(run, transform, lr, wd, seed)
            with tqdm(total=run.steps, disable=_hide_bar(verbose), desc=repr(self.objective)[:40]) as bar:
                try:
                    for step, scores in self._climb(run, transform, lr, wd):
                        history.append(scores)
                        _advance(bar, scores)
                        if step in run.thresh:
                            frames[step] = run.param().detach().cpu()
                        if callback is not None:
                            state = Visualisation(run.param, scores, torch.stack(history), frames, settings)
                            if callback(step, state) is False:
                                break
                except KeyboardInterrupt:
                    pass  # the picture so far is kept
            final = self._final_scores(run)
            run.warn_of_silent_pictures()
        steps = torch.stack(history).cpu() if history else torch.empty(0, len(final))
        run.param.holds_picture = True
        return Visualisation(run.param, final, steps, frames, {**settings, "steps": len(history)})

    def _climb(self, run: Run, transform: bool, lr: float, wd: float) -> Iterator[tuple[int, Tensor]]:
        """The loop: from coarse to fine, step after step uphill; yields the step and its scores ``[N]``."""
        transforms = self.transforms if transform else Compose()
        step, silent = 0, True
        for stage in run.stages:
            run.enter(stage)
            optimiser = self._optimiser(run.param, lr, wd)
            with run.tap() as tap:

                def uphill() -> Tensor:
                    optimiser.zero_grad(set_to_none=True)
                    image = run.param()  # [N, C, H, W], in [0, 1]
                    seen = run.look(tap, image, transforms)  # jostled, normalised, forward no deeper than needed
                    run.scores = run.objective(seen)  # [N], higher is better
                    loss = -run.scores.sum()
                    loss.backward()
                    self._change_gradients(run.param)
                    return loss

                for _ in range(stage.steps):
                    step += 1
                    plain = step % OPEN_STEPS == 0  # shows whether a picture is silent by itself
                    relus = open_relus() if silent and not plain else nullcontext()
                    with relus, run.noise() if run.channel_noise else nullcontext():
                        optimiser.step(uphill)  # type: ignore[arg-type]
                    if silent and plain:
                        silent = bool(run.silent_pictures())
                    yield step, run.scores.detach()

    def _change_gradients(self, param: Param) -> None:
        for parameter in param.parameters() if self.grad_tfms else ():
            for change in self.grad_tfms:
                parameter.grad = change(parameter.grad)

    def _optimiser(self, param: Param, lr: float, wd: float) -> torch.optim.Optimizer:
        options = {"lr": lr * param.lr_scale, "weight_decay": wd}
        if "weight_decay" not in inspect.signature(self.optim).parameters:  # LBFGS
            if wd:
                raise ValueError(f"wd={wd}: {getattr(self.optim, '__name__', self.optim)} knows no weight decay")
            del options["weight_decay"]
        return self.optim(param.parameters(), **options)

    def _final_scores(self, run: Run) -> Tensor:
        """The scores of the finished pictures, not jostled; their gradient shows which are silent."""
        run.param.zero_grad(set_to_none=True)
        with run.tap() as tap:
            scores = run.objective(run.look(tap, run.param(), Compose()))
        (-scores.sum()).backward()
        return scores.detach().float().cpu()

    @contextmanager
    def _working_network(self) -> Iterator[nn.Module]:
        """The network, frozen; a copy where it has to run on another device."""
        network = unwrap(self.network)
        if self.device != self.input.device:
            network = copy.deepcopy(network).to(self.device)
        with frozen(network):
            yield network

    def _settings(self, run: Run, transform: bool, lr: float, wd: float, seed: int) -> dict[str, Any]:
        return {
            "network": type(unwrap(self.network)).__name__,
            "objective": repr(self.objective),
            "param": repr(run.param),
            "stages": [[list(stage.size), stage.steps] for stage in run.stages],
            "thresh": list(run.thresh),
            "transforms": repr(self.transforms) if transform else None,
            "channel_noise": run.channel_noise,
            "precision": str(run.dtype).removeprefix("torch."),
            "optim": getattr(self.optim, "__name__", repr(self.optim)),
            "lr": lr,
            "wd": wd,
            "seed": seed,
            "mean": list(self.input.mean),
            "std": list(self.input.std),
            "network_size": list(run.network_size) if run.network_size else None,
            "device": str(self.device),
            "versions": {
                "optvis": version("optvis"),
                "torch": torch.__version__,
                "python": platform.python_version(),
            },
        }


@contextmanager
def _own_random_state(device: torch.device, seed: int) -> Iterator[None]:
    """Randomness inside of a network or of a user's transforms is the run's own, and the global state is kept."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise ValueError(f"seed {seed!r}: give a whole number of at least 0")
    on_cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=on_cuda):
        torch.default_generator.manual_seed(seed)
        for one in on_cuda:
            torch.cuda.default_generators[one.index or 0].manual_seed(seed)
        yield


def _usable(device: torch.device | str) -> torch.device:
    """The device with its number, ``cuda:0`` for ``cuda``; raises ``ValueError`` where there is none such."""
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {str(device)!r} cannot be used here: {str(error).splitlines()[0]}") from error


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _hide_bar(verbose: bool | str) -> bool | None:
    """What tqdm calls ``disable``; ``None`` leaves it to whether the output is a terminal."""
    if verbose not in (True, False, "always"):
        raise ValueError(f"verbose={verbose!r}: choose True, False or 'always'")
    in_notebook = "ipykernel" in sys.modules
    return (False if in_notebook else None) if verbose is True else not verbose


def _advance(bar: tqdm[Any], scores: Tensor) -> None:
    """Move the bar; the scores are read, and the device waited for, only when the bar is drawn anew."""
    if not bar.disable and time.time() - bar.last_print_t >= bar.mininterval:
        bar.set_postfix_str(f"score {scores.mean().item():.4g}", refresh=False)
    bar.update()
