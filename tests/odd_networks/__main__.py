"""``python -m odd_networks [name ...]`` (from ``tests``): every layer that did not come out right, and totals."""

from __future__ import annotations

import re
import sys
import time
import warnings
from collections import Counter

import torch

from . import ARCHITECTURES, check


def main(patterns: list[str]) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    totals: Counter[str] = Counter()
    networks: Counter[str] = Counter()
    for name, architecture in ARCHITECTURES.items():
        if patterns and not any(re.search(pattern, name) for pattern in patterns):
            continue
        began = time.process_time()
        verdicts = check(architecture)
        outcomes = Counter(verdict.outcome for verdict in verdicts)
        totals += outcomes
        networks["good" if all(verdict.good for verdict in verdicts) else "bad"] += 1
        print(f"{name}: {dict(outcomes)}, {time.process_time() - began:.1f} s", flush=True)
        for v in verdicts:
            if not v.good:
                print(f"    {v.outcome:8} {v.layer or '(output)':40} {v.kind:20} {list(v.shape)} {v.layout}: {v.said}")
    print(f"{sum(networks.values())} networks {dict(networks)}, {sum(totals.values())} layers {dict(totals)}")


if __name__ == "__main__":
    main(sys.argv[1:])
