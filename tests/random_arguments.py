"""Arguments for ``random_calls``: for each function its parameters, with good values, near misses and nonsense."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from small_networks import Small, Tiny, network_file, seeded, vit
from torch import Tensor, nn

import optvis
from optvis import OptVis, Visualisation, transforms
from optvis.attribution import attribute, targets

Labelled = tuple[str, Any]
Values = Sequence[Any]
Parameters = Mapping[str, Values]


NEAR = object()
"""Good values stand before it in a list, and what is nearly good after it."""


def users_error(*_: Any, **__: Any) -> Any:
    raise LookupError("an error of the user's own function")


def users_nan(x: Any, *_: Any) -> Any:
    return x * math.nan


def users_none(*_: Any, **__: Any) -> None:
    return None


def users_identity(x: Any, *_: Any, **__: Any) -> Any:
    return x


def users_text(*_: Any, **__: Any) -> str:
    return "text"


class Named(Tiny):
    """Has a size of its own and names for its outputs."""

    input_size = (3, 16, 16)
    output_names = {"head": ["cat", "dog", "1", "two\nlines", "\x1b[31mred"]}


NAN, INF = float("nan"), float("inf")

NONSENSE: Values = (None, True, False, NAN, INF, -INF, -0.0, 0, -1, 2, 3.5, 1e+300, -1e+300, 10 ** 12, 10 ** 40,
    -10 ** 40, 2 ** 63, 1j, np.int64(3), np.float32(0.5), np.bool_(True), np.float64('nan'), np.array(2),
    np.array([1, 2]), np.array([[1.0, 2.0]]), np.zeros((0,)), np.array(['a']), np.zeros((2, 2, 2, 2, 2)), '',
    'a', '2', 'second', 'second:1', 'second:99', 'no/such:layer', ':', 'a:b:c', '\x1b[31mred\n', '\x00', '²',
    'é' * 300, '/', '/dev/null', '/no/such/folder/a.png', '~nobody-such/x.png', '.', b'bytes', b'\xff', [], (),
    {}, set(), [[]], [None], [1, [2]], [1, 2, 3, 4, 5], (0, 0), (16, 16), (3, -1), [NAN], ['a', 1], {'a': 1}, {
    1: 2}, {'second': 1}, range(0), range(3), range(10 ** 15), iter([1, 2]), object(), users_error, users_none,
    users_identity, users_text, users_nan, NotImplemented, ..., Ellipsis, slice(3), torch.tensor(2),
    torch.tensor(NAN), torch.zeros(0), torch.zeros(3), torch.ones(8), torch.ones(2, 8), torch.rand(3, 8, 8,
    generator=torch.Generator().manual_seed(0)), torch.full((1, 3, 16, 16), NAN), torch.rand(2, 3, 16, 16,
    generator=torch.Generator().manual_seed(0)), torch.zeros(1, 3, 16, 16, dtype=torch.int64), torch.zeros(1, 3,
    16, 16, device='meta'), torch.zeros(1, 3, 16, 16).to_sparse(), torch.ones(8, dtype=torch.complex64),
    torch.zeros(1, 1, 1, 1, 1), torch.float32, torch.device('cpu'), nn.ReLU(), nn.Conv2d(3, 3, 1), nn.Identity(
    ), Path('/'), Path('nowhere.png'), Exception('x'), Visualisation, OptVis)  # fmt: skip
"""What may be given for anything."""


class Pool:
    """Things that arguments are drawn from, made once; files lie in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        grey = np.arange(24 * 32 * 3, dtype=np.uint8).reshape(24, 32, 3)
        Image.fromarray(grey).save(folder / "photo.png")
        Image.fromarray(grey[..., 0]).save(folder / "grey.jpg")
        (folder / "notes.png").write_text("no picture")
        (folder / "empty.png").write_bytes(b"")
        (folder / "cut.png").write_bytes((folder / "photo.png").read_bytes()[:60])
        (folder / "net.py").write_text(network_file(16, 16))
        (folder / "weights.pth").write_text("no weights")
        torch.save({"a": torch.ones(2)}, folder / "other.pth")
        (folder / "photos").mkdir()
        Image.fromarray(grey).save(folder / "photos" / "a.png")
        self.picture.save(folder / "picture.png")
        assert self.two_pictures and self.map  # made before the steps are counted

    @cached_property
    def networks(self) -> list[nn.Module]:
        one = seeded(Tiny, 1)
        for network in (tiny := seeded(Named), one, small := seeded(Small)):
            network.input_size = (network.first.in_channels if hasattr(network, "first") else 3, 16, 16)  # type: ignore
        return [tiny, tiny, tiny, small, one, vit(), tiny.second]

    @cached_property
    def picture(self) -> Visualisation:
        return OptVis(self.networks[0], "second:1").vis(16, thresh=2)

    @cached_property
    def two_pictures(self) -> Visualisation:
        return OptVis(self.networks[0], ["second:1", "first"]).vis(16, thresh=(1, 2))

    @cached_property
    def map(self) -> Any:
        return attribute(self.networks[0], torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)))

    def value(self, value: Any) -> Any:
        """A value of a list of good ones: functions marked by ``of`` are given the pool."""
        return value(self) if isinstance(value, Of) else value


