"""Objectives: each against a closed form on hand-made activations, and their algebra."""

import multiprocessing
import pickle
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from optvis import (
    L1,
    L2,
    Batch,
    Channel,
    Class,
    DeepDream,
    DeepDreamObjective,
    Direction,
    Layer,
    LayerObjective,
    Neuron,
    Objective,
    TotalVariation,
)
from optvis.network import LayerShape, find_layer
from optvis.objectives import Sum, as_objective
from optvis.objectives.algebra import IMAGE
from optvis.objectives.layers import index, pick

N, C, H, W = 3, 4, 5, 6


def numbers(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


SEEN = {
    "map": numbers(N, C, H, W),
    "fc": numbers(N, 7),
    "tokens": numbers(N, C, 17),
    IMAGE: numbers(N, 3, H, W).sigmoid(),
}
SHAPES = {
    "map": LayerShape((C, H, W), 1, 1),
    "fc": LayerShape((7,), 1, 1, names=("red", "green", "blue", "grey", "gold", "pink", "teal")),
    "tokens": LayerShape((C, 17), 2, 1, grid=(4, 4)),
}
VECTOR = torch.tensor([1.0, -2.0, 0.0, 3.0])
VECTORS = numbers(N, C)


def by_place(activation: Tensor) -> Tensor:
    """``[N, places, C]``"""
    return activation.flatten(2).mT if activation.dim() > 2 else activation[:, None]


def cosines(activation: Tensor, vector: Tensor) -> Tensor:
    return torch.nn.functional.cosine_similarity(by_place(activation), vector, dim=-1)


MAP, FC, TOKENS, IMG = SEEN["map"], SEEN["fc"], SEEN["tokens"], SEEN[IMAGE]
EACH = range(N)

CLOSED_FORMS: list[tuple[Objective, Tensor]] = [
    (Layer("map"), MAP.mean((1, 2, 3))),
    (Layer("fc"), FC.mean(1)),
    (DeepDream("map"), (MAP**2).mean((1, 2, 3))),
    (DeepDream("tokens"), (TOKENS**2).mean((1, 2))),
    (Channel("map", 0), MAP[:, 0].mean((1, 2))),
    (Channel("map", 2), MAP[:, 2].mean((1, 2))),
    (Channel("map", -1), MAP[:, 3].mean((1, 2))),
    (Channel("fc", 0), FC[:, 0]),
    (Channel("fc", "blue"), FC[:, 2]),
    (Channel("tokens", 1), TOKENS[:, 1].mean(1)),
    (Channel("map", [2, 0, 2]), torch.stack([MAP[0, 2].mean(), MAP[1, 0].mean(), MAP[2, 2].mean()])),
    (Channel("fc", ["red", -1, 3]), torch.stack([FC[0, 0], FC[1, 6], FC[2, 3]])),
    (Class("fc", 2, 0.5, 0), FC[:, 2] - 0.5 * FC[:, [0, 1, 3, 4, 5, 6]].amax(1)),
    (Class("fc", -1, rival=1.0, temperature=0), FC[:, 6] - FC[:, :6].amax(1)),
    (
        Class("fc", 2),
        FC[:, 2] - 0.5 * FC[:, [0, 1, 3, 4, 5, 6]].amax(1) + FC[:, 2] - 3 * (FC / 3).exp().sum(1).log(),
    ),
    (Class("fc", 2, rival=0, temperature=1), FC[:, 2] + FC.softmax(1)[:, 2].log()),
    (
        Class("fc", ["red", 3, 0], temperature=0),
        torch.stack([FC[i, c] - 0.5 * max(FC[i, o] for o in range(7) if o != c) for i, c in enumerate((0, 3, 0))]),
    ),
    (Class("map", 1, temperature=0.0), MAP[:, 1].mean((1, 2)) - 0.5 * MAP[:, [0, 2, 3]].mean((2, 3)).amax(1)),
    (Neuron("map", 0), MAP[:, 0, 2, 3]),
    (Neuron("map", 1, 0), MAP[:, 1, 0, 0]),
    (Neuron("map", 1, 4), MAP[:, 1, 4, 4]),
    (Neuron("map", 1, (4, 0)), MAP[:, 1, 4, 0]),
    (Neuron("map", 1, (-1, -2)), MAP[:, 1, 4, 4]),
    (Neuron("map", [3, 0, 1], (1, 5)), torch.stack([MAP[0, 3, 1, 5], MAP[1, 0, 1, 5], MAP[2, 1, 1, 5]])),
    (Neuron("map", None, (1, 5)), MAP[:, :, 1, 5].mean(1)),
    (Neuron("map", None), MAP[:, :, 2, 3].mean(1)),
    (Neuron("fc", 0), FC[:, 0]),
    (Neuron("fc", None, 0), FC[:, 0]),
    (Neuron("fc", None, -1), FC[:, 6]),
    (Neuron("fc", "gold"), FC[:, 4]),
    (Neuron("tokens", 2), TOKENS[:, 2, 1 + 2 * 4 + 2]),
    (Neuron("tokens", 2, 0), TOKENS[:, 2, 0]),
    (Neuron("tokens", 2, -1), TOKENS[:, 2, 16]),
    (Neuron("tokens", 2, (0, 0)), TOKENS[:, 2, 1]),
    (Neuron("tokens", 2, (3, 1)), TOKENS[:, 2, 1 + 3 * 4 + 1]),
    (Direction("map", VECTOR), (by_place(MAP) @ VECTOR).mean(1)),
    (Direction("fc", torch.arange(7.0)), FC @ torch.arange(7.0)),
    (Direction("map", VECTOR, "cosine"), cosines(MAP, VECTOR).mean(1)),
    (Direction("tokens", VECTOR, "cosine"), cosines(TOKENS, VECTOR).mean(1)),
    (
        Direction("map", VECTOR, "dot_cosine"),
        (by_place(MAP) @ VECTOR * cosines(MAP, VECTOR).clamp(min=0.1) ** 2).mean(1),
    ),
    (
        Direction("map", VECTOR, "dot_cosine", power=0.5),
        (by_place(MAP) @ VECTOR * cosines(MAP, VECTOR).clamp(min=0.1) ** 0.5).mean(1),
    ),
    (Direction("map", VECTORS), torch.stack([(by_place(MAP)[i] @ VECTORS[i]).mean() for i in EACH])),
    (
        Direction("map", VECTORS, "cosine"),
        torch.stack([cosines(MAP[i : i + 1], VECTORS[i]).mean() for i in EACH]),
    ),
    (
        TotalVariation(),
        (IMG[..., 1:, :] - IMG[..., :-1, :]).abs().mean((1, 2, 3))
        + (IMG[..., 1:] - IMG[..., :-1]).abs().mean((1, 2, 3)),
    ),
    (
        TotalVariation("map"),
        (MAP[..., 1:, :] - MAP[..., :-1, :]).abs().mean((1, 2, 3))
        + (MAP[..., 1:] - MAP[..., :-1]).abs().mean((1, 2, 3)),
    ),
    (L1(), (IMG - 0.5).abs().mean((1, 2, 3))),
    (L1("map"), MAP.abs().mean((1, 2, 3))),
    (L1(center=0.0), IMG.mean((1, 2, 3))),
    (L2(), ((IMG - 0.5) ** 2).mean((1, 2, 3))),
    (L2("fc"), (FC**2).mean(1)),
    (L2("map", center=1.0), ((MAP - 1) ** 2).mean((1, 2, 3))),
    (
        Batch(("map:0", Layer("fc"), Neuron("tokens", 1, 0) - 2)),
        torch.stack([MAP[0, 0].mean(), FC[1].mean(), TOKENS[2, 1, 0] - 2]),
    ),
]


def score(objective: Any) -> Tensor:
    objective = as_objective(objective).bound(SHAPES, SHAPES)
    return objective({layer: SEEN[layer] for layer in objective.layers})


def ids(objectives: Any) -> list[str]:
    return [repr(objective) for objective, *_ in objectives]


BITS = [(objective, score(objective)) for objective, _ in CLOSED_FORMS]


@pytest.mark.parametrize(("objective", "expected"), CLOSED_FORMS, ids=ids(CLOSED_FORMS))
def test_scores_are_what_the_formula_says(objective: Objective, expected: Tensor) -> None:
    scores = score(objective)
    assert scores.shape == (N,)
    torch.testing.assert_close(scores, expected)


@pytest.mark.parametrize("objective", [objective for objective, _ in CLOSED_FORMS], ids=ids(CLOSED_FORMS))
def test_each_picture_has_its_own_score_and_gradient(objective: Objective) -> None:
    bound = objective.bound(SHAPES, SHAPES)
    seen = {layer: SEEN[layer].clone().requires_grad_() for layer in bound.layers}
    scores = bound(seen)
    for i in EACH:
        gradients = torch.autograd.grad(scores[i], list(seen.values()), retain_graph=True, allow_unused=True)
        touched = [g for g in gradients if g is not None and g.any()]
        assert touched
        assert all(torch.isfinite(g).all() and not torch.cat([g[:i], g[i + 1 :]]).any() for g in touched)
        alone = bound.take([i])({layer: SEEN[layer][i : i + 1] for layer in bound.layers})
        torch.testing.assert_close(alone, scores[i : i + 1].detach())


def test_no_power_of_a_negative_number_arises() -> None:
    against = -VECTOR.view(1, 4, 1, 1).expand(2, 4, 3, 3).clone().requires_grad_()
    scores = Direction("map", VECTOR, "dot_cosine", power=1.5)({"map": against})
    torch.testing.assert_close(scores, torch.full((2,), -VECTOR.square().sum().item() * 0.1**1.5))
    scores.sum().backward()


@pytest.mark.parametrize("similarity", ["dot", "cosine", "dot_cosine"])
def test_a_silent_layer_gives_a_finite_direction(similarity: Any) -> None:
    silent = torch.zeros(2, 4, 3, 3, requires_grad=True)
    scores = Direction("map", VECTOR, similarity)({"map": silent})
    scores.sum().backward()
    assert torch.equal(scores, torch.zeros(2))
    assert torch.isfinite(silent.grad).all()


# Algebra

A, B = Channel("map", 1), Layer("fc")
SA, SB = MAP[:, 1].mean((1, 2)), FC.mean(1)

ALGEBRA: list[tuple[Any, Tensor, str]] = [
    (A + B, SA + SB, "Channel('map', 1) + Layer('fc')"),
    (A - B, SA - SB, "Channel('map', 1) - Layer('fc')"),
    (2 * A, 2 * SA, "2 * Channel('map', 1)"),
    (A * 0.5, SA / 2, "0.5 * Channel('map', 1)"),
    (A / 2, SA / 2, "0.5 * Channel('map', 1)"),
    (-A, -SA, "-Channel('map', 1)"),
    (-(A + B), -SA - SB, "-Channel('map', 1) - Layer('fc')"),
    ((-A) * -1, SA, "Channel('map', 1)"),
    (A + 3, SA + 3, "Channel('map', 1) + 3"),
    (3 + A, SA + 3, "Channel('map', 1) + 3"),
    (A - 0.25, SA - 0.25, "Channel('map', 1) - 0.25"),
    (1 - A, 1 - SA, "-Channel('map', 1) + 1"),
    (sum([A, B, A]), 2 * SA + SB, "Channel('map', 1) + Layer('fc') + Channel('map', 1)"),
    (sum([A]), SA, "Channel('map', 1)"),
    (A - "map:3", SA - MAP[:, 3].mean((1, 2)), "Channel('map', 1) - Channel('map', 3)"),
    ("fc" + A, SA + SB, "Layer('fc') + Channel('map', 1)"),
    ("fc" - A, SB - SA, "Layer('fc') - Channel('map', 1)"),
    (2 * (A - 3 * (B + 1)) / 4, SA / 2 - 1.5 * SB - 1.5, "0.5 * Channel('map', 1) - 1.5 * Layer('fc') - 1.5"),
    (np.float32(2) * A, 2 * SA, "2 * Channel('map', 1)"),
    (A - 0.1 * TotalVariation(), SA - 0.1 * score(TotalVariation()), "Channel('map', 1) - 0.1 * TotalVariation()"),
    ([A, 2, 3][1] * B, 2 * SB, "2 * Layer('fc')"),
    (
        Channel("map", [0, 1, 2]) + B,
        torch.stack([MAP[i, i].mean() for i in EACH]) + SB,
        "Channel('map', (0, 1, 2)) + Layer('fc')",
    ),
    (
        ["map:0", "map:1", "map:2"] + A,
        torch.stack([MAP[i, i].mean() for i in EACH]) + SA,
        "Batch([Channel('map', 0), Channel('map', 1), Channel('map', 2)]) + Channel('map', 1)",
    ),
]


@pytest.mark.parametrize(("objective", "expected", "text"), ALGEBRA, ids=[text for *_, text in ALGEBRA])
def test_algebra(objective: Objective, expected: Tensor, text: str) -> None:
    torch.testing.assert_close(score(objective), expected)
    assert repr(objective) == text


def test_a_sum_names_each_layer_once() -> None:
    assert (A + B + Channel("map", 2)).layers == ("map", "fc")
    assert (A + TotalVariation()).layers == ("map", IMAGE)


def test_a_weight_is_shown_in_full() -> None:
    third = A / 3
    assert eval(repr(third)) == third


def test_what_comes_to_a_single_objective_is_that_objective() -> None:
    negative = -A
    for same in (-negative, 1 * A, 2 * A / 2, sum([A]), A + 0, A + 3 - 3):
        assert same == A and type(same) is type(A)
    assert A - A != A and 2 * A != A and A + 1 != A


@pytest.mark.parametrize("wrong", [B, "fc", None, True, 1j, [2]])
def test_only_numbers_multiply_and_divide(wrong: Any) -> None:
    for left, right in ((A, wrong), (A + B, wrong)):
        with pytest.raises(TypeError, match=r"an objective is multiplied by a number.*add them"):
            left * right
        with pytest.raises(TypeError, match="an objective is divided by a number"):
            left / right


@pytest.mark.parametrize("wrong", [None, True, 1j, {"a": 1}])
def test_only_objectives_and_numbers_are_added(wrong: Any) -> None:
    for operate in (lambda: A + wrong, lambda: wrong + A, lambda: A - wrong, lambda: wrong - A):
        with pytest.raises(TypeError, match="is no objective: give one"):
            operate()


def test_batches_of_different_lengths_are_not_added() -> None:
    with pytest.raises(ValueError, match=r"batches of \[2, 3\] pictures cannot be added"):
        Channel("map", [0, 1]) + Channel("map", [0, 1, 2])


# Strings and lists


@pytest.mark.parametrize(
    ("value", "objective"),
    [
        ("features/18", Layer("features/18")),
        ("features/18:12", Channel("features/18", 12)),
        ("features/18:0", Channel("features/18", 0)),
        ("fc:-1", Channel("fc", -1)),
        ("fc: red fox", Channel("fc", "red fox")),
        (["a:1", B], Batch((Channel("a", 1), B))),
        (("a", "b"), Batch((Layer("a"), Layer("b")))),
        (A, A),
    ],
)
def test_strings_and_lists_are_read(value: Any, objective: Objective) -> None:
    assert as_objective(value) == objective


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (3, TypeError, r"3 is no objective: give one \(Channel\('features/18', 12\)\), a string"),
        (None, TypeError, "None is no objective"),
        ([3], TypeError, "3 is no objective"),
        ("a:", ValueError, "'a:' is no address: write 'features/18' for a layer, 'features/18:12' for a channel"),
        (":3", ValueError, "':3' is no address"),
        ([], ValueError, "an empty list of objectives makes no picture"),
        (
            [Channel("a", [1, 2])],
            ValueError,
            r"Channel\('a', \(1, 2\)\) makes 2 pictures: in a batch, each objective makes one",
        ),
    ],
)
def test_what_is_no_objective_is_an_error(value: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        as_objective(value)


@pytest.mark.parametrize(
    ("arguments", "objective"),
    [
        ({}, Layer("a")),
        ({"channel": 0}, Channel("a", 0)),
        ({"channel": "red"}, Channel("a", "red")),
        ({"channel": [1, 2]}, Channel("a", (1, 2))),
        ({"channel": range(3)}, Channel("a", (0, 1, 2))),
        ({"channel": 0, "neuron": 0}, Neuron("a", 0, 0)),
        ({"neuron": 0}, Neuron("a", None, 0)),
        ({"channel": 3, "neuron": [1, 2]}, Neuron("a", 3, (1, 2))),
        ({"layer": "a:0"}, Channel("a", 0)),
        ({"layer": "a:0", "channel": 0}, Channel("a", 0)),
        ({"layer": "a:0", "neuron": 2}, Neuron("a", 0, 2)),
    ],
)
def test_the_known_names_give_the_same_things(arguments: dict[str, Any], objective: Objective) -> None:
    assert LayerObjective(**{"layer": "a", **arguments}) == objective


def test_other_known_names() -> None:
    assert DeepDreamObjective("a") == DeepDream("a")
    conv = nn.Conv2d(3, 4, 1)
    assert LayerObjective(conv, 2) == Channel(conv, 2)
    with pytest.raises(ValueError, match="layer 'a:1' names channel 1 and channel= says 2"):
        LayerObjective("a:1", channel=2)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Channel("a", []), ValueError, "an empty list of channels"),
        (lambda: Neuron("a", range(0)), ValueError, "an empty list of channels"),
        (lambda: Channel("a", 1.5), TypeError, "a channel is a number or a name, not 1.5"),
        (lambda: Channel("a", [[1], 2]), TypeError, r"a channel is a number or a name, not \[1\]"),
        (lambda: Channel("a", np.bool_(True)), TypeError, "a channel is a number or a name, not"),
        (lambda: Channel("a", True), TypeError, "a channel is a number or a name, not True"),
        (lambda: Neuron("a", 1, 1.5), TypeError, "position is a whole number or a pair of them, not 1.5"),
        (lambda: Neuron("a", 1, (1, 2.5)), TypeError, "position is a whole number or a pair of them, not 2.5"),
        (lambda: Neuron("a", 1, "centre"), TypeError, "not 'centre'"),
        (lambda: Direction("a", [0.0, 0.0]), ValueError, r"not all zero; got \[2\]"),
        (lambda: Direction("a", [1.0, float("nan")]), ValueError, "a finite vector"),
        (lambda: Direction("a", ["x"]), ValueError, "a finite vector"),
        (lambda: Direction("a", torch.ones(1, 2, 3)), ValueError, r"\[C\] or \[N, C\].*got \[1, 2, 3\]"),
        (lambda: Direction("a", [1.0], "euclid"), ValueError, "no similarity 'euclid': choose one of 'dot', 'cosine'"),
    ],
)
def test_arguments_that_are_wrong_on_any_network(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


# Value: printed, compared, pickled

VALUES: list[tuple[Objective, str]] = [
    (Layer("a"), "Layer('a')"),
    (DeepDream("a"), "DeepDream('a')"),
    (Channel("a", 0), "Channel('a', 0)"),
    (Channel("a", "red"), "Channel('a', 'red')"),
    (Neuron("a", 0), "Neuron('a', 0)"),
    (Neuron("a", 0, 0), "Neuron('a', 0, position=0)"),
    (Neuron("a", None, (1, 2)), "Neuron('a', None, position=(1, 2))"),
    (Direction("a", VECTOR), "Direction('a', <vector of 4>)"),
    (Direction("a", VECTORS, "cosine"), "Direction('a', <tensor (3, 4)>, similarity='cosine')"),
    (Direction("a", VECTOR, power=3.0), "Direction('a', <vector of 4>, power=3.0)"),
    (TotalVariation(), "TotalVariation()"),
    (L1("a"), "L1('a')"),
    (L2(center=0.25), "L2(center=0.25)"),
    (Batch((A, B)), "Batch([Channel('map', 1), Layer('fc')])"),
    (2 * A - B + 1, "2 * Channel('map', 1) - Layer('fc') + 1"),
]


@pytest.mark.parametrize(("objective", "text"), VALUES, ids=[text for _, text in VALUES])
def test_objectives_are_values(objective: Objective, text: str) -> None:
    assert repr(objective) == text
    again = pickle.loads(pickle.dumps(objective))
    assert again == objective and hash(again) == hash(objective)
    others = [other for other, _ in VALUES if other is not objective]
    assert all(objective != other for other in others)
    assert objective != text


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (Channel("a", 0), Channel("b", 0)),
        (Channel("a", 0), Channel("a", 1)),
        (Neuron("a", 0, 0), Neuron("a", 0)),
        (Direction("a", VECTOR), Direction("a", 2 * VECTOR)),
        (Direction("a", VECTOR), Direction("a", VECTOR, "cosine")),
        (A + B, B + A),
        (A + B, A - B),
        (A + 1, A + 2),
        (Batch((A, B)), Batch((B, A))),
        (L1(), L2()),
    ],
)
def test_what_differs_is_not_equal(a: Objective, b: Objective) -> None:
    assert a != b and a == pickle.loads(pickle.dumps(a))


