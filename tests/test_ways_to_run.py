"""The main job runs as it stands: in a plain script, a notebook and an interactive shell."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cifar_resnet import CifarResNet
from torch import nn

from optvis import ImageParam, OptVis
from optvis.zoo import load_weights

LAYERS = {"squeezenet1_0": "features/12", "mobilenet_v2": "features/18", "resnet18_pq": "layer4/1"}

LINES = [
    "from optvis.demo import demo_network",
    "from optvis import OptVis",
    "network = demo_network()",
    'optvis = OptVis.from_layer(network, layer="features/18", channel=12)',
    "optvis.vis()",
]


@pytest.mark.slow
def test_in_a_script(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("\n".join(LINES))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "" and "Error" not in done.stderr


def test_import_is_light(tmp_path: Path) -> None:
    """Neither a notebook, nor matplotlib, nor an optional extra is loaded."""
    heavy = ("IPython", "matplotlib", "typer", "timm", "transformers", "ipywidgets", "notebook", "kornia")
    code = f"import sys, optvis; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env={"PATH": ""})
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.slow
def test_in_a_notebook(tmp_path: Path) -> None:
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("\n".join(LINES))])
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = notebook.cells[0].outputs
    assert any("image/png" in output.get("data", {}) for output in outputs)  # it shows itself


@pytest.mark.slow
def test_in_an_interactive_shell(tmp_path: Path) -> None:
    pexpect = pytest.importorskip("pexpect")
    shell = pexpect.spawn(sys.executable, ["-i", "-q"], cwd=str(tmp_path), timeout=300, encoding="utf-8")
    for line in LINES:
        shell.expect_exact(">>> ")
        shell.sendline(line)
    shell.expect(r"Visualisation\(images=\[1, 3, 64, 64\], scores=\[[0-9.]+\], steps=189\)")
    shell.sendline("exit()")
    shell.expect(pexpect.EOF)


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYERS)
def test_on_each_real_network(name: str, real_network: Callable[[str], nn.Module]) -> None:
    network = real_network(name)
    optvis = OptVis.from_layer(network, layer=LAYERS[name], channel=12)
    picture = optvis.vis(thresh=24, verbose=False)
    assert picture.images.shape == (1, 3, 224, 224)
    assert picture.history[-1] > picture.history[0]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "depth"), [("cifar10_resnet20", 3), ("cifar10_resnet56", 9)])
def test_on_each_real_network_for_small_images(name: str, depth: int, shared: Path) -> None:
    network = CifarResNet(depth)
    load_weights(network, shared / "weights" / f"{name}.safetensors")
    optvis = OptVis.from_layer(network, layer="layer3/2", channel=12)
    picture = optvis.vis(ImageParam(32), verbose=False)
    assert picture.images.shape == (1, 3, 32, 32)
    assert picture.scores > 3 * picture.history[0]
