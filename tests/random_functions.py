"""Functions for ``random_calls``: how each is called, and with which of ``random_arguments``."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from random_arguments import (
    CHANNEL,
    IMAGE,
    LAYER,
    MAP,
    METHOD_OPTIONS,
    METRICS_OF_MAPS,
    NAN,
    NEAR,
    NETWORK,
    NETWORKS_OF_MAPS,
    OBJECTIVES,
    PARAM,
    PATHS,
    RUN,
    SEED,
    SETTINGS,
    SHARED_BY_METRICS,
    SIZE,
    TARGET,
    TRANSFORMS,
    Of,
    Parameters,
    Pool,
    Values,
    file,
    one_of,
    users_error,
    users_none,
    users_text,
)
from torch import Tensor

import optvis
from optvis import OptVis, Visualisation, metrics, transforms
from optvis.attribution import METHODS, Gradcam, attribute, compare
from optvis.network import get_layer_names
from optvis.recipes import collage


def _optvis(pool: Pool, network: Any, objective: Any, **options: Any) -> Any:
    run = {name: options.pop(name) for name in list(options) if name in RUN}
    callback = run.pop("callback", lambda step, _: step < 3)
    return OptVis(network, objective, **options).vis(callback=callback, **run)


def _made_by(make: Callable[..., OptVis]) -> Callable[..., Any]:
    def call(pool: Pool, **options: Any) -> Any:
        run = {name: options.pop(name) for name in list(options) if name in RUN}
        made = make(**options)
        made.shapes()
        return made.vis(**{"img_param": 16, "thresh": 1, "callback": lambda step, _: step < 3, **run})

    return call


def _stream(pool: Pool, network: Any, objective: Any, **options: Any) -> Any:
    return list(OptVis(network, objective).stream(**options))


def _objective(name: str) -> Callable[..., Any]:
    def call(pool: Pool, **fields: Any) -> Any:
        made = getattr(optvis, name)(**fields) if name != "LayerObjective" else optvis.LayerObjective(**fields)
        repr(made), hash(made), made == made, made.pictures, made.layers, (-made + 2 * made - 1) / 2
        return OptVis(pool.networks[0], made).vis(16, thresh=1)

    return call


def _algebra(pool: Pool, picture: Any, operation: str, right: Any) -> Any:
    one = {
        "+": lambda: picture + right,
        "-": lambda: picture - right,
        "*": lambda: picture * right,
        "/": lambda: picture / right,
        "r+": lambda: right + picture,
        "r-": lambda: right - picture,
        "r*": lambda: right * picture,
    }[operation]()
    return OptVis(pool.networks[0], one).vis(16, thresh=1) if isinstance(one, optvis.Objective) else None


def _transform(name: str) -> Callable[..., Any]:
    def call(pool: Pool, image: Any = None, **options: Any) -> Any:
        made = getattr(transforms, name)(**options)
        repr(made)
        return OptVis(pool.networks[0], "second", made).vis(16, thresh=1)

    return call


def _param(name: str) -> Callable[..., Any]:
    def call(pool: Pool, grown: Any = 8, taken: Any = (0,), **options: Any) -> Any:
        made = getattr(optvis, name)(**options)
        made(), repr(made), made.grow(grown)(), made.take(taken)()
        return OptVis(pool.networks[0], "second").vis(made, thresh=1)

    return call


def _collage(pool: Pool, **options: Any) -> Any:
    return collage(**{"thresh": 1, "callback": lambda step, _: step < 3, **options})


def _attribute(call: Callable[..., Any]) -> Callable[..., Any]:
    def attributed(pool: Pool, option: Any = None, **options: Any) -> Any:
        found = call(**options)
        for one in found if isinstance(found, list) else [found]:
            one.heatmap(), one.overlay(), repr(one), one + one, 2 * one
        return found

    return attributed


def _metric(name: str) -> Callable[..., Any]:
    return lambda pool, **options: getattr(metrics, name)(**options)


def _arithmetic(pool: Pool, operation: str, map: Any, right: Any) -> Any:
    if operation == "[]":
        return map[right]
    return {"+": map.__add__, "-": map.__sub__, "*": map.__mul__, "/": map.__truediv__}[operation](right)


def _load(pool: Pool, path: Any) -> Any:
    found = Visualisation.load(path)
    return repr(found), found.images, found.grid()


def _activations(pool: Pool, **options: Any) -> Any:
    return list(optvis.activations(**options))


def _redraw(pool: Pool, **options: Any) -> Any:
    return optvis.redraw(**options)


EXPLAIN: Values = [users_none, users_text, users_error, Of('explain', lambda pool: lambda x: attribute(
    pool.networks[0], x, 'saliency', 0) if isinstance(x, Tensor) else attribute(x, pool.map.images, 'saliency',
    0))]  # fmt: skip
BOXES: Values = [[(0, 0, 8, 8)] * 2, torch.tensor([[0, 0, 8, 8], [1, 1, 3, 3]]), [(0, 0, 8, 8)], [(8, 8, 0,
    0)] * 2, [(0, 0, 8)] * 2, [(90, 90, 99, 99)] * 2, [(0, 0, NAN, 8)] * 2, []]  # fmt: skip
RESULT: Values = [Of("picture", lambda pool: pool.picture), Of("pictures", lambda pool: pool.two_pictures)]

SPECS: dict[str, tuple[Callable[..., Any], Parameters, int]] = {'OptVis': (_optvis, {'network': NETWORK,
    'objective': ['second', 'second:1', ['second', 'first'], NEAR, 'head:cat', 'relu', optvis.Channel('second',
    [0, 1]), optvis.L2(), 'features/2:1', '', 'encoder:1', 'second:99'], 'img_param': PARAM, 'thresh': RUN[
    'thresh'], **SETTINGS, **RUN}, 4), 'from_layer': (_made_by(OptVis.from_layer), {'network': NETWORK,
    'layer': LAYER, 'channel': CHANNEL, 'neuron': [None, 0, (1, 1), (0, 99), [1, 1]], **SETTINGS}, 2),
    'from_class': (_made_by(OptVis.from_class), {'network': NETWORK, 'name': CHANNEL, 'layer': ['', 'head',
    'second'], **SETTINGS}, 2), 'from_dream': (_made_by(OptVis.from_dream), {'network': NETWORK, 'layer': LAYER,
    **SETTINGS, **RUN}, 2), 'vis': (_optvis, {'network': NETWORK[:3], 'objective': ['second:1', ['second',
    'first']], 'img_param': PARAM, 'thresh': RUN['thresh'], **RUN}, 4), 'stream': (_stream, {'network': NETWORK[
    :3], 'objective': ['second:1', ['second', 'first', 'second:2']], 'img_param': PARAM, 'thresh': RUN[
    'thresh'], **{name: RUN[name] for name in RUN if name not in ('verbose', 'callback')}}, 4), 'collage': (
    _collage, {'network': NETWORK, 'layer': [*LAYER, optvis.Class('', ['cat', 1]), ['second', 'first:1']],
    'channels': [[0, 1], range(3), None, ['cat'], [], [99], range(7, 10), iter([1]), np.array([1])],
    'size': SIZE, 'batch': RUN['batch'], 'seed': SEED, 'verbose': RUN['verbose'], **SETTINGS, **RUN}, 4), **{
    f'objective {name}': (_objective(name), fields, min(2, len(fields))) for name, fields in OBJECTIVES.items(
    )}, 'algebra': (_algebra, {'picture': [optvis.Channel('second', 1), optvis.Channel('second', [0, 1]),
    2 * optvis.L1()], 'operation': ['+', '-', '*', '/', 'r+', 'r-', 'r*'], 'right': [optvis.Channel('second',
    1), optvis.Channel('second', [0, 1, 2]), 'second', 2, 0, np.float32(2)]}, 3), **{f'transform {name}': (
    _transform(name), options, 0) for name, options in TRANSFORMS.items()}, **{f'param {name}': (_param(name), {
    'size': SIZE, 'batch': [1, 2, 0, -1, 10 ** 7, np.int64(2)], 'channels': [1, 3, 4, 0], 'seed': [*SEED, [1,
    2], -5, 2 ** 63], 'grown': SIZE, 'taken': [[0], (0,), [], [5], [-1]], **more}, 1) for name, more in ((
    'FourierParam', {'decorrelate': [True, False], 'noise_scale': [0, 0.01, -1]}), ('PixelParam', {
    'decorrelate': [True, False], 'noise_scale': [0, 0.01, -1]}), ('CPPNParam', {'width': [1, 4, 0], 'depth': [
    0, 2, -1]}), ('ImageParam', {'fft': [True, False], 'decorrelate': [True, False]}))}, 'param ImageFile': (
    _param('ImageFile'), {'image': IMAGE, 'size': SIZE, 'fft': [True, False], 'decorrelate': [True, False],
    'batch': [1, 2, 0]}, 2), 'get_layer_names': (lambda pool, **options: get_layer_names(**options), {
    'network': NETWORK, 'input_size': [*SIZE, (3, 16, 16)], 'verbose': [True, False]}, 1), 'norm': (lambda pool,
    **options: optvis.norm(**options), {'image': IMAGE[:3], 'mean': SETTINGS['mean'], 'std': SETTINGS['std'],
    'input_range': [(0, 1), (0, 255), (1, 1), (0,), (0, NAN)], 'unsqueeze': [True, False], 'grad': [True,
    False]}, 1), 'denorm': (lambda pool, **options: optvis.denorm(**options), {'image': [torch.zeros(3, 8, 8),
    torch.zeros(2, 3, 8, 8), torch.zeros(8, 8), np.zeros((3, 8, 8))], 'mean': SETTINGS['mean'], 'std': SETTINGS[
    'std']}, 1), 'activations': (_activations, {'network': NETWORK, 'images': [*IMAGE, iter([]), [torch.rand(3,
    16, 16)] * 3], 'layers': [*LAYER, ['first', 'second'], []], 'batch': RUN['batch'], 'mean': SETTINGS['mean'],
    'std': SETTINGS['std'], 'extra_inputs': SETTINGS['extra_inputs'], 'channel_axis': SETTINGS['channel_axis'],
    'no_such': [1]}, 3), 'redraw': (_redraw, {'path': [file(name) for name in ('picture.png', 'picture.png',
    'photo.png', 'notes.png', 'none.png', 'photos')], 'network': [*NETWORK[:4], None], 'weights': [None, file(
    'other.pth'), file('none.pth')], 'verbose': RUN['verbose']}, 2), 'load': (_load, {'path': [file(
    name) for name in ('picture.png', 'photo.png', 'cut.png', 'none.png', 'photos')]}, 1), 'save': (lambda pool,
    path, picture: picture.save(path), {'path': PATHS, 'picture': RESULT}, 2), 'grid': (lambda pool, picture,
    **options: picture.grid(**options), {'picture': RESULT, 'columns': [None, 1, 2, 5, 0, -1], 'labels': [None,
    (), ['a', 'b'], ['a'], ['a'] * 5, 'ab', ['\x00\n\x1b']]}, 1), 'attribute': (_attribute(attribute), {
    'network': NETWORK[:5], 'image': IMAGE, 'method': [*METHODS, 'GradCAM', 'gradcm'], 'target': TARGET,
    'layer': LAYER, 'each': [True, False], 'aug_smooth': [True, False], 'eigen_smooth': [True, False],
    'mean': SETTINGS['mean'], 'std': SETTINGS['std'], 'extra_inputs': SETTINGS['extra_inputs'],
    'size': SIZE, 'verbose': RUN['verbose']}, 3),
    'Gradcam': (_attribute(Gradcam), {'network': NETWORK[:5], 'input_data': IMAGE, 'im_class': TARGET,
    'layer': LAYER, 'batch_size': [1]}, 2), **{f'attribute {name}': (_attribute(attribute), {'network': NETWORK[
    :1], 'image': IMAGE[:2], 'method': [name], 'target': [None, 0, [0, 1], optvis.Channel('second', 1)], **{
    option: METHOD_OPTIONS[option] for option in METHODS[name].options() if option in METHOD_OPTIONS}},
    2) for name in METHODS if METHODS[name].options()}, 'heatmap': (lambda pool, map, **options: map.heatmap(
    **options), {'map': MAP, 'size': SIZE, 'sign': ['positive', 'all', 'no'], 'outliers': [0, 2, 100, -1, 101]},
    1), 'overlay': (lambda pool, map, **options: map.overlay(**options), {'map': MAP, 'alpha': [0, 0.5, 2],
    'cmap': ['jet', 'jt', None], 'sign': ['positive', 'all', 'no'], 'on': ['original', 'view', 'no']}, 1),
    'show': (lambda pool, map, **options: map.show(**options), {'map': MAP, 'kinds': ['overlay', ['heat map',
    'masked'], [], 'no'], 'sign': ['all', 'no'], 'cmap': ['jet', 'jt'], 'colorbar': [True, False], 'titles': [
    True, False]}, 1), 'save map': (lambda pool, map, **options: map.save(**options), {'map': MAP,
    'path': PATHS, 'sign': ['all', 'no'], 'kind': ['heat map', 'no'], 'alpha': [None, 0.2, 2]}, 3),
    'map arithmetic': (_arithmetic, {'operation': ['+', '-', '*',
    '/', '[]'], 'map': MAP, 'right': [2, 0.5, 0, *MAP, -1]}, 3), 'compare': (lambda pool, **options: compare(
    **options), {'attributions': [Of('maps', lambda pool: [pool.map] * 2), [], Of('unequal', lambda pool: [
    pool.map, pool.map[0]])], 'kind': ['overlay', 'masked', 'no'], 'sign': ['all', 'no'], 'columns': [None, 1,
    3, 0]}, 1), **{f'metric {name}': (_metric(name), {'network': NETWORKS_OF_MAPS, 'attribution': MAP,
    **options, **SHARED_BY_METRICS}, 2) for name, options in METRICS_OF_MAPS.items()}, 'metric pointing_game': (
    _metric('pointing_game'), {'attribution': MAP, 'boxes': BOXES, 'tolerance': [0, 2, -1]}, 2),
    'metric energy_in_box': (_metric('energy_in_box'), {'attribution': MAP, 'boxes': BOXES}, 2),
    'metric max_sensitivity': (_metric('max_sensitivity'), {'attribution': MAP, 'explain': EXPLAIN, 'radius': [
    0.02, 0, -1], 'samples': [1, 2, 0], 'seed': SEED}, 2), 'metric randomisation': (_metric('randomisation'), {
    'network': NETWORKS_OF_MAPS, 'explain': EXPLAIN, 'layers': [None, ['second'], 'first', [], ['nowhere']],
    'cascading': [True, False], 'absolute': [True, False], 'seed': SEED}, 2), 'metric table': (_metric('table'),
    {'network': NETWORKS_OF_MAPS[:1], 'attributions': [Of('maps', lambda pool: [pool.map] * 2), {}, Of(
    'mapping', lambda pool: {'a': pool.map})], 'metrics': [['deletion'], 'road', ['no'], {
    'mine': metrics.deletion}, []], 'verbose': [True, False]}, 2), 'command line': (users_none, {}, 0)}  # fmt: skip

COMMANDS: Mapping[str, tuple[Sequence[Sequence[Any]], Parameters]] = {'layers': ([[file('net.py:Small'),
    'demo']], {'--size': ['16', '8x16', NEAR, '0', 'a', '²'], '--weights': [file('other.pth')]}), 'vis': ([[
    file('net.py:Small'), 'demo'], ['features/0', 'head:cat', 'features/2:1', NEAR, 'nowhere', 'head:9',
    'features/0:']], {'--out': PATHS, '--class': ['cat', '0', NEAR, '9', 'ct'], '--size': ['16', '8x16', NEAR,
    '0'], '--steps': ['1', '2', NEAR, '0', '-1'], '--seed': ['0', '7', NEAR, '-1', '99999999999999999999'],
    '--param': ['fourier', 'pixel', 'cppn', NEAR, 'no'], '--weights': [file('weights.pth')], '--device': [
    'cpu', NEAR, 'cuda:9', 'meta', 'x'], '--precision': ['fp32', 'bf16', NEAR, 'no'], '--tile': ['8', NEAR, '0',
    '-1']}), 'collage': ([[file('net.py:Small')], ['features/0', 'head', 'nowhere', 'features/0:1']], {
    '--out': PATHS, '--channels': ['0-3', '1', 'all', NEAR, '0-99999999999', '3-1', 'a', '--5', '²', '', ','],
    '--classes': ['0-1', 'cat,dog', NEAR, 'cat,,', '9', '1-'], '--size': ['16', '8'], '--steps': ['1', NEAR,
    '0'], '--seed': ['1'], '--batch': ['1', '2', NEAR, '0'], '--until': ['plateau', NEAR, 'no']}), 'dream': ([[
    file('net.py:Small')], ['features/0', 'features/2:1', NEAR, 'nowhere'], [file('photo.png'), NEAR, file(
    'notes.png'), file('photos'), file('none.png')]], {'--out': PATHS, '--size': ['16', NEAR, '0'],
    '--steps': ['1', NEAR, '0'], '--lr': ['0.02', NEAR, 'nan', 'inf', '-1', '1e400', 'x'], '--tile': ['8', NEAR,
    '0']}), 'redraw': ([[file('picture.png'), NEAR, file('photo.png'), file('none.png'), file('photos')], [
    file('net.py:Small'), 'demo']], {'--out': PATHS}), 'attribute': ([[file('net.py:Small')], [file(
    'photo.png'), file('photos'), NEAR, file('notes.png'), file('none.png')]], {'--out': PATHS, '--method': [
    *METHODS, NEAR,
    'no'], '--target': ['cat', '0', NEAR, '9', 'ct'], '--layer': ['features/0', NEAR, 'features/0:1', 'nowhere',
    'head'], '--size': ['16', '8x16', NEAR, '0'], '--kind': ['heat-map', 'masked', NEAR, 'no'], '--sign': [
    'all', NEAR, 'no'], '--alpha': ['0.2', NEAR, '2', 'x'], '--device': ['cpu', NEAR, 'meta']})}  # fmt: skip
WORDS: Sequence[str] = ('', 'a', '-1', '--', '--no-such', '0', '1', '\x1b[31m', 'é' * 300, 'nan', '/', '.', '²',
    '1e9', 'a:b', 'a b', 'x.py:y', 'torchvision:no', 'timm:', 'hf:/nowhere', 'pattern:rings',
    '\ud800', '0-3')  # fmt: skip


def command_line(rng: random.Random, pool: Pool) -> list[str]:
    """The arguments of a call of ``optvis``."""
    command = rng.choice([*COMMANDS, rng.choice(WORDS)] if rng.random() < 0.1 else list(COMMANDS))
    positions, options = COMMANDS.get(command, ([], {}))
    bad = rng.choice((0, 0.03, 0.2))

    def text(good: Values) -> str:
        value = rng.choice(WORDS) if rng.random() < bad else pool.value(one_of(rng, good, 2 * bad))
        return str(value)

    arguments = [command, *(text(good) for good in positions)]
    given = {name: text(good) for name, good in options.items() if rng.random() < 0.3}
    if "--steps" in options and rng.random() < 0.9:
        given.setdefault("--steps", "1")
    if command != "layers" and rng.random() < 0.9:
        given.setdefault("--out", str(pool.folder / "cli.png"))
    return [*arguments, *(part for pair in given.items() for part in pair)]
