"""The command line: what it writes, its exit codes, and messages without a traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_networks import network_file, seeded

from optvis.cli import run
from optvis.visualisation import read_settings


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "nets.py").write_text(network_file(32, 32))
    noise = np.random.default_rng(0).integers(0, 256, (20, 28, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


NET = "nets.py:Small"


def test_layers(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["layers", NET]) == 0
    out = capsys.readouterr().out
    assert "features/0" in out and "Conv2d" in out and "456" in out and "×" not in out
    assert run(["layers", NET, "--size", "32x48"]) == 0
    assert "1 × 8 × 16 × 24" in capsys.readouterr().out


def test_vis_writes_a_picture_that_says_how_it_was_made(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["vis", NET, "features/2:3", "-o", "a.png", "--steps", "5", "--seed", "4"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("a.png: 1 picture of 32 × 32 px, score ") and not err
    assert Image.open("a.png").size == (32, 32)
    settings = read_settings("a.png")
    assert settings["objective"] == "Channel('features/2', 3)" and settings["seed"] == 4 and settings["steps"] == 5
    assert settings["network"] == NET and settings["command"].startswith("optvis ")


@pytest.mark.parametrize("param", ["fourier", "pixel", "cppn"])
def test_vis_takes_size_and_parameterisation(folder: Path, param: str) -> None:
    assert run(["vis", NET, "head:owl", "-o", "a.npy", "--size", "24x40", "--steps", "3", "--param", param]) == 0
    assert np.load("a.npy").shape == (1, 3, 24, 40)


@pytest.mark.parametrize(("wish", "objective"), [("owl", "Class('', 'owl')"), ("0", "Class('', 0)")])
def test_vis_of_a_class(folder: Path, wish: str, objective: str) -> None:
    assert run(["vis", NET, "--class", wish, "-o", "a.png", "--steps", "3"]) == 0
    assert read_settings("a.png")["objective"] == objective
    assert run(["vis", NET, "head", "--class", wish, "-o", "b.png", "--steps", "3"]) == 0
    assert read_settings("b.png")["objective"] == objective.replace("''", "'head'")


def test_vis_is_repeatable(folder: Path) -> None:
    for name in ("a.npy", "b.npy"):
        assert run(["vis", NET, "features/0:1", "-o", name, "--steps", "3", "--device", "cpu"]) == 0
    assert run(["vis", NET, "features/0:1", "-o", "c.npy", "--steps", "3", "--seed", "1"]) == 0
    a, b, c = (np.load(name) for name in ("a.npy", "b.npy", "c.npy"))
    assert (a == b).all() and not (a == c).all()


def test_weights_from_a_file(folder: Path) -> None:
    from optvis.zoo import load_network

    network = load_network(NET)
    torch.save({k: torch.zeros_like(v) for k, v in network.state_dict().items()}, "zeros.pth")
    with pytest.warns(UserWarning, match="never fired"):
        assert run(["vis", NET, "features/2:3", "-o", "a.npy", "--steps", "2", "--weights", "zeros.pth"]) == 0


def test_collage(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        run(["collage", NET, "features/2", "-o", "c.png", "--channels", "0-2,7", "--steps", "2", "--batch", "3"]) == 0
    )
    assert "c.png: 4 pictures of 32 × 32 px" in capsys.readouterr().out
    assert Image.open("c.png").width == 2 * 32 + 2
    assert run(["collage", NET, "features/2", "-o", "c.npy", "--channels", "all", "--steps", "2", "--size", "16"]) == 0
    assert np.load("c.npy").shape == (8, 3, 16, 16)


@pytest.mark.parametrize("classes", ["0,2", "cat, owl"])
def test_collage_of_classes(folder: Path, classes: str) -> None:
    assert run(["collage", NET, "--classes", classes, "-o", "c.png", "--steps", "2", "--size", "16"]) == 0
    drawn = "('cat', 'owl')" if "cat" in classes else "(0, 2)"
    assert read_settings("c.png")["objective"] == f"Class('', {drawn})"


def test_collage_until_a_plateau(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["collage", NET, "features/2", "-o", "c.png", "--channels", "0-2", "--until", "plateau"]
    assert run([*command, "--size", "16", "--batch", "2"]) == 0
    assert read_settings("c.png")["until"] == "plateau"
    assert run([*command, "--steps", "2"]) == 2
    assert "until lets pictures leave at steps of their own" in capsys.readouterr().err


def test_dream_in_tiles(folder: Path) -> None:
    assert run(["dream", NET, "features/2", "photo.png", "-o", "d.png", "--steps", "2", "--tile", "20"]) == 0
    assert read_settings("d.png")["tile"] == 20


@pytest.mark.parametrize("layer", ["features/2", "features/2:3"])
def test_dream_begins_with_the_photograph(folder: Path, layer: str) -> None:
    assert run(["dream", NET, layer, "photo.png", "-o", "d.npy", "--steps", "3", "--lr", "0.001"]) == 0
    dream = torch.from_numpy(np.load("d.npy"))
    photo = torch.from_numpy(np.array(Image.open("photo.png"))).permute(2, 0, 1)[None] / 255
    assert dream.shape == photo.shape and 1e-5 < (dream - photo).abs().mean() < 0.05
    assert run(["dream", NET, layer, "photo.png", "-o", "d.npy", "--steps", "1", "--size", "40"]) == 0
    assert np.load("d.npy").shape == (1, 3, 40, 56)


BAD = {
    "unknown layer": (["vis", NET, "feature/2:3"], "no layer 'feature/2' in Small: did you mean 'features/2'"),
    "channel out of range": (["vis", NET, "features/2:8"], "no channel 8 in layer 'features/2': it has 8"),
    "unknown name": (["vis", NET, "head:dig"], "no channel named 'dig': did you mean 'dog'"),
    "unknown class": (["vis", NET, "--class", "dig"], "no channel named 'dig': did you mean 'dog'"),
    "unknown network": (["vis", "resnet", "a"], "no network 'resnet': give demo, torchvision:NAME"),
    "unknown function": (["layers", "nets.py:Smal"], "has no function 'Smal': did you mean Small?"),
    "no such file": (["layers", "net.py:Small"], "there is no file 'net.py'"),
    "no folder to write to": (["vis", NET, "head:0", "-o", "none/a.png"], "there is no folder 'none'"),
    "another ending": (["vis", NET, "head:0", "-o", "a.bmp"], "cannot save 'a.bmp': the ending must be one of"),
    "a folder": (["collage", NET, "head", "-o", "folder.png"], "cannot save to 'folder.png': it is a folder"),
    "bad size": (["vis", NET, "head:0", "--size", "big"], "size 'big': give pixels, as 224, or HEIGHTxWIDTH"),
    "size of 0": (["vis", NET, "head:0", "--size", "0"], "size '0': give pixels"),
    "bad channels": (["collage", NET, "head", "--channels", "2-1"], "channels '2-1': give numbers and ranges"),
    "channels behind the last": (["collage", NET, "head"], "no channel 3 in layer 'head': it has 3"),
    "no photograph": (["dream", NET, "head", "none.jpg"], "there is no file 'none.jpg'"),
    "no image": (["dream", NET, "head", "nets.py"], "'nets.py' is no image that Pillow can read"),
    "weights missing": (["vis", NET, "head:0", "--weights", "w.pth"], "there is no file of weights 'w.pth'"),
    "weights that do not fit": (["vis", NET, "head:0", "--weights", "odd.pth"], "'odd.pth' do not fit Small"),
    "no steps": (["vis", NET, "head:0", "--steps", "0"], "--steps"),
    "seed below 0": (["vis", NET, "head:0", "--seed", "-1"], "--seed"),
    "unknown parameterisation": (["vis", NET, "head:0", "--param", "wavelet"], "fourier"),
    "unknown device": (["vis", NET, "head:0", "--device", "abacus"], "device 'abacus' cannot be used here"),
    "unknown command": (["viz", NET], "viz"),
    "unknown option": (["vis", NET, "head:0", "--colour"], "--colour"),
    "nothing to draw": (["vis"], "NETWORK"),
    "a help that is no help": (["vis", NET, "head:0", "--hepl"], "optvis vis"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gives_a_message_and_exit_code_2(name: str, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / "folder.png").mkdir()
    torch.save(seeded(torch.nn.Linear, 2, 2).state_dict(), "odd.pth")
    there = sorted(folder.iterdir())
    arguments, message = BAD[name]
    assert run(arguments) == 2
    out, err = capfd.readouterr()
    assert message in err and "Traceback" not in err and not out, err
    assert len(err.splitlines()) <= 4
    assert [path for path in sorted(folder.iterdir()) if path.name != "__pycache__"] == there


def test_a_failure_on_the_way_is_exit_code_1(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("no room\nfor details")

    monkeypatch.setattr("optvis.engine.OptVis.vis", fail)
    assert run(["vis", NET, "head:0"]) == 1
    assert capsys.readouterr().err == "optvis: OutOfMemoryError: no room\n"


def test_ctrl_c_before_the_first_step_is_exit_code_130(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("optvis.cli.load_network", interrupt)
    assert run(["vis", NET, "head:0"]) == 130
    assert not (folder / "vis.png").exists()


@pytest.mark.parametrize("command", [[], ["layers"], ["vis"], ["collage"], ["dream"]])
def test_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*command, "--help"]) == 0
    out = capsys.readouterr().out
    assert "Usage:" in out and ("Example" in out or not command)


def test_as_a_module(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "optvis", "--help"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0 and not done.stderr
    for command in ("layers", "vis", "collage", "dream"):
        assert command in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [["vis", "pattern:rings"], ["collage", "pattern", "--channels", "0-1"], ["dream", "features/6", "photo.png"]],
    ids=lambda arguments: arguments[0],
)
def test_precision_is_passed_on(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (40, 40), "grey").save("photo.png")
    common = ["--steps", "2", "--size", "32", "-o", "a.png", "--precision"]
    assert run([*arguments, *common, "bf16"]) == 0
    assert read_settings("a.png")["precision"] == "bfloat16"
    assert run([*arguments, *common, "half"]) == 2
    assert "precision 'half': choose 'auto', 'fp32', 'bf16' or 'fp16'" in capsys.readouterr().err
