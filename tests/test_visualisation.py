"""The result: saving and showing it, and ``norm`` and ``denorm``."""

import io
import json
import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from optvis import PixelParam, Visualisation, denorm, norm
from optvis.files import FORMATS, check_path, write_whole
from optvis.images import NARROW_GAP, NARROW_LABEL, grid, grid_places, to_pil
from optvis.visualisation import read_settings

SETTINGS = {"objective": "Channel('a', 1)", "size": [12, 16], "lr": 0.05, "note": "rougeâtre – 赤", "wd": None}


def result(
    batch: int = 1, channels: int = 3, frames: bool = True, labels: tuple[str, ...] = (), size: Any = (12, 16)
) -> Visualisation:
    y, x = torch.arange(size[0])[:, None] / size[0], torch.arange(size[1]) / size[1]
    places = torch.arange(batch * channels).view(batch, channels, 1, 1)
    images = 0.5 + 0.4 * torch.sin(y + 2 * x + 0.2 * places)
    param = PixelParam(size, batch, channels).encode(images)
    coarse = torch.zeros(batch, channels, size[0] // 2, size[1] // 2)
    kept = {9: images * 0.5, 4: coarse} if frames else {}
    return Visualisation(
        param,
        torch.arange(float(batch)),
        torch.zeros(9, batch),
        kept,
        {**SETTINGS, "labels": list(labels)} if labels else SETTINGS,
    )


def as_bytes(image: Tensor) -> np.ndarray:
    """``[H, W, C]``"""
    return (image.movedim(0, -1) * 255).round().to(torch.uint8).numpy()


# The visualisation


def test_its_images_are_those_of_its_param() -> None:
    made = result(2, 4)
    assert made.images.shape == (2, 4, 12, 16) and len(made) == 2
    assert torch.equal(made.images, made.param().detach()) and not made.images.requires_grad


def test_it_prints_its_shape_scores_and_steps() -> None:
    assert repr(result(2)) == "Visualisation(images=[2, 3, 12, 16], scores=[0, 1], steps=9)"
    assert "scores=[0, 1, 2, 3, …]" in repr(result(6))


@pytest.mark.parametrize(("channels", "mode", "width"), [(1, "L", 16), (3, "RGB", 16), (6, "L", 96), (2, "L", 32)])
def test_to_pil(channels: int, mode: str, width: int) -> None:
    made = result(2, channels)
    pictures = made.to_pil()
    assert [picture.mode for picture in pictures] == [mode] * 2
    assert all(picture.size == (width, 12) for picture in pictures)
    for picture, image in zip(pictures, made.images, strict=True):
        expected = as_bytes(image) if channels == 3 else np.concatenate(list(as_bytes(image).transpose(2, 0, 1)), 1)
        assert np.array_equal(np.asarray(picture), expected)


def test_values_out_of_range_are_cut_off() -> None:
    picture = to_pil(torch.tensor([[[-1.0, 0.5, 2.0]]], dtype=torch.float16))
    assert np.asarray(picture).tolist() == [[0, 128, 255]]


# The grid


@pytest.mark.parametrize(
    ("count", "columns", "cells"), [(1, None, (1, 1)), (2, None, (2, 1)), (5, None, (3, 2)), (9, None, (3, 3)),
                                    (5, 2, (2, 3)), (3, 10, (3, 1)), (4, 1, (1, 4))]
)  # fmt: skip
def test_a_grid_has_a_place_for_each(count: int, columns: int | None, cells: tuple[int, int]) -> None:
    made = result(count)
    sheet = np.asarray(made.grid(columns))
    assert sheet.shape == (cells[1] * 14 - 2, cells[0] * 18 - 2, 3)
    for i, image in enumerate(made.images):
        y, x = i // cells[0] * 14, i % cells[0] * 18
        assert np.array_equal(sheet[y : y + 12, x : x + 16], as_bytes(image))
    if cells[0] > 1:
        assert (sheet[:12, 16:18] == 255).all()
    if count == 5 and columns is None:
        assert (sheet[14:, 36:] == 255).all(), "no sixth picture"


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (6, "L")])
def test_a_grid_of_any_number_of_channels(channels: int, mode: str) -> None:
    assert result(4, channels).grid().mode == mode
    assert result(4, channels).grid(labels=["a"] * 4).mode == "RGB"


