"""Films of a picture over training."""

from __future__ import annotations

import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from optvis import Class, Film, Watch, load_network
from optvis.demo import DemoNetwork


def changing(count: int):
    """The demo network's weights, approached from random ones, as in training."""
    trained, network = load_network("demo"), DemoNetwork()
    torch.manual_seed(0)
    start = {name: value.clone() for name, value in DemoNetwork().state_dict().items()}
    end = trained.state_dict()
    for i in range(count):
        share = 0.7 + 0.3 * i / (count - 1)
        mixed = {n: torch.lerp(start[n].float(), end[n].float(), share).to(end[n].dtype) for n in end}
        network.load_state_dict(mixed)
        yield i, network.eval()


def difference(first: torch.Tensor, second: torch.Tensor) -> float:
    return (first - second).abs().mean().item()


@pytest.mark.slow
def test_a_film_is_no_slide_show():
    """Frames change little from one to the next, compared with pictures that are drawn independently."""
    film, frames, alone = Film(Class("pattern", "rings"), size=48, steps=8), [], []
    for i, network in changing(8):
        frame = film(network)
        film.add(frame, i)
        frames.append(frame.images)
        alone.append(Film(Class("pattern", "rings"), size=48, steps=80, seed=i)(network).images)
    steps = [difference(a, b) for a, b in pairwise(frames[3:])]
    apart = [difference(a, b) for a, b in pairwise(alone[3:])]
    assert max(steps) < 0.5 * min(apart)
    assert min(steps) > 0.005, "it moves"
    assert frames[-1].std() > 0.15, "it has contrast"
    assert film.numbers == list(range(8))


@pytest.fixture(scope="module")
def film():
    film = Film("features/6:3", size=32, steps=2, fps=10)
    watch = Watch(("channel", film), 10, to=[])
    for i, network in changing(4):
        watch.step(network, 10 * i)
    return film


@pytest.mark.parametrize("ending", [".webp", ".gif"])
def test_a_film_is_read_back(film, tmp_path, ending):
    with Image.open(film.save(tmp_path / f"film{ending}")) as found:
        assert (found.n_frames, found.format) == (4, ending[1:].upper())
        found.seek(0)
        found.load()
        durations = [found.info["duration"]]
        found.seek(3)
        found.load()
        durations.append(found.info["duration"])
        assert durations == [100, 2000]
        assert found.size[0] == 224
    assert film.numbers == [0, 10, 20, 30]
    assert repr(film) == "Film(Channel('features/6', 3), steps=2, 4 frames)"


def test_an_mp4_is_read_back(film, tmp_path):
    av = pytest.importorskip("av")
    with av.open(str(film.save(tmp_path / "film.mp4"))) as found:
        stream = found.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in found.decode(stream)]
        assert (len(frames), float(stream.average_rate)) == (24, 10)
        assert all(side % 2 == 0 for side in frames[0].shape[:2])
        assert abs(frames[3][:224, :224].astype(float).mean() - _mean(film.frames[3])) < 4


def _mean(frame: Image.Image) -> float:
    return float(np.asarray(frame).mean())


def test_several_pictures_make_a_film_of_their_grid(tmp_path):
    film = Film(Class("pattern", ("rings", "dots")), size=32, steps=2, endings=[".gif", ".webp"])
    watch = Watch([("classes", film)], 1, to=tmp_path)
    for i, network in changing(2):
        watch.step(network, i)
    watch.close()
    assert film.frames[0].width > 60
    assert sorted(path.name for path in tmp_path.iterdir()) == ["classes.gif", "classes.webp", "index.html"]


def test_a_network_of_one_size_and_stages_of_the_user():
    network = load_network("demo")
    film = Film("features/6:3", stages=[(24, 1), (32, 2)])
    assert [film(network).settings["stages"] for _ in range(2)] == [[[[24, 24], 1], [[32, 32], 2]]] * 2
    first = Film("features/6:3", size=32, steps=1)
    assert [first(network).settings["stages"] for _ in range(2)] == [[[[32, 32], 1]]] * 2


def test_wrong_films_are_refused(monkeypatch, tmp_path):
    with pytest.raises(ValueError, match=r"a film is not saved as '\.avi'"):
        Film("features/6:3", endings=".avi")
    with pytest.raises(ValueError, match="the film has no frames yet"):
        Film("features/6:3").save(tmp_path / "film.webp")
    with pytest.raises(ValueError, match="steps 0"):
        Film("features/6:3", steps=0)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ImportError, match=r"pip install 'optvis\[film\]'"):
        Film("features/6:3", endings=".mp4")
