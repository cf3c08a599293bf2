"""How good a map is: closed forms on networks whose causes are known, and the network handed back as it came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from math import isfinite
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small_networks import Tiny, seeded, snapshot
from torch import Tensor, nn

from optvis import metrics
from optvis.attribution import attribute, targets
from optvis.attribution.baselines import as_baseline
from optvis.attribution.plotting import heat_of
from optvis.metrics.scorer import scoring
from optvis.network import NetworkInput
from optvis.objectives import Channel

SIZE = 8


@dataclass
class Shown:
    """What metrics ask of an attribution."""

    values: Tensor
    images: Tensor
    target: targets.Target
    method: str = "by hand"
    layer: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)

    def heatmap(self) -> Tensor:
        return heat_of(self.values, self.images.shape[-2:], "positive")


class Linear(nn.Module):
    """``[N, 3, 8, 8]`` to ``[N, 4]``: a weighted sum of all values for each class."""

    image_mean = (0.4, 0.5, 0.3)
    image_std = (0.2, 0.3, 0.25)

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3 * SIZE * SIZE, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.flatten(1))


def drawn(*shape: int, seed: int = 1) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def classes(*numbers: int) -> targets.Target:
    return targets.of_classes(numbers, [str(n) for n in numbers])


def contributions(network: Linear, images: Tensor, asked: Sequence[int]) -> Tensor:
    """Gradient × (image - mean), in values that the network sees: exact."""
    given = NetworkInput.of(network)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (given.mean, given.std))
    weights = network.head.weight.detach()[list(asked)].view(-1, 3, SIZE, SIZE)
    return weights * (images - mean) / std


@pytest.fixture
def linear() -> Linear:
    return seeded(Linear)


@pytest.fixture
def exact(linear: Linear) -> Shown:
    images = drawn(2, 3, SIZE, SIZE)
    return Shown(contributions(linear, images, (1, 3)), images, classes(1, 3))


# Deletion and insertion


def test_deletion_of_a_linear_score_is_the_sum_of_what_is_left(linear: Linear, exact: Shown) -> None:
    curve = metrics.deletion(linear, exact, steps=SIZE * SIZE, softmax=False, batch_size=7)
    ordered = exact.values.sum(1).flatten(1).sort(1, descending=True).values
    left = ordered.sum(1, keepdim=True) - F.pad(ordered.cumsum(1), (1, 0))
    bias = linear.head.bias.detach()[[1, 3], None]
    torch.testing.assert_close(curve.scores, left + bias, rtol=0, atol=1e-5)
    torch.testing.assert_close(curve.fractions, torch.linspace(0, 1, SIZE * SIZE + 1))
    torch.testing.assert_close(curve.area, torch.trapezoid(curve.scores, curve.fractions, dim=1))


def test_the_true_map_deletes_and_inserts_fastest_and_its_reverse_slowest(linear: Linear, exact: Shown) -> None:
    options: dict[str, Any] = {"steps": 16, "softmax": False, "baseline": "mean"}
    reverse = Shown(-exact.values, exact.images, exact.target)
    others = [Shown(drawn(2, 3, SIZE, SIZE, seed=s) - 0.5, exact.images, exact.target) for s in range(2, 5)]
    for metric, sign in ((metrics.deletion, 1), (metrics.insertion, -1)):
        best, worst = (sign * metric(linear, shown, **options).area for shown in (exact, reverse))
        for other in others:
            area = sign * metric(linear, other, **options).area
            assert (best < area).all() and (area < worst).all()


def test_insertion_is_deletion_backwards_by_the_reversed_map(linear: Linear, exact: Shown) -> None:
    reverse = Shown(-exact.values, exact.images, exact.target)
    there = metrics.insertion(linear, exact, steps=8, baseline="grey")
    back = metrics.deletion(linear, reverse, steps=8, baseline="grey")
    torch.testing.assert_close(there.scores, back.scores.flip(1))


def test_equal_values_are_taken_in_reading_order(linear: Linear) -> None:
    images = drawn(1, 3, SIZE, SIZE)
    flat = Shown(torch.zeros(1, 1, SIZE, SIZE), images, classes(2))
    rows = Shown(-torch.arange(64.0).view(1, 1, SIZE, SIZE), images, classes(2))
    first, second = (metrics.deletion(linear, shown, steps=10).scores for shown in (flat, rows))
    assert torch.equal(first, second)


def test_the_score_of_a_class_is_its_probability_unless_told_otherwise(linear: Linear, exact: Shown) -> None:
    with scoring(linear, exact) as scorer:
        seen = scorer.context.forward.normalise(exact.images)
    outputs = linear(seen).detach()
    places = torch.tensor([[1], [3]])
    ends = metrics.deletion(linear, exact, steps=1).scores[:, 0]
    torch.testing.assert_close(ends, outputs.softmax(1).gather(1, places)[:, 0])
    ends = metrics.deletion(linear, exact, steps=1, softmax=False).scores[:, 0]
    torch.testing.assert_close(ends, outputs.gather(1, places)[:, 0])


def test_one_output_has_a_probability_too() -> None:
    network = seeded(lambda: nn.Sequential(nn.Conv2d(3, 1, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    shown = Shown(drawn(1, 1, 8, 8), drawn(1, 3, 8, 8), classes(0))
    scores = metrics.deletion(network, shown, steps=4).scores
    outputs = metrics.deletion(network, shown, steps=4, softmax=False).scores
    torch.testing.assert_close(scores, outputs.sigmoid())


@pytest.mark.parametrize(
    "target",
    [
        targets.Target(("a", "b"), score=lambda out: out[:, 1] - out[:, 0]),
        targets.Target(("a", "b"), score=targets.similarity(drawn(2, 5))),  # knows its images by their places
        targets.Target(("a", "b"), objective=Channel("second", [1, 2])),
    ],
    ids=["function", "function of each image", "objective"],
)
def test_targets_of_all_kinds_have_each_image_asked_for_its_own(target: targets.Target) -> None:
    network = seeded(Tiny)
    images, values = drawn(2, 3, 12, 12), drawn(2, 1, 6, 6)
    before = snapshot(network)
    curve = metrics.deletion(network, Shown(values, images, target), steps=5, batch_size=3)
    assert snapshot(network) == before
    with scoring(network, Shown(values, images, target)) as scorer:
        torch.testing.assert_close(curve.scores[:, 0], scorer.context.run(scorer.context.inputs)[0].detach())
    if target.score is None:
        alone = Shown(values[1:], images[1:], target.take([1]))
        torch.testing.assert_close(metrics.deletion(network, alone, steps=5).scores[0], curve.scores[1])


def test_further_inputs_stay_with_their_images() -> None:
    class Shifted(Tiny):
        def forward(self, x: Tensor, shift: Tensor) -> Any:
            return super().forward(x) + shift

    network, shown = seeded(Shifted), Shown(drawn(2, 1, 12, 12), drawn(2, 3, 12, 12), classes(1, 1))
    shift = torch.tensor([[0.0], [10.0]]).expand(2, 5).contiguous()
    options: dict[str, Any] = {"steps": 4, "softmax": False}
    plain = metrics.deletion(network, shown, extra_inputs=[torch.zeros(1, 5)], **options).scores
    moved = metrics.deletion(network, shown, extra_inputs=shift, **options).scores
    torch.testing.assert_close(moved - plain, torch.tensor([[0.0], [10.0]]).expand(2, 5), rtol=0, atol=1e-5)


def test_a_network_in_training_is_handed_back_as_it_came_also_after_an_error(exact: Shown) -> None:
    network = seeded(Linear).train()
    network.head.weight.grad = torch.ones_like(network.head.weight)
    before = snapshot(network)
    metrics.deletion(network, exact, steps=2)
    metrics.infidelity(network, exact, samples=2)
    with pytest.raises((RuntimeError, ValueError)):
        metrics.deletion(network, Shown(exact.values, drawn(2, 3, 9, 9), exact.target), steps=2)
    assert snapshot(network) == before


def test_the_normalisation_that_the_map_was_made_with_is_used(linear: Linear, exact: Shown) -> None:
    own = {"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}
    for settings in (own, {"of": [own, {}]}):
        shown = Shown(exact.values, exact.images, exact.target, settings=settings)
        scores = metrics.deletion(linear, shown, steps=1, softmax=False).scores[:, 0]
        torch.testing.assert_close(scores, linear(exact.images).detach()[[0, 1], [1, 3]])


def test_baselines_by_name_number_colour_and_image(linear: Linear, exact: Shown) -> None:
    with scoring(linear, exact) as scorer:
        black, grey, mean, blur = (as_baseline(scorer.context, name) for name in ("black", "grey", "mean", "blur"))
        assert (black == 0).all() and (grey == 0.5).all()
        assert scorer.context.forward.normalise(mean).abs().max() == 0
        assert blur.var() < exact.images.var() and torch.allclose(blur.mean(), exact.images.mean(), atol=0.05)
        assert torch.equal(as_baseline(scorer.context, 0.5), grey)
        assert torch.equal(as_baseline(scorer.context, [0.4, 0.5, 0.3]), mean)
        assert torch.equal(as_baseline(scorer.context, exact.images[0])[1], exact.images[0])


# Average drop and increase


def test_average_drop_and_increase_by_hand(linear: Linear, exact: Shown) -> None:
    shown = Shown(exact.values.relu(), exact.images, exact.target)
    with scoring(linear, shown) as scorer:
        through = scorer.context.forward.normalise(exact.images * shown.heatmap()[:, None])
        whole = scorer.context.forward.normalise(exact.images)
    before, after = (linear(x).softmax(1).detach()[[0, 1], [1, 3]] for x in (whole, through))
    torch.testing.assert_close(metrics.average_drop(linear, shown), (1 - after / before).clamp(min=0))
    assert torch.equal(metrics.increase_in_confidence(linear, shown), (after > before).float())


def test_a_map_of_everything_loses_nothing(linear: Linear, exact: Shown) -> None:
    class Everything(Shown):
        def heatmap(self) -> Tensor:
            return torch.ones(2, SIZE, SIZE)

    whole = Everything(exact.values, exact.images, exact.target)
    assert metrics.average_drop(linear, whole).abs().max() < 1e-6
    assert metrics.increase_in_confidence(linear, whole).sum() == 0


# Remove and debias


def dense(image: Tensor, gone: Tensor) -> Tensor:
    """The imputation's system written out row by row, for one channel ``[H, W]``, and solved at once."""
    height, width = image.shape
    places = {tuple(p): i for i, p in enumerate(gone.nonzero().tolist())}
    system, right = torch.zeros(len(places), len(places)).double(), torch.zeros(len(places)).double()
    for (y, x), i in places.items():
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                near = (y + dy, x + dx)
                if (dy, dx) == (0, 0) or not (0 <= near[0] < height and 0 <= near[1] < width):
                    continue
                weight = 1 / 6 if 0 in (dy, dx) else 1 / 12
                system[i, i] += weight
                if near in places:
                    system[i, places[near]] -= weight
                else:
                    right[i] += weight * image[near]
    filled = image.clone().double()
    filled[gone] = torch.linalg.solve(system, right)
    return filled.float()