class Of:
    def __init__(self, label: str, make: Callable[[Pool], Any]) -> None:
        self.label, self.make = label, make

    def __call__(self, pool: Pool) -> Any:
        return self.make(pool)


def file(name: str) -> Of:
    return Of(name, lambda pool: pool.folder / name)


def _shown(value: Any) -> str:
    if isinstance(value, Of):
        return value.label
    if isinstance(value, Tensor):
        return f"<tensor {list(value.shape)} {value.dtype}>"
    if isinstance(value, np.ndarray):
        return f"<array {list(value.shape)} {value.dtype}>"
    return repr(value).replace("\n", " ")[:60]


def one_of(rng: random.Random, values: Values, near: float) -> Any:
    listed = list(values)
    at = next((i for i, value in enumerate(listed) if value is NEAR), len(listed))
    good, missed = listed[:at], listed[at + 1 :]
    return rng.choice(missed if missed and rng.random() < near else good)


RECEIVERS = ("picture", "map", "operation")
"""What is no argument of optvis: it is always good."""


def arguments_of(rng: random.Random, pool: Pool, parameters: Parameters, required: int) -> dict[str, Labelled]:
    """Arguments by name: the first ``required`` parameters, and some of the others; few of them bad."""
    given: dict[str, Labelled] = {}
    bad = rng.choice((0.0, 0.03, 0.08, 0.2))
    optional = list(parameters)[required:]
    some = rng.sample(optional, min(rng.choice((0, 1, 1, 2, 3, 5, 9)), len(optional)))
    for i, (name, good) in enumerate(parameters.items()):
        if i >= required and name not in some:
            continue
        chance = bad / 2 if name == "network" else bad if i < required else 3 * bad
        nonsense = rng.random() < chance and name not in RECEIVERS
        value = rng.choice(NONSENSE) if nonsense else one_of(rng, good, 2 * bad)
        if name == "compile" and (value is True or value is int):
            value = False  # compiling takes minutes
        given[name] = (_shown(value), pool.value(value))
    return given


NETWORK = [Of(f'network{i}', lambda pool, i=i: pool.networks[i]) for i in range(3)] + [NEAR] + [Of(
    f'network{i}', lambda pool, i=i: pool.networks[i]) for i in range(3, 7)]  # fmt: skip
LAYER: Values = ['second', 'first', 'head', 'second', NEAR, 'second:1', 'features/0', 'features.2', '', 'relu',
    'encoder/layers', Of('module', lambda pool: pool.networks[0].second), 'secnd', 'unused']  # fmt: skip
CHANNEL: Values = [0, 1, -1, 4, [0, 1], range(3), NEAR, 'cat', '1', np.array([1, 2]), np.int64(2), ['cat', 1],
    99, -99, (0,)]  # fmt: skip
SIZE: Values = [16, 8, (16, 12), [9, 16], np.int64(16), torch.tensor(16), NEAR, 1, 3, (16, 16, 16), "16", 0, -16, 16.0]
SEED: Values = [0, 1, 7, np.int64(3), 2**40]
IMAGE: Values = [torch.rand(3, 16, 16), torch.rand(2, 3, 16, 16), Image.new('RGB', (20, 16)), NEAR, file(
    'photo.png'), file('grey.jpg'), file('notes.png'), file('empty.png'), file('cut.png'), file(
    'missing.png'), file('photos'), Of('tensor', lambda pool: pool.map.images), Of('pil',
    lambda _: Image.new('RGB', (20, 16))), Of('array', lambda _: np.zeros((16, 16, 3), np.float32)), Of(
    'grey array', lambda _: np.zeros((16, 16), np.uint8)), Of('list', lambda pool: [pool.folder / 'photo.png',
    Image.new('L', (20, 16))]), torch.rand(3, 16, 16), torch.full((3, 16, 16), 2.0), torch.rand(1, 16, 16),
    torch.rand(4, 16, 16), np.ones((16, 16, 3)), torch.rand(16, 16)]  # fmt: skip
PARAM: Values = [*SIZE[:4], 16, 16, 16, *(Of(text, lambda _, text=text: eval(text, vars(optvis))) for text in (
    'ImageParam(16)', 'PixelParam(16)', 'CPPNParam(16)', 'FourierParam((9, 16), 2)',
    'ImageParam(16, channels=1)', 'ImageParam(16, 2, fft=False)', 'PixelParam(16, 3, seed=[1, 1, 2])')), Of(
    'ImageFile', lambda pool: optvis.ImageFile(pool.folder / 'photo.png', 16))]  # fmt: skip