def test_a_module_is_shown_by_its_class() -> None:
    assert repr(Layer(nn.Conv2d(3, 4, 1))) == "Layer(<Conv2d>)"


def test_an_objective_is_not_changed() -> None:
    with pytest.raises(AttributeError):
        A.channel = 2  # type: ignore[misc]


def test_objectives_go_to_another_process() -> None:
    objectives = [objective for objective, _ in CLOSED_FORMS]
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        there, scores = pool.submit(_scores_there, objectives, SEEN, SHAPES).result(timeout=120)
    assert there == objectives
    for there_score, (_, expected) in zip(scores, CLOSED_FORMS, strict=True):
        torch.testing.assert_close(torch.tensor(there_score), expected)


def _scores_there(objectives: list[Objective], seen: Any, shapes: Any) -> tuple[list[Objective], list[list[float]]]:
    bound = [objective.bound(shapes, shapes) for objective in objectives]
    return objectives, [objective(seen).tolist() for objective in bound]


# Batches


@pytest.mark.parametrize(
    ("objective", "pictures"),
    [
        (A, None),
        (Channel("a", [3, 4]), 2),
        (Channel("a", [3]), 1),
        (Neuron("a", [3, 4]), 2),
        (Direction("a", VECTORS), 3),
        (Direction("a", VECTOR), None),
        (Batch((A, B)), 2),
        (B + Channel("a", [3, 4]), 2),
        (A + B, None),
    ],
)
def test_how_many_pictures(objective: Objective, pictures: int | None) -> None:
    assert objective.pictures == pictures