def test_imputation_solves_the_whole_system() -> None:
    images = drawn(3, 2, 12, 10)
    gone = drawn(3, 1, 12, 10, seed=3) < torch.tensor([0.2, 0.6, 0.95]).view(3, 1, 1, 1)
    gone[1, 0, :7, :7] = True  # a corner, and a hole
    filled = metrics.impute(images, gone)
    for i in range(3):
        for channel in range(2):
            torch.testing.assert_close(filled[i, channel], dense(images[i, channel], gone[i, 0]), rtol=0, atol=1e-4)
    assert torch.equal(filled[~gone.expand_as(images)], images[~gone.expand_as(images)])
    nothing = torch.zeros(3, 1, 12, 10, dtype=torch.bool)
    assert torch.equal(metrics.impute(images, nothing), images)


def test_imputation_of_all_but_one_pixel_is_that_pixel() -> None:
    gone = torch.ones(1, 1, 32, 32, dtype=torch.bool)
    gone[0, 0, 3, 30] = False
    images = drawn(1, 3, 32, 32)
    filled = metrics.impute(images, gone)
    torch.testing.assert_close(filled, images[:, :, 3:4, 30:31].expand_as(images), rtol=0, atol=1e-4)
    with pytest.raises(ValueError, match="nothing is left of an image"):
        metrics.impute(images, torch.ones_like(gone))


