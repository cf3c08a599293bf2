"""Views from the shell: commands made of their signatures, and the same picture from Python, shell and training."""

from __future__ import annotations

import importlib.util
import json
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pytest
from PIL import Image

import optvis
from optvis import VIEWS, Context, Figure, View, view
from optvis.cli import run
from optvis.cli.command import COMMANDS
from optvis.cli.values import value_of
from optvis.demo import PATTERNS, make_pictures
from optvis.figure import settings_of
from optvis.view import find_view


class Way(NamedTuple):
    """The least that a view needs on the demo network: options, and the words of its command if not ``--key value``."""

    options: dict[str, Any]
    words: str | None = None
    library: str | None = None


LAYER = {"layer": "features/6"}
WAYS = {
    "vis": Way({"objective": "pattern:rings", "size": 24, "steps": 4}, "pattern:rings --size 24 --steps 4"),
    "collage": Way(
        {"layer": "pattern", "channels": [0, 1], "size": 24, "steps": 4},
        "pattern --channels 0-1 --size 24 --steps 4",
    ),
    "attribute": Way({}, library="matplotlib"),
    "caricature": Way({"layers": "features/6", "size": 32, "steps": 4}),
    "invert": Way({"layers": "features/6", "size": 32, "steps": 4}),
    "gradcam": Way({"top": 3}),
    "saliency": Way({"samples": 2, "steps": 2}),
    "embed": Way({"layers": "features/6", "method": "pca"}, library="matplotlib"),
    "pca": Way(LAYER),
    "confusion": Way({"layer": "pattern"}, library="torchmetrics"),
    "top": Way({**LAYER, "channels": [0, 1], "k": 2, "steps": 4, "size": 24}),
}
"""Every view has an entry. Those that are not registered are skipped."""


def words_of(way: Way) -> list[str]:
    if way.words is not None:
        return shlex.split(way.words)
    texts = {key: ",".join(map(str, one)) if isinstance(one, list) else str(one) for key, one in way.options.items()}
    return [word for key, text in texts.items() for word in (f"--{key}", text)]


