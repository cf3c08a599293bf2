"""Maps of a data set: purity, cache, methods and figures."""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_networks import CountingTiny, Tiny, seeded
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision.utils import save_image

from optvis import Context, View, activations, embedding, load_network
from optvis.demo import COLOURS, PATTERNS, make_pictures
from optvis.features import KEPT, Cache, network_key

pytest.importorskip("matplotlib")


@pytest.fixture(autouse=True)
def empty_cache() -> None:
    KEPT.clear()


@pytest.fixture(scope="module")
def pictures() -> tuple[Tensor, Tensor, Tensor]:
    return make_pictures(240, seed=4)


@pytest.fixture(scope="module")
def demo() -> nn.Module:
    return load_network("demo")


def drawn(network: nn.Module, layers: Any, data: Any, labels: Any = None, method: str = "pca", **more: Any) -> Any:
    return embedding(network, layers, data, labels, method, verbose=False, **more)


def purity(figure: Any, layer: str) -> float:
    return float(figure.values["layers"][layer]["purity"])


def test_colours_are_apart_early_and_patterns_late(demo: nn.Module, pictures: Any) -> None:
    images, patterns, colours = pictures
    layers = ["features/2", "pattern"]
    by_pattern = drawn(demo, layers, images, patterns, names=PATTERNS)
    by_colour = drawn(demo, layers, images, colours, names=COLOURS)
    assert purity(by_pattern, "features/2") < 0.25 and purity(by_pattern, "pattern") > 0.9
    assert purity(by_colour, "features/2") > 0.75 and purity(by_colour, "pattern") < 0.3
    assert by_pattern.values["classes"] == list(PATTERNS)
    assert by_pattern.values["layers"]["pattern"]["chance"] == pytest.approx(1 / 12, abs=0.01)


def test_purity_is_that_of_a_plain_count(demo: nn.Module, pictures: Any) -> None:
    images, patterns, _ = pictures
    figure = drawn(demo, "features/11", images, patterns, neighbours=5)
    vectors, index = figure.tensors["activations/features/11"], figure.tensors["labels"]
    right = []
    for i in range(len(vectors)):
        order = [j for j in (vectors - vectors[i]).norm(dim=1).argsort().tolist() if j != i][:5]
        right.append(np.mean([int(index[j]) == int(index[i]) for j in order]))
    assert purity(figure, "features/11") == pytest.approx(np.mean(right), abs=2e-3)


def test_the_vectors_are_means_over_positions(demo: nn.Module, pictures: Any) -> None:
    images = pictures[0][:50]
    figure = drawn(demo, ["features/11", "pattern"], images)
    found = list(activations(demo, images, ["features/11", "pattern"]))
    expected = torch.cat([part["features/11"].mean((2, 3)) for part in found])
    assert torch.allclose(figure.tensors["activations/features/11"], expected, atol=1e-5)
    assert figure.tensors["activations/pattern"].shape == (50, 12)
    assert figure.tensors["points/pattern"].shape == (50, 2)
    assert figure.tensors["labels"].tolist() == [-1] * 50 and "purity" not in figure.values["layers"]["pattern"]