def test_road_is_repeatable_and_tells_the_most_from_the_least_important(linear: Linear, exact: Shown) -> None:
    options: dict[str, Any] = {"percentages": (20, 50, 80), "softmax": False}
    state = torch.random.get_rng_state()
    most = metrics.road(linear, exact, **options)
    again = metrics.road(linear, exact, batch_size=1, **options)
    least = metrics.road(linear, exact, order="least", **options)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.testing.assert_close(most.scores, again.scores)
    assert most.scores.shape == (2, 3) and (most.area < least.area).all()
    other = metrics.road(linear, exact, seed=1, **options)
    assert not torch.equal(other.scores, most.scores)
    alone = Shown(exact.values[1:], exact.images[1:], exact.target.take([1]))
    torch.testing.assert_close(metrics.road(linear, alone, **options).scores[0], most.scores[1])


# Infidelity and sensitivity


def test_exact_contributions_of_a_linear_network_have_no_infidelity(linear: Linear, exact: Shown) -> None:
    state = torch.random.get_rng_state()
    wrong = Shown(drawn(2, 3, SIZE, SIZE, seed=5) - 0.5, exact.images, exact.target)
    double = Shown(2 * exact.values, exact.images, exact.target)
    for scaled in (False, True):
        assert metrics.infidelity(linear, exact, scaled=scaled, samples=9, batch_size=4).max() < 1e-10
        assert metrics.infidelity(linear, wrong, scaled=scaled, samples=9).min() > 1e-3
    assert metrics.infidelity(linear, double, samples=9).max() < 1e-10
    assert metrics.infidelity(linear, double, samples=9, scaled=False).min() > 1e-3
    assert torch.equal(torch.random.get_rng_state(), state)


