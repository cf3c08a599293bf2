"""The command line: what it writes, its exit codes, and messages without a traceback."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from small_networks import network_file, seeded

from optvis.cli import run
from optvis.images import write_picture
from optvis.visualisation import read_settings
from optvis.zoo import load_network


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
    network = load_network(NET)
    torch.save({k: torch.zeros_like(v) for k, v in network.state_dict().items()}, "zeros.pth")
    with pytest.warns(UserWarning, match="never fired"):
        assert run(["vis", NET, "features/2:3", "-o", "a.npy", "--steps", "2", "--weights", "zeros.pth"]) == 0


def test_collage(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        run(["collage", NET, "features/2", "-o", "c.png", "--channels", "0-2,7", "--steps", "2", "--batch", "3"]) == 0
    )
    assert "c.png: 4 pictures of 32 × 32 px" in capsys.readouterr().out
    assert Image.open("c.png").width == 2 * 64 + 8, "small pictures have room for their labels"
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
    assert "until lets each picture end at its own step" in capsys.readouterr().err


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
    "unknown class": (["vis", NET, "--class", "dig"], "no class named 'dig': did you mean 'dog'"),
    "unknown network": (["vis", "resnet", "a"], "no network 'resnet': give efficientnet_lite0, demo, torchvision:NAME"),
    "unknown function": (["layers", "nets.py:Smal"], "has no function 'Smal': did you mean 'Small'?"),
    "no such file": (["layers", "net.py:Small"], "there is no file 'net.py'"),
    "no folder to write to": (["vis", NET, "head:0", "-o", "none/a.png"], "there is no folder 'none'"),
    "another ending": (["vis", NET, "head:0", "-o", "a.bmp"], "cannot save 'a.bmp': the ending must be one of"),
    "a folder": (["collage", NET, "head", "-o", "folder.png"], "cannot save to 'folder.png': it is a folder"),
    "bad size": (["vis", NET, "head:0", "--size", "big"], "size 'big': give pixels, as 224, or HEIGHTxWIDTH"),
    "size of 0": (["vis", NET, "head:0", "--size", "0"], "size '0': give pixels"),
    "size without a height": (["vis", NET, "head:0", "--size", "0x0"], "size '0x0': give pixels"),
    "size below 0": (["vis", NET, "head:0", "--size", "-8"], "size '-8': give pixels"),
    "size in other digits": (["vis", NET, "head:0", "--size", "²"], "size '²': give pixels"),
    "size in three": (["vis", NET, "head:0", "--size", "8x8x8"], "size '8x8x8': give pixels"),
    "huge size": (["vis", NET, "head:0", "--size", "99999x99999"], "size '99999x99999': a picture has at most"),
    "huge number": (["vis", NET, "head:0", "--size", "9" * 5000], "9': give pixels, as 224"),
    "huge size of a dream": (["dream", NET, "head", "photo.png", "--size", "99999"], "a picture has at most"),
    "huge size for layers": (["layers", NET, "--size", "99999"], "a picture has at most"),
    "huge size for bench": (["bench", NET, "--size", "99999"], "a picture has at most"),
    "huge steps": (["vis", NET, "head:0", "--steps", "1000000000000"], "--steps"),
    "steps in other digits": (["vis", NET, "head:0", "--steps", "²"], "--steps"),
    "huge seed": (["vis", NET, "head:0", "--seed", str(2**80)], "seed '12089"),
    "huge batch": (["collage", NET, "head", "--batch", str(10**12)], "--batch"),
    "no batch": (["collage", NET, "head", "--batch", "0"], "--batch"),
    "tile below 0": (["vis", NET, "head:0", "--tile", "-5"], "--tile"),
    "channel in other digits": (["vis", NET, "head:²"], "no channel named '²'"),
    "channel of two dashes": (["vis", NET, "head:--5"], "no channel named '--5'"),
    "class in other digits": (["vis", NET, "--class", "²"], "no class named '²'"),
    "huge channel": (["vis", NET, "head:99999999999"], "no channel 99999999999 in layer 'head': it has 3"),
    "huge channels": (
        ["collage", NET, "head", "--channels", "0-99999999999"],
        "channels '0-99999999999': these are 100,000,000,000, at most 1,000,000 can be drawn",
    ),
    "huge ranges": (["collage", NET, "head", "--channels", "0-999999,5"], "these are 1,000,001, at most"),
    "more channels than a list can hold": (["collage", NET, "head", "--channels", f"0-{10**18 - 1}"], "at most"),
    "many channels behind the last": (["collage", NET, "head", "--channels", "0-999999"], "no channel 3 in layer"),
    "channels in other digits": (["collage", NET, "head", "--channels", "0-²"], "channels '0-²': give numbers"),
    "channels of two dashes": (["collage", NET, "head", "--channels", "--5"], "channels '--5': give numbers"),
    "no channels": (["collage", NET, "head", "--channels", ""], "channels '': give numbers and ranges"),
    "classes of two kinds": (["collage", NET, "--classes", "0,cat"], "classes '0,cat': give numbers and ranges"),
    "huge classes": (["collage", NET, "--classes", "0-99999999999"], "classes '0-99999999999': these are"),
    "a name too long": (["vis", NET, "head:0", "-o", "a" * 300 + ".png"], "File name too long"),
    "a home that is not there": (["vis", NET, "head:0", "-o", "~no-one/a.png"], "'~no-one/a.png' is no path"),
    "no settings": (["redraw", "photo.png"], "'photo.png' carries no settings of optvis"),
    "bad channels": (["collage", NET, "head", "--channels", "2-1"], "channels '2-1': give numbers and ranges"),
    "channels behind the last": (["collage", NET, "head"], "no channel 3 in layer 'head': it has 3"),
    "no photograph": (["dream", NET, "head", "none.jpg"], "there is no file 'none.jpg'"),
    "no image": (["dream", NET, "head", "nets.py"], "'nets.py' is no image that Pillow can read"),
    "weights missing": (["vis", NET, "head:0", "--weights", "w.pth"], "there is no file of weights 'w.pth'"),
    "weights that do not fit": (["vis", NET, "head:0", "--weights", "odd.pth"], "'odd.pth' do not fit Small"),
    "no steps": (["vis", NET, "head:0", "--steps", "0"], "--steps"),
    "seed below 0": (["vis", NET, "head:0", "--seed", "-1"], "seed '-1': give numbers"),
    "unknown parameterisation": (["vis", NET, "head:0", "--param", "wavelet"], "fourier"),
    "unknown device": (["vis", NET, "head:0", "--device", "abacus"], "device 'abacus' is not available"),
    "unknown command": (["viz", NET], "viz"),
    "unknown option": (["vis", NET, "head:0", "--colour"], "--colour"),
    "no network": (["vis"], "NETWORK"),
    "nothing to draw": (["vis", NET], "nothing to draw: give LAYER, LAYER:CHANNEL or --class"),
    "nothing to collect": (["collage", NET], "nothing to draw: give LAYER or --classes"),
    "no photograph to dream of": (["dream", NET, "features/2"], "IMAGE"),
    "nothing to attribute": (["attribute", NET], "IMAGE"),
    "words of a name": (["vis", NET, "--class", "fat cat"], "no class named 'fat cat': did you mean 'cat'"),
    "no number as mean": (["vis", NET, "head:0", "--mean", "grey"], "mean 'grey': give a number"),
    "two means for three channels": (["vis", NET, "head:0", "--mean", "0,1"], "mean has 2 values"),
    "a deviation of 0": (["vis", NET, "head:0", "--std", "0"], "std must be positive"),
    "no file of names": (["vis", NET, "head:0", "--names", "n.txt"], "there is no file of names 'n.txt'"),
    "too few names": (["classes", NET, "--names", "few.txt"], "holds 2 names for 3 outputs"),
    "frames of a still": (["vis", NET, "head:0", "--frames", "4"], "only a .gif is animated"),
    "more frames than steps": (
        ["vis", NET, "head:0", "--frames", "4", "--steps", "3", "-o", "a.gif"],
        "these are more than the 3 steps",
    ),
    "a class that is not there": (["classes", NET, "horse"], "no class contains 'horse'"),
    "a help that is no help": (["vis", NET, "head:0", "--hepl"], "optvis vis"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gives_a_message_and_exit_code_2(name: str, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / "folder.png").mkdir()
    torch.save(seeded(torch.nn.Linear, 2, 2).state_dict(), "odd.pth")
    (folder / "few.txt").write_text("cat\ndog\n")
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


@pytest.mark.parametrize(
    "kind", [MemoryError, RecursionError, RuntimeError, FloatingPointError, OverflowError, OSError]
)
def test_errors_before_the_first_step_and_on_the_way(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: type[Exception]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise kind("odd \x1b[31m")

    for place, code in (("optvis.cli.options.load_network", 2), ("optvis.engine.OptVis.vis", 1)):
        with monkeypatch.context() as patched:
            patched.setattr(place, fail)
            assert run(["vis", NET, "head:0"]) == code
        err = capsys.readouterr().err
        assert err.endswith("odd \\x1b[31m\n") and err.startswith("optvis: ") and err.count("\n") == 1
    assert not (folder / "vis.png").exists()


# Ctrl-C and SIGTERM

SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143}

STOPPING = """
import signal

