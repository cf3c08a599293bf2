"""OptVis: the loop that optimises an image until a part of a network responds as strongly as it can."""

from __future__ import annotations

import copy
import inspect
import math
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from .checks import as_count
from .network import NetworkInput, find_layer, frozen, soft_relu, unwrap
from .objectives import Class, DeepDream, LayerObjective, Objective, as_objective
from .params import Param
from .rng import Rng
from .run import Run, silent_pictures
from .scheduler import Group, Scheduler, Until, joined, out_of_memory, plateau
from .stages import Stage
from .transforms import Compose, standard
from .versions import versions
from .visualisation import Visualisation

SOFTNESS = 0.8
"""How soft the edges of ReLUs are to gradients, where not given. Found by trying."""

Callback = Callable[[int, Visualisation], Any]


def adam(parameters: Iterable[Tensor], lr: float, weight_decay: float = 0.0) -> torch.optim.Adam:
    """Adam with a short memory, betas of 0.5 and 0.99.

    The image is seen jostled anew at each step and changes fast: what it looked like ten steps ago misleads. Of
    pictures in few steps other networks name more than with torch's own 0.9 and 0.999.
    """
    return torch.optim.Adam(parameters, lr=lr, betas=(0.5, 0.99), weight_decay=weight_decay)


class OptVis:
    """Optimise images until an objective is as high as it can be.

    ::

        OptVis.from_layer(network, layer="features/18", channel=12).vis().save("channel.png")

    Args:
        network: any ``nn.Module`` that takes images; it is frozen while a run lasts and handed back as it came.
        objective: an ``Objective``, a string (``"features/18:12"``) or a list of these, one picture for each.
        transforms: the jostling, a callable or a list of them; ``None`` for the default (``transforms.standard``).
        optim: the optimiser, called with parameters, ``lr=`` and ``weight_decay=``: a class such as
            ``torch.optim.AdamW``, or by default ``adam``.
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
        relu_softness: how far from the edge of a ReLU gradients pass in part, in root mean squares of what enters
            it: to the same end (see ``optvis.network.soft_relu``). 0 for exact gradients.

    Raises:
        ValueError: an unknown layer, mean and std that do not fit, or no such device; the message names what would do.
        TypeError: no network, or no objective.
    """

    def __init__(
        self,
        network: nn.Module,
        objective: Any,
        transforms: Any = None,
        optim: Callable[..., torch.optim.Optimizer] = adam,
        device: torch.device | str | None = None,
        grad_tfms: Any = None,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        *,
        extra_inputs: Sequence[Any] | Mapping[str, Any] | Tensor = (),
        channel_axis: int | Mapping[str, int] | None = None,
        channel_noise: float | None = None,
        relu_softness: float = SOFTNESS,
    ) -> None:
        if not isinstance(network, nn.Module):
            raise TypeError(f"a network is a torch.nn.Module, not {network!r}")
        self.network = network
        self.objective: Objective = as_objective(objective).located(lambda layer: find_layer(network, layer))
        self.transforms = standard() if transforms is None else Compose(_listed(transforms))
        self.optim = optim
        self.grad_tfms = [] if grad_tfms is None else _listed(grad_tfms)
        self.input = NetworkInput.of(network, mean, std)
        self.device = usable_device(device) if device is not None else self.input.device
        self.extra_inputs = (extra_inputs,) if isinstance(extra_inputs, Tensor) else extra_inputs
        if isinstance(channel_axis, Mapping):
            channel_axis = {find_layer(network, layer): axis for layer, axis in channel_axis.items()}
        self.channel_axis = channel_axis
        if channel_noise is not None and not 0 <= channel_noise < 1:
            raise ValueError(f"channel_noise {channel_noise}: give a number from 0 (none) to below 1")
        self.channel_noise = channel_noise
        if not 0 <= relu_softness < math.inf:
            raise ValueError(f"relu_softness {relu_softness}: give a number of 0 (exact gradients) or more")
        self.relu_softness = relu_softness

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
    def from_class(
        cls, network: nn.Module, name: int | str | Sequence[int | str], layer: str | nn.Module = "", **options: Any
    ) -> OptVis:
        """For a class of a classifier, told from its other classes (see ``Class``).

        Args:
            network: any ``nn.Module`` that takes images.
            name: index, or name where the network names its outputs; a list makes one picture for each.
            layer: what puts out a number for each class; by default the network's own output.
            options: of ``OptVis``.
        """
        return cls(network, Class(layer, name), **options)  # type: ignore[arg-type]

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
        lr: float = 0.1,
        wd: float = 0.0,
        verbose: bool | str = True,
        seed: int = 0,
        callback: Callback | None = None,
        precision: str = "auto",
        batch: int | None = None,
        until: str | Until | None = None,
        compile: bool = False,
        tile: int | None = None,
    ) -> Visualisation:
        """Run, and return the pictures.

        Args:
            img_param: where to begin; not changed. By default Fourier noise of the network's own size, or 224 px.
            stages: ``[(size, steps), ...]`` from coarse to fine, sizes in pixels or (height, width). By default a
                new picture begins at 48 to 80 px where it can, and a given one keeps its size.
            thresh: steps, counted over all stages, at which a frame is kept; the last one ends the run, and given
                without stages stretches the default ones.
            transform: whether the image, and the network's channels, are jostled, and gradients pass soft ReLUs.
            lr: learning rate (the CPPN takes an eightieth of it).
            wd: weight decay.
            verbose: a bar with the score in a terminal or notebook; ``"always"`` also elsewhere, ``False`` silent.
            seed: of everything that is drawn; the global random state is neither used nor changed.
            callback: called as ``callback(step, visualisation)`` after every step, with the pictures that took it
                (all, up to ``batch``; ``visualisation.pictures`` says which); ``False`` ends the run.
            precision: of the network's arithmetic: ``"fp32"``, ``"bf16"``, ``"fp16"``, or ``"auto"`` for bfloat16
                where the hardware computes in it natively. Image, colours and scores stay float32.
            batch: pictures in the network at once, the others wait; by default 8 on a CPU and 64 on a GPU, halved for
                as long as memory runs out. Every picture comes out as it would alone.
            until: lets pictures leave a stage before its last step, and others take their place: ``"plateau"`` once
                16 steps have brought less than 2 % under transforms that no step has drawn, or a function of a
                picture's number and the list of its scores under such transforms, one after every 4 steps.
            compile: compile transforms, network and the way back to the image (and on a GPU replay them as one CUDA
                graph). It takes a minute or two for each size, once for all batches: for many pictures of one layer.
            tile: for pictures too large for memory: the network sees them in tiles of at most so many pixels, one
                after another, with the seams elsewhere at each step. The score is the mean over the tiles, so that
                each shows what is looked for.

        Raises:
            ValueError: before the first step, on anything that cannot work: the message says what would.
        """
        batch, leave = self._room(batch), _leaving(until, thresh)
        if tile is not None:
            as_count("tile", tile)
        if compile and transform and not self.transforms.traceable:
            warnings.warn(
                "compile=True: only transforms of optvis can be compiled: the step runs as it is", stacklevel=2
            )
            compile = False
        with self._working_network() as network, _own_random_state(self.device, seed):
            run = Run(
                network, self.objective, self.input, self.device, img_param, stages, thresh, seed,
                self.extra_inputs, self.channel_axis, self.channel_noise if transform else 0.0, precision, compile,
                tile,
            )  # fmt: skip
            places = Scheduler(run.everyone, run.stages, batch, leave, lambda param: self._optimiser(param, lr, wd))
            settings = self._settings(run, transform, lr, wd, seed)
            turns = run.steps * math.ceil(len(run.everyone) / places.batch)
            with tqdm(total=turns, disable=_hide_bar(verbose), desc=repr(self.objective)[:40]) as bar:
                try:
                    for step in self._climb(run, places, transform):
                        _advance(bar, run.scores)
                        if callback is not None and callback(step, _state(run.groups, run.scores, settings)) is False:
                            break
                except KeyboardInterrupt:
                    pass  # the pictures so far are kept
            result = _state(places.finished(), torch.empty(0), settings)
            result.scores = self._final_scores(run, result, places.batch)
        result.param.holds_picture = True
        result.settings["until"] = None if leave is None else until if isinstance(until, str) else repr(until)
        result.settings["tile"] = tile
        result.settings["compile_seconds"] = round(run.compiler.seconds, 1) if run.compiler is not None else None
        if run.compiler is not None and run.compiler.failure:
            warnings.warn(f"compile=True: {run.compiler.failure}: the step ran as it is", stacklevel=2)
        if len(result.pictures) < len(run.everyone):
            result.settings["objective"] = repr(self.objective.take(result.pictures))
        return result

    def _climb(self, run: Run, places: Scheduler, transform: bool) -> Iterator[int]:
        """The loop: from coarse to fine, step after step uphill; yields the step of the first picture at work."""
        transforms, softness = (self.transforms, self.relu_softness) if transform else (Compose(), 0.0)
        for stage in places.turns():
            run.enter(stage, places.at_work)

            def see(image: Tensor, rng: Rng) -> Tensor:
                changed = run.stems | soft_relu(softness, run.opens_relus) | run.noise(rng)
                seen = run.look(tap, image, transforms, rng, changed)  # jostled, normalised, no deeper than needed
                return run.objective(seen)  # [N], higher is better

            def uphill() -> Tensor:
                run.forget_gradients()
                image = run.images()  # [N, C, H, W], in [0, 1]
                run.scores = run.wrapped(see, image)(image, run.rng)
                loss = -run.scores.sum()
                loss.backward()
                self._change_gradients(run)
                return loss

            try:
                with run.tap() as tap, run.rng.undone(on_error=True):
                    run.climb(uphill)
                run.note(transforms if places.until else None)
            except RuntimeError as error:
                if not (out_of_memory(error) and places.shrink()):
                    raise
                continue
            yield len(run.groups[0].history)

    def _change_gradients(self, run: Run) -> None:
        for parameter in run.parameters() if self.grad_tfms else ():
            for change in self.grad_tfms:
                parameter.grad = change(parameter.grad)

    def _room(self, batch: int | None) -> int:
        """Pictures at once."""
        if batch is None:
            return 64 if self.device.type == "cuda" else 8
        return as_count("batch", batch)

    def _optimiser(self, param: Param, lr: float, wd: float) -> torch.optim.Optimizer:
        options = {"lr": lr * param.lr_scale, "weight_decay": wd}
        if "weight_decay" not in inspect.signature(self.optim).parameters:  # LBFGS
            if wd:
                raise ValueError(f"wd={wd}: {getattr(self.optim, '__name__', self.optim)} knows no weight decay")
            del options["weight_decay"]
        return self.optim(param.parameters(), **options)

    def _final_scores(self, run: Run, result: Visualisation, batch: int) -> Tensor:
        """``[N]`` scores of the finished pictures, not jostled; their exact gradient shows which are silent."""
        scores, silent = [], []
        for some in torch.arange(len(result.pictures)).split(batch):
            param = result.param.take(some.tolist())
            pictures = [result.pictures[i] for i in some.tolist()]
            run.enter(Stage(param.size, 0), [Group(pictures, param, run.everyone.rng)])
            run.forget_gradients()
            scores.append(run.scores_of(run.images(), Compose(), run.rng))
            (-scores[-1].sum()).backward()
            silent += [pictures[i] for i in silent_pictures(param)]
        run.warn_of(silent)
        return torch.cat(scores).detach().float().cpu()

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
            "param": repr(run.everyone.param),
            "stages": [[list(stage.size), stage.steps] for stage in run.stages],
            "thresh": list(run.thresh),
            "transforms": repr(self.transforms) if transform else None,
            "channel_noise": run.channel_noise,
            "relu_softness": self.relu_softness if transform else 0.0,
            "precision": str(run.dtype).removeprefix("torch."),
            "optim": getattr(self.optim, "__name__", repr(self.optim)),
            "lr": lr,
            "wd": wd,
            "seed": seed,
            "mean": list(self.input.mean),
            "std": list(self.input.std),
            "network_size": list(run.network_size) if run.network_size else None,
            "device": str(self.device),
            "versions": versions(),
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


def _state(groups: Sequence[Group], scores: Tensor, settings: dict[str, Any]) -> Visualisation:
    """What is known of these pictures."""
    pictures, param, history, frames = joined(groups)
    steps = {**settings, "steps": len(history)}
    return Visualisation(param, scores, history, frames, steps, pictures=pictures)


def _leaving(until: str | Until | None, thresh: int | Iterable[int] | None) -> Until | None:
    if until is None or callable(until):
        leave = until
    elif until == "plateau":
        leave = plateau
    else:
        raise ValueError(f"until={until!r}: choose 'plateau', a function of a picture and its scores, or None")
    if leave is not None and thresh is not None:
        raise ValueError("until lets pictures leave at steps of their own, thresh says at which all do: give one")
    return leave


def usable_device(device: torch.device | str) -> torch.device:
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