def test_infidelity_by_hand(linear: Linear, exact: Shown) -> None:
    shown = Shown(drawn(2, 1, SIZE, SIZE) - 0.5, exact.images, exact.target)
    found = metrics.infidelity(linear, shown, samples=6, share=0.3, cells=4, scaled=False, seed=2)
    masks = (drawn(6, 1, 4, 4, seed=2) < 0.3).float()
    gone = F.interpolate(masks, (SIZE, SIZE), mode="nearest")[None]  # [1, 6, 1, H, W]
    lost = (exact.values[:, None] * gone).sum((2, 3, 4))  # exact, by the test above
    told = (shown.values[:, None] * gone).sum((2, 3, 4))
    torch.testing.assert_close(found, (told - lost).square().mean(1), rtol=1e-4, atol=1e-5)


def test_max_sensitivity_is_0_for_a_map_that_never_changes_and_known_for_the_image_itself(exact: Shown) -> None:
    images = 0.25 + exact.images / 2
    shown = Shown(exact.values, images, exact.target)
    torch.manual_seed(7)
    state = torch.random.get_rng_state()
    assert metrics.max_sensitivity(shown, torch.ones_like, samples=3).max() == 0
    seen: list[Tensor] = []

    def itself(images: Tensor) -> Tensor:
        seen.append(images)
        return images

    found = metrics.max_sensitivity(shown, itself, radius=0.1, samples=3, seed=4)
    assert [len(batch) for batch in seen] == [2] * 4
    norms = [(batch - images).flatten(1).norm(dim=1) / images.flatten(1).norm(dim=1) for batch in seen]
    torch.testing.assert_close(found, torch.stack(norms).amax(0))
    assert torch.equal(found, metrics.max_sensitivity(shown, itself, radius=0.1, samples=3, seed=4))
    # What explain draws by itself is the same each time, and nobody else's numbers are used up.
    assert metrics.max_sensitivity(shown, lambda images: torch.rand(2, 1, 4, 4), samples=3).max() == 0
    assert torch.equal(torch.random.get_rng_state(), state)


