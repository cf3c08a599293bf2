"""OptVis: the loop that optimises images so that a part of a network responds as strongly as possible."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from .checks import Size, as_count, as_function, whole
from .display import RunBar
from .interrupts import Interrupt, interruptible, postponed
from .network import LayerShape, NetworkInput, find_layer, isolated, out_of_memory, soft_relu
from .network.channel_noise import random_noise
from .network.inputs import usable_device
from .objectives import Class, DeepDream, LayerObjective, Objective, as_objective
from .objectives.algebra import IMAGE
from .params import ImageParam, Param
from .plan import Plan
from .prepared import Prepared, known_names
from .rng import Echo, Rng
from .run import Run
from .scheduler import Group, Scheduler, Turn, Until
from .scoring import ScoreFunction
from .settings import SOFTNESS, Settings, adam, as_optimiser
from .stages import work
from .tiles import in_tiles, tile_size
from .visualisation import Visualisation

Callback = Callable[[int, Visualisation], Any]
Busy = Callable[[str], AbstractContextManager[Any]]


class OptVis:
    """Optimise images to maximise an objective.

    ::

        OptVis.from_layer(network, layer="features/18", channel=12).vis().save("channel.png")

    Args:
        network: any ``nn.Module`` that takes images. It is only read: all work is done on a shadow of it.
        objective: an ``Objective``, a string (``"features/18:12"``), or a list of these, one picture for each.
        transforms: random augmentations, a callable or a list; ``None`` for the default (``transforms.standard``).
        optim: the optimiser, called with parameters, ``lr=`` and ``weight_decay=``: a class such as
            ``torch.optim.AdamW``, or its name in any case; by default ``"adam"``, which has betas of 0.5 and 0.99.
        device: where to run; by default the network's device. On another device a copy of the weights is used.
        grad_tfms: a callable or a list, applied to the gradient of each parameter after each backward pass.
        mean: per channel; by default the network's own, or what is assumed (see ``NetworkInput.of``).
        std: likewise.
        extra_inputs: further inputs of the network after the image: a tuple, or a dict of named inputs. Tensors whose
            first axis has length 1 are repeated for each picture.
        channel_axis: of layers' outputs, for all layers or ``{layer: axis}``; by default found by probing.
        names: of the network's outputs, in their order, if neither the network nor ImageNet's classes name them.
        channel_noise: n between 0 and 1: at each step, every output channel of each convolution and fully connected
            layer is multiplied by a random factor between 1 - n and 1 + n, so that the picture does not depend on the
            exact weights. By default 0.6 over the square root of the number of such layers, at most 0.1.
        relu_softness: half the width of the band around 0 in which ReLUs pass gradients in part, in root mean squares
            of their input (see ``optvis.network.soft_relu``). 0 for exact gradients.

    Raises:
        ValueError: an unknown layer, mean and std that do not fit, or an unknown device; the message names valid ones.
        TypeError: no network, or no objective.
    """

    def __init__(
        self,
        network: nn.Module,
        objective: Any,
        transforms: Any = None,
        optim: Callable[..., torch.optim.Optimizer] | str = adam,
        device: torch.device | str | None = None,
        grad_tfms: Any = None,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        *,
        extra_inputs: Sequence[Any] | Mapping[str, Any] | Tensor = (),
        channel_axis: int | Mapping[str, int] | None = None,
        names: Sequence[str] | None = None,
        channel_noise: float | None = None,
        relu_softness: float = SOFTNESS,
    ) -> None:
        if isinstance(channel_axis, Mapping):
            channel_axis = {find_layer(network, layer): axis for layer, axis in channel_axis.items()}
        own = NetworkInput.of(network, mean, std)
        self.network = network
        self.input = replace(own, device=own.device if device is None else usable_device(device))
        self.settings = Settings(
            objective=as_objective(objective).located(lambda layer: find_layer(network, layer)),
            transforms=transforms, optim=as_optimiser(optim), grad_tfms=grad_tfms, mean=mean, std=std,  # type: ignore[arg-type]
            extra_inputs=extra_inputs, channel_axis=channel_axis, channel_noise=channel_noise,  # type: ignore[arg-type]
            names=names, relu_softness=relu_softness,  # type: ignore[arg-type]
        )  # fmt: skip
        self.settings.objective.check_names(lambda layer: known_names(network, layer, self.settings.names))
        self._prepared: list[Prepared] = []  # those that no call uses at present

    @classmethod
    def from_layer(
        cls,
        network: nn.Module,
        layer: str | nn.Module,
        channel: int | str | Sequence[int | str] | None = None,
        neuron: int | Sequence[int] | None = None,
        **options: Any,
    ) -> OptVis:
        """Make an ``OptVis`` for ``LayerObjective(layer, channel, neuron)``: a layer, or its channels or a neuron."""
        return cls(network, LayerObjective(layer, channel, neuron), **options)

    @classmethod
    def from_class(
        cls, network: nn.Module, name: int | str | Sequence[int | str], layer: str | nn.Module = "", **options: Any
    ) -> OptVis:
        """Make an ``OptVis`` for ``Class(layer, name)``: a class of a classifier in contrast to its other classes."""
        return cls(network, Class(layer, name), **options)  # type: ignore[arg-type]

    @classmethod
    def from_dream(cls, network: nn.Module, layer: str | nn.Module, **options: Any) -> OptVis:
        """Make an ``OptVis`` for DeepDream: give ``vis`` an ``ImageFile`` to amplify what the layer detects in it."""
        return cls(network, DeepDream(layer), **options)

    @property
    def objective(self) -> Objective:
        """What is maximised."""
        return self.settings.objective

    def shapes(self) -> Mapping[str, LayerShape]:
        """The shapes of the outputs of the objective's layers, for a picture of the network's own size or 224 px."""
        with postponed(), isolated(self.input.device):
            prepared = self._take_prepared()
            shapes = Plan.of(self.settings, prepared).shapes
            self._prepared.append(prepared)
        return shapes

    def vis(
        self,
        img_param: Param | int | Sequence[int] | None = None,
        stages: Iterable[tuple[int | Sequence[int], int]] | None = None,
        thresh: int | Iterable[int] | None = None,
        *,
        steps: int | None = None,
        transform: bool = True,
        lr: float | None = None,
        wd: float = 0.0,
        verbose: bool | str = True,
        seed: int | Sequence[int] = 0,
        callback: Callback | None = None,
        precision: str = "auto",
        batch: int | None = None,
        until: str | Until | None = None,
        compile: bool = False,
        tile: int | None = None,
    ) -> Visualisation:
        """Optimise the pictures and return them.

        A first Ctrl-C ends the run after the current step and keeps the pictures so far; a second one raises
        ``KeyboardInterrupt``.

        Args:
            img_param: the start: a parameterisation, which is not changed, or the size of new Fourier noise in pixels
                or (height, width). By default noise of the network's own size, or 224 px.
            stages: ``[(size, steps), ...]`` from coarse to fine, sizes in pixels or (height, width). By default a new
                picture begins at 48 to 80 px if the network runs there, and a given one keeps its size.
            thresh: steps, counted over all stages, at which a frame is kept. The last one ends the run; without
                ``stages``, the default stages are stretched to it.
            steps: the number of steps, as a ``thresh`` of one number.
            transform: False for no transforms, no channel noise and exact ReLU gradients.
            lr: learning rate (the CPPN uses an eightieth of it); by default 0.1, or what suits ``optim``
                (``optvis.settings.RATES``).
            wd: weight decay.
            verbose: show a bar with the score in a terminal or notebook; ``"always"`` also elsewhere, ``False`` never.
            seed: of everything random; the global random state is neither used nor changed. A list has one for each
                picture, and makes as many pictures where nothing else says how many.
            callback: called as ``callback(step, visualisation)`` after every step, with the pictures that took the step
                (``visualisation.pictures`` holds their numbers); returning ``False`` ends the run.
            precision: of the network's arithmetic: ``"fp32"``, ``"bf16"``, ``"fp16"``, or ``"auto"`` for bfloat16
                if the hardware computes in it natively. Image, colours and scores stay float32.
            batch: number of pictures in the network at once, by default 8 on a CPU and 64 on a GPU; halved when memory
                runs out. Every picture is the same as if it were drawn alone.
            until: lets pictures leave a stage before its last step: ``"plateau"`` if the score rose by less than 2 % in
                16 steps, or a function of a picture's number and the list of its scores, which returns True to leave.
                These are taken every 4 steps, under transforms that are not used in optimisation.
            compile: compile transforms, network and backward pass (on a GPU replayed as one CUDA graph). This takes a
                minute or two for each size, once for all batches; it pays for many pictures of one layer.
            tile: for pictures too large for memory: the network gets them in tiles with sides of at most this many
                pixels, one after another, with the seams at other positions in each step. The score is the mean over
                the tiles.

        Raises:
            ValueError: before the first step, for invalid arguments; the message names valid ones.
            RuntimeError: the scores are no longer finite numbers.
            KeyboardInterrupt: Ctrl-C before the first step, or a second one.
        """
        if callback is not None:
            as_function("callback", callback, "a function of a step and a visualisation, or None")
        with interruptible() as interrupt:
            loop = self._begin(
                img_param, stages=stages, thresh=thresh, steps=steps, transform=transform, lr=lr, wd=wd, seed=seed,
                precision=precision, batch=batch, until=until, compile=compile, tile=tile,
            )  # fmt: skip
            if interrupt.requested:
                raise KeyboardInterrupt
            with RunBar(loop.work, loop.steps, verbose, repr(self.objective)) as bar:
                groups = _drawn(loop, interrupt, bar, callback)
            result = loop.result(groups, interrupt.requested)
            self._prepared.append(loop.prepared)
            del loop, bar, groups  # freeing memory takes time, in which Ctrl-C would lose the result
        return result

    def stream(self, img_param: Param | int | Sequence[int] | None = None, **options: Any) -> Iterator[Visualisation]:
        """Optimise the pictures and yield each as soon as it is finished; memory does not grow with their number.

        Takes the arguments of ``vis``, except ``verbose`` and ``callback``. Each visualisation holds one picture, whose
        number is in ``pictures``; they come in the order of their numbers unless ``until`` lets some finish early.
        """
        with postponed():
            loop = self._begin(img_param, **options)
        turns, interrupted, more = loop.climb(), False, True
        while more:
            with interruptible() as interrupt:
                more = next(turns, None) is not None
                ready = [one for group in loop.scheduler.collect() for one in loop.result([group]).split()]
                interrupted = interrupt.requested
            yield from ready
            if interrupted:
                raise KeyboardInterrupt
        self._prepared.append(loop.prepared)

    def _begin(self, start: Any, steps: int | None = None, **options: Any) -> Loop:
        """Check all arguments and prepare the run before the first step."""
        if steps is not None:
            if options.get("thresh") is not None:
                raise ValueError("steps= and thresh= both say when the run ends: give one of them")
            options["thresh"] = as_count("steps", steps)
        sized = isinstance(start, (int, tuple, list)) or whole(start) is not None
        settings = replace(self.settings, **{"size" if sized else "img_param": start}, **options)
        with isolated(self.input.device):
            prepared = self._take_prepared()
            return Loop.of(Plan.of(settings, prepared), prepared)

    def _take_prepared(self) -> Prepared:
        """The network prepared for the objective's layers, from an earlier call if the network is still the same."""
        while self._prepared:
            prepared = self._prepared.pop()
            if prepared.holds(self.network):
                return prepared
        settings = self.settings
        given, extra, axis = self.input, settings.extra_inputs, settings.channel_axis
        return Prepared(self.network, settings.layers, given, extra, axis, settings.names)


