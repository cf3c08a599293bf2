"""What all commands have in common: JSON, settings files, pictures that cannot be read, opening, help, completion."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image
from small_networks import network_file
from test_docs import few_steps, no_downloads  # noqa: F401  # fixtures

import optvis.bench
from optvis import VIEWS, Figure, view
from optvis.cli import commands, run
from optvis.result import read_settings

NET = "nets.py:Small"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A network, and four files of pictures, of which two cannot be read."""
    (tmp_path / "nets.py").write_text(network_file(32, 32))
    (tmp_path / "photos").mkdir()
    for name in ("cat", "dog"):
        Image.effect_noise((40, 30), 90).convert("RGB").save(tmp_path / "photos" / f"{name}.jpg")
    whole = (tmp_path / "photos" / "dog.jpg").read_bytes()
    (tmp_path / "photos" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "photos" / "text.png").write_text("no picture")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The standard output, which is one JSON object."""
    return json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


# --json


def test_json_of_a_picture(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["vis", NET, "head:owl", "-o", "a.png", "--steps", "3", "--json"]
    assert run(command) == 0
    out, err = capsys.readouterr()
    data = json.loads(out)
    assert data["files"] == ["a.png"] and data["exit_code"] == 0 and data["command"] == f"optvis {shlex.join(command)}"
    (result,) = data["results"]
    assert result["file"] == "a.png" and len(result["scores"]) == 1 and result["settings"] == read_settings("a.png")
    assert "a.png: 1 picture of 32 × 32 px" in err


def test_json_of_maps(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["attribute", NET, "photos/cat.jpg", "photos/dog.jpg", "--method", "gradcam", "--method", "layercam"]
    assert run([*command, "-o", "a.png", "--json"]) == 0
    (result,) = found(capsys)["results"]
    assert len(result["labels"]) == len(result["scores"]) == 4


def test_json_of_what_is_listed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["layers", NET, "conv", "--json"]) == 0
    assert found(capsys)["layers"] == ["features/0", "features/2"]
    assert run(["classes", NET, "owl", "--json"]) == 0
    assert found(capsys)["classes"] == [{"layer": "head", "number": 2, "name": "owl"}]


@pytest.mark.parametrize(
    "words",
    ["vis nets.py:Small head:dig --json", "vis --json", "vis nets.py:Small --stepps 3 --json"],
)
def test_json_of_an_error(words: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(shlex.split(words)) == 2
    out, err = capsys.readouterr()
    data = json.loads(out)
    assert data["exit_code"] == 2 and data["files"] == [] and data["error"] and data["error"] in err


def test_json_has_no_nan(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    @view("odd")
    def odd(network: Any) -> Figure:
        """Show numbers that JSON does not have."""
        return Figure(Image.new("RGB", (8, 8)), {}, {"odd": [float("nan"), {"more": float("inf")}, 1.5]})

    try:
        assert run(["odd", NET, "-o", "a.webp", "--json"]) == 0
    finally:
        del VIEWS["odd"]
    assert found(capsys)["results"][0]["odd"] == [None, {"more": None}, 1.5]


def test_quiet_and_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["layers", NET, "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert run(["layers", NET, "--quiet", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["layers"] and not err


# Settings files


def test_settings_written_draw_the_same_picture(folder: Path) -> None:
    command = ["vis", NET, "--class", "cat", "--class", "owl", "--steps", "3", "--size", "24x32", "--mean", "0.5"]
    assert run([*command, "-o", "a.npy", "--write-settings", "s.toml"]) == 0
    text = (folder / "s.toml").read_text()
    assert text.startswith("# optvis vis\n") and 'class = ["cat", "owl"]\n' in text and "steps = 3\n" in text
    assert run(["vis", "--settings", "s.toml", "-o", "b.npy"]) == 0
    assert (np.load("a.npy") == np.load("b.npy")).all()
    assert run(["vis", "--settings", "s.toml", "-o", "c.npy", "--seed", "5", "--write-settings", "t.toml"]) == 0
    assert not (np.load("a.npy") == np.load("c.npy")).all() and 'seed = "5"' in (folder / "t.toml").read_text()


def test_settings_of_every_type(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "s.toml").write_text(
        f'network = "{NET}"\nimage = ["photos/cat.jpg"]\nmethod = "layercam"\nalpha = 0.5\nmean = [0.1, 0.2, 0.3]\n'
    )
    assert run(["attribute", "--settings", "s.toml", "--json"]) == 0
    settings = found(capsys)["results"][0]["settings"]
    assert settings["method"] == "layercam" and settings["mean"] == pytest.approx([0.1, 0.2, 0.3])
    (folder / "s.toml").write_text(
        f'network = "{NET}"\nlayer = "features/2"\nchannels = [0, 3]\ncompile = false\nsize = 16\n'
    )
    assert run(["collage", "--settings", "s.toml", "--steps", "2", "--json"]) == 0
    assert len(found(capsys)["results"][0]["scores"]) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stpes = 3", "'s.toml': vis has no option 'stpes': did you mean 'steps' or"),
        ("json = true", "vis has no option 'json'"),
        ("steps = 'many'", "--steps"),
        ("steps = {a = 1}", "steps = {'a': 1}: give a text, a number, true, false or a list"),
        ("steps = [[1]]", "steps = [[1]]: give a text"),
        ("steps =", "'s.toml' is no TOML: "),
        ("param = 'wavelet'", "--param"),
    ],
)
def test_wrong_settings(text: str, message: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "s.toml").write_text(text + "\n")
    assert run(["vis", NET, "head:0", "--settings", "s.toml"]) == 2
    assert message in capsys.readouterr().err
    assert not (folder / "vis.png").exists()


def test_settings_files_that_cannot_be_used(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["vis", NET, "head:0", "--settings", "none.toml"]) == 2
    assert "there is no settings file 'none.toml'" in capsys.readouterr().err
    assert run(["vis", NET, "head:0", "--write-settings", "s.json"]) == 2
    assert "cannot save 's.json': the ending must be one of .toml" in capsys.readouterr().err


def test_any_text_survives_a_settings_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = 'a "b" \\ \x7f \t ä 😀'
    assert run(["classes", NET, text, "--write-settings", "s.toml"]) == 2
    assert run(["classes", "--settings", "s.toml"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first == second and "😀" in first


# Pictures


def test_pictures_that_cannot_be_read_are_skipped(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["attribute", NET, "photos", "-o", "a.png", "--json"]) == 0
    out, err = capsys.readouterr()
    data = json.loads(out)
    assert [one["file"] for one in data["skipped"]] == ["photos/cut.jpg", "photos/text.png"]
    assert len(data["results"][0]["labels"]) == 2
    assert "optvis: skipped: 'photos/cut.jpg' is no image that Pillow can read: image file is truncated" in err
    assert "optvis: skipped: 'photos/text.png' is no image that Pillow can read: cannot identify" in err
    assert "optvis: 2 of 4 images skipped" in err


def test_no_picture_can_be_read(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["attribute", NET, "photos/cut.jpg", "photos/text.png"]) == 2
    assert "none of 2 images can be read: 'photos/cut.jpg' is no image" in capsys.readouterr().err
    assert run(["attribute", NET, "photos/text.png"]) == 2
    assert "optvis: 'photos/text.png' is no image that Pillow can read" in capsys.readouterr().err
    assert run(["attribute", NET, "photos/*.gif"]) == 2
    assert "no file matches 'photos/*.gif'" in capsys.readouterr().err
    assert run(["attribute", NET, "photos/cat.jpg", "photos/cow.jpg"]) == 2
    assert "there is no file 'photos/cow.jpg'" in capsys.readouterr().err
    assert run(["attribute", NET]) == 2
    assert "no images: give IMAGE" in capsys.readouterr().err


def test_many_that_cannot_be_read_are_counted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(20):
        (folder / "photos" / f"bad{i:02d}.png").write_text("no picture")
    assert run(["attribute", NET, "photos", "-o", "a.png"]) == 0
    err = capsys.readouterr().err
    assert err.count("skipped: ") == 5 and "22 of 24 images skipped" in err


def test_a_map_for_each_picture(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["attribute", NET, "photos/[cd]*.jpg", "-o", "{name}.npy", "--json"]) == 0
    assert found(capsys)["files"] == ["cat.npy", "dog.npy"]


# --open


@pytest.mark.parametrize(
    ("screen", "code", "message"),
    [
        (True, 0, ""),
        (True, 3, "optvis: the system has no viewer for a.png\n"),
        (False, 0, "optvis: no screen to show a.png on\n"),
    ],
)
def test_open(
    screen: bool,
    code: int,
    message: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("optvis.cli.terminal.has_screen", lambda: screen)
    monkeypatch.setattr(typer, "launch", lambda path: opened.append(path) or code)
    assert run(["vis", NET, "head:0", "-o", "a.png", "--steps", "2", "--open"]) == 0
    assert capsys.readouterr().err == message and opened == ["a.png"] * screen


# Missing extras


@pytest.mark.parametrize(
    ("package", "words", "message"),
    [
        ("matplotlib", "attribute nets.py:Small photos/cat.jpg", "pip install 'optvis[plot]'"),
        ("transformers", "layers hf:some", "pip install 'optvis[hf]'"),
        ("timm", "layers timm:resnet18", "pip install 'optvis[timm]'"),
    ],
)
def test_a_missing_extra(
    package: str,
    words: str,
    message: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in [name for name in sys.modules if name.startswith(f"{package}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    assert run(shlex.split(words)) in (1, 2)
    err = capsys.readouterr().err
    assert message in err and "Traceback" not in err


# Help, examples, completion


def examples(text: str) -> list[list[str]]:
    """The commands at the end of a help."""
    last = " ".join(text.split()).partition("Example")[2].partition(": ")[2]
    return [shlex.split(one) for one in last.split(" | ")]


@pytest.mark.parametrize("name", [one.name for one in commands()])
def test_every_help_ends_with_examples_for_its_command(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([name, "--help"]) == 0
    found = examples(capsys.readouterr().out)
    assert found and all(one[:2] == ["optvis", name] for one in found)


@pytest.mark.slow
@pytest.mark.parametrize("name", [one.name for one in commands()])
def test_every_example_runs(
    name: str,
    folder: Path,
    few_steps: None,  # noqa: F811
    no_downloads: None,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for file in ("cut.jpg", "text.png"):
        (folder / "photos" / file).unlink()
    for kind in ("goldfish", "hen"):
        (folder / "data" / kind).mkdir(parents=True)
        for i in range(3):
            Image.effect_noise((40, 30), 90).convert("RGB").save(folder / "data" / kind / f"{i}.jpg")
    for file in ("photo.jpg", "dog.jpg", "cat.jpg"):
        Image.effect_noise((40, 30), 90).convert("RGB").save(folder / file)
    for file, words in {"rings.png": "demo pattern:rings", "channel.png": "nets.py:make features/2:0"}.items():
        (folder / "nets.py").write_text(network_file(32, 32) + "\nmake = Small\n")
        assert run(["vis", *words.split(), "-o", file, "--steps", "2"]) == 0
    compare = optvis.bench.compare
    monkeypatch.setattr(optvis.bench, "compare", lambda loops, rounds, bar: compare(loops, 1, 1, bar))
    for module, function in (("optvis.demo.watched", "train_demo"), ("optvis.live", "launch")):
        if name in ("train-demo", "live"):
            stand_in(monkeypatch, module, function)
    assert run([name, "--help"]) == 0
    for example in examples(capsys.readouterr().out.rpartition("\n\n")[2]):
        assert run(example[1:]) == 0, (example, capsys.readouterr().err)


def stand_in(monkeypatch: pytest.MonkeyPatch, module: str, function: str) -> list[Any]:
    """A module whose function only notes its arguments."""
    calls: list[Any] = []
    made = type(sys)(module)
    setattr(made, function, lambda *args, **options: calls.append((args, options)))
    monkeypatch.setitem(sys.modules, module, made)
    return calls


def test_train_demo(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    calls = stand_in(monkeypatch, "optvis.demo.watched", "train_demo")
    assert run(["train-demo", "here", "--minutes", "0.5", "--seed", "4", "--json"]) == 0
    assert calls == [((Path("here"), 0.5, 4), {})]
    assert found(capsys)["files"] == ["here/index.html"]
    assert run(["train-demo", "--minutes", "0"]) == 2


def test_live(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = stand_in(monkeypatch, "optvis.live", "launch")
    assert run(["live", "demo", "--port", "7999", "--no-browser"]) == 0
    ((args, options),) = calls
    assert type(args[0]).__name__ == "DemoNetwork"
    assert (options["port"], options["open_browser"], options["name"]) == (7999, False, "demo")
    assert run(["live", "demo", "--port", "70000"]) == 2


def shell(folder: Path, *words: str, **environment: str) -> str:
    given = {**os.environ, "HOME": str(folder), **environment}
    done = subprocess.run([sys.executable, "-m", "optvis", *words], capture_output=True, text=True, env=given)
    return done.stdout + done.stderr


@pytest.mark.slow
def test_completion(folder: Path) -> None:
    found = shell(folder, _OPTVIS_COMPLETE="complete_bash", COMP_WORDS="optvis co", COMP_CWORD="1").split()
    assert "collage" in found and "vis" not in found
    found = shell(folder, _OPTVIS_COMPLETE="complete_bash", COMP_WORDS="optvis vis --pre", COMP_CWORD="2").split()
    assert found == ["--precision"]


def test_completion_is_installed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setattr("shellingham.detect_shell", lambda *_: ("bash", "/bin/bash"))
    assert run(["--install-completion"]) == 0
    assert "_OPTVIS_COMPLETE=complete_bash" in (folder / ".bash_completions" / "optvis.sh").read_text()


def test_importing_optvis_loads_no_extra() -> None:
    extras = "typer rich matplotlib tensorboard lightning umap gradio sklearn torchmetrics timm transformers"
    code = f"import sys, optvis; print(*sorted(set({extras.split()}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "" and done.returncode == 0