# Randomisation


def test_spearman_against_the_formula_without_ties_and_by_hand_with_them() -> None:
    one, other = drawn(3, 40), drawn(3, 40, seed=2)
    apart = (one.argsort(1).argsort(1) - other.argsort(1).argsort(1)).double()
    expected = 1 - 6 * apart.square().sum(1) / (40 * (40**2 - 1))
    torch.testing.assert_close(metrics.spearman(one, other).double(), expected, rtol=0, atol=1e-6)
    # ranks 0.5 0.5 2 3 and 0 1.5 1.5 3
    tied = metrics.spearman(torch.tensor([[1.0, 1, 2, 3]]), torch.tensor([[0.0, 5, 5, 9]]))
    a, b = torch.tensor([0.5, 0.5, 2, 3]), torch.tensor([0, 1.5, 1.5, 3])
    torch.testing.assert_close(tied[0], torch.corrcoef(torch.stack([a, b]))[0, 1])
    flat = torch.ones(3, 40)
    assert metrics.spearman(one, flat).tolist() == [0, 0, 0] and metrics.spearman(flat, flat).tolist() == [1, 1, 1]


def gradient(network: nn.Module, images: Tensor) -> Tensor:
    leaf = images.clone().requires_grad_()
    return torch.autograd.grad(network(leaf)[:, 1].sum(), leaf)[0]


def test_randomisation_goes_down_from_the_output_and_leaves_the_network_alone() -> None:
    network = seeded(Tiny).train()
    before, state = snapshot(network), torch.random.get_rng_state()
    explain = partial(gradient, images=drawn(2, 3, 16, 16))
    found = metrics.randomisation(network, explain)
    assert snapshot(network) == before
    assert torch.equal(torch.random.get_rng_state(), state)
    assert [entry.layer for entry in found] == [None, "head", "second", "first"]
    assert found[0].spearman.tolist() == [1, 1] and torch.allclose(found[0].ssim, torch.ones(2), atol=1e-3)
    for entry in found[1:]:
        assert (entry.spearman < 0.95).all() and (entry.ssim < 0.95).all()
    again = metrics.randomisation(network, explain)
    assert all(torch.equal(a.spearman, b.spearman) for a, b in zip(found, again))
    assert [e.layer for e in metrics.randomisation(network, explain, layers=["second"])] == [None, "second"]
    alone = metrics.randomisation(network, explain, cascading=False)
    assert torch.equal(alone[1].spearman, found[1].spearman) and not torch.equal(alone[3].spearman, found[3].spearman)


def test_a_map_that_does_not_ask_the_network_stays_the_same() -> None:
    edges = drawn(1, 3, 16, 16)

    def explain(network: nn.Module) -> Tensor:
        network(edges)
        return edges

    assert all(entry.spearman.tolist() == [1] for entry in metrics.randomisation(seeded(Tiny), explain))


