"""A black-box test on more than 150 architectures: every layer draws what a plain hook sees there, or is refused.

The truth about each layer, where it keeps its pictures and its channels, is written by hand in ``odd_networks``. To see
all that went wrong as a table: ``cd tests; python -m odd_networks [name ...]``.
"""

from __future__ import annotations

import pytest
import torch
from odd_networks import ARCHITECTURES, QUICK, check

NAMES = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in ARCHITECTURES]


def test_there_are_many() -> None:
    assert len(ARCHITECTURES) >= 150


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore")
def test_layers_draw_what_a_plain_hook_sees_or_are_refused(name: str) -> None:
    before = torch.get_rng_state()
    verdicts = check(ARCHITECTURES[name])
    assert torch.equal(before, torch.get_rng_state()), "the global random state was used"
    bad = [
        f"{v.outcome} {v.layer or '(output)'} ({v.kind}, {list(v.shape)}, {v.layout}): {v.said}"
        for v in verdicts
        if not v.good
    ]
    assert verdicts and not bad, "\n".join([f"{len(bad)} of {len(verdicts)} layers", *bad])