def Stopping():
    network, calls = Small(), []

    def count(module, inputs):
        calls.append(1)
        if len(calls) == 40:
            signal.raise_signal(signal.{name})

    network.features.register_forward_pre_hook(count)
    return network
"""


@pytest.fixture(params=SIGNALS, ids=lambda signum: signum.name)
def signum(folder: Path, request: pytest.FixtureRequest) -> signal.Signals:
    """The signal that reaches ``stopping.py:Stopping`` in the middle of the run."""
    text = network_file(32, 32) + STOPPING.format(name=request.param.name)
    (folder / "stopping.py").write_text(text)
    return request.param


@pytest.mark.parametrize(
    "arguments",
    [
        ["vis", "stopping.py:Stopping", "features/2:3"],
        ["collage", "stopping.py:Stopping", "features/2", "--channels", "0-2"],
        ["dream", "stopping.py:Stopping", "features/2", "photo.png"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_an_interrupted_picture_is_kept(
    signum: signal.Signals, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = [signal.getsignal(one) for one in SIGNALS]
    assert run([*arguments, "-o", "a.png", "--steps", "2000"]) == SIGNALS[signum]
    out, err = capsys.readouterr()
    assert (out.startswith("a.png: ") and " of 32 × 32 px" in out) or " of 28 × 20 px" in out
    steps = read_settings("a.png")["steps"]
    assert 10 < steps < 40
    assert err.splitlines()[-2:] == [
        f"optvis: interrupted after {steps} steps; the pictures so far are in a.png",
        f"optvis: to draw them in full, run again: optvis {' '.join(arguments)} -o a.png --steps 2000",
    ]
    assert [signal.getsignal(one) for one in SIGNALS] == before


@pytest.mark.parametrize("signum", SIGNALS)
def test_before_the_first_step_nothing_is_saved(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], signum: signal.Signals
) -> None:
    monkeypatch.setattr("optvis.cli.options.load_network", lambda *_, **__: signal.raise_signal(signum))
    assert run(["vis", NET, "head:0"]) == SIGNALS[signum]
    assert capsys.readouterr().err.endswith("optvis: interrupted; nothing was saved\n")
    assert not (folder / "vis.png").exists()


@pytest.mark.parametrize("signum", SIGNALS)
def test_saving_is_not_cut_off(folder: Path, monkeypatch: pytest.MonkeyPatch, signum: signal.Signals) -> None:
    plain = os.replace

    def interrupted(*paths: str) -> None:
        signal.raise_signal(signum)
        plain(*paths)

    monkeypatch.setattr(os, "replace", interrupted)
    assert run(["vis", NET, "head:0", "-o", "a.png", "--steps", "2"]) == SIGNALS[signum]
    assert read_settings("a.png")["steps"] == 2
    assert run(["attribute", NET, "photo.png", "-o", "b.npy"]) == SIGNALS[signum]
    assert np.load("b.npy").shape[0] == 1


@pytest.mark.slow
@pytest.mark.parametrize("signum", SIGNALS)
def test_a_signal_from_another_process(folder: Path, signum: signal.Signals) -> None:
    (folder / "started.py").write_text(
        network_file(32, 32)
        + """
