"""Where ``Watch`` sends its pictures: TensorBoard, folders, functions."""

from __future__ import annotations

import io
import json
import sys
import types
from typing import Any

import digits_data
import numpy as np
import pytest
import torch
from PIL import Image

from optvis import Class, Figure, Film, View, Visualisation, Watch
from optvis.result import read_settings
from optvis.training import Folder, TensorBoard
from optvis.training.sinks import Call, as_sinks

NETWORK = digits_data.DigitNetwork()


def coloured(number: int) -> Image.Image:
    return Image.new("RGB", (6, 4), (number, 10 * number, 0))


def watched(to: Any, steps: Any = range(0, 6), views: Any = None) -> Watch:
    """A run whose pictures are of one colour, that of the number of the picture."""
    drawn = [0]

    def count(network: Any, context: Any) -> Image.Image:
        drawn[0] += 1
        return coloured(drawn[0])

    watch = Watch([("a & b", count), *(views or [])], 2, to=to)
    for step in steps:
        watch.step(NETWORK, step)
    return watch


def events(folder: Any) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(folder), size_guidance={"images": 0, "tensors": 0}).Reload()


def test_tensorboards_own_reader_finds_every_picture_at_its_step(tmp_path):
    watch = watched(TensorBoard(tmp_path), views=[("seven", View("vis", objective=Class("", 7), size=12, steps=2))])
    watch.close()
    found = events(tmp_path)
    assert found.Tags()["images"] == ["a & b", "seven"]
    pictures = {one.step: Image.open(io.BytesIO(one.encoded_image_string)) for one in found.Images("a & b")}
    assert {step: one.convert("RGB").getpixel((0, 0)) for step, one in pictures.items()} == {
        step: (step // 2 + 1, 10 * (step // 2 + 1), 0) for step in (0, 2, 4)
    }
    assert [(one.step, one.width, one.height) for one in found.Images("seven")] == [
        (step, 12, 12) for step in (0, 2, 4)
    ]
    texts = found.Tensors("seven/settings/text_summary")
    assert len(texts) == 1, "settings that have not changed are written once"
    settings = json.loads(texts[0].tensor_proto.string_val[0].decode().strip("`\n"))
    assert settings["steps"] == 2
    assert b"% of " in found.Tensors("optvis/text_summary")[0].tensor_proto.string_val[0]


def test_a_writer_of_the_training_is_used_and_left_open(tmp_path):
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(tmp_path) as writer:
        watched(writer).close()
        writer.add_scalar("loss", 1.0, 7)
    found = events(tmp_path)
    assert found.Tags()["images"] == ["a & b"]
    assert found.Scalars("loss")[0].step == 7


def embedding(labels: Any, classes: Any) -> Any:
    tensors = {"activations/features/3": torch.arange(6.0).view(3, 2), "labels": torch.tensor(labels)}
    tensors["thumbnails"] = torch.zeros(3, 3, 8, 8, dtype=torch.uint8)
    return ("map", lambda *_: Figure(coloured(1), {"view": "embed"}, {"classes": classes}, tensors))


def test_an_embedding_is_sent_to_the_projector(tmp_path):
    watched(TensorBoard(tmp_path), [0], [embedding([1, 0, -1], ["cat", "dog"])]).close()
    folder = next(tmp_path.rglob("tensors.tsv")).parent
    assert folder.name == "map-features-3"
    assert np.loadtxt(folder / "tensors.tsv").tolist() == [[0, 1], [2, 3], [4, 5]]
    assert (folder / "metadata.tsv").read_text().split() == ["dog", "cat", "?"]
    assert (folder / "sprite.png").is_file()
    assert "tensor_path" in (tmp_path / "projector_config.pbtxt").read_text()


def test_labels_in_values_and_no_labels(tmp_path):
    plain = {"activations": torch.zeros(2, 3)}
    views = [
        ("with", lambda *_: Figure(coloured(1), {}, {"labels": [7, "x"]}, plain)),
        ("without", lambda *_: Figure(coloured(1), {}, {}, plain)),
    ]
    watched(TensorBoard(tmp_path), [0], views).close()
    assert [path.parent.name for path in tmp_path.rglob("metadata.tsv")] == ["with"]
    assert sorted(path.parent.name for path in tmp_path.rglob("tensors.tsv")) == ["with", "without"]
    assert next(tmp_path.rglob("metadata.tsv")).read_text().split() == ["7", "x"]


def test_a_folder_holds_pictures_with_settings_films_and_a_page(tmp_path):
    folder = tmp_path / "new" / "watched"
    views = [("seven", View("vis", objective=Class("", 7), size=12, steps=2)), ("film", Film(Class("", 7), 12, 2))]
    watch = watched(folder, views=views)
    assert 'http-equiv="refresh"' in (folder / "index.html").read_text()
    watch.close()
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))
    steps = ("00000000.png", "00000002.png", "00000004.png")
    assert names == sorted(
        [*(f"{row}/{step}" for row in ("a-b", "seven") for step in steps), "film.webp", "index.html"]
    )
    assert Visualisation.load(folder / "seven" / steps[2]).images.shape == (1, 1, 12, 12)
    assert read_settings(folder / "a-b" / steps[0])["view"] == "a & b"
    with Image.open(folder / "film.webp") as film:
        assert film.n_frames == 3
    page = (folder / "index.html").read_text()
    assert "a &amp; b" in page
    assert 'src="film.webp"' in page
    assert page.count("seven/00000004.png") == 4
    assert "Share of the training time: " in page
    assert "refresh" not in page


