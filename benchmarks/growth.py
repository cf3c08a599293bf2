"""How do time and memory grow with the number of channels, and with the size of the picture?

::

    python benchmarks/growth.py --weights FOLDER --plot growth.png

Each point is a process of its own, which draws channels of a layer of SqueezeNet for some steps and says what
it cost: CPU seconds of ``vis``, and the peak of the process beyond what it had before.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

from begin import begin, parser

from optvis import ImageParam, OptVis

CHANNELS, SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512), (128, 192, 256, 384, 512, 768, 1024)


def peak() -> float:
    """The most that this process has held so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--layer", default="features/12")
    arguments.add_argument("--steps", type=int, default=8)
    arguments.add_argument("--small", type=int, default=64, help="pixels where the number of channels grows")
    arguments.add_argument("--plot", help="where to draw what came out")
    arguments.add_argument("--one", type=int, nargs=2, metavar=("CHANNELS", "SIZE"), help="one point only")
    given, load = begin(arguments)

    if given.one:
        count, size = given.one
        channels = list(range(count))
        optvis = OptVis.from_layer(load("squeezenet1_0"), given.layer, channel=channels)
        before, start = peak(), time.process_time()
        optvis.vis(ImageParam(size, count), stages=[(size, given.steps)], verbose=False)
        print(json.dumps([time.process_time() - start, peak() - before]))
        return

    found: dict[str, list[tuple[int, float, float]]] = {"channels": [], "pixels a side": []}
    points = [("channels", n, n, given.small) for n in CHANNELS] + [("pixels a side", n, 1, n) for n in SIZES]
    for what, n, count, size in points:
        again = [sys.executable, "-W", "ignore", __file__, "--weights", str(given.weights), "--layer", given.layer]
        again += ["--threads", str(given.threads), "--steps", str(given.steps), "--one", str(count), str(size)]
        seconds, held = json.loads(subprocess.run(again, check=True, capture_output=True, text=True).stdout)
        found[what].append((n, seconds, held))
        print(f"{n:5d} {what:14s} {seconds:7.2f} s CPU, {held:7.0f} MiB", flush=True)
    if given.plot:
        draw(found, given.plot)


def draw(found: dict[str, list[tuple[int, float, float]]], path: str) -> None:
    """Time and memory over each, on logarithmic axes, beside a line in proportion to the number of pixels."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(8, 6), layout="constrained")
    for row, (what, points) in zip(axes, found.items(), strict=True):
        power = 1 if what == "channels" else 2
        for axis, values, unit in zip(row, list(zip(*points, strict=True))[1:], ("CPU seconds", "MiB"), strict=True):
            numbers = [point[0] for point in points]
            axis.loglog(numbers, values, "o-", label="measured")
            axis.loglog(numbers, [values[-1] * (n / numbers[-1]) ** power for n in numbers], ":", label="in proportion")
            axis.set(xlabel=what, ylabel=unit)
            axis.set_xticks(numbers, map(str, numbers))
            axis.minorticks_off()
            axis.legend()
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main()