from pathlib import Path

def Started():
    network, calls = Small(), []

    def note(module, inputs):
        calls.append(1)
        if len(calls) == 40:
            Path("started").touch()

    network.features.register_forward_pre_hook(note)
    return network
"""
    )
    command = [sys.executable, "-m", "optvis", "vis", "started.py:Started", "features/2:3", "-o", "a.png"]
    process = subprocess.Popen([*command, "--steps", "100000"], stderr=subprocess.PIPE, text=True)
    while not (folder / "started").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signum)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, "Traceback" in err) == (SIGNALS[signum], False), err
    assert "interrupted after" in err and read_settings("a.png")["steps"] > 1


def test_an_interrupt_within_exec_is_an_exit_code(folder: Path) -> None:
    """As in the middle of an import."""
    (folder / "odd.py").write_text("import signal\nexec('signal.raise_signal(signal.SIGTERM)')\n")
    command = [sys.executable, "-m", "optvis", "layers", "odd.py:make"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert (done.returncode, done.stderr) == (143, "optvis: interrupted; nothing was saved\n")


def test_a_picture_of_nan_is_not_saved(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "nan.py").write_text(
        network_file(32, 32)
        + """
def Nan():
    network, calls = Small(), []

    def spoil(module, inputs, output):
        calls.append(1)
        return output * (float("nan") if len(calls) > 40 else 1.0)

    network.features[0].register_forward_hook(spoil)
    return network
