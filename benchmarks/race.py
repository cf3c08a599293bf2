"""64 channels of a layer, each until it is three times as high as on any photograph: all at once, and one by one.

::

    python benchmarks/race.py --weights FOLDER --photographs FOLDER --network squeezenet1_0 --layer features/9

What counts is the score under transforms that no step has drawn, at 224 px. We draw the channels in one run in which
freed places are taken by the next, at full size from the start: what a picture of 112 px shows is twice as large at
224 px, where the channel then fires a fifth as much. The rival draws ``--rival`` of them, evenly spaced, one after
another, with its defaults, stopped at the same mark. Its time is counted without the time for looking whether it is
there yet, ours with it. CPU seconds.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

import torch
from begin import begin, parser
from every_channel import highest_on_photographs
from judging import normalised
from rivals import lucent_until
from torch import Tensor, nn

from optvis import OptVis
from optvis.network import Tap, shadow
from optvis.rng import Rng
from optvis.scheduler import CHECK
from optvis.transforms import standard


def unseen_score(network: nn.Module, layer: str, channel: int, image: Tensor) -> float:
    """Of one picture, the mean of two views."""
    with torch.no_grad(), Tap(shadow(network), [layer], {layer: 1}) as tap:
        rng = Rng([7, 7])
        return tap(normalised(standard()(image.expand(2, -1, -1, -1), rng)))[layer][:, channel].mean().item()


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--photographs", type=Path, required=True)
    arguments.add_argument("--network", default="squeezenet1_0")
    arguments.add_argument("--layer", default="features/9")
    arguments.add_argument("--channels", type=int, default=64)
    arguments.add_argument("--rival", type=int, default=8)
    arguments.add_argument("--times", type=float, default=3.0)
    arguments.add_argument("--most", type=int, default=512, help="steps, after which a picture is given up")
    arguments.add_argument("--batch", type=int, default=8)
    arguments.add_argument("--lr", type=float, default=1.0, help="ours; ten times the default, to be there soon")
    given, load = begin(arguments)

    network = load(given.network)
    marks = (given.times * highest_on_photographs(network, given.layer, given.photographs)).tolist()
    channels = [i * len(marks) // given.channels for i in range(given.channels)]

    start = time.process_time()
    optvis = OptVis.from_layer(network, given.layer, channels)
    made = optvis.vis(
        stages=[(224, given.most)], lr=given.lr, batch=given.batch, verbose=False,
        until=lambda picture, scores: scores[-1] >= marks[channels[picture]],
    )  # fmt: skip
    ours = time.process_time() - start
    steps = made.history.isfinite().sum(0).float()
    there = sum(
        unseen_score(network, given.layer, channel, image[None]) >= marks[channel]
        for channel, image in zip(channels, made.images, strict=True)
    )
    print(
        f"optvis: {len(channels)} channels in {ours:.0f} s CPU, {steps.median():.0f} steps each in the median, "
        f"at most {steps.max():.0f}; {there} above the mark under two more views",
        flush=True,
    )

    spent, counts, reached = 0.0, [], 0
    for i in range(given.rival):
        channel = channels[i * len(channels) // given.rival]

        def enough(image: Tensor, channel: int = channel) -> bool:
            return unseen_score(network, given.layer, channel, image) >= marks[channel]

        address = f"{given.layer.replace('/', '_')}:{channel}"
        cpu, count, done = lucent_until(network, address, 224, given.most, CHECK, enough)
        spent, reached = spent + cpu, reached + done
        counts.append(count)
        print(f"  lucent {channel}: {cpu:.1f} s, {count} steps{'' if done else ', given up'}", flush=True)
    if given.rival:
        each = spent / given.rival
        print(
            f"lucent: {each:.1f} s CPU a channel ({reached} of {given.rival} reached the mark); optvis "
            f"{ours / len(channels):.2f} s; ratio {each * len(channels) / ours:.1f}"
        )


if __name__ == "__main__":
    main()