def test_labels_stand_under_their_pictures() -> None:
    labels = ("one", "", "a text that is much too long for its picture", "four")
    made = result(4, size=(24, 140), labels=labels)
    plain, labelled = np.asarray(made.grid(labels=())), np.asarray(made.grid())
    line = (labelled.shape[0] - plain.shape[0]) // 2
    assert line >= 9
    for i, label in enumerate(labels):
        y, x = i // 2 * (24 + line + 2), i % 2 * 142
        assert np.array_equal(labelled[y : y + 24, x : x + 140], as_bytes(made.images[i]))
        assert (labelled[y + 24 : y + 24 + line, x : x + 140].min() < 128) == bool(label)
    assert (labelled[:, 140:142] == 255).all(), "a long label stays within its own place"
    assert not np.array_equal(np.asarray(made.grid(labels=["x"] * 4)), labelled)


@pytest.mark.parametrize("side", [16, 32, 64])
def test_labels_of_small_pictures_have_two_lines_and_space_between_them(side: int) -> None:
    labels = ("features/12/conv:311", "great white shark", "carp", "features/12/conv:310")
    made = result(4, size=(side, side), labels=labels)
    sheet = np.asarray(made.grid())
    column = max(side, NARROW_LABEL) + NARROW_GAP
    assert sheet.shape[1] == 2 * column - NARROW_GAP
    assert (sheet[:, column - NARROW_GAP : column] == 255).all(), "labels do not run together"
    places = grid_places(4, (side, side), 2, True)
    for (x, y), image in zip(places, made.images, strict=True):
        assert np.array_equal(sheet[y : y + side, x : x + side], as_bytes(image))
    below = [sheet[y + side : y + side + 26, (x + side // 2) // column * column :][:, :column] for x, y in places]
    assert (below[0][13:] < 128).any() and (below[1][13:] < 128).any(), "they have two lines"
    assert (below[2][13:] == 255).all() and not np.array_equal(below[0], below[3]), "a channel's number is not cut off"


def test_a_small_labelled_grid_is_read_back(tmp_path: Path) -> None:
    made = result(3, size=(16, 16), labels=("one", "two", "three"))
    found = Visualisation.load(made.save(tmp_path / "a.png"))
    assert found.images.shape == made.images.shape and (found.images - made.images).abs().max() < 0.01


def test_a_grid_of_another_size_is_not_read_back(tmp_path: Path) -> None:
    path = result(3, size=(16, 16), labels=("one", "two", "three")).save(tmp_path / "a.png")
    with Image.open(path) as opened:
        info = PngInfo()
        for key, text in opened.text.items():  # type: ignore[attr-defined]
            info.add_itxt(key, text)
        opened.resize((40, 40)).save(path, pnginfo=info)
    with pytest.raises(ValueError, match="it has not the size of 3 pictures"):
        Visualisation.load(path)


def test_a_single_picture_has_a_label_only_where_asked_for() -> None:
    made = result(1, labels=("a:1",))
    assert made.grid().size == (16, 12)
    assert made.grid(labels=("a:1",)).height > 12


def test_no_label_fits_a_picture_of_a_pixel() -> None:
    sheet = grid([Image.new("L", (1, 1))] * 2, labels=["wide", "wide"])
    assert sheet.width == 2 * NARROW_LABEL + NARROW_GAP and np.asarray(sheet)[:1].min() == 0


# Saving


@pytest.mark.parametrize("ending", [*FORMATS, ".PNG", ".JPG"])
@pytest.mark.parametrize("channels", [1, 3, 6])
@pytest.mark.parametrize("batch", [1, 3])
def test_every_format(tmp_path: Path, ending: str, channels: int, batch: int) -> None:
    made = result(batch, channels)
    path = made.save(str(tmp_path / f"picture{ending}"))
    assert path == tmp_path / f"picture{ending}" and os.listdir(tmp_path) == [path.name]
    shown = made.grid()
    if ending == ".npy":
        assert np.array_equal(np.load(path), made.images.numpy()) and np.load(path).dtype == np.float32
        return
    with Image.open(path) as opened:
        assert opened.size == shown.size
        assert opened.format == {"JPG": "JPEG"}.get(ending[1:].upper(), ending[1:].upper())
        if ending == ".gif":
            opened.seek(opened.n_frames - 1)
        difference = np.asarray(opened.convert("RGB")).astype(float) - np.asarray(shown.convert("RGB"))
    assert np.abs(difference).mean() < {".png": 1e-9, ".gif": 12}.get(ending.lower(), 10)


def test_a_gif_shows_the_frames_in_order_and_then_the_picture(tmp_path: Path) -> None:
    made = result(2, frames=True)
    with Image.open(made.save(tmp_path / "a.gif")) as opened:
        assert opened.n_frames == 3
        means, durations = [], []
        for i in range(3):
            opened.seek(i)
            means.append(np.asarray(opened.convert("RGB"))[:, :16].mean())
            durations.append(opened.info["duration"])
    whole = as_bytes(made.images[0]).mean()
    assert means == pytest.approx([0, whole / 2, whole], abs=6)
    assert durations[2] > durations[0] == durations[1]


def test_a_png_carries_its_settings(tmp_path: Path) -> None:
    path = result().save(tmp_path / "a.png")
    assert read_settings(path) == read_settings(str(path)) == SETTINGS


@pytest.mark.parametrize("ending", [".jpg", ".webp", ".png"])
def test_a_file_without_settings_says_so(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    Image.new("RGB", (4, 4)).save(path)
    with pytest.raises(ValueError, match=rf"'.*a{ending}' carries no settings of optvis: only its .png files do"):
        read_settings(path)


@pytest.mark.parametrize("ending", FORMATS)
def test_a_file_in_the_home_folder(tmp_path: Path, monkeypatch: Any, ending: str) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert result().save(f"~/a{ending}") == tmp_path / f"a{ending}"
    assert (tmp_path / f"a{ending}").exists()


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("a.tiff", ValueError, "cannot save 'a.tiff': the ending must be one of .png, .webp, .jpg, .jpeg, .gif, .npy"),
        ("a", ValueError, "cannot save 'a': the ending must be one of"),
        ("nowhere/a.png", FileNotFoundError, "cannot save to '.*a.png': there is no folder '.*nowhere'"),
        ("folder.png", IsADirectoryError, "cannot save to '.*folder.png': it is a folder"),
        ("file/a.png", FileNotFoundError, "there is no folder '.*file'"),
    ],
)
def test_a_path_that_cannot_be_written(tmp_path: Path, path: str, error: type[Exception], message: str) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").write_text("")
    for refused in (check_path, result().save):
        with pytest.raises(error, match=message):
            refused(tmp_path / path)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.png"]


def test_a_folder_without_permission(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    with pytest.raises(PermissionError, match="no permission to write there"):
        result().save(tmp_path / "a.png")


def test_a_path_that_can_be_written_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "old.png").write_bytes(b"old")
    assert check_path(tmp_path / "old.png") == tmp_path / "old.png"
    assert check_path(str(tmp_path / "new.png")) == tmp_path / "new.png"
    assert (tmp_path / "old.png").read_bytes() == b"old" and not (tmp_path / "new.png").exists()


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize("where", ["writing", "renaming"])
def test_a_failed_write_leaves_the_old_file_whole(
    tmp_path: Path, monkeypatch: Any, where: str, error: type[BaseException]
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    plain = Path.write_bytes

    def half(self: Path, data: bytes) -> int:
        plain(self, data[: len(data) // 2])
        raise error("no space left")

    def fail(*paths: Any) -> None:
        raise error("no space left")

    if where == "writing":
        monkeypatch.setattr(Path, "write_bytes", half)
    else:
        monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(error, match="no space left"):
        result().save(path)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["a.png"]


def test_an_old_file_is_replaced(tmp_path: Path) -> None:
    write_whole(tmp_path / "a", b"old")
    write_whole(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new" and os.listdir(tmp_path) == ["a"]


# Showing


def test_showing_without_a_screen_says_so(monkeypatch: Any, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(sysname="Linux"))
    monkeypatch.setattr(Image.Image, "show", lambda self: pytest.fail("no screen to show it on"))
    result().show()
    assert "no screen to show pictures on: use .save('picture.png')" in capsys.readouterr().out


def test_showing_on_a_screen(monkeypatch: Any, capsys: pytest.CaptureFixture[str]) -> None:
    shown: list[Any] = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(Image.Image, "show", lambda self: shown.append(self))
    result(4).show()
    assert [picture.size for picture in shown] == [(2 * 14 * 16 + 2, 2 * 14 * 12 + 2)]
    assert capsys.readouterr().out == ""


def test_showing_in_a_notebook(monkeypatch: Any) -> None:
    shown: list[Any] = []
    package, display = ModuleType("IPython"), ModuleType("IPython.display")
    shell = SimpleNamespace(config={"IPKernelApp": {}})
    package.get_ipython = lambda: shell  # type: ignore[attr-defined]
    display.display = shown.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", package)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    result(4).show()
    assert [picture.size for picture in shown] == [(2 * 14 * 16 + 2, 2 * 14 * 12 + 2)]


def test_a_notebook_finds_a_png() -> None:
    with Image.open(io.BytesIO(result(2)._repr_png_())) as opened:
        assert opened.format == "PNG" and opened.size == (2 * 14 * 16 + 2, 14 * 12)


@pytest.mark.parametrize(("size", "factor"), [((28, 28), 8), ((64, 32), 3), ((112, 112), 2), ((113, 20), 1)])
def test_small_pictures_are_enlarged_on_a_screen_without_smoothing(size: tuple[int, int], factor: int) -> None:
    made = result(size=size)
    shown = np.asarray(made.on_screen())
    assert np.array_equal(shown, as_bytes(made.images[0]).repeat(factor, 0).repeat(factor, 1))
    assert made.grid().size == size[::-1], "what is saved keeps its size"


def test_a_large_grid_of_small_pictures_is_not_enlarged() -> None:
    assert result(400, size=(32, 32)).on_screen().width == result(400, size=(32, 32)).grid().width


# norm and denorm


@pytest.fixture
def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


@pytest.mark.filterwarnings("error")
def test_norm_is_what_the_formula_says(photo: np.ndarray) -> None:
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = torch.from_numpy((photo / 255 - mean) / std).movedim(-1, 0)[None].float()
    tensor = torch.from_numpy(photo).movedim(-1, 0)
    for image in (photo, Image.fromarray(photo), tensor, tensor[None]):
        out = norm(image)
        torch.testing.assert_close(out, expected, check_stride=False)
        assert out.requires_grad and out.is_leaf
    torch.testing.assert_close(norm(tensor / 255, input_range=(0, 1), grad=False), expected)
    out = norm(photo, unsqueeze=False, grad=False)
    assert out.shape == (3, 6, 9) and not out.requires_grad
    torch.testing.assert_close(norm(photo, (0.5,) * 3, (0.25,) * 3, grad=False)[0], (tensor / 255 - 0.5) / 0.25)


@pytest.mark.parametrize("stats", [(), ((0.5,) * 3, (0.25,) * 3)])
def test_denorm_undoes_norm(photo: np.ndarray, stats: tuple[Any, ...]) -> None:
    whole = norm(photo, *stats)
    for image in (whole, whole[0], whole.detach().double()):
        picture = denorm(image, *stats)
        assert isinstance(picture, Image.Image) and np.array_equal(np.asarray(picture), photo)
    several = denorm(torch.cat([whole, whole, whole]), *stats)
    assert isinstance(several, list) and [np.array_equal(np.asarray(p), photo) for p in several] == [True] * 3


def test_grey_pictures_are_normed_too(photo: np.ndarray) -> None:
    out = norm(photo[..., 0], (0.5,), (0.25,))
    assert out.shape == (1, 1, 6, 9)
    assert np.array_equal(np.asarray(denorm(out, (0.5,), (0.25,))), photo[..., 0])


def test_settings_are_json() -> None:
    assert json.loads(json.dumps(result().settings)) == SETTINGS
