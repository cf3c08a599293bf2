"""Does every channel draw? The score of each channel's picture beside its highest score on photographs.

::

    python benchmarks/every_channel.py --weights FOLDER --photographs FOLDER --layer features/12 --out FOLDER

FOLDER of weights holds a ``load.py`` whose ``load(name)`` gives a network. Photographs are resized to 256 px and cut
to the middle 224.
"""

from __future__ import annotations

import json
import os
import time
import warnings
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

import torch
from begin import begin, parser
from judging import normalised
from torch import Tensor, nn

from optvis import ImageFile
from optvis.network import Tap
from optvis.recipes import collage


def highest_on_photographs(network: nn.Module, layer: str, folder: Path) -> Tensor:
    """``[C]``: the highest mean of each channel of a layer on photographs, of each the middle 224 px."""
    scores = []
    with torch.no_grad(), Tap(network, [layer]) as tap:
        for path in sorted(p for p in folder.iterdir() if p.suffix in (".jpg", ".png")):
            photograph = ImageFile(path, 256)()
            top, left = ((n - 224) // 2 for n in photograph.shape[-2:])
            seen = tap(normalised(photograph[..., top : top + 224, left : left + 224]))[layer]
            scores.append(seen.mean((2, 3))[0])
    return torch.stack(scores).amax(0)


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--photographs", type=Path, required=True)
    arguments.add_argument("--network", default="squeezenet1_0")
    arguments.add_argument("--layer", default="features/12")
    arguments.add_argument("--channels", type=int, nargs="*", help="all by default")
    arguments.add_argument("--batch", type=int, default=16)
    arguments.add_argument("--out", type=Path, required=True)
    given, load = begin(arguments)

    network = load(given.network)
    highest = highest_on_photographs(network, given.layer, given.photographs)
    channels = given.channels or list(range(len(highest)))
    given.out.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter(), time.process_time()
    scores: dict[int, float] = {}
    for i in range(0, len(channels), given.batch):
        some = channels[i : i + given.batch]
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            made = collage(network, given.layer, some, batch=given.batch, verbose=False)
        made.save(given.out / f"channels_{some[0]:04d}.png")
        scores.update(zip(some, made.scores.tolist(), strict=True))
        passed = sum(scores[c] > highest[c] for c in scores)
        print(
            f"{len(scores)} channels: {passed} above the photographs, {time.perf_counter() - start[0]:.0f} s",
            flush=True,
        )
    failed = {c: (scores[c], highest[c].item()) for c in scores if not scores[c] > highest[c]}
    ratios = torch.tensor([scores[c] / highest[c].item() for c in scores if highest[c] > 0])
    above = 1 - len(failed) / len(scores)
    print(
        f"{given.network} {given.layer}: {above:.1%} of {len(scores)} channels score above every photograph, "
        f"median {ratios.median():.1f} times; {time.perf_counter() - start[0]:.0f} s wall, "
        f"{time.process_time() - start[1]:.0f} s CPU, {given.threads} threads"
    )
    for channel, (score, photographs) in failed.items():
        print(f"  channel {channel}: {score:.4g}, photographs {photographs:.4g}")
    (given.out / "scores.json").write_text(json.dumps({c: [scores[c], highest[c].item()] for c in scores}))


if __name__ == "__main__":
    main()
