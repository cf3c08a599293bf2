"""Are the pictures right? Class logits of a network, judged by itself, moved about, and by other networks.

::

    python benchmarks/class_pictures.py --weights FOLDER --network squeezenet1_0 --classes 50 --rival 10 --out FOLDER

FOLDER of weights holds a ``load.py`` whose ``load(name)`` gives an ImageNet network. Classes are evenly spaced over
the 1000, none is chosen. The rival's pictures are made and judged in the same run; ``--rival N`` makes them of every
so manieth class only, since it is slow, and prints ours of the same classes beside them. Time is measured on single
pictures, ours and the rival's in turn, as wall and CPU seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

import torch
from judging import moved, ranks
from rivals import lucent_class_picture
from torch import Tensor, nn

from optvis import OptVis
from optvis.pictures import grid, to_pil

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


def timed(make) -> tuple[Tensor, float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    images = make()
    return images, time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--network", choices=LOGITS, default="squeezenet1_0")
    parser.add_argument("--classes", type=int, default=50)
    parser.add_argument("--batch", type=int, default=10, help="pictures at once, for ours")
    parser.add_argument("--rival", type=int, default=10, help="how many of the classes the rival draws")
    parser.add_argument("--rival-steps", type=int, default=256)
    parser.add_argument("--timed", type=int, default=3, help="how many single pictures of ours are timed")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()

    torch.set_num_threads(given.threads)
    sys.path.insert(0, str(given.weights))
    from load import load

    networks = {name: load(name) for name in LOGITS}
    network, layer = networks[given.network], LOGITS[given.network]
    classes = list(range(0, 1000, 1000 // given.classes))[: given.classes]
    given.out.mkdir(parents=True, exist_ok=True)

    ours = torch.cat(
        [
            OptVis.from_layer(network, layer, channel=classes[i : i + given.batch]).vis(verbose=False).images
            for i in range(0, len(classes), given.batch)
        ]
    )
    found = [report("optvis", given.network, networks, ours, classes)]
    grid([to_pil(image) for image in ours], 10).save(given.out / f"{given.network}_optvis.png")

    some = classes[:: max(len(classes) // max(given.rival, 1), 1)][: given.rival]
    theirs, walls, cpus = [], [], []
    for i, index in enumerate(some):
        steps = given.rival_steps
        image, *spent = timed(lambda: lucent_class_picture(network, index, 224, steps, 0))
        theirs.append(image)
        walls.append([spent[0]]), cpus.append([spent[1]])
        if i < given.timed:
            _, *spent = timed(lambda: OptVis.from_layer(network, layer, channel=index).vis(verbose=False).images)
            walls[-1].append(spent[0]), cpus[-1].append(spent[1])
            print(f"class {index}: lucent {walls[-1][0]:.1f} s, optvis {walls[-1][1]:.1f} s", flush=True)
    if some:
        places = [classes.index(index) for index in some]
        found.append(report("lucent", given.network, networks, torch.cat(theirs), some))
        found.append(report("optvis", given.network, networks, ours[places], some))
        both = [*theirs, *ours[places].split(1)]
        grid([to_pil(image[0]) for image in both], len(some)).save(given.out / f"{given.network}_beside_lucent.png")
        pairs = [(w, c) for w, c in zip(walls, cpus) if len(w) == 2]
        wall, cpu = ([statistics.median(pair[k][i] for pair in pairs) for i in (0, 1)] for k in (0, 1))
        print(
            f"one picture, median of {len(pairs)}: lucent ({given.rival_steps} steps) {wall[0]:.1f} s wall, "
            f"{cpu[0]:.1f} s CPU; optvis {wall[1]:.1f} s wall, {cpu[1]:.1f} s CPU; "
            f"ratio {wall[0] / wall[1]:.1f} wall, {cpu[0] / cpu[1]:.1f} CPU"
        )
        found.append({"wall": wall, "cpu": cpu, "threads": given.threads})
    (given.out / f"{given.network}.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