def test_normalisations_and_inner_weights_forget_with_the_layers_they_belong_to() -> None:
    class Attends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.place = nn.Parameter(torch.randn(1, 16, 8))
            self.head = nn.Linear(8, 3)  # made first, called last
            self.patch = nn.Conv2d(3, 8, 2, stride=2)
            self.norm = nn.LayerNorm(8)
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
            self.unused = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.norm(self.patch(x).flatten(2).mT + self.place)
            return self.head((x + self.attention(x, x, x)[0]).mean(1))

    network = seeded(Attends)
    copies: list[dict[str, Tensor]] = []

    def explain(network: nn.Module) -> Tensor:
        copies.append({name: p.detach().clone() for name, p in network.named_parameters()})
        return gradient(network, drawn(1, 3, 8, 8))

    found = metrics.randomisation(network, explain)
    assert [entry.layer for entry in found] == [None, "head", "attention", "patch", ""]
    changed = [{n for n in b if not torch.equal(a[n], b[n])} for a, b in pairwise(copies[1:])]
    assert changed[0] == {"head.weight", "head.bias"}
    assert {"attention.in_proj_weight", "attention.out_proj.weight"} <= changed[1]
    assert "patch.weight" in changed[2]
    assert "place" in changed[3]


# Pointing and energy


def test_pointing_game_and_energy_by_hand() -> None:
    values = torch.zeros(3, 1, 6, 8)
    values[0, 0, 2, 5] = 2.0
    values[0, 0, 0, 0] = 1.0
    values[0, 0, 5, 5] = -9.0
    values[1, 0, 3, 3] = values[1, 0, 4, 4] = 1.0  # the first counts
    shown = Shown(values, drawn(3, 3, 6, 8), classes(0, 0, 0))
    boxes = [(4, 1, 6, 3), (4, 4, 5, 5), (0, 0, 8, 6)]
    assert metrics.pointing_game(shown, boxes).tolist() == [1, 0, 1]
    assert metrics.pointing_game(shown, [(5, 2, 6, 3), (3, 3, 4, 4), (1, 0, 8, 6)]).tolist() == [1, 1, 0]
    assert metrics.pointing_game(shown, torch.tensor([[6, 2, 8, 3.0], [4, 4, 5, 5], [0, 0, 1, 1]])).tolist() == [
        0,
        0,
        1,
    ]
    assert metrics.pointing_game(shown, [(6, 2, 8, 3), (4, 4, 5, 5), (0, 0, 1, 1)], tolerance=1).tolist() == [1, 1, 1]
    torch.testing.assert_close(metrics.energy_in_box(shown, boxes), torch.tensor([2 / 3, 0.5, 0]))


# One table


def test_a_table_has_a_row_for_each_map(linear: Linear, exact: Shown, capsys: pytest.CaptureFixture[str]) -> None:
    other = Shown(-exact.values, exact.images, exact.target, layer=("head",))
    blackened = partial(metrics.deletion, steps=4, baseline="black")
    rows = metrics.table(linear, [exact, other], {"deletion": blackened, "mine": lambda n, a: torch.ones(2) / 2})
    assert [row["method"] for row in rows] == ["by hand", "by hand head"]
    assert rows[0]["deletion"] == pytest.approx(float(blackened(linear, exact).area.mean()))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["method", "deletion", "↓", "mine"] and lines[1].split()[-1] == "0.5000"
    assert len({len(line) for line in lines}) == 1
    named = metrics.table(linear, {"a": exact, "b": other}, ["average_drop", "infidelity"], verbose=False)
    assert [list(row) for row in named] == [["method", "average_drop", "infidelity"]] * 2
    assert not capsys.readouterr().out