"""
    )
    assert run(["vis", "nan.py:Nan", "features/2:3", "-o", "a.png", "--steps", "100"]) == 1
    assert not (folder / "a.png").exists() and capsys.readouterr().err.count("\n") == 1


# What is printed


@pytest.mark.parametrize(
    "arguments",
    [
        ["layers", "escape.py:Escape"],
        ["layers", "escape.py:Escape", "--size", "32"],
        ["layers", "\x1b[31m.py:make"],
        ["layers", NET, "--weights", "\x1b[31m.pth"],
        ["layers", "--\x1b[31m"],
        ["\x1b[31m"],
        ["vis", NET, "head:\x1b[31m"],
        ["vis", NET, "features/\x9b31m"],
        ["vis", NET, "head:0", "-o", "\x1b[31m/a.png"],
        ["vis", NET, "head:0", "-o", "a.\x1b[31m"],
        ["vis", NET, "head:0", "-o", "\x1b[31m.png", "--steps", "1"],
        ["vis", NET, "head:0", "--size", "\x1b[31m"],
        ["vis", NET, "head:0", "--steps", "\x1b[31m"],
        ["vis", NET, "head:0", "--device", "\x1b[31m"],
        ["vis", "escape.py:Escape", "head:no\x07", "--steps", "1"],
        ["vis", "escape.py:Silent", "red\x1b[31m", "--steps", "1"],
        ["vis", "escape.py:Fail", "red\x1b[31m", "--steps", "1"],
        ["attribute", NET, "\x1b[31m.png"],
        ["attribute", "escape.py:Escape", "photo.png", "--target", "no\x07", "--layer", "red\x1b[31m"],
        ["redraw", "\x1b[31m.png"],
    ],
    ids=lambda arguments: ascii(" ".join(arguments)),
)
def test_no_terminal_escape_is_printed_as_it_is(
    folder: Path, arguments: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "escape.py").write_text(
        network_file(32, 32)
        + """
class Escape(nn.Module):
    input_size, output_names = (3, 32, 32), {"head": ["yes", "no\\x07"]}

    def __init__(self):
        super().__init__()
        self.add_module("red\\x1b[31m", nn.Conv2d(3, 4, 3))
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(getattr(self, "red\\x1b[31m")(x).mean((2, 3)))

def Silent():
    network = Escape()
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    return network

def Fail():
    raise ValueError("\\x1b[31m" + chr(0x9b))