@pytest.mark.parametrize(
    "make",
    [
        lambda images, folder: images,
        lambda images, folder: DataLoader(TensorDataset(images), 7),
        lambda images, folder: iter(list(images)),
        lambda images, folder: folder,
        lambda images, folder: sorted(folder.iterdir()),
    ],
)
def test_the_same_network_and_data_are_computed_once(tmp_path: Path, make: Any) -> None:
    network = seeded(CountingTiny)
    images = torch.rand(20, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for i, image in enumerate(images):
        save_image(image, tmp_path / f"{i:02}.png")
    first = drawn(network, "second", make(images, tmp_path), batch=8)
    passes = len(network.seen)
    again = drawn(network, "second", make(images, tmp_path), batch=8, neighbours=3)
    assert len(network.seen) == passes
    assert torch.equal(first.tensors["activations/second"], again.tensors["activations/second"])
    with torch.no_grad():
        network.first.weight[0, 0, 0, 0] += 1e-3
    changed = drawn(network, "second", make(images, tmp_path), batch=8)
    assert len(network.seen) > passes
    assert not torch.equal(first.tensors["activations/second"], changed.tensors["activations/second"])


def test_changed_images_are_computed_again(tmp_path: Path) -> None:
    network, images = seeded(Tiny), torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for i, image in enumerate(images):
        save_image(image, tmp_path / f"{i}.png")
    first = drawn(network, "second", tmp_path).tensors["activations/second"]
    save_image(images[5] * 0.5, tmp_path / "5.png")
    second = drawn(network, "second", tmp_path).tensors["activations/second"]
    assert torch.equal(first[:5], second[:5]) or torch.allclose(first[:5], second[:5], atol=1e-6)
    assert not torch.allclose(first[5], second[5])


def test_a_folder_keeps_the_cache_for_other_processes(tmp_path: Path) -> None:
    network, images = seeded(CountingTiny), torch.rand(9, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    first = drawn(network, ["first", "second"], images, cache=str(tmp_path / "kept"))
    KEPT.clear()
    other = seeded(CountingTiny)
    assert network_key(other) == network_key(network)
    again = drawn(other, ["first", "second"], images, cache=str(tmp_path / "kept"))
    assert not other.seen
    assert all(torch.equal(first.tensors[name], again.tensors[name]) for name in first.tensors)
    for file in (tmp_path / "kept").iterdir():
        file.write_bytes(b"damaged")
    KEPT.clear()
    assert torch.equal(
        drawn(other, "second", images, cache=str(tmp_path / "kept")).tensors["points/second"],
        first.tensors["points/second"],
    )


def test_the_cache_drops_what_was_not_used_for_longest() -> None:
    cache, part = Cache(most=2500), {"x": torch.zeros(250)}
    for key in "ab":
        cache.put(key, part)
    assert cache.get("a")
    cache.put("c", part)
    assert cache.get("a") and cache.get("c") and not cache.get("b")


def test_without_umap_pca_is_drawn_and_said(demo: nn.Module, pictures: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "umap" else find(name))
    with pytest.warns(UserWarning, match=r"umap-learn is not installed, PCA is drawn: pip install 'optvis\[umap\]'"):
        figure = embedding(demo, "pattern", pictures[0][:30], verbose=False)
    assert (figure.values["method"], figure.values["note"]) == ("pca", "umap-learn is not installed")
    plain = drawn(demo, "pattern", pictures[0][:30])
    assert torch.equal(figure.tensors["points/pattern"], plain.tensors["points/pattern"])
    assert figure.picture.tobytes() != plain.picture.tobytes()  # its title says so


def test_pca_is_that_of_a_singular_value_decomposition(demo: nn.Module, pictures: Any) -> None:
    figure = drawn(demo, "pattern", pictures[0])
    vectors = figure.tensors["activations/pattern"]
    *_, axes = torch.pca_lowrank(vectors, 12)
    expected = (vectors - vectors.mean(0)) @ axes[:, :2]
    assert torch.allclose(figure.tensors["points/pattern"].abs(), expected.abs(), atol=1e-2)


@pytest.mark.slow
def test_umap_depends_on_its_seed_alone(demo: nn.Module, pictures: Any) -> None:
    pytest.importorskip("umap")
    images, patterns, _ = pictures
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    one = drawn(demo, "pattern", images, patterns, "umap")
    assert torch.equal(states[0], torch.get_rng_state()) and states[2] == random.getstate()
    assert np.array_equal(states[1], np.random.get_state()[1])
    KEPT.clear()
    again, other = (drawn(demo, "pattern", images, patterns, "umap", seed=seed) for seed in (0, 1))
    points = [figure.tensors["points/pattern"] for figure in (one, again, other)]
    assert torch.equal(points[0], points[1]) and not torch.equal(points[0], points[2])
    centres = torch.stack([points[0][patterns == i].mean(0) for i in range(12)])
    assert (torch.cdist(points[0], centres).argmin(1) == patterns).float().mean() > 0.9
    for count in (2, 3, 6, 20):
        assert torch.isfinite(drawn(demo, "pattern", images[:count], None, "umap").tensors["points/pattern"]).all()


@pytest.mark.slow
def test_tsne_places_classes_apart(demo: nn.Module, pictures: Any) -> None:
    pytest.importorskip("sklearn")
    images, patterns, _ = pictures
    points = drawn(demo, "pattern", images, patterns, "tsne").tensors["points/pattern"]
    near = torch.cdist(points, points).fill_diagonal_(torch.inf).argmin(1)
    assert (patterns[near] == patterns).float().mean() > 0.9


def test_thumbnails_are_in_the_picture(demo: nn.Module, pictures: Any) -> None:
    images = torch.zeros(3, 3, 64, 64)
    images[0, 0], images[1, 1], images[2, 2] = 1, 1, 1
    figure = drawn(demo, "features/2", images, thumbnails=True)
    assert figure.tensors["thumbnails"].shape == (3, 3, 48, 48)
    seen = np.asarray(figure.picture).reshape(-1, 3)
    for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255)):
        assert (np.abs(seen.astype(int) - colour).max(1) < 4).sum() > 100


@pytest.mark.parametrize("count", [1, 13, 60])
def test_any_number_of_classes_is_drawn(demo: nn.Module, pictures: Any, count: int) -> None:
    labels = [f"class $x_{i % count}" for i in range(120)]
    figure = drawn(demo, ["features/2", "pattern", "colour", "pool"], pictures[0][:120], labels)
    assert len(figure.values["classes"]) == count and figure.picture.width < 3000


def test_as_a_view_saved_and_read_back(demo: nn.Module, pictures: Any, tmp_path: Path) -> None:
    images, patterns, _ = pictures
    context = Context(data=images, labels=patterns, names=PATTERNS)
    figure = View("embed", layers="pattern", method="pca")(demo, context)
    assert figure.picture.tobytes() == drawn(demo, "pattern", images, patterns, names=PATTERNS).picture.tobytes()
    found = type(figure).load(figure.save(tmp_path / "map.png"))
    assert found.values == figure.values and torch.equal(found.tensors["labels"], patterns)


@pytest.mark.parametrize(
    ("layers", "count", "options", "message"),
    [
        ("features/2", 1, {}, "an embedding of 1 image: give at least two"),
        ("features/200", 4, {}, "no layer 'features/200'"),
        ("features/2", 4, {"method": "umpa"}, "no method 'umpa': did you mean 'umap'"),
        ("features/2", 4, {"neighbours": 0}, "neighbours 0"),
        ("features/2", 4, {"seed": -1}, "seed -1"),
        ("features/2", 4, {"labels": [1, 2]}, "2 labels for 4 images"),
    ],
)
def test_bad_input_is_told(demo: nn.Module, layers: str, count: int, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        embedding(demo, layers, torch.rand(count, 3, 64, 64), **{"method": "pca", "verbose": False, **options})
