"""Images for ``Watch``, taken from data sets and loaders without changing them."""

from __future__ import annotations

import random
from typing import Any

import digits_data
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, SubsetRandomSampler, TensorDataset

from optvis import View, Watch
from optvis.training.random_states import kept_random_states
from optvis.training.samples import Source, as_images, as_labels, as_normalised

IMAGES, LABELS = torch.arange(10.0)[:, None, None, None].expand(10, 1, 4, 4) / 10, torch.arange(10)


class Iterated(IterableDataset):
    def __init__(self, data: Any) -> None:
        self.data = data

    def __iter__(self):
        return iter(self.data)


class Dicts(Dataset):
    def __len__(self) -> int:
        return 10

    def __getitem__(self, i: int) -> dict[str, Any]:
        return {"label": int(LABELS[i]), "image": IMAGES[i]}


class Batches:
    """A loader of one's own."""

    def __iter__(self):
        return zip(IMAGES.split(4), LABELS.split(4), strict=True)


PAIRS = list(zip(IMAGES, LABELS, strict=True))
DATA: dict[str, Any] = {
    "tensors": (IMAGES, LABELS),
    "list of pairs": PAIRS,
    "list of batches": list(Batches()),
    "data set": TensorDataset(IMAGES, LABELS),
    "loader": DataLoader(TensorDataset(IMAGES, LABELS), 3, shuffle=True),
    "loader without batches": DataLoader(TensorDataset(IMAGES, LABELS), batch_size=None),
    "loader of an iterable": DataLoader(Iterated(PAIRS), 3),
    "iterable data set": Iterated(PAIRS),
    "own loader": Batches(),
    "dicts": DataLoader(Dicts(), 3),
    "subset": DataLoader(Subset(TensorDataset(IMAGES, LABELS), range(10)), 3),
}


@pytest.mark.parametrize("kind", DATA)
def test_images_come_with_their_labels(kind):
    pairs = Source(DATA[kind]).take(6, seed=1)
    assert len(pairs) == 6
    images, labels = as_images(pairs), as_labels(pairs)
    assert images.shape == (6, 1, 4, 4)
    assert torch.equal(images[:, 0, 0, 0], torch.tensor(labels) / 10)
    assert len(set(labels)) == 6
    assert len(Source(DATA[kind]).take(50, seed=1)) >= 10


def test_other_seeds_take_other_images_and_an_iterable_goes_on():
    source = Source(DATA["loader"])
    assert as_labels(source.take(3, 1)) == as_labels(source.take(3, 1)) != as_labels(source.take(3, 2))
    stream = Source(DATA["own loader"])
    assert [as_labels(stream.take(4, 0)) for _ in range(3)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 1]]


def test_a_loader_with_a_subset_sampler_gives_only_its_images():
    loader = DataLoader(TensorDataset(IMAGES, LABELS), 2, sampler=SubsetRandomSampler([7, 2, 5]))
    assert sorted(as_labels(Source(loader).take(10, 0))) == [2, 5, 7]


def test_images_without_labels_paths_and_folders(tmp_path):
    assert as_labels(Source(IMAGES).take(3, 0)) is None
    assert as_labels(Source((IMAGES, None)).take(3, 0)) is None
    for name in ("a.png", "sub/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (5, 4), "red").save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    pairs = Source(tmp_path).take(5, 0)
    assert sorted(path.name for path in as_images(pairs)) == ["a.png", "b.png"]
    drawn: list[Any] = []
    watch = Watch([View("attribute", size=8)], 1, tmp_path, lambda shown, step: drawn.append(shown))
    watch.step(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()), 0)
    assert drawn


def test_a_custom_collate_function_is_used():
    loader = DataLoader(PAIRS, 4, collate_fn=lambda items: (torch.stack([1 - image for image, _ in items]), None))
    pairs = Source(loader).take(4, 0)
    assert torch.equal(as_images(pairs), 1 - as_images(Source(PAIRS).take(4, 0)))
    assert as_labels(pairs) is None