def test_a_continued_run_shows_the_pictures_before_and_no_others(tmp_path):
    watched(tmp_path, range(0, 9)).close()
    watched(tmp_path, range(5, 7)).close()
    page = (tmp_path / "index.html").read_text()
    shown = [step for step in range(9) if f"{step:08d}.png" in page]
    assert shown == [0, 2, 4, 6]
    assert (tmp_path / "a-b" / "00000008.png").exists()


def test_titles_that_are_alike_have_folders_of_their_own(tmp_path):
    grey = Image.new("L", (2, 2))
    titles = ["a/b", "a b", "A-B", "..", "index.html"]
    watch = Watch([(title, lambda *_: grey) for title in titles], 1, to=tmp_path)
    watch.step(NETWORK, 0)
    assert len(list(tmp_path.glob("*/00000000.png"))) == len(titles)


def test_functions_get_all_pictures_of_a_step_at_once():
    calls: list[Any] = []
    watched(
        lambda pictures, step: calls.append((pictures, step)), [0, 2], [("grey", lambda *_: Image.new("L", (3, 3)))]
    )
    assert [(list(pictures), step) for pictures, step in calls] == [(["a & b", "grey"], 0), (["a & b", "grey"], 2)]
    assert calls[0][0]["a & b"].getpixel((0, 0)) == (1, 10, 0)


def test_functions_of_wandb_get_its_images(monkeypatch):
    module = types.ModuleType("wandb")
    calls: list[Any] = []

    def log(data: Any, step: Any = None, commit: Any = None) -> None:
        calls.append((data, step))

    log.__module__ = "wandb.sdk.wandb_run"
    module.Image, module.log = (lambda picture: ("wandb", picture.size)), log
    monkeypatch.setitem(sys.modules, "wandb", module)
    watched(module.log, [0])
    assert calls == [({"a & b": ("wandb", (6, 4))}, 0)]


def test_a_sink_that_fails_warns_once_and_the_others_go_on(tmp_path):
    def full(pictures: Any, step: Any) -> None:
        raise OSError("no space left")

    calls: list[int] = []
    with pytest.warns(UserWarning, match="watching: Call.*full.* failed, and the training goes on: OSError") as caught:
        watched([full, lambda pictures, step: calls.append(step)])
    assert len(caught) == 1
    assert calls == [0, 2, 4]


def test_kinds_of_sinks(tmp_path):
    sinks = as_sinks([str(tmp_path / "a"), tmp_path / "b", print, TensorBoard(tmp_path / "c")])
    assert [type(one) for one in sinks] == [Folder, Folder, Call, TensorBoard]
    assert not (tmp_path / "c").exists(), "a writer is made when it is needed"
    with pytest.raises(FileExistsError):
        (tmp_path / "file").touch()
        Watch(["attribute"], to=tmp_path / "file")


def test_without_tensorboard_the_error_names_the_extra(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'optvis\[training\]'"):
        TensorBoard("log")
