"""What does a step cost? Ours against a bare loop, and against torch-lucent, in one run.

::

    python benchmarks/step.py --weights FOLDER --networks squeezenet1_0 resnet18_pq vgg11 --size 224 --batch 1

FOLDER of weights holds a ``load.py`` whose ``load(name)`` gives a network; VGG-11 has seeded weights. The bare loop is
``optvis.bench.bare_loop``. ``optvis bench`` measures any other network.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

import torch
import torchvision
from begin import begin, parser
from rivals import lucent_picture

from optvis.bench import bare_loop, compare, own_loop

LAYERS = {
    "squeezenet1_0": ("features/3", "features/9", "features/12"),
    "resnet18_pq": ("layer1", "layer3", "layer4"),
    "vgg11": ("features/5", "features/12", "features/19"),
}


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--networks", nargs="*", choices=LAYERS, default=list(LAYERS))
    arguments.add_argument("--size", type=int, default=224)
    arguments.add_argument("--batch", type=int, default=1)
    arguments.add_argument("--steps", type=int, default=8)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--precision", default="auto")
    arguments.add_argument("--lucent", action="store_true", help="also torch-lucent (batch 1)")
    given, load = begin(arguments)

    print(f"{given.size} px, batch {given.batch}, {given.threads} threads, precision {given.precision}; CPU (wall)")
    for name in given.networks:
        torch.manual_seed(0)
        network = torchvision.models.vgg11().eval() if name == "vgg11" else load(name)
        for layer in LAYERS[name]:
            shape = (network, layer, given.size, given.batch)
            loops = {
                "bare loop": bare_loop(*shape),
                "optvis": own_loop(*shape, given.precision),
                "plain": own_loop(*shape, given.precision, channel_noise=0.0, relu_softness=0.0),
            }
            if given.lucent:
                address, size = layer.replace("/", "_"), given.size
                loops["lucent"] = lambda steps, a=address, n=network: lucent_picture(n, f"{a}:1", size, steps, 0)
            costs = compare(loops, given.steps, given.rounds)
            floor = costs["bare loop"]
            ratios = (f"{who} {cost.cpu / floor.cpu:.2f} ({cost.wall / floor.wall:.2f})" for who, cost in costs.items())
            print(f"{name:14s} {layer:12s} floor {1000 * floor.cpu:6.1f} ms; {'; '.join(ratios)}", flush=True)


if __name__ == "__main__":
    main()
