"""Are the pictures right? Classes of a network, judged by itself, moved about, and by other networks.

::

    python benchmarks/class_pictures.py --weights FOLDER --network squeezenet1_0 --classes 50 --rival 10 --out FOLDER

FOLDER of weights holds a ``load.py`` whose ``load(name)`` gives an ImageNet network. Classes are evenly spaced over
the 1000, none is chosen. The rival draws ``--rival N`` of them, evenly spaced; ours of the same classes are printed
beside. It is slow: its pictures, and the time that each took, are kept in the folder, and all that are there are used
again by a later run.
Time is measured as CPU seconds; ``--timed N`` draws so many single pictures of ours beside the rival's, in turn.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

import torch
from begin import begin, parser
from judging import moved, ranks
from rivals import lucent_class_picture
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from optvis import Channel, Class, OptVis
from optvis.images import grid, to_pil

LOGITS = {"squeezenet1_0": "classifier", "resnet18_pq": "fc", "mobilenet_v2": "classifier/1"}


def report(who: str, source: str, networks: dict[str, nn.Module], images: Tensor, classes: list[int]) -> dict:
    """Judge pictures and print a line."""
    found = {"tool": who, "source": source, "classes": classes}
    for name, network in networks.items():
        places = ranks(network, images, classes)
        found[name] = {"first": share(places < 1), "five": share(places < 5)}
    places = torch.cat([ranks(networks[source], moved(images, 1000 + i), classes) for i in range(4)])
    found["moved"] = share(places < 1)
    others = [found[name] for name in networks if name != source]
    found["others"] = {key: statistics.mean(other[key] for other in others) for key in ("first", "five")}
    print(
        f"{who:8s} {source:14s} {len(classes)} classes: "
        f"itself {found[source]['first']:.0%}, moved {found['moved']:.0%}; "
        + "; ".join(f"{n} {found[n]['first']:.0%} / {found[n]['five']:.0%}" for n in networks if n != source)
        + f"; others' mean {found['others']['first']:.0%} first, {found['others']['five']:.0%} among five",
        flush=True,
    )
    return found


def share(hits: Tensor) -> float:
    return hits.float().mean().item()


def timed(make: Callable[[], Tensor]) -> tuple[Tensor, float]:
    """What was made, and the CPU seconds that it took."""
    start = time.process_time()
    images = make()
    return images, time.process_time() - start


def rival_file(name: str, index: int, steps: int, folder: Path) -> Path:
    return folder / f"lucent_{name}_{steps}_{index}.safetensors"


def rival_picture(network: nn.Module, name: str, index: int, steps: int, folder: Path) -> tuple[Tensor, float]:
    """torch-lucent's picture ``[1, 3, 224, 224]`` and its CPU seconds, from the folder where it is there already."""
    kept = rival_file(name, index, steps, folder)
    if not kept.exists():
        image, spent = timed(lambda: lucent_class_picture(network, index, 224, steps, 0))
        save_file({"image": image, "cpu": torch.tensor(spent)}, kept)
    held = load_file(kept)
    return held["image"], held["cpu"].item()


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--network", choices=LOGITS, default="squeezenet1_0")
    arguments.add_argument(
        "--objective", choices=("class", "channel"), default="class", help="ours: told from other classes, or the logit"
    )
    arguments.add_argument("--classes", type=int, default=50)
    arguments.add_argument("--batch", type=int, default=8, help="pictures at once, for ours")
    arguments.add_argument("--rival", type=int, default=10, help="how many of the classes the rival draws")
    arguments.add_argument("--rival-steps", type=int, default=256)
    arguments.add_argument("--timed", type=int, default=3, help="how many single pictures of ours are timed")
    arguments.add_argument("--out", type=Path, required=True)
    given, load = begin(arguments)

    networks = {name: load(name) for name in LOGITS}
    network, layer = networks[given.network], LOGITS[given.network]
    classes = list(range(0, 1000, 1000 // given.classes))[: given.classes]
    given.out.mkdir(parents=True, exist_ok=True)

    def draw(wanted: int | list[int]) -> Tensor:
        objective = Class("", wanted) if given.objective == "class" else Channel(layer, wanted)
        return OptVis(network, objective).vis(verbose=False, batch=given.batch).images

    ours = draw(classes)
    found = [report(given.objective, given.network, networks, ours, classes)]
    grid([to_pil(image) for image in ours], 10).save(given.out / f"{given.network}_{given.objective}.png")

    some = [
        index
        for i, index in enumerate(classes)
        if i * given.rival % len(classes) < given.rival
        or rival_file(given.network, index, given.rival_steps, given.out).exists()
    ]
    theirs, pairs = [], []
    for i, index in enumerate(some):
        image, spent = rival_picture(network, given.network, index, given.rival_steps, given.out)
        theirs.append(image)
        if i < given.timed:
            _, ours_spent = timed(lambda: draw(index))
            pairs.append((spent, ours_spent))
            print(f"class {index}: lucent {spent:.1f} s, optvis {ours_spent:.1f} s CPU", flush=True)
    if some:
        places = [classes.index(index) for index in some]
        found.append(report("lucent", given.network, networks, torch.cat(theirs), some))
        found.append(report(given.objective, given.network, networks, ours[places], some))
        both = [to_pil(image[0]) for image in (*theirs[:10], *ours[places][:10].split(1))]
        grid(both, len(both) // 2).save(given.out / f"{given.network}_{given.objective}_beside_lucent.png")
    if pairs:
        theirs_cpu, ours_cpu = (statistics.median(pair[i] for pair in pairs) for i in (0, 1))
        print(
            f"one picture, CPU, median of {len(pairs)}: lucent ({given.rival_steps} steps) {theirs_cpu:.1f} s, "
            f"optvis {ours_cpu:.1f} s; ratio {theirs_cpu / ours_cpu:.1f}"
        )
        found.append({"cpu": [theirs_cpu, ours_cpu], "threads": given.threads})
    (given.out / f"{given.network}_{given.objective}.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