@pytest.mark.parametrize(
    ("objective", "taken"),
    [
        (A, A),
        (Channel("a", [3, 4, 5]), Channel("a", [5, 3])),
        (Neuron("a", [3, 4, 5], 2), Neuron("a", [5, 3], 2)),
        (Direction("a", VECTORS), Direction("a", VECTORS[[2, 0]])),
        (Direction("a", VECTOR), Direction("a", VECTOR)),
        (Batch((A, B, A + B)), Batch((A + B, A))),
        (2 * Channel("a", [3, 4, 5]) - B + 1, 2 * Channel("a", [5, 3]) - B + 1),
    ],
)
def test_pictures_are_taken_from_a_batch(objective: Objective, taken: Objective) -> None:
    assert objective.take([2, 0]) == taken


@pytest.mark.parametrize(
    ("objective", "twins"),
    [
        (A, [0, 1, 2, 3]),
        (A + B, [0, 1, 2, 3]),
        (Channel("a", [3, 4, 3, 3]), [0, 0, 1, 2]),
        (Neuron("a", [0, 0, 1, 1]), [0, 1, 0, 1]),
        (Batch((A, B, A, Channel("map", 1))), [0, 0, 1, 2]),
        (Channel("a", [3, 4, 3, 3]) - B, [0, 0, 1, 2]),
        (Channel("a", [3, 3, 3, 4]) + Channel("b", [1, 2, 1, 1]), [0, 0, 1, 0]),
        (Direction("a", VECTORS[[0, 1, 0, 2]]), [0, 0, 1, 0]),
    ],
)
def test_equal_pictures_of_a_batch_are_counted(objective: Objective, twins: list[int]) -> None:
    assert objective.twins(4) == twins


