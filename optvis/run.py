"""One run made ready: everything is checked and settled here, before the first step."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from .network import LayerShape, NetworkInput, Probe, Tap, channel_noise, working_copy
from .network.probe import with_extra
from .network.working import choose_precision, scaled_gradients
from .objectives import Objective
from .objectives.algebra import IMAGE
from .params import ImageParam, Param
from .stages import Stage, cut, default_stages, plan_stages, plan_thresh, stretch
from .transforms import Compose, Draws


class Run:
    """What the loop works with.

    Attributes:
        param: what is optimised, at the size of the stage at hand.
        objective: bound to the shapes of the stage at hand.
        stages: sizes and steps.
        thresh: steps at which a frame is kept.
        draws: the run's random numbers.
        scores: ``[N]``, of the last step.
        network_size: the one size that the network takes, or ``None`` where it takes the image's.
        dtype: the type in which the network works.
        channel_noise: by how much the network's channels are scaled at random.
    """

    scores: Tensor

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
        self.probe = Probe(network, self.layers, given, device, extra, channel_axis)
        self.network_size = self.probe.network_size(size) if self.layers else None
        self.full = self._shapes(size)
        self.channel_noise = _noise_for(self.probe.depth) if channel_noise is None else channel_noise
        self.objective = objective.bound(self.full, self.full)
        for stage in planned or ():
            if not self.network_size and self.layers:
                self.probe.network_size(stage.size)  # raises where a stage is too small for the network

        self.stages = planned or default_stages(
            size,
            keeps_size=self.network_size is not None or (img_param is not None and img_param.holds_picture),
            works_at=self.probe.works_at if self.layers else lambda size: True,
        )
        if self.thresh:
            self.stages = (cut if planned else stretch)(self.stages, self.thresh[-1])
        self.steps = sum(stage.steps for stage in self.stages)

        self.network, self._layout = network, torch.contiguous_format
        self.dtype = choose_precision(precision, device, given.dtype)
        if self.layers:
            self.network, self.dtype, self._layout = working_copy(network, self.layers, self._glance, device, precision)

        batch = self._batch(img_param)
        twins = objective.twins(batch)
        self.draws = Draws([seed + twin + 2**32 for twin in twins], device)
        if img_param is None:
            img_param = ImageParam(size, batch, channels=given.channels, seed=[seed + twin for twin in twins])
        elif img_param.channels != given.channels:
            raise ValueError(
                f"the parameterisation has {img_param.channels} channels, {type(network).__name__} takes "
                f"{given.channels}: write channels={given.channels}"
            )
        self.param = copy.deepcopy(img_param).to(device)
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
        return self.probe.at(self.network_size or size) if self.layers else {}

    def enter(self, stage: Stage) -> None:
        """Bring the picture to the size of a stage, and the objective to what the layers put out there."""
        if self.param.size != stage.size:
            self.param = self.param.grow(stage.size)
        self.shapes = self._shapes(stage.size)
        self.objective = self._unbound.bound(self.shapes, self.full)

    def tap(self) -> Tap:
        return Tap(self.network, self.layers, {layer: self.shapes[layer].calls for layer in self.layers})

    def look(self, tap: Tap, image: Tensor, transforms: Compose) -> dict[str, Tensor]:
        """Show images ``[N, C, H, W]`` to the network; what its layers put out, ``[N, C, ...]`` in float32."""
        seen = {IMAGE: image}
        if self.layers:
            shown = transforms(image, self.draws, self.network_size) * self._scale + self._shift
            inputs, named = self._inputs(shown, self.dtype, self._layout)
            for layer, activation in tap(*inputs, **named).items():
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
        size = self.network_size or self.stages[0].size
        some = torch.randn(1, self.given.channels, *size, generator=torch.Generator().manual_seed(0)).to(self.device)
        inputs, named = self._inputs(some, dtype, layout)
        calls = {layer: shape.calls for layer, shape in self._shapes(size).items()}
        with Tap(network, self.layers, calls) as tap:
            return tap(*inputs, **named)

    def noise(self) -> AbstractContextManager[Any]:
        """Within the block the network's channels are scaled at random."""
        low, high = 1 - self.channel_noise, 1 + self.channel_noise
        shared = len(self.draws.generators) == 1
        return channel_noise(lambda channels: self.draws.uniform(low, high, channels)[: 1 if shared else None])

    def silent_pictures(self) -> list[int]:
        """The pictures that got no gradient at the last look."""
        gradients = [p.grad.flatten(1).abs().amax(1) for p in self.param.parameters() if p.grad is not None]
        if not gradients:
            return []
        return [i for i, top in enumerate(torch.stack(gradients).amax(0).tolist()) if top == 0]

    def warn_of_silent_pictures(self) -> None:
        """Say which pictures got no gradient, and what to try."""
        silent = self.silent_pictures()
        if silent:
            names = ", ".join(repr(self._unbound.take([i])) for i in silent[:8]) + (", …" if len(silent) > 8 else "")
            warnings.warn(
                f"{names}: never fired, so nothing could climb and the picture shows nothing. Try another seed=, more "
                "steps, the layer before its ReLU, or a photograph to begin with (img_param=ImageFile(path))",
                stacklevel=3,
            )


def _noise_for(depth: int) -> float:
    """As much in all at any depth: the noise of the layers on the way adds up. Found by trying."""
    return min(0.1, 0.6 / math.sqrt(max(depth, 1)))