SETTINGS: Parameters = {'transforms': [None, [], [transforms.Jitter()], transforms.Blur(), users_identity, [
    users_identity, transforms.Flip()], NEAR, users_error, users_none, users_text, users_nan, torch.relu, [[
    transforms.Flip()]], nn.Upsample(24)], 'optim': [torch.optim.Adam, torch.optim.SGD, torch.optim.AdamW,
    torch.optim.LBFGS, torch.optim.Rprop, NEAR, 'adam', torch.optim.SparseAdam, users_none], 'device': ['cpu',
    torch.device('cpu'), NEAR, 'cuda:9', 'meta', 'abacus', 0], 'grad_tfms': [users_identity, [torch.sign,
    users_identity], (), NEAR, users_none, users_nan, users_text, users_error], 'mean': [0.5, [0.5, 0.4, 0.3], (
    0.5,), np.array([0.5, 0.5, 0.5]), torch.ones(3), NEAR, '0.5', [NAN, 0, 0]], 'std': [0.5, [0.5, 0.4, 0.3],
    np.ones(3), NEAR, 0, [0.1, 0, 0.1], INF], 'extra_inputs': [(), {}, NEAR, (torch.ones(1, 2),), {'x': 1}, {
    'mask': torch.ones(1)}, torch.ones(1), None], 'channel_axis': [None, 1, NEAR, -1, 2, 0, 4, {'second': 1}, {
    'head': 1, 'second': -1}, {'nowhere': 1}], 'channel_noise': [0, 0.1, 0.99, NEAR, 1, -0.1],
    'relu_softness': [0, 0.8, 3, NEAR, -1]}  # fmt: skip
RUN: Parameters = {'img_param': PARAM, 'thresh': [1, 2, (1, 2), [2], range(1, 3), np.int64(2), np.array([1, 2]),
    NEAR, 0, -1, 1.5, '2', (1, 1)], 'stages': [None, [(8, 1), (16, 1)], [(16, 2)], [[16, 1]], NEAR, [((9, 16),
    1)], [(16, 0)], [(16, 1, 1)], [16], [(np.int64(16), np.int64(1))], {16: 1}, [('16', 1)], [(16, 1.0)]],
    'transform': [True, False, 1, NEAR, None, 'no'], 'lr': [0.1, 0, 1, 0.001, np.float32(0.1), NEAR, -0.1,
    '0.1', 1e+20], 'wd': [0, 0.1, 0.001, NEAR, -1], 'verbose': [True, False, 'always', 1, NEAR, 'loud', None],
    'seed': SEED, 'callback': [users_identity, users_none, None, lambda step, v: False, NEAR, users_error,
    'callback'], 'precision': ['fp32', 'bf16', 'auto', NEAR, 'fp16', 'float32', None, torch.float32], 'batch': [
    1, 2, 8, np.int64(2), NEAR, 0, -1, 10 ** 7], 'until': [None, 'plateau', lambda picture, scores: True, NEAR,
    'never', users_text], 'compile': [False, 0, NEAR, None], 'tile': [None, 8, 12, 16, NEAR, 0, -4, 8.0]}  # fmt: skip
OBJECTIVES: Mapping[str, Parameters] = {'Layer': {'layer': LAYER}, 'DeepDream': {'layer': LAYER}, 'Channel': {
    'layer': LAYER, 'channel': CHANNEL}, 'Class': {'layer': ['', 'head', 'second'], 'channel': CHANNEL,
    'rival': [0, 0.5, 3], 'temperature': [0, 3, 1e-30]}, 'Neuron': {'layer': LAYER, 'channel': CHANNEL,
    'position': [None, 0, (1, 1), (0, 99), (1,), (1, 1, 1), -1, [2, 3]]}, 'Direction': {'layer': LAYER,
    'vector': [torch.ones(8), np.ones(8), [1.0] * 8, torch.ones(2, 8), torch.zeros(8), torch.ones(5), [1] * 5],
    'similarity': ['dot', 'cosine', 'dot_cosine', 'cos'], 'power': [0, 1, 2.5, -1]}, 'TotalVariation': {
    'layer': [*LAYER, '@image']}, 'L1': {'layer': [*LAYER, '@image'], 'center': [None, 0, 0.5, -3]}, 'L2': {
    'layer': [*LAYER, '@image'], 'center': [None, 0, 0.5, -3]}, 'Batch': {'objectives': [['second', 'first'], (
    optvis.Channel('second', 1),), ['second:1', optvis.L1()], 'ab', [optvis.Channel('second', [0, 1])], [[
    'second']]]}, 'LayerObjective': {'layer': LAYER, 'channel': CHANNEL, 'neuron': [None, 0, (1,
    1), (0, 99)]}}  # fmt: skip