"""
    )
    run(arguments)
    out, err = capfd.readouterr()
    assert out or err
    assert all(c.isprintable() or c == "\n" for c in out + err), ascii(out + err)


def test_a_reader_who_leaves_early(folder: Path) -> None:
    command = f"{shlex.quote(sys.executable)} -m optvis layers {NET} | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=folder)
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr


# Redrawing


def test_redraw(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({k: v + 0.1 for k, v in load_network(NET).state_dict().items()}, "moved.pth")
    command = ["vis", NET, "features/2:3", "-o", "a.png", "--steps", "4", "--seed", "3", "--weights", "moved.pth"]
    assert run(command) == 0
    assert run(["redraw", "a.png"]) == 2
    message = "'a.png' was drawn from 'nets.py:Small', which is Python code: if you trust it, give it after FILE"
    assert message in capsys.readouterr().err
    assert run(["redraw", "a.png", NET, "--weights", "moved.pth", "-o", "b.png"]) == 0
    assert (np.asarray(Image.open("a.png")) == np.asarray(Image.open("b.png"))).all()
    assert run(["vis", "demo", "pattern:rings", "-o", "a.png", "--steps", "4"]) == 0
    assert run(["redraw", "a.png", "-o", "b.png"]) == 0
    assert (np.asarray(Image.open("a.png")) == np.asarray(Image.open("b.png"))).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (None, "'a.png' carries no settings of optvis"),
        ({"network": "nets.py:Small"}, "which is Python code: if you trust it, give it after FILE"),
        (
            {"network": "DemoNetwork"},
            "was drawn from 'DemoNetwork', and does not say where to find it: give efficientnet_lite0",
        ),
        ({}, "was drawn from 'None', and does not say where to find it"),
        ({"network": "demo", "weights": "none.pth"}, "there is no file of weights 'none.pth'"),
        ({"network": "torchvision:resnet_18"}, "torchvision has no network 'resnet_18'"),
    ],
)
def test_redraw_of_what_cannot_be_drawn(
    folder: Path, settings: dict[str, Any] | None, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with open("a.png", "wb") as file:
        texts = {"optvis": json.dumps({"seed": 0, **settings})} if settings is not None else None
        write_picture(Image.new("L", (4, 4)), file, ".png", texts)
    assert run(["redraw", "a.png"]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", [[], ["layers"], ["classes"], ["vis"], ["collage"], ["dream"], ["redraw"], ["attribute"], ["bench"]]
)
def test_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*command, "--help"]) == 0
    out = capsys.readouterr().out
    assert "Usage:" in out and ("Example" in out or not command)


def test_as_a_module(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "optvis", "--help"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0 and not done.stderr
    for command in ("layers", "classes", "vis", "collage", "dream", "redraw", "attribute", "bench"):
        assert command in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["vis", "demo", "pattern:rings"],
        ["collage", "demo", "pattern", "--channels", "0-1"],
        ["dream", "demo", "features/6", "photo.png"],
    ],
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


def test_classes_by_name(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["classes", "demo", "R"]) == 0
    assert "pattern:5  rings\n" in capsys.readouterr().out
    assert run(["classes", "torchvision:squeezenet1_1", "bald"]) == 0
    assert capsys.readouterr().out == "22  bald eagle\n"
    (folder / "names.txt").write_text("hare\nhound\nhedgehog\n")
    assert run(["vis", NET, "--class", "hedgehog", "--names", "names.txt", "-o", "a.png", "--steps", "2", "-q"]) == 0
    assert capsys.readouterr().out == "" and read_settings("a.png")["names"] == "names.txt"


def test_layers_are_chosen(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    assert run(["layers", NET, "--depth", "1"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["layer", "features", "head"]
    assert run(["layers", NET, "linear"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["layer", "head"]


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("optvis 0.")


def test_several_channels_and_an_animation(folder: Path) -> None:
    assert run(["vis", NET, "features/2:0,3-4", "-o", "a.npy", "--steps", "2", "--size", "16"]) == 0
    assert len(np.load("a.npy")) == 3
    command = ["vis", NET, "head:0", "--steps", "6", "--frames", "3", "--size", "16", "--transforms", "none"]
    assert run([*command, "-o", "a.gif"]) == 0
    assert Image.open("a.gif").n_frames == 3


def test_normalisation_is_passed_on(folder: Path) -> None:
    assert run(["vis", NET, "head:0", "-o", "a.png", "--steps", "2", "--mean", "0.1,0.2,0.3", "--std", "0.5"]) == 0
    settings = read_settings("a.png")
    assert settings["mean"] == pytest.approx([0.1, 0.2, 0.3]) and settings["std"] == [0.5] * 3
