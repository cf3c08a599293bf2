"""Random numbers: a stream for each picture, the same in any batch."""

import numpy as np
import pytest
import torch
from torch import Tensor

from optvis.rng import Rng, fresh


def drawn(rng: Rng) -> Tensor:
    return torch.cat([rng.normal(3), rng.uniform(0, 1, 2), rng.normal()[:, None]], 1)


def test_equal_seeds_draw_equal_numbers_and_others_do_not() -> None:
    numbers = drawn(Rng([5, 6, 5, 7]))
    assert torch.equal(numbers[0], numbers[2])
    assert len({tuple(row) for row in numbers.tolist()}) == 3


def test_a_picture_draws_in_a_batch_as_it_does_alone() -> None:
    batch = Rng([5, 6, 5])
    first, second = drawn(batch), drawn(batch)
    assert not torch.equal(first, second)
    for i, seed in enumerate([5, 6, 5]):
        alone = Rng([seed])
        assert torch.equal(drawn(alone)[0], first[i]) and torch.equal(drawn(alone)[0], second[i])


def test_taken_streams_go_on_by_themselves() -> None:
    rng = Rng([5, 6, 5, 7])
    drawn(rng)
    taken = rng.take([3, 0])
    numbers, again = drawn(taken), drawn(rng)
    assert torch.equal(numbers, again[[3, 0]])
    assert torch.equal(drawn(rng.take([1])), drawn(rng.take([1]))), "a copy each time"


def test_joined_streams_are_those_of_their_parts() -> None:
    parts, whole = [Rng([1, 2]), Rng([2]), Rng([3])], Rng([1, 2, 2, 3])
    joined = Rng.join(parts)
    assert joined.count == 4 and torch.equal(drawn(joined), drawn(whole))
    assert torch.equal(drawn(parts[2]), drawn(whole)[3:]), "the parts have advanced, too"
    assert Rng.join(parts[:1]) is parts[0]


@pytest.mark.parametrize("on_error", [True, False])
@pytest.mark.parametrize("fails", [True, False])
def test_what_was_drawn_can_be_undone(on_error: bool, fails: bool) -> None:
    rng, untouched = Rng([1, 2]), Rng([1, 2])
    try:
        with rng.undone(on_error):
            inside = drawn(rng)
            if fails:
                raise KeyError
    except KeyError:
        pass
    assert torch.equal(inside, drawn(untouched))
    expected = drawn(Rng([1, 2])) if fails or not on_error else drawn(untouched)
    assert torch.equal(drawn(rng), expected)


def test_many_seeds() -> None:
    rng = Rng([*range(2000), *range(2000)])
    numbers = rng.uniform(-1, 1)
    assert rng.count == 4000 and len(rng.generators) == 2000 and torch.equal(numbers[:2000], numbers[2000:])


def test_the_global_states_are_left_alone() -> None:
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    drawn(Rng([1, 2]))
    drawn(fresh(torch.zeros(3, 3, 4, 4)))
    assert torch.equal(before, torch.get_rng_state()) and (numpy_before == np.random.get_state()[1]).all()


def test_fresh_numbers_differ_between_calls_and_pictures() -> None:
    image = torch.zeros(3, 3, 4, 4)
    torch.manual_seed(0)
    first = drawn(fresh(image))
    torch.manual_seed(0)
    second = drawn(fresh(image))
    assert first.shape[0] == 3 and not torch.equal(first, second) and not torch.equal(first[0], first[1])