TRANSFORMS: Mapping[str, Parameters] = {'Pad': {'amount': [0, 0.05, 1, 2], 'fill': ['reflect', 'border', 'grey',
    'black', 'white']}, 'Jitter': {'amount': [0, 0.1, 1], 'fill': ['reflect', 'grey', 'white']},
    'RandomScale': {'low': [0.5, 1, 2], 'high': [1, 2, 0.4], 'fill': ['black']}, 'RandomRotate': {'degrees': [0,
    15, 180, 360], 'fill': ['black']}, 'Crop': {'amount': [0.01, 0.9, 1, 0]}, 'Flip': {'probability': [0, 0.5,
    1]}, 'Blur': {'sigma': [0, 0.01, 1]}, 'Noise': {'std': [0, 0.1]}, 'ColorJitter': {'brightness': [0, 0.1],
    'contrast': [0, 0.2], 'saturation': [0, 0.3], 'hue': [0, 0.5, 0.6]}, 'Compose': {'transforms': [[], [
    transforms.Jitter(), users_identity], users_identity, transforms.Flip()]}}  # fmt: skip
METHOD_OPTIONS: Parameters = {'abs': [True, False], 'samples': [2, 4, NEAR, 0], 'noise': [0, 0.1, NEAR, -1],
    'batch_size': [1, 4, NEAR, 0], 'seed': [0, 5, NEAR, -1, 2 ** 32], 'baseline': ['black', 'grey', 'white',
    'mean', 'blur', 0.5, [0.1, 0.2, 0.3], torch.zeros(3, 16, 16), NEAR, 'pink'], 'baselines': [('black',
    'white'), ['grey', 0.5], ('black',), torch.zeros(2, 3, 16, 16)], 'steps': [2, 4, None, 0], 'window': [4, (4,
    8), 99, 0], 'stride': [2, (2, 4), 9], 'segments': [2, (2, 3), 99, 1], 'alpha': [0.01, 0, -1],
    'feature_mask': [None, torch.arange(256).view(16, 16) // 64, torch.zeros(16, 16), np.arange(256).reshape(16,
    16) // 128], 'verbose': [True, False], 'rule': ['epsilon', 'gamma', 'z'], 'epsilon': [0.01, 0, -1],
    'no_such': [1]}  # fmt: skip
TARGET: Values = [None, 0, 1, -1, optvis.Channel('second', 1), lambda output: output[:, 0], NEAR, 99, 'ct',
    'cat', [0, 1], ['cat', None], optvis.Channel('second', 1), 'second', [optvis.Channel('second', 1)] * 2,
    users_none, users_text, users_nan, targets.softmax_of(1), [0], targets.against(0, 1), np.array([0, 1]),
    torch.tensor([1, 0]), lambda output: output[:, 0], lambda output: output, targets.segment(0), targets.box(1,
    (0, 0, 8, 8)), targets.similarity(torch.ones(5))]  # fmt: skip
PATHS: Values = [*map(file, ('out.png', 'out.webp', 'out.jpg', 'out.gif', 'out.npy')), NEAR, *map(file, (
    'out.json', 'out.tiff', 'photos', 'none/out.png', 'out', 'x' * 250 + '.png',
    'x' * 300 + '.png', '.png'))]  # fmt: skip
MAP = [Of("map", lambda pool: pool.map), Of("one map", lambda pool: pool.map[0])]
NETWORKS_OF_MAPS = [NETWORK[0], NEAR, NETWORK[4], NETWORK[5]]
SHARED_BY_METRICS: Parameters = {"softmax": [True, False], "batch_size": [1, 32, 0]}
METRICS_OF_MAPS: Mapping[str, Parameters] = {'deletion': {'steps': [1, 4, 0], 'baseline': METHOD_OPTIONS[
    'baseline'], 'sign': ['all', 'positive', 'both']}, 'insertion': {'steps': [1, 4, 0],
    'baseline': METHOD_OPTIONS['baseline'], 'sign': ['absolute', 'negative']}, 'average_drop': {
    'baseline': METHOD_OPTIONS['baseline']}, 'increase_in_confidence': {'baseline': METHOD_OPTIONS['baseline']},
    'road': {'percentages': [[20, 80], (50,), [], [0, 50], [50, 20], 50], 'order': ['most', 'least', 'no'],
    'noise': [0, 0.01, -1], 'sign': ['all', 'positive'], 'seed': SEED}, 'infidelity': {'samples': [2, 4, 0],
    'share': [0.25, 0, 1, 2], 'cells': [2, 8, 0], 'scaled': [True, False], 'seed': SEED}}  # fmt: skip