OPTIONS = tuple(inspect.signature(OptVis).parameters)[2:]
"""The names of the arguments of ``OptVis`` after network and objective."""


@dataclass(frozen=True, eq=False)
class Loop(Run):
    """A run with its loop."""

    @classmethod
    def of(cls, plan: Plan, prepared: Prepared) -> Loop:
        """Set up a run before its first step."""
        settings, given = plan.settings, prepared.given
        ready = prepared.ready(settings.precision, plan.shown_size(plan.stages[0].size))
        ready = replace(ready, forward=ready.forward.seeded(settings.seeds[0], ready.forward.generator is not None))

        def begin(pictures: Sequence[int]) -> Group:
            own = [settings.seeds[picture] for picture in pictures]
            if settings.img_param is None:
                param: Param = ImageParam(settings.final_size(given), len(own), channels=given.channels, seed=own)
            else:
                param = copy.deepcopy(settings.img_param.take(pictures))
            rng = Rng([seed + 2**32 for seed in own], given.device)
            return Group(pictures, param.to(given.device), rng, plan.optimiser)

        scheduler = Scheduler(settings.count, begin, plan.stages, plan.slots, settings.leave)
        return cls(plan, prepared, ready, scheduler)

    @property
    def batches(self) -> list[int]:
        """The numbers of pictures that are in the network at once, one batch after another."""
        count, slots = self.plan.settings.count, self.plan.slots
        return [min(slots, count - first) for first in range(0, count, slots)]

    @property
    def steps(self) -> int:
        """Number of steps of the loop if no picture leaves early."""
        return sum(stage.steps for stage in self.plan.stages) * len(self.batches)

    @property
    def work(self) -> int:
        """The time that these steps take, as ``stages.work`` measures it."""
        return sum(stage.steps * work(stage.size, count) for stage in self.plan.stages for count in self.batches)

    def climb(self, busy: Busy = nullcontext) -> Iterator[Turn]:
        """The loop: image, transforms, network, objective, gradient ascent; yields the pictures that took a step.

        ``busy`` is called with a text and returns a context in which other work than steps is done.
        """
        plan, forward = self.plan, self.ready.forward
        turn: Turn | None = None
        while due := self._due():
            if turn is None or (turn.size, turn.groups) != due:
                turn = self.turn(*due)  # other pictures, or the same ones at another size
                wrapped = self._wrapped(turn, busy)  # in tiles, or compiled, if the settings say so

            def score(images: Tensor, rng: Rng) -> Tensor:
                rng = Echo(rng)
                noise = random_noise(plan.channel_noise, turn.probed.weighted, rng, forward.dtype)
                shown = plan.transforms(images, rng, plan.network_size)
                with self.ready.first_conv | soft_relu(plan.relu_softness, turn.opens_relus) | noise:
                    activations = forward.activations(shown, turn.probed.layers)  # no deeper than needed
                objective = self.beside(turn, plan.transforms, rng, plan.channel_noise)  # with targets, if it has some
                return objective({IMAGE: images, **activations})  # [N], higher is better

            def uphill() -> Tensor:
                turn.forget_gradients()
                images = turn.images()  # [N, C, H, W], in [0, 1]
                turn.scores = wrapped(score, images)(images, turn.rng)
                loss = -turn.scores.sum()
                torch.autograd.backward(loss)
                turn.change_gradients(plan.settings.grad_tfms)
                return loss

            try:
                with isolated(self.device), turn.rng.undone(on_error=True):
                    turn.step(uphill)
            except RuntimeError as error:
                if plan.settings.objective.coupled or not (out_of_memory(error) and self.scheduler.shrink()):
                    raise
                continue
            self.record(turn)
            with isolated(self.device):
                self.scheduler.release()
            yield turn

    def _due(self) -> tuple[Size, Sequence[Group]] | None:
        with isolated(self.device):  # pictures are made and grow outside the caller's inference mode and the like
            return self.scheduler.due()

    def _wrapped(self, turn: Turn, busy: Busy) -> Callable[[ScoreFunction, Tensor], ScoreFunction]:
        settings, (height, width) = self.plan.settings, turn.size
        tile = settings.tile if settings.tile is not None and max(height, width) > settings.tile else None
        compiled: list[ScoreFunction] = []

        def wrap(score: ScoreFunction, images: Tensor) -> ScoreFunction:
            if settings.compile and not turn.opens_relus:  # few steps open ReLUs, so these are not compiled
                if not compiled:
                    rows, columns = (height, width) if tile is None else tile_size((height, width), tile)
                    with busy(f"compiling the step for {rows} × {columns} px, which takes a minute or two"):
                        compiled.append(self.prepared.compiler(score, images[..., :rows, :columns], turn.rng))
                score = compiled[0]
            return score if tile is None else in_tiles(score, tile, shift=True)

        return wrap


def _drawn(loop: Loop, interrupt: Interrupt, bar: RunBar, callback: Callback | None) -> Sequence[Group]:
    """Run a loop until its pictures are finished, the callback returns False or Ctrl-C asks for the end."""
    done: list[Group] = []
    try:
        for turn in loop.climb(bar.busy):
            bar.advance(work(turn.size, len(turn.scores)), turn.scores)
            goes_on = callback is None or callback(len(turn.groups[0].history), loop.state(turn))
            done += loop.scheduler.collect()
            if goes_on is False or interrupt.requested:
                break
    except KeyboardInterrupt:  # a second Ctrl-C, or raised by the callback
        if interrupt.requested:
            raise
        interrupt.requested = True
    return done + loop.scheduler.collect() or loop.scheduler.at_work
