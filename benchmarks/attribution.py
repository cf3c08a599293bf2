"""What does an attribution cost? Ours against pytorch-grad-cam, torch-cam and Captum, in one run.

::

    python benchmarks/attribution.py --weights FOLDER --parts gradcam ablationcam scorecam --images 1 16

Each tool is called as its own documentation says, and goes on to heat maps at the size of the images. Grad-CAM is of
ResNet-18's ``layer4`` (seeded weights), once for each image's highest class (Captum has to be told it, and needs a
forward pass to know) and once for a class that is given; a bare one in plain torch is the floor. Ablation-CAM and
Score-CAM are of SqueezeNet's ``features/12``, for a class that is given. FOLDER of weights holds a ``load.py`` whose
``load(name)`` gives a network.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

import contextlib
import io
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
import torchvision
from begin import begin, parser
from torch import Tensor, nn

from optvis.attribution import attribute
from optvis.network import NetworkInput
from optvis.network.addresses import module_at

Work = Callable[[], Tensor]
"""Makes heat maps ``[N, H, W]``."""


def main() -> None:
    arguments = parser(__doc__)
    parts = ("gradcam", "ablationcam", "scorecam")
    arguments.add_argument("--parts", nargs="*", choices=parts, default=list(parts))
    arguments.add_argument("--images", nargs="*", type=int, default=[1, 16])
    arguments.add_argument("--size", type=int, default=224)
    arguments.add_argument("--rounds", type=int, default=9, help="of Grad-CAM of one image; of more images a third")
    arguments.add_argument("--channel-rounds", type=int, default=1, help="of Ablation-CAM and Score-CAM")
    given, load = begin(arguments)

    print(f"{given.size} px, {given.threads} threads; CPU (wall) as a ratio to ours, medians; then what is like ours")
    if "gradcam" in given.parts:
        torch.manual_seed(0)
        network = torchvision.models.resnet18().eval()
        for count in given.images:
            images = _images(count, given.size)
            rounds = given.rounds if count == 1 else -(-given.rounds // 3)
            for asked in (None, 3):
                works = _grad_cams(network, images, "layer4", asked)
                _race(f"gradcam, {count} images, class {'not ' * (asked is None)}given", works, rounds, warm=2)
    for part in given.parts:
        if part != "gradcam":
            works = _channel_cams(part, load("squeezenet1_0"), _images(1, given.size), "features/12", 3)
            _race(f"{part}, 1 image, 512 channels", works, given.channel_rounds, warm=0)


def _images(count: int, size: int) -> Tensor:
    """Smooth random images ``[N, 3, H, W]`` in [0, 1]."""
    noise = torch.rand(count, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    return F.interpolate(noise, (size, size), mode="bilinear")


def _race(title: str, works: dict[str, Work], rounds: int, warm: int) -> None:
    """Time all in turn, several times, and print the medians as ratios to ours."""
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    maps: dict[str, Tensor] = {}
    for i in range(warm + rounds):
        for name, work in works.items():
            cpu, wall = time.process_time(), time.perf_counter()
            maps[name] = work()
            if i >= warm:
                spent[name].append((time.process_time() - cpu, time.perf_counter() - wall))
    cost = {name: [statistics.median(part) for part in zip(*times, strict=True)] for name, times in spent.items()}
    cpu, wall = cost["optvis"]
    ratios = (f"{who} {c / cpu:.2f} ({w / wall:.2f})" for who, (c, w) in cost.items() if who != "optvis")
    print(f"{title} ({rounds} rounds): optvis {1000 * cpu:.1f} ms ({1000 * wall:.1f}); {'; '.join(ratios)}")
    rows = {name: found.flatten(1) - found.flatten(1).mean(1, keepdim=True) for name, found in maps.items()}
    like = (f"{who} {F.cosine_similarity(row, rows['optvis']).min():.3f}" for who, row in rows.items())
    print(f"    least correlation of an image's map with ours: {', '.join(like)}", flush=True)


def _normalised(network: nn.Module, images: Tensor) -> Tensor:
    given = NetworkInput.of(network)
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (given.mean, given.std))
    return (images - mean) / std


def _grad_cams(network: nn.Module, images: Tensor, layer: str, asked: int | None) -> dict[str, Work]:
    """Each tool's Grad-CAM, for each image's highest class or for one class of all."""
    import captum.attr
    import torchcam.methods
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    count, size = len(images), tuple(images.shape[-2:])
    module, inputs = module_at(network, layer), _normalised(network, images)
    targets = None if asked is None else [ClassifierOutputTarget(asked)] * count

    def classes(scores: Tensor) -> list[int]:
        return scores.argmax(1).tolist() if asked is None else [asked] * count

    def ours() -> Tensor:
        return attribute(network, images, "gradcam", asked, layer).heatmap()

    def pytorch_grad_cam() -> Tensor:
        with GradCAM(network, [module]) as cam:
            return torch.from_numpy(cam(inputs, targets))

    def torch_cam() -> Tensor:
        with torchcam.methods.GradCAM(network, module, input_shape=tuple(inputs.shape[1:])) as cam:
            scores = network(inputs)
            return _enlarged(cam(classes(scores), scores)[0][:, None], size)

    def captum_cam() -> Tensor:
        told = asked
        if asked is None:
            with torch.no_grad():
                told = network(inputs).argmax(1)
        maps = captum.attr.LayerGradCam(network, module).attribute(inputs, told, relu_attributions=True)
        return _enlarged(maps.detach(), size)

    def bare() -> Tensor:
        seen: list[Tensor] = []
        handle = module.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
        scores = network(inputs)
        handle.remove()
        score = scores.gather(1, torch.tensor(classes(scores))[:, None]).sum()
        (slope,) = torch.autograd.grad(score, seen)
        return _enlarged((slope.mean((2, 3), keepdim=True) * seen[0].detach()).sum(1, keepdim=True).relu(), size)

    return {
        "optvis": ours,
        "pytorch-grad-cam": pytorch_grad_cam,
        "torch-cam": torch_cam,
        "Captum": captum_cam,
        "bare": bare,
    }


def _channel_cams(method: str, network: nn.Module, images: Tensor, layer: str, asked: int) -> dict[str, Work]:
    """Ablation-CAM or Score-CAM, by us and by pytorch-grad-cam with its default batch."""
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    made: Any = {"ablationcam": pytorch_grad_cam.AblationCAM, "scorecam": pytorch_grad_cam.ScoreCAM}[method]
    module, inputs = module_at(network, layer), _normalised(network, images)

    def ours() -> Tensor:
        return attribute(network, images, method, asked, layer).heatmap()

    def theirs() -> Tensor:
        # Its progress bar cannot be turned off.
        with made(network, [module]) as cam, contextlib.redirect_stderr(io.StringIO()):
            return torch.from_numpy(cam(inputs, [ClassifierOutputTarget(asked)]))

    return {"optvis": ours, "pytorch-grad-cam": theirs}


def _enlarged(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """``[N, H, W]`` in [0, 1], from ``[N, 1, h, w]``."""
    maps = F.interpolate(maps, size, mode="bilinear", align_corners=False)[:, 0]
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return (maps - low) / (high - low + 1e-7)


if __name__ == "__main__":
    main()
