"""Random numbers that networks and transforms draw by themselves: reproducible, the global state is left alone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import kornia.augmentation as K
import pytest
import torch
import torch.nn.functional as F
import torchvision.transforms.v2 as T
from small_networks import Tiny, random_states, seeded
from torch import Tensor, nn

from optvis import ImageParam, OptVis
from optvis.network.own_random import OwnRandom

X = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
MANY = torch.arange(1600.0).view(1, 1, 40, 40)


def leaf() -> Tensor:
    return X.clone().requires_grad_()


def drawn_like(draw: Callable[[Tensor], Any]) -> Callable[[], Any]:
    return lambda: draw(leaf())


DRAWS: dict[str, Callable[[], Any]] = {
    "rand": lambda: torch.rand(9),
    "rand of another type": lambda: torch.rand(9, dtype=torch.float64),
    "randn": lambda: torch.randn(9),
    "randint": lambda: torch.randint(1000, (9,)),
    "randint from": lambda: torch.randint(5, 1000, (9,)),
    "randperm": lambda: torch.randperm(20),
    "rand_like": drawn_like(torch.rand_like),
    "randn_like": drawn_like(torch.randn_like),
    "randint_like": drawn_like(lambda x: torch.randint_like(x, 1000)),
    "randint_like from": drawn_like(lambda x: torch.randint_like(x, 5, 1000)),
    "bernoulli": drawn_like(lambda x: torch.bernoulli(x)),
    "normal": drawn_like(lambda x: torch.normal(x, 1.0)),
    "poisson": drawn_like(lambda x: torch.poisson(100 * x)),
    "multinomial": lambda: torch.multinomial(torch.ones(50), 20),
    "in place": lambda: [torch.empty(9).normal_(), torch.empty(9).uniform_(), torch.empty(9).exponential_()],
    "geometric_": lambda: torch.empty(9).geometric_(0.01),
    "nn.init": lambda: nn.init.kaiming_normal_(torch.empty(3, 3)),
    "dropout": drawn_like(lambda x: F.dropout(x, 0.5)),
    "dropout in place": drawn_like(lambda x: F.dropout(x * 1, 0.5, inplace=True)),
    "dropout of channels": drawn_like(lambda x: F.dropout2d(x, 0.5)),
    "alpha dropout": drawn_like(lambda x: F.alpha_dropout(x, 0.3, training=True)),
    "feature alpha dropout": drawn_like(lambda x: F.feature_alpha_dropout(x, 0.3, training=True)),
    "rrelu": drawn_like(lambda x: F.rrelu(x - 0.5, training=True)),
    "gumbel softmax": drawn_like(lambda x: F.gumbel_softmax(x)),
    "fractional max pool": lambda: F.fractional_max_pool2d(MANY, 2, output_ratio=(0.6, 0.6)),
    "attention": drawn_like(lambda x: F.scaled_dot_product_attention(x, x, x, dropout_p=0.5)),
    "MultiheadAttention": lambda: nn.MultiheadAttention(8, 2, dropout=0.3)(X[0], X[0], X[0])[0],
    "GRU with dropout": lambda: nn.GRU(8, 4, 2, dropout=0.5)(X[0])[0],
    "Beta": lambda: torch.distributions.Beta(2.0, 3.0).sample((9,)),
    "Dirichlet": lambda: torch.distributions.Dirichlet(torch.ones(5)).rsample(),
    "Normal": drawn_like(lambda x: torch.distributions.Normal(x, 1.0).rsample()),
    "Categorical": lambda: torch.distributions.Categorical(torch.ones(500)).sample((9,)),
    "kornia affine": lambda: K.RandomAffine(30.0, p=1.0)(X),
    "kornia erasing": lambda: K.RandomErasing(p=1.0)(X),
    "torchvision crop": lambda: [T.RandomCrop(4)(X) for _ in range(4)],
    "torchvision jitter": lambda: T.ColorJitter(0.5, 0.5)(X),
    "torchvision erasing": lambda: T.RandomErasing(p=1.0)(X),
}

PLAIN: dict[str, Callable[[], Any]] = {
    "attention without dropout": drawn_like(lambda x: F.scaled_dot_product_attention(x, x, x)),
    "dropout that is off": drawn_like(lambda x: F.dropout(x, 0.5, training=False)),
    "rrelu that is off": drawn_like(lambda x: F.rrelu(x)),
    "MultiheadAttention in eval mode": lambda: MHA(X[0], X[0], X[0])[0],
}
MHA = seeded(nn.MultiheadAttention, 8, 2, dropout=0.3)


def bits(value: Any) -> list[Tensor]:
    return [value] if isinstance(value, Tensor) else list(value)


def own(seed: int) -> OwnRandom:
    return OwnRandom(torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", DRAWS)
def test_draws_come_from_the_own_generator(name: str) -> None:
    results = []
    for seed, global_seed in ((1, 1), (1, 2), (2, 1)):
        torch.manual_seed(global_seed)
        before = random_states()
        with own(seed) as mode:
            results.append(bits(DRAWS[name]()))
        assert mode.used and random_states() == before
    first, again, other = results
    assert all(map(torch.equal, first, again)), "whatever the global state"
    assert not all(map(torch.equal, first, other)), "and another seed gives other numbers"


@pytest.mark.parametrize("name", PLAIN)
def test_what_draws_nothing_is_as_without(name: str) -> None:
    with own(1) as mode:
        found = PLAIN[name]()
    assert not mode.used and torch.equal(found, PLAIN[name]())


@pytest.mark.parametrize("name", DRAWS)
def test_the_global_state_is_not_changed_for_an_instant(name: str) -> None:
    """Not even while an operator draws: another thread may be drawing, too."""
    before, seen, done = torch.get_rng_state(), [], threading.Event()

    def watch() -> None:
        while not done.is_set():
            seen.append(torch.equal(torch.get_rng_state(), before))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for seed in range(20):
            with own(seed):
                DRAWS[name]()
    finally:
        done.set()
        watcher.join()
    assert seen and all(seen)


def test_draws_are_of_the_same_distribution() -> None:
    with own(0):
        uniform, normal, whole = torch.rand(20_000), torch.randn(20_000), torch.randint_like(X.new_empty(20_000), 3, 7)
        kept = F.dropout(torch.ones(20_000), 0.3)
    assert uniform.mean().item() == pytest.approx(0.5, abs=0.01) and uniform.min() >= 0 and uniform.max() < 1
    assert normal.mean().item() == pytest.approx(0, abs=0.03) and normal.std().item() == pytest.approx(1, abs=0.02)
    assert whole.unique().tolist() == [3, 4, 5, 6]
    assert kept.unique().tolist() == pytest.approx([0, 1 / 0.7]) and kept.mean().item() == pytest.approx(1, abs=0.02)


def test_gradients_pass_a_dropout_as_they_do_without_the_mode() -> None:
    x = leaf()
    with own(3):
        out = F.dropout(x, 0.5)
    out.sum().backward()
    assert x.grad is not None and torch.equal(x.grad, (out != 0) * 2.0)


class Drawing(Tiny):
    """Draws in its forward pass in every mode."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.dropout2d(self.relu(self.first(x)), 0.2) + 0.01 * torch.randn_like(x[:, :1, ::2, ::2])
        return self.head(self.second(x).mean((2, 3)))


@pytest.mark.parametrize("transform", [K.RandomAffine(10.0), lambda x: x + 0.02 * torch.randn_like(x)])
def test_a_run_is_reproducible_and_leaves_the_global_state(transform: Any) -> None:
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = random_states()
        optvis = OptVis.from_layer(seeded(Drawing), "second", 1, transforms=[transform])
        results.append(optvis.vis(ImageParam(16), [(16, 6)]))
        assert random_states() == before
    assert torch.equal(results[0].images, results[1].images)
    assert torch.equal(results[0].history, results[1].history)