@pytest.fixture(scope="module")
def demo() -> Any:
    return optvis.load_network("demo")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a photograph, and one with pictures in a sub-folder for each class."""
    pictures, patterns, _ = make_pictures(24, seed=5)
    for i, (picture, pattern) in enumerate(zip(pictures, patterns.tolist(), strict=True)):
        home = tmp_path / "data" / PATTERNS[pattern]
        home.mkdir(parents=True, exist_ok=True)
        Image.fromarray((picture * 255).byte().permute(1, 2, 0).numpy()).save(home / f"{i:02d}.png")
    Image.effect_noise((80, 60), 90).convert("RGB").save(tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pixels(result: Any) -> np.ndarray:
    return np.asarray(result.sheet().convert("RGB"))


def test_every_view_has_an_entry() -> None:
    assert VIEWS.keys() <= WAYS.keys(), "name the least that the new view needs in WAYS"


@pytest.mark.parametrize("name", WAYS)
def test_python_shell_and_training_draw_the_same_picture(name: str, folder: Path, demo: Any) -> None:
    if name not in VIEWS:
        pytest.skip(f"there is no view {name!r}")
    way, kind = WAYS[name], VIEWS[name]
    if way.library is not None:
        pytest.importorskip(way.library)
    files = sorted(str(path) for path in (folder / "data").rglob("*.png"))
    labels = [Path(path).parent.name for path in files]
    given: dict[str, Any] = {"image": "photo.png", "images": ["photo.png"], "data": files, "labels": labels, "seed": 3}
    given = {key: one for key, one in {**given, "verbose": False}.items() if key in kind.parameters}
    python = pixels(kind.function(demo, **given, **way.options))

    source = ["data"] if "data" in kind.needs else ["photo.png"] if kind.needs else []
    seed = ["--seed", "3"] if "seed" in given or kind.free else []
    command = [name, "demo", *source, *words_of(way), "-o", "out.png", "-q"]
    assert run([*command, *(seed if name != "attribute" else [])]) == 0
    assert np.array_equal(np.asarray(Image.open("out.png").convert("RGB")), python)

    context = Context(images=["photo.png"], data=files, labels=labels, seed=3)
    assert np.array_equal(pixels(View(name, **way.options)(demo, context)), python)


@pytest.mark.skipif(importlib.util.find_spec("optvis.training") is None, reason="there is no optvis.training")
@pytest.mark.parametrize("name", WAYS)
def test_a_training_run_writes_the_picture(name: str, folder: Path, demo: Any) -> None:
    if name not in VIEWS:
        pytest.skip(f"there is no view {name!r}")
    from optvis.training import Watch

    way, kind, seen = WAYS[name], VIEWS[name], []
    if way.library is not None:
        pytest.importorskip(way.library)
    pictures, patterns, _ = make_pictures(24, seed=5)

    def recorded(network: Any, context: Context) -> Figure:
        seen.append(context)
        return Figure(Image.new("RGB", (4, 4)))

    views = [("recorded", recorded), ("drawn", View(name, **way.options))]
    with Watch(views, every=1, data=(pictures, patterns), to="watched", n_inputs=2, n_data=24, seed=3) as watch:
        watch.step(demo, 7)
    given = {key: getattr(seen[0], key) for key in kind.parameters if hasattr(seen[0], key)}
    expected = pixels(kind.function(demo, **given, **way.options))
    assert np.array_equal(np.asarray(Image.open("watched/drawn/00000007.png").convert("RGB")), expected)


# Commands made of signatures


@pytest.fixture
def mean_colour() -> Iterator[Callable[..., Figure]]:
    """A view that exists only within the test, with an option of every type."""

    @view("mean-colour")
    def mean_colour(
        network: Any,
        images: Any,
        layers: Sequence[str] | str,
        channels: Sequence[int] | int | None = (0, 2),
        some: Sequence[int | str] | None = None,
        weights_of: Sequence[float] | float = 1.0,
        size: int | Sequence[int] | None = None,
        target: int | str | None = None,
        power: float = 0.5,
        method: Literal["mean", "median"] = "mean",
        grey: bool = False,
        class_: str | None = None,
        hook: Callable[..., Any] | None = None,
        *,
        seed: int = 0,
        mean: Any = None,
        verbose: bool | str = True,
    ) -> Figure:
        """Show the mean colour of ``images``.

        Args:
            network: not used.
            images: of any size.
            layers: addresses of ``layers``.
            channels: numbers of channels.
            some: numbers or names, ``None`` for all.
            weights_of: numbers.
            size: in pixels.
            target: a class by number or name.
            power: an exponent,
                a number.
            method: mean or median.
            grey: the mean over the channels, too.
            class_: a name.
            hook: a function.
        """
        got = {name: one for name, one in locals().items() if name not in ("network", "hook", "got")}
        return Figure(Image.new("RGB", (8, 6)), settings_of("mean-colour", network), {"got": got})

    yield mean_colour
    del VIEWS["mean-colour"]


def got(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert run(["mean-colour", "demo", "photo.png", "--json", *words]) == 0
    return json.loads(capsys.readouterr().out)["results"][0]["got"]


def test_a_view_is_a_command(mean_colour: Any, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["mean-colour", "demo", "photo.png", "--layers", "a"]) == 0
    assert capsys.readouterr().out == "mean-colour.png: 8 × 6 px\n"
    figure = Figure.load("mean-colour.png")
    assert figure.settings["network"] == "demo" and figure.settings["command"].startswith("optvis mean-colour")
    assert figure.values["got"]["verbose"] is True
    assert run(["mean-colour", "demo", "photo.png"]) == 2
    assert "Missing option '--layers'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "option", "value"),
    [
        ("", "layers", "a"),
        ("--layers b", "layers", ["a", "b"]),
        ("", "channels", [0, 2]),
        ("--channels 0-2,7", "channels", [0, 1, 2, 7]),
        ("--channels 0-1 --channels 4", "channels", [0, 1, 4]),
        ("--channels 5", "channels", 5),
        ("--channels all", "channels", None),
        ("--some 3,5", "some", [3, 5]),
        ("--some red,blue", "some", ["red", "blue"]),
        ("--some 'a, b' --some c", "some", ["a, b", "c"]),
        ("--weights-of 0.5,1", "weights_of", [0.5, 1.0]),
        ("--weights-of 2", "weights_of", 2.0),
        ("--size 40", "size", 40),
        ("--size 40x60", "size", [40, 60]),
        ("--target 3", "target", 3),
        ("--target rings", "target", "rings"),
        ("--power 2", "power", 2.0),
        ("", "power", 0.5),
        ("--method median", "method", "median"),
        ("--grey", "grey", True),
        ("--no-grey", "grey", False),
        ("--class x", "class_", "x"),
        ("--seed 9", "seed", 9),
        ("--mean 0.5,0.4,0.3", "mean", [0.5, 0.4, 0.3]),
        ("--quiet", "verbose", False),
        ("", "images", ["photo.png"]),
    ],
)
def test_texts_become_what_the_annotation_says(
    words: str, option: str, value: Any, mean_colour: Any, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert got(capsys, "--layers", "a", *shlex.split(words))[option] == value


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--size big", "size 'big': give pixels"),
        ("--channels x", "channels 'x': give numbers and ranges"),
        ("--weights-of x", "weights_of 'x': give a number"),
        ("--power x", "--power"),
        ("--hook x", "--hook"),
        ("-o a.npy", "the ending must be one of .png"),
        ("--device abacus", "device 'abacus' is not available"),
    ],
)
def test_wrong_options_of_views(
    words: str, message: str, mean_colour: Any, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["mean-colour", "demo", "photo.png", "--layers", "a", *shlex.split(words)]) == 2
    assert message in capsys.readouterr().err
    assert not list(folder.glob("mean-colour*"))


def test_help_is_the_docstring(mean_colour: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["mean-colour", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "Show the mean colour of images." in text and "An exponent, a number." in text
    assert "Addresses of layers." in text and "Numbers of channels." in text and "0,2" in text
    assert "optvis mean-colour efficientnet_lite0 cat.jpg --layers blocks/3/2 -o mean-colour.png" in text


def test_a_file_for_each_picture(mean_colour: Any, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "other").mkdir()
    Image.new("RGB", (9, 9)).save(folder / "other" / "photo.png")
    command = ["mean-colour", "demo", "photo.png", "other", "data/*/0[0-3].png", "--layers", "a", "--json"]
    assert run([*command, "-o", "{name}.mean.png"]) == 0
    files = json.loads(capsys.readouterr().out)["files"]
    names = sorted(path.stem for path in (folder / "data").rglob("0[0-3].png"))
    assert sorted(files) == sorted(["photo.mean.png", "photo-2.mean.png", *(f"{one}.mean.png" for one in names)])
    assert all(len(Figure.load(file).values["got"]["images"]) == 1 for file in files)


def test_folders_are_classes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    @view("labelled")
    def labelled(network: Any, data: Any, labels: Any = None) -> Figure:
        """Show the labels of a data set."""
        return Figure(Image.new("RGB", (8, 8)), settings_of("labelled", network), {"data": data, "labels": labels})

    def found(*words: str) -> dict[str, Any]:
        assert run(["labelled", "demo", *words, "--json"]) == 0
        return json.loads(capsys.readouterr().out)["results"][0]

    try:
        all_files = sorted(str(path.relative_to(folder)) for path in (folder / "data").rglob("*.png"))
        whole = found("data")
        assert whole["data"] == all_files and whole["labels"] == [Path(path).parent.name for path in all_files]
        assert found("data/*") == {**whole, "settings": found("data/*")["settings"]}
        one = Path(all_files[0]).parent
        assert found(str(one))["labels"] is None and found("photo.png")["labels"] is None
        assert run(["labelled", "demo", "data", "photo.png"]) == 2
        assert "'photo.png' is in no folder of a class" in capsys.readouterr().err
        assert run(["labelled", "demo", "data", "-o", "{name}.png"]) == 2
        assert "{name} is for commands that draw given pictures" in capsys.readouterr().err
    finally:
        del VIEWS["labelled"]


def test_every_option_of_a_view_is_an_option_of_its_command() -> None:
    """Those that no text can stand for have a default, and are few."""
    for name, kind in VIEWS.items():
        if name not in COMMANDS:
            left = [one.name for one in kind.options.values() if value_of(kind, one) is None]
            assert not left, f"{name}: {left}"


def test_a_view_without_annotations(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    @view("plain")
    def plain(network, image=None, grey=False, many=3, what=None):  # type: ignore[no-untyped-def]
        """Show nothing."""
        return Figure(Image.new("RGB", (8, 8)), settings_of("plain", network), {"got": [image, grey, many, what]})

    try:
        assert find_view(plain).needs == ()
        command = ["plain", "demo", "--json"]
        assert run(command) == 0
        assert json.loads(capsys.readouterr().out)["results"][0]["got"] == [None, False, 3, None]
        assert run([*command, "--images", "photo.png", "--grey", "--many", "4", "--what", "x"]) == 0
        assert json.loads(capsys.readouterr().out)["results"][0]["got"] == [["photo.png"], True, 4, "x"]
    finally:
        del VIEWS["plain"]
