"""One run made ready: everything is checked and settled here, before the first step."""

from __future__ import annotations

import copy
import inspect
import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .compiled import Compiler
from .network import LayerShape, NetworkInput, Probe, Tap, channel_noise, fast_first_conv, working_copy
from .network.overrides import Overrides
from .network.probe import with_extra
from .network.working_copy import choose_precision, scaled_gradients
from .objectives import Objective
from .objectives.algebra import IMAGE
from .params import ImageParam, Param
from .rng import Rng
from .scheduler import CHECK, Group
from .scoring import ScoreFunction
from .stages import Stage, cut, default_stages, plan_stages, plan_thresh, stretch
from .tiles import in_tiles, tile_size
from .transforms import Compose

OPEN_STEPS = 16
"""The first of so many steps shows which pictures are silent; for these gradients pass shut ReLUs in the others (Lucid
lets them pass in its first 16 for all), and so on for as long as they are."""

_AS_IT_IS = Overrides({})

UNSEEN = 2**33
"""Seed of the changes that no step draws."""


class Run:
    """What the loop works with.

    Attributes:
        everyone: all pictures, before the first stage.
        cohorts: those at work.
        objective: theirs, bound to the shapes of the stage at hand.
        draws: their random numbers.
        scores: ``[N]``, theirs at the last step.
        stages: sizes and steps.
        thresh: steps at which a frame is kept.
        network_size: the one size that the network takes, or ``None`` where it takes the image's.
        dtype: the type in which the network works.
        stems: a quicker way back to the image.
        channel_noise: by how much the network's channels are scaled at random.
    """

    scores: Tensor
    rng: Rng
    shapes: dict[str, LayerShape]
    groups: Sequence[Group] = ()
    _stage: Stage | None = None
    _quick: ScoreFunction | None = None
    _tap: Tap | None = None

    def __init__(
        self,
        network: nn.Module,
        objective: Objective,
        given: NetworkInput,
        device: torch.device,
        img_param: Param | None,
        stages: Iterable[Any] | None,
        thresh: int | Iterable[int] | None,
        seed: int,
        extra: Sequence[Any] | Mapping[str, Any],
        channel_axis: int | Mapping[str, int] | None,
        channel_noise: float | None,
        precision: str,
        compile: bool,
        tile: int | None,
    ) -> None:
        if img_param is not None and not isinstance(img_param, Param):
            raise TypeError(f"img_param is a parameterisation such as ImageParam(224), not {img_param!r}")
        self.given, self.device, self.extra = given, device, extra
        self.layers = [layer for layer in objective.layers if layer != IMAGE]
        self._unbound = objective
        planned = plan_stages(stages) if stages is not None else None
        self.thresh = plan_thresh(thresh)

        size = img_param.size if img_param is not None else planned[-1].size if planned else given.default_size
        if planned and planned[-1].size != size:
            raise ValueError(
                f"the stages end at {planned[-1].size}, the parameterisation has {size}: let both be the same size"
            )
        if tile is not None and objective.placed:
            raise ValueError(f"{objective!r} asks for a place in the picture, of which a tile knows nothing: no tile=")
        self._tile = tile
        self.probe = Probe(network, self.layers, given, device, extra, channel_axis)
        self.network_size = self.probe.network_size(self._seen_size(size)) if self.layers else None
        self.full = self._shapes(size)
        self.channel_noise = _noise_for(len(self.probe.weighted)) if channel_noise is None else channel_noise
        self.objective = objective.bound(self.full, self.full)
        for stage in planned or ():
            if not self.network_size and self.layers:
                self.probe.network_size(self._seen_size(stage.size))  # raises where it is too small

        self.stages = planned or default_stages(
            size,
            keeps_size=self.network_size is not None or (img_param is not None and img_param.holds_picture),
            works_at=lambda size: not self.layers or self.probe.works_at(self._seen_size(size)),
        )
        if self.thresh:
            self.stages = (cut if planned else stretch)(self.stages, self.thresh[-1])
        self.steps = sum(stage.steps for stage in self.stages)

        if self.layers:
            self.network, self.dtype, self._layout = working_copy(network, self.layers, self._glance, device, precision)
        else:
            self.network, self._layout = network, torch.contiguous_format
            self.dtype = choose_precision(precision, device, given.dtype)

        self.stems = fast_first_conv(self.network)
        batch = self._batch(img_param)
        twins = objective.twins(batch)
        rng = Rng([seed + twin + 2**32 for twin in twins], device)
        if img_param is None:
            img_param = ImageParam(size, batch, channels=given.channels, seed=[seed + twin for twin in twins])
        elif img_param.channels != given.channels:
            raise ValueError(
                f"the parameterisation has {img_param.channels} channels, {type(network).__name__} takes "
                f"{given.channels}: write channels={given.channels}"
            )
        self.compiler = Compiler() if compile else None
        self.everyone = Group(range(batch), copy.deepcopy(img_param).to(device), rng)
        shape = (1, given.channels, 1, 1)
        std = torch.tensor(given.std, device=device).view(shape)
        self._scale, self._shift = 1 / std, -torch.tensor(given.mean, device=device).view(shape) / std

    def _batch(self, param: Param | None) -> int:
        asked = self.objective.pictures
        if param is not None and asked is not None and param.batch != asked:
            raise ValueError(
                f"the objective makes {asked} pictures, the parameterisation has {param.batch}: write batch={asked}"
            )
        return asked or (param.batch if param is not None else 1)

    def _shapes(self, size: tuple[int, int]) -> dict[str, LayerShape]:
        return self.probe.at(self.network_size or self._seen_size(size)) if self.layers else {}

    def _seen_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """How large a picture of this size is when the network sees it."""
        return tile_size(size, self._tile) if self._tile is not None else size

    def enter(self, stage: Stage, groups: Sequence[Group]) -> None:
        """Bring these pictures to work, at a stage whose size they have, and the objective to them."""
        if (stage, groups) == (self._stage, self.groups):
            return
        self._stage, self.groups, self._quick, self._tap = stage, list(groups), None, None
        self.shapes = self._shapes(stage.size)
        pictures = [picture for group in groups for picture in group.pictures]
        self.objective = self._unbound.bound(self.shapes, self.full)
        if pictures != self.everyone.pictures:
            self.objective = self.objective.take(pictures)
        self.rng = Rng.join([group.rng for group in groups])

    def images(self) -> Tensor:
        """``[N, C, H, W]`` in [0, 1], of the pictures at work."""
        images = [group.param() for group in self.groups]
        return images[0] if len(images) == 1 else torch.cat(images)

    def wrapped(self, see: ScoreFunction, image: Tensor) -> ScoreFunction:
        """``see`` in tiles, and compiled where shut ReLUs stay shut, as in most steps: as was asked for."""
        height, width = image.shape[-2:]
        tile = self._tile if self._tile is not None and max(height, width) > self._tile else None
        if self.compiler is not None and not self.opens_relus:
            if self._quick is None:
                rows, columns = (height, width) if tile is None else tile_size((height, width), tile)
                self._quick = self.compiler(see, image[..., :rows, :columns], self.rng)
            see = self._quick
        return see if tile is None else in_tiles(see, tile, shift=True)

    def climb(self, uphill: Callable[[], Tensor]) -> None:
        """A step of each cohort's optimiser; ``uphill`` computes all gradients."""
        first, *others = [group.optimiser for group in self.groups if group.optimiser is not None]
        first.step(uphill)  # type: ignore[arg-type]
        for optimiser in others:
            again = inspect.signature(optimiser.step).parameters["closure"].default is inspect.Parameter.empty
            optimiser.step(uphill) if again else optimiser.step()  # type: ignore[arg-type, call-arg]

    @property
    def opens_relus(self) -> bool:
        """Whether shut ReLUs let gradients through at this step; every so often none do, to see who is silent."""
        return any(group.silent and group.age % OPEN_STEPS for group in self.groups)

    def note(self, transforms: Compose | None) -> None:
        """Write down what a step brought; with ``transforms`` now and then the scores under unseen ones, too."""
        plain = not self.opens_relus
        sizes = [len(group) for group in self.groups]
        for group, scores in zip(self.groups, self.scores.detach().split(sizes)):
            group.history.append(scores)
            group.age += 1
            if group.silent and plain:
                group.silent = bool(silent_pictures(group.param))
            if len(group.history) in self.thresh:
                group.frames[len(group.history)] = group.param().detach().cpu()
        if transforms is not None and any(group.age % CHECK == 0 for group in self.groups):
            for group, scores in zip(self.groups, self.unseen(transforms).split(sizes)):
                if group.age % CHECK == 0:
                    group.unseen.append(scores)

    def parameters(self) -> list[Tensor]:
        """What is optimised at this step."""
        return [parameter for group in self.groups for parameter in group.param.parameters()]

    def forget_gradients(self) -> None:
        for parameter in self.parameters():
            parameter.grad = None

    def tap(self) -> Tap:
        if self._tap is None:
            self._tap = Tap(self.network, self.layers, {layer: self.shapes[layer].calls for layer in self.layers})
        return self._tap

    def look(
        self,
        tap: Tap,
        image: Tensor,
        transforms: Compose,
        rng: Rng,
        changed: Overrides = _AS_IT_IS,
    ) -> dict[str, Tensor]:
        """Show images ``[N, C, H, W]`` to the network; what its layers put out, ``[N, C, ...]`` in float32.

        The network runs within ``changed``.
        """
        seen = {IMAGE: image}
        if self.layers:
            shown = transforms(image, rng, self.network_size) * self._scale + self._shift
            inputs, named = self._inputs(shown, self.dtype, self._layout)
            with changed:
                activations = tap(*inputs, **named)
            for layer, activation in activations.items():
                seen[layer] = self.shapes[layer].channels_first(activation)
            if self.dtype == torch.float16:
                seen.update(zip(self.layers, scaled_gradients(shown, [seen[layer] for layer in self.layers])))
        return seen

    def _inputs(self, shown: Tensor, dtype: torch.dtype, layout: torch.memory_format) -> Any:
        """What the network is called with to look at normalised images: positional and named."""
        inputs, named = with_extra(shown.to(dtype).contiguous(memory_format=layout), self.extra)

        def cast(value: Any) -> Any:
            return value.to(dtype) if isinstance(value, Tensor) and value.dtype == self.given.dtype else value

        return tuple(map(cast, inputs)), {name: cast(value) for name, value in named.items()}

    def _glance(self, network: nn.Module, dtype: torch.dtype, layout: torch.memory_format) -> dict[str, Tensor]:
        """What the layers put out for some image of the first stage's size."""
        size = self.network_size or self._seen_size(self.stages[0].size)
        some = torch.randn(1, self.given.channels, *size, generator=torch.Generator().manual_seed(0)).to(self.device)
        inputs, named = self._inputs(some, dtype, layout)
        calls = {layer: shape.calls for layer, shape in self._shapes(size).items()}
        with Tap(network, self.layers, calls) as tap:
            return tap(*inputs, **named)

    def noise(self, rng: Rng) -> Overrides:
        """Within the block, which is one forward pass, the network's channels are scaled at random."""
        if not self.channel_noise:
            return _AS_IT_IS
        shared = 1 if len(rng.generators) == 1 else None

        def draw(channels: int) -> Tensor:
            return rng.uniform(1 - self.channel_noise, 1 + self.channel_noise, channels)[:shared].to(self.dtype)

        expected = self.probe.weighted
        drawn = iter(draw(sum(expected)).split(expected, 1))  # all at once: a network has many layers

        def gain(channels: int) -> Tensor:
            numbers = next(drawn, None)
            return numbers if numbers is not None and numbers.shape[1] == channels else draw(channels)

        return channel_noise(gain)

    def scores_of(self, image: Tensor, transforms: Compose, rng: Rng) -> Tensor:
        """``[N]``: exact scores of images, as often as the network has to see them."""

        def see(image: Tensor, rng: Rng) -> Tensor:
            return self.objective(self.look(tap, image, transforms, rng))

        with self.tap() as tap:
            return (in_tiles(see, self._tile, shift=False) if self._tile is not None else see)(image, rng)

    def unseen(self, transforms: Compose) -> Tensor:
        """``[N]``: the scores of the pictures at work under two changes that no step has drawn."""
        with torch.no_grad():
            image = self.images()
            rng = Rng([UNSEEN] * len(image), self.device)
            return (self.scores_of(image, transforms, rng) + self.scores_of(image, transforms, rng)) / 2

    def warn_of(self, silent: Sequence[int]) -> None:
        """Say which pictures are silent, and what to try."""
        if silent:
            names = ", ".join(repr(self._unbound.take([i])) for i in silent[:8]) + (", …" if len(silent) > 8 else "")
            warnings.warn(
                f"{names}: never fired, so nothing could climb and the picture shows nothing. Try another seed=, more "
                "steps, the layer before its ReLU, or a photograph to begin with (img_param=ImageFile(path))",
                stacklevel=4,
            )


def _noise_for(depth: int) -> float:
    """As much in all at any depth: the noise of the layers on the way adds up. Found by trying."""
    return min(0.1, 0.6 / math.sqrt(max(depth, 1)))


def silent_pictures(param: Param) -> list[int]:
    """Those that got no gradient at the last look."""
    gradients = [p.grad.flatten(1).abs().amax(1) for p in param.parameters() if p.grad is not None]
    if not gradients:
        return []
    return [i for i, top in enumerate(torch.stack(gradients).amax(0).tolist()) if top == 0]