# Bound to a network


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
        self.fc = nn.Linear(4, 7)


def test_layers_are_found_in_a_network() -> None:
    network = Network()
    objective = Batch((Channel("features.0", 1), Layer(network.fc) - TotalVariation(), 2 * DeepDream("features/1")))
    located = objective.located(lambda layer: find_layer(network, layer))
    assert located == Batch((Channel("features/0", 1), Layer("fc") - TotalVariation(), 2 * DeepDream("features/1")))
    assert located.layers == ("features/0", "fc", IMAGE, "features/1")
    with pytest.raises(ValueError, match="did you mean 'features/1'"):
        (A + Layer("feature/1")).located(lambda layer: find_layer(network, layer) if layer != "map" else layer)


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (Channel("map", 4), "no channel 4 in layer 'map': it has 4, numbered 0 to 3"),
        (Channel("map", -5), "no channel -5 in layer 'map'"),
        (Channel("map", [0, 9]), "no channel 9 in layer 'map'"),
        (A + Channel("fc", 7), "no channel 7 in layer 'fc': it has 7"),
        (Batch((A, Neuron("map", 4))), "no channel 4 in layer 'map'"),
        (Channel("map", "red"), "layer 'map' has no names for its channels: give a number from 0 to 3"),
        (Channel("fc", "greem"), "layer 'fc' has no channel named 'greem': did you mean 'green' or 'grey'"),
        (Channel("fc", "xxxxx"), "the names begin with 'red' or 'green' or"),
        (Neuron("map", 1, (5, 0)), r"neuron \(5, 0\) lies outside the map \(5, 6\) of layer 'map'"),
        (Neuron("map", 1, (0, -7)), r"neuron \(0, -7\) lies outside"),
        (Neuron("map", 1, 5), r"neuron \(5, 5\) lies outside"),
        (Neuron("map", 1, (1, 2, 3)), r"neuron \(1, 2, 3\) of layer 'map': give 2 numbers for its map \(5, 6\)"),
        (Neuron("tokens", 1, 17), "neuron 17 lies outside"),
        (Neuron("tokens", 1, (4, 0)), r"neuron \(4, 0\) lies outside the map \(4, 4\)"),
        (Neuron("fc", 1, 2), "neuron 2 of layer 'fc': its output has 7 units and no positions"),
        (Neuron("fc", None, (1, 2)), r"neuron \(1, 2\) of layer 'fc': its output has 7 units and no positions"),
        (Neuron("fc", None, 7), "no channel 7 in layer 'fc'"),
        (Direction("map", torch.ones(5)), "the direction has 5 numbers, layer 'map' has 4 channels"),
        (Direction("map", torch.ones(2, 3)), "the direction has 3 numbers, layer 'map' has 4 channels"),
    ],
)
def test_what_a_layer_does_not_have_is_an_error(objective: Objective, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        objective.bound(SHAPES, SHAPES)


def test_tokens_without_a_grid() -> None:
    shapes = {"a": LayerShape((C, 23), 2, 1)}
    assert Neuron("a", 1, 22).bound(shapes, shapes).position == 22
    assert Neuron("a", 1).bound(shapes, shapes).position == 11
    with pytest.raises(ValueError, match=r"neuron \(1, 2\) of layer 'a': its 23 tokens form no grid; give one number"):
        Neuron("a", 1, (1, 2)).bound(shapes, shapes)
    coarse = {"a": LayerShape((C, 10), 2, 1)}
    assert Neuron("a", 1, 22).bound(coarse, shapes).position == 9


def test_a_neuron_needs_a_map() -> None:
    shapes = {"a": LayerShape((C, 2, 3, 4), 1, 1)}
    with pytest.raises(ValueError, match=r"layer 'a' puts out \(4, 2, 3, 4\): a neuron needs a map or tokens"):
        Neuron("a", 1).bound(shapes, shapes)


@pytest.mark.parametrize(
    ("position", "there"),
    [
        (None, (3, 4)),
        ((0, 0), (0, 0)),
        ((13, 17), (6, 8)),
        ((-1, -1), (6, 8)),
        ((7, 9), (3, 4)),
        ((2, 3), (1, 1)),
        (5, (2, 2)),
    ],
)
def test_a_position_is_carried_to_a_coarser_map(position: Any, there: tuple[int, int]) -> None:
    full, coarse = {"a": LayerShape((C, 14, 18), 1, 1)}, {"a": LayerShape((C, 7, 9), 1, 1)}
    assert Neuron("a", 1, position).bound(coarse, full) == Neuron("a", 1, there)


@pytest.mark.parametrize("further", [0, 1, 5])
@pytest.mark.parametrize(
    ("position", "there"), [(None, (2, 3)), ((0, 0), (0, 0)), ((7, 11), (3, 5)), ((4, 7), (2, 3)), ((-1, 0), (3, 0))]
)
@pytest.mark.parametrize("as_token", [False, True])
def test_a_patch_is_carried_to_a_coarser_grid(
    position: Any, there: tuple[int, int], further: int, as_token: bool
) -> None:
    full = {"a": LayerShape((C, 8 * 12 + further), 2, 1, grid=(8, 12))}
    coarse = {"a": LayerShape((C, 4 * 6 + further), 2, 1, grid=(4, 6))}
    if as_token and position is not None:
        position = further + position[0] % 8 * 12 + position[1]
    bound = Neuron("a", 1, position).bound(coarse, full)
    assert bound.position == further + there[0] * 6 + there[1]
    for token in range(further):
        assert Neuron("a", 1, token).bound(coarse, full).position == token


@dataclass(frozen=True, eq=False, repr=False)
class Peak(Objective):
    layer: str | nn.Module
    channel: Any
    floor: float = 0.0

    def score(self, activations: Mapping[str, Tensor]) -> Tensor:
        return pick(self.activation(activations), self.channel).flatten(1).amax(1).clamp(min=self.floor)


@dataclass(frozen=True, eq=False, repr=False)
class Along(Objective):
    layer: str
    vector: Any

    def score(self, activations: Mapping[str, Tensor]) -> Tensor:
        return (self.activation(activations) * self.vector).sum(1)


def test_a_new_kind_has_all_bookkeeping_from_its_fields() -> None:
    peak, peaks = Peak("map", -1), Peak("map", [2, 0, 2], 0.5)
    torch.testing.assert_close(score(2 * peak - 1), 2 * MAP[:, 3].amax((1, 2)).clamp(min=0) - 1)
    torch.testing.assert_close(score(peaks), torch.stack([MAP[i, c].max() for i, c in enumerate((2, 0, 2))]))
    assert repr(peaks) == "Peak('map', (2, 0, 2), floor=0.5)" and Peak("a", 1) == Peak("a", 1) != Peak("b", 1)
    assert (peak.pictures, peaks.pictures, peaks.layers, peaks.placed) == (None, 3, ("map",), False)
    assert peaks.take([1, 0]) == Peak("map", (0, 2), 0.5) and peak.take([1]) == peak
    assert peaks.twins(3) == [0, 0, 1] and peak.twins(3) == [0, 1, 2]
    assert Peak("fc.x", "gold").located(lambda layer: "fc").bound(SHAPES, SHAPES) == Peak("fc", 4)
    assert isinstance(Peak("a", 1) + Peak("b", 2), Sum)
    with pytest.raises(ValueError, match="no channel 4 in layer 'map'"):
        Peak("map", 4).bound(SHAPES, SHAPES)
    with pytest.raises(ValueError, match="floor nan: give a finite number"):
        Peak("map", 4, float("nan"))
    with pytest.raises(ValueError, match="'map:1' names channel 1"):
        Peak("map:1", 4)


def test_a_new_kind_with_vectors() -> None:
    assert Along("fc", torch.ones(2, 7)).pictures == 2 and Along("fc", torch.eye(7)[[1, 1, 2]]).twins(3) == [0, 1, 0]
    with pytest.raises(ValueError, match="the direction has 3 numbers, layer 'fc' has 7 channels"):
        Along("fc", [1, 2, 3]).bound(SHAPES, SHAPES)
    torch.testing.assert_close(score(Along("fc", range(7))), FC @ torch.arange(7.0))


def test_values_for_batches_of_different_lengths_in_one_objective() -> None:
    @dataclass(frozen=True, eq=False, repr=False)
    class Both(Objective):
        layer: str
        channel: Any
        vector: Any

    assert Both("fc", [1, 2], torch.ones(2, 7)).take([1]) == Both("fc", [2], torch.ones(1, 7))
    with pytest.raises(ValueError, match=r"has values for batches of \[2, 3\] pictures"):
        Both("fc", [1, 2], torch.ones(3, 7))


def test_an_objective_without_a_layer_says_what_is_missing() -> None:
    @dataclass(frozen=True, eq=False, repr=False)
    class Nothing(Objective):
        pass

    with pytest.raises(NotImplementedError, match="Nothing has no field 'layer': define its property 'layers'"):
        _ = Nothing().layers


def test_coupled_terms_make_coupled_objectives() -> None:
    @dataclass(frozen=True, eq=False, repr=False)
    class Spread(Objective):
        layer: str
        coupled = True

    spread = Spread("map")
    assert spread.coupled and (A - 2 * spread).coupled and Batch((A, A + spread)).coupled
    assert not any(objective.coupled for objective, _ in CLOSED_FORMS) and not (A + B).coupled


def test_an_objective_keeps_its_own_copy_of_a_vector() -> None:
    vector = torch.ones(4)
    objective = Direction("map", vector)
    vector.zero_()
    assert torch.equal(objective.vector, torch.ones(4))


def test_channels_made_in_inference_mode_serve_a_step_later() -> None:
    activation = torch.randn(3, 11, 2, 2, requires_grad=True)
    with torch.inference_mode():
        pick(activation, (7, 8, 9))
    pick(activation, (7, 8, 9)).sum().backward()
    assert activation.grad is not None and activation.grad.any()


# Numbers of NumPy and torch, and numbers that are none


@pytest.mark.parametrize("number", [2, np.int8(2), np.float64(2), np.array(2), np.array(2.0), torch.tensor(2.0)])
def test_numbers_of_every_library(number: Any) -> None:
    for made in (number * A, A * number, A / (1 / number)):
        assert made == 2 * A and repr(made) == "2 * Channel('map', 1)"
    assert A + number == A + 2 == number + A and A - number == A - 2


@pytest.mark.parametrize("channel", [np.int64(3), np.array(3), torch.tensor(3), 3])
def test_whole_numbers_of_every_library(channel: Any) -> None:
    for objective, same in (
        (Channel("a", channel), Channel("a", 3)),
        (Channel("a", [channel, 1]), Channel("a", (3, 1))),
        (Neuron("a", channel, (channel, channel)), Neuron("a", 3, (3, 3))),
        (Class("a", channel), Class("a", 3)),
        (LayerObjective("a", channel, channel), Neuron("a", 3, 3)),
    ):
        assert objective == same and repr(objective) == repr(same)
    assert Channel("a", np.arange(3)) == Channel("a", torch.arange(3)) == Channel("a", (0, 1, 2))


@pytest.mark.parametrize(
    "number", [float("nan"), float("inf"), np.float32("nan"), 10**400, 1e39], ids=lambda n: str(n)[:9]
)
def test_numbers_that_are_not_finite(number: Any) -> None:
    for make in (
        lambda: number * A,
        lambda: (A + B) * number,
        lambda: A + number,
        lambda: Direction("a", VECTOR, power=number),
        lambda: L1("a", center=number),
        lambda: Class("a", 1, rival=number),
        lambda: Class("a", 1, temperature=number),
    ):
        with pytest.raises(ValueError, match=r"(factor|constant|power|center|rival|temperature) .*: give a finite n"):
            make()
    with pytest.raises(ValueError, match=r"factor 1.*e\+60: give a finite number"):
        1e30 * (1e30 * A)
    with pytest.raises(ValueError, match="an objective is divided by a number other than 0"):
        A / 0


@pytest.mark.parametrize("kind", [Channel, Neuron, Class])
@pytest.mark.parametrize("channels", [range(10**11), range(10**30), range(1_000_001), [0] * 1_000_001])
def test_too_many_channels_are_refused_before_they_are_listed(kind: Any, channels: Any) -> None:
    with pytest.raises(ValueError, match=r"too many channels, .*: a batch has at most 1000000 pictures"):
        kind("a", channels)


def test_a_million_channels_are_not() -> None:
    objective = Channel("a", range(1_000_000))
    assert objective.pictures == 1_000_000 and objective.twins(1_000_000)[-1] == 0


def test_names_reach_the_terminal_without_escapes() -> None:
    shapes = {"fc": LayerShape((2,), 1, 1, names=("\x1b[31mred", "blue"))}
    for name in ("red", "\x1b[31mred!", "zzzzzzzzz"):
        with pytest.raises(ValueError, match="layer 'fc' has no channel named") as error:
            Channel("fc", name).bound(shapes, shapes)
        assert "\x1b" not in str(error.value)


@pytest.mark.parametrize("objective", [Channel(IMAGE, 0), Neuron(IMAGE, 0), Class(IMAGE, 0), Direction(IMAGE, [1.0])])
def test_the_image_has_no_channels_to_choose_from(objective: Objective) -> None:
    with pytest.raises(ValueError, match=r"^\w+\('@image', .* needs a layer: the image itself has no channels"):
        objective.bound(SHAPES, SHAPES)


def test_total_variation_needs_a_map() -> None:
    with pytest.raises(ValueError, match="layer 'fc' puts out one number for each channel, which has no total"):
        TotalVariation("fc").bound(SHAPES, SHAPES)


@pytest.fixture(params=[(torch.float64, "cpu"), (torch.float32, "meta"), (torch.float64, "meta")], ids=str)
def other_defaults(request: pytest.FixtureRequest) -> Iterator[None]:
    dtype, device = request.param
    torch.set_default_dtype(dtype)
    torch.set_default_device(device)
    yield
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)


@pytest.mark.usefixtures("other_defaults")
@pytest.mark.parametrize(("objective", "expected"), BITS, ids=ids(CLOSED_FORMS))
def test_torch_defaults_do_not_matter(objective: Objective, expected: Tensor) -> None:
    index.cache_clear()
    scores = score(objective)
    assert scores.dtype == torch.float32 and scores.device.type == "cpu" and torch.equal(scores, expected)
    assert Direction("map", [1.0, 2.0, 3.0, 4.0]).vector.device.type == "cpu"


@pytest.mark.parametrize("options", [{"rival": -0.5}, {"rival": float("nan")}, {"temperature": -1}])
def test_a_share_or_temperature_below_nothing_is_an_error(options: dict[str, float]) -> None:
    (name,) = options
    with pytest.raises(ValueError, match=f"{name} .*: give a (finite )?number"):
        Class("fc", 1, **options)
