"""What all tests share: quiet threads, the real networks and photographs where they are at hand."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch is imported: see the README
os.environ.setdefault("GOMP_SPINCOUNT", "0")
os.environ.update({"OMP_NUM_THREADS": "1"} if "PYTEST_XDIST_WORKER" in os.environ else {})  # a process for each core

import signal

import pytest
from torch import nn

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin with Ctrl-C ignored

MOST_WORKERS = 4
"""Each holds up to 3 GiB."""

SHARED = Path(os.environ.get("OPTVIS_SHARED", Path(__file__).parents[2] / "shared"))


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """All tests together run on all cores; named files run in one process, which starts sooner. ``-n`` has its say."""
    asked = getattr(config.option, "numprocesses", 0)  # 0 where pytest-xdist is missing, None where no -n was given
    together = config.args_source is pytest.Config.ArgsSource.TESTPATHS and not config.option.usepdb
    if asked is None and together and "PYTEST_XDIST_WORKER" not in os.environ:
        config.option.numprocesses = min(os.cpu_count() or 1, MOST_WORKERS)
        config.option.dist = "worksteal"  # neighbours stay in one process as long as both have work


@pytest.fixture(autouse=True)
def float32(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """``precision="auto"`` is float32 on every machine, so that results do not depend on it.

    Tests marked ``native_precision`` are left with what the machine computes in.
    """
    if request.node.get_closest_marker("native_precision") is None:
        monkeypatch.setattr("optvis.network.precision._has_bf16", lambda device: False)


@lru_cache
def _loader() -> Callable[[str], nn.Module]:
    spec = importlib.util.spec_from_file_location("shared_load", SHARED / "weights" / "load.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.load


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real weights and photographs; skips where there is none."""
    if not ((SHARED / "weights").is_dir() and (SHARED / "images").is_dir()):
        pytest.skip(f"real weights and photographs not at hand: no {SHARED} with weights/ and images/ (OPTVIS_SHARED)")
    return SHARED


@pytest.fixture(scope="session")
def real_network(shared: Path) -> Callable[[str], nn.Module]:
    """``real_network("squeezenet1_0")``: a network with real weights; skips where there are none."""
    return lru_cache(_loader())


@pytest.fixture(scope="session")
def photographs(shared: Path) -> list[Path]:
    """Paths of real photographs; skips where there are none."""
    return sorted(path for path in (shared / "images").iterdir() if path.suffix in (".jpg", ".png"))