def test_normalised_images_are_undone():
    network = digits_data.DigitNetwork()
    network.image_mean, network.image_std = (0.3,), (0.5,)
    found: list[Any] = []
    normalised = ((IMAGES - 0.3) / 0.5, LABELS)

    def look(network, context):
        found.append(context.images)
        return Image.new("L", (2, 2))

    Watch([look], 1, normalised, [], normalised=True, n_inputs=10).step(network, 0)
    assert found[0].flatten(1)[:, 0].sort()[0].tolist() == pytest.approx(torch.arange(10).div(10).tolist(), abs=1e-6)
    with pytest.raises(ValueError, match="give normalised=True, and mean= and std="):
        Watch([look], 1, normalised, [])
    with pytest.raises(ValueError, match="the normalised image had values from"):
        Watch([look], 1, normalised, [], normalised=True, mean=0.5, std=3.0, n_inputs=10).step(network, 0)
    assert as_normalised(Source(normalised).take(2, 0)).shape == (2, 1, 4, 4)
    with pytest.raises(ValueError, match="normalised=True is for tensors"):
        as_normalised([(Image.new("L", (2, 2)), None)])


def test_what_cannot_be_read_without_taking_it_from_the_training_is_refused():
    for one in (iter(PAIRS), (pair for pair in PAIRS)):
        with pytest.raises(TypeError, match="images taken from it would be missing in training"):
            Source(one)
    with pytest.raises(ValueError, match="cannot be copied"):
        Source(Iterated(pair for pair in PAIRS)).take(1, 0)
    with pytest.raises(TypeError, match="no data: 3"):
        Source(3)
    with pytest.raises(ValueError, match="data holds no images"):
        Source([])
    with pytest.raises(ValueError, match="data holds no images"):
        Source(Iterated([])).take(1, 0)
    with pytest.raises(ValueError, match="data holds dicts with label"):
        Source([{"label": 1}]).take(1, 0)
    with pytest.raises(ValueError, match="there are no images in"):
        Source("no such folder")


class Counting(Dataset):
    """Counts its items, opens a file when it is first read, and draws from generators of its own."""

    def __init__(self) -> None:
        self.count, self.file = 0, None
        self.generators = {"torch": torch.Generator().manual_seed(1), "python": [random.Random(1)]}
        self.old = np.random.RandomState(1)

    def __len__(self) -> int:
        return 10

    def __getitem__(self, i: int) -> Any:
        self.count += 1
        self.file = self.file or "open"
        torch.rand(1, generator=self.generators["torch"])
        self.generators["python"][0].random()
        self.old.rand()
        return IMAGES[i]

    def numbers(self) -> list[float]:
        own = self.generators
        return [torch.rand(1, generator=own["torch"]).item(), own["python"][0].random(), self.old.rand()]


def test_a_data_set_is_as_it_was():
    data = Counting()
    for one in (data, Subset(data, range(5)), DataLoader(data, 2, shuffle=True)):
        Source(one).take(4, 0)
    assert (data.count, data.file) == (0, None)
    assert data.numbers() == Counting().numbers()


def test_all_random_states_are_kept():
    def draw() -> list[float]:
        return [random.random(), np.random.rand(), torch.rand(1).item()]

    digits_data.seed_all(5)
    expected = draw()
    digits_data.seed_all(5)
    own = Counting()
    with pytest.raises(KeyError), kept_random_states({"data": [own]}):
        draw()
        own.numbers()
        raise KeyError
    assert draw() == expected
    assert own.numbers() == Counting().numbers()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_random_states_of_gpus_are_kept():
    torch.cuda.manual_seed_all(5)
    expected = torch.rand(3, device="cuda")
    torch.cuda.manual_seed_all(5)
    with kept_random_states():
        torch.rand(3, device="cuda")
    assert torch.equal(torch.rand(3, device="cuda"), expected)