def test_attributions_of_a_network_go_through_every_metric() -> None:
    network, images = seeded(Tiny), drawn(2, 3, 20, 24)
    before = snapshot(network)
    maps = [attribute(network, images, "gradcam", target=[1, 3], layer=layer) for layer in ("first", "second")]
    rows = metrics.table(network, [*maps, maps[0] + maps[1]], list(metrics.METRICS), verbose=False)
    assert [row["method"] for row in rows] == ["gradcam first", "gradcam second", "gradcam + gradcam"]
    assert all(isfinite(row[name]) for row in rows for name in metrics.METRICS)

    def again(network: nn.Module, images: Tensor = images) -> Any:
        return attribute(network, images, "gradcam", target=[1, 3], layer="first")

    assert (metrics.max_sensitivity(maps[0], partial(again, network), samples=2) < 0.5).all()
    assert metrics.randomisation(network, again)[0].spearman.tolist() == [1, 1]
    assert metrics.pointing_game(maps[0], [(0, 0, 24, 20)] * 2).tolist() == [1, 1]
    assert snapshot(network) == before


# Errors


ERRORS: dict[str, tuple[Any, str]] = {
    "baseline": (lambda n, a: metrics.deletion(n, a, baseline="blak"), r"no baseline 'blak': did you mean 'black'"),
    "its shape": (lambda n, a: metrics.deletion(n, a, baseline=torch.zeros(2)), r"\[2, 1, 1\], which does not fit"),
    "its range": (lambda n, a: metrics.deletion(n, a, baseline=2.0), "values from 2 to 2"),
    "sign": (lambda n, a: metrics.insertion(n, a, sign="positiv"), "did you mean 'positive'"),
    "steps": (lambda n, a: metrics.insertion(n, a, steps=0), "steps 0: give a whole number"),
    "batch size": (lambda n, a: metrics.insertion(n, a, batch_size=-1), "batch_size -1"),
    "percentages": (lambda n, a: metrics.road(n, a, percentages=(20, 100)), r"percentages \[20, 100\]: give one"),
    "order": (lambda n, a: metrics.road(n, a, order="last"), "no order 'last': did you mean 'least'"),
    "share": (lambda n, a: metrics.infidelity(n, a, share=1), "share 1: give a number above 0 "),
    "radius": (lambda n, a: metrics.max_sensitivity(a, torch.ones_like, radius=0), "radius 0: give a number above 0"),
    "explain": (lambda n, a: metrics.max_sensitivity(a, lambda x: x[0]), r"shape \[3, 8, 8\]: it must give values"),
    "boxes": (lambda n, a: metrics.pointing_game(a, [(0, 0, 1, 1)]), "1 boxes for 2 images"),
    "box": (lambda n, a: metrics.energy_in_box(a, [(0, 0, 1, 1), (4, 0, 2, 1)]), "with x0 < x1 and y0 < y1"),
    "box outside": (lambda n, a: metrics.energy_in_box(a, [(0, 0, 1, 1), (9, 0, 12, 1)]), "outside its image of 8 × 8"),
    "metric": (lambda n, a: metrics.table(n, [a], ["deletoin"]), "no metric 'deletoin': did you mean 'deletion'"),
    "no maps": (lambda n, a: metrics.table(n, []), "no attributions"),
    "drop": (lambda n, a: metrics.average_drop(n, a, softmax=False), "a drop is a share of a positive score"),
    "layer": (lambda n, a: metrics.randomisation(n, lambda n: n(a.images)[..., None, None], ["hed"]), "mean 'head'"),
    "no weights": (lambda n, a: metrics.randomisation(nn.ReLU(), lambda n: n(a.images)), "nothing to randomise"),
    "no order": (lambda n, a: metrics.deletion(n, Shown(a.values / 0, a.images, a.target)), "NaN or infinite"),
    "mixed": (lambda n, a: metrics.deletion(n, Shown(a.values, a.images, targets.Target(("a", "b")))), "no one score"),
    "channels": (lambda n, a: metrics.deletion(seeded(Tiny, 1), a), "3 channels, Tiny takes 1"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_name_the_value_and_what_would_do(name: str, linear: Linear, exact: Shown) -> None:
    with torch.no_grad():
        linear.head.bias.copy_(torch.tensor([0.0, -99, 0, 99]))
    call, message = ERRORS[name]
    with pytest.raises((ValueError, TypeError), match=message):
        call(linear, exact)
