"""Images from files, arrays and tensors: what is read, and how; grids and what a PNG carries."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from optvis.images import MAX_PIXELS, as_json, grid, grid_size, read_image, write_picture
from optvis.visualisation import read_settings


@pytest.fixture
def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def as_tensor(array: np.ndarray) -> torch.Tensor:
    """``[H, W]`` or ``[H, W, C]`` bytes as ``[1, C, H, W]`` in [0, 1]."""
    array = array[..., None] if array.ndim == 2 else array
    return torch.from_numpy(array.copy()).movedim(-1, 0)[None].float() / 255


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes, data: bytes = b"") -> bytes:
    """A PNG of one bit a pixel with any header that one likes."""
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    parts = [chunk(b"IHDR", header), *chunks, chunk(b"IDAT", zlib.compress(data)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


# Files that are read


def test_floats_in_a_tiff_are_taken_as_they_are(tmp_path: Path) -> None:
    values = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    Image.fromarray(values).save(tmp_path / "floats.tif")
    assert torch.equal(read_image(tmp_path / "floats.tif"), torch.from_numpy(values)[None, None])


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, ">u2"])
def test_grey_of_16_bits(tmp_path: Path, dtype: Any) -> None:
    values = np.array([[0, 1, 300], [32768, 65534, 65535]])
    Image.fromarray(values.astype(dtype)).save(tmp_path / "grey.tif")
    expected = torch.from_numpy(values.astype(np.float32) / 65535)[None, None]
    assert torch.equal(read_image(tmp_path / "grey.tif"), expected)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P", "La", "RGBa"])
def test_transparent_pixels_are_laid_on_white(photo: np.ndarray, mode: str) -> None:
    grey = photo[..., :1].repeat(3, 2)
    alpha = np.full((20, 30), 255, dtype=np.uint8)
    alpha[:, :9] = 0
    image = Image.fromarray(np.dstack([grey, alpha]), "RGBA")
    if mode == "P":
        image = Image.fromarray(photo[..., 0] // 2, "L").convert("P")
        alpha = np.where(np.asarray(image) == 7, 0, 255).astype(np.uint8)
        image.info["transparency"] = 7
        grey = np.asarray(image.convert("RGB"))
    elif mode == "La":
        image = image.convert("LA").convert("La")
    else:
        image = image.convert(mode)
        grey = np.asarray(image.convert("RGBA"))[..., :3]  # PA has a palette
    expected = np.where(alpha[..., None] == 0, 255, grey)
    found = (read_image(image)[0].movedim(0, -1).numpy() * 255).round()
    assert alpha.min() == 0 and np.abs(found - expected).max() <= 1


def test_half_transparent_pixels_are_mixed_with_white() -> None:
    image = Image.new("RGBA", (2, 2), (100, 0, 200, 128))
    assert (read_image(image)[0, :, 0, 0] * 255).tolist() == pytest.approx([177, 127, 227], abs=1)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_opaque_pixels_are_kept_to_the_bit(photo: np.ndarray, mode: str) -> None:
    image = Image.fromarray(photo).convert(mode)
    assert torch.equal(read_image(image), as_tensor(np.asarray(image.convert("RGB"))))


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV", "P", "1"])
def test_other_colour_spaces_become_rgb(photo: np.ndarray, mode: str) -> None:
    image = Image.fromarray(photo).convert(mode)
    assert torch.equal(read_image(image), as_tensor(np.asarray(image.convert("RGB"))))


def test_the_first_frame_of_an_animation(tmp_path: Path) -> None:
    pages = [Image.new("RGB", (6, 5), colour) for colour in ("red", "blue")]
    pages[0].save(tmp_path / "two.gif", save_all=True, append_images=pages[1:])
    assert torch.equal(read_image(tmp_path / "two.gif"), as_tensor(np.asarray(pages[0])))


def test_a_file_in_the_home_folder(tmp_path: Path, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    Image.fromarray(photo).save(tmp_path / "photo.png")
    assert torch.equal(read_image("~/photo.png"), as_tensor(photo))


# Files that are not


ENDINGS = [".png", ".jpg", ".webp", ".gif", ".tif", ".bmp", ".ppm", ".ico"]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_a_damaged_file_is_read_or_refused_by_name(photo: np.ndarray, tmp_path: Path, ending: str) -> None:
    """Cut anywhere, and with bytes changed anywhere."""
    path, rng, refused = tmp_path / f"damaged{ending}", np.random.default_rng(0), 0
    Image.fromarray(photo).save(path)
    whole = path.read_bytes()
    cut = [whole[: int(n)] for n in rng.integers(0, len(whole) - 1, 25)]
    for data in (*cut, *(_changed(whole, rng) for _ in range(75))):
        path.write_bytes(data)
        try:
            assert read_image(path).shape[1] in (1, 3)
        except ValueError as error:
            refused += 1
            assert f"damaged{ending}' is" in str(error) or f"damaged{ending}' holds" in str(error)
    assert refused >= 10


def _changed(data: bytes, rng: np.random.Generator) -> bytes:
    changed = np.frombuffer(data, dtype=np.uint8).copy()
    changed[rng.integers(0, min(len(data), 120), 3)] = rng.integers(0, 256, 3)
    return changed.tobytes()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is no image that Pillow can read"),
        (b"no picture", "is no image that Pillow can read"),
        (png(30_000, 30_000, data=bytes(1000)), f"is too large: at most {MAX_PIXELS:,} pixels are read, it has more"),
        (png(10_000, 9_000), "pixels are read, it has 10,000 × 9,000"),
        (png(4, 4, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**7))), data=bytes(8)), "Pillow can read"),
        (png(4, 4, chunk(b"PLTE", b"\xff" * 3)[:-1], data=bytes(8)), "Pillow can read"),
        (png(0, 4), "Pillow can read"),
    ],
    ids=["empty", "text", "bomb", "large", "text of a bomb", "broken chunk", "no width"],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_file_that_is_no_image(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "odd.png"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message) as caught:
        read_image(path)
    assert repr(str(path)) in str(caught.value)


def test_a_file_whose_values_have_no_known_scale(tmp_path: Path) -> None:
    path = tmp_path / "values.tif"
    for values, message in (
        (np.full((2, 2), 70_000, dtype=np.int32), r"values\.tif' holds integers from 70000 to 70000"),
        (np.full((2, 2), -1, dtype=np.int32), r"values\.tif' holds integers from -1 to -1"),
        (np.full((2, 2), 255, dtype=np.float32), r"values\.tif''s values run from 255 to 255: give floats in \[0, 1\]"),
        (np.full((2, 2), np.nan, dtype=np.float32), r"values\.tif''s values run from nan"),
    ):
        Image.fromarray(values).save(path)
        with pytest.raises(ValueError, match=message):
            read_image(path)


def test_what_is_no_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ValueError, match=r"pipe\.png' is no image that Pillow can read: it is not a regular file"):
        read_image(tmp_path / "pipe.png")
    with pytest.raises(ValueError, match="is no image that Pillow can read: it is a folder"):
        read_image(tmp_path)
    with pytest.raises(ValueError, match=r"is no path: it holds a null character"):
        read_image("a\0.png")
    with pytest.raises(ValueError, match=r"'~nobody-of-that-name/a\.png' is no path"):
        read_image("~nobody-of-that-name/a.png")
    with pytest.raises(FileNotFoundError, match=r"there is no file '.*none\.png'"):
        read_image(tmp_path / "none.png")


def test_a_pil_image_that_cannot_be_decoded(tmp_path: Path, photo: np.ndarray) -> None:
    Image.fromarray(photo).save(tmp_path / "half.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "half.png").read_bytes()[:1000])
    with Image.open(tmp_path / "half.png") as image, pytest.raises(ValueError, match="the image is no image that Pil"):
        read_image(image)


# Arrays and tensors


@pytest.mark.parametrize("dtype", [np.float16, np.float32, ">f4", np.float64, ">f8", np.longdouble])
def test_floats_of_any_width_and_byte_order(photo: np.ndarray, dtype: Any) -> None:
    values = (photo / 255).astype(dtype)
    assert torch.equal(read_image(values), torch.from_numpy(values.astype(np.float32)).movedim(-1, 0)[None])


def test_bools_are_black_and_white(photo: np.ndarray) -> None:
    mask = photo[..., 0] > 127
    for image in (mask, torch.from_numpy(mask)[None]):
        assert torch.equal(read_image(image), torch.from_numpy(mask).float()[None, None])


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a.astype(np.int64),
        lambda a: a.astype(np.uint16),
        lambda a: (a > 127).astype(np.int32),
        lambda a: a.astype(np.complex64),
        lambda a: a.astype(object),
        lambda a: a.astype(str),
        lambda a: torch.from_numpy(a.astype(np.int64)).movedim(-1, 0),
        lambda a: torch.from_numpy(a.astype(np.complex64)).movedim(-1, 0),
    ],
)
def test_values_of_unknown_scale_are_refused(photo: np.ndarray, change: Callable[[np.ndarray], Any]) -> None:
    image = change(photo)
    message = rf"of {image.dtype} is no image: which value is white is not known; give uint8, or floats in \[0, 1\]"
    with pytest.raises(ValueError, match=message):
        read_image(image)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1.01, -0.01])
def test_values_outside_of_0_to_1_are_refused(value: float) -> None:
    image = np.full((3, 4), 0.5)
    image[1, 1] = value
    with pytest.raises(ValueError, match="the image's values run from"):
        read_image(image)


@pytest.mark.parametrize("image", [torch.zeros(3, 4, 4).to_sparse(), torch.zeros(3, 4, 4, device="meta")])
def test_tensors_without_plain_values_are_refused(image: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="is no image: give a dense one"):
        read_image(image)


# Grids and settings


@pytest.mark.parametrize("count", [1, 2, 5, 12])
@pytest.mark.parametrize("labels", [(), ("a", "b")])
@pytest.mark.parametrize("columns", [None, 1, 4])
def test_the_size_of_a_grid_is_known_before(count: int, labels: tuple[str, ...], columns: int | None) -> None:
    pictures = [Image.new("L", (33, 21))] * count
    size = grid_size(count, (21, 33), columns, bool(labels))
    assert grid(pictures, columns, labels).size == size[::-1]


@pytest.mark.parametrize("label", ["two\nlines", "\x1b[31mred", "\u202ereversed", "wide" * 10**6])
def test_any_text_is_a_label(label: str) -> None:
    sheet = grid([Image.new("L", (40, 10))] * 2, labels=[label, ""])
    assert np.asarray(sheet)[10:].min() < 100  # it is written there, in one line
    assert sheet.height == grid([Image.new("L", (40, 10))] * 2, labels=["a", ""]).height


def test_settings_with_any_text_are_saved(tmp_path: Path) -> None:
    settings = {"name": "rougeâtre \udc80 \x1b[31m 赤"}
    with open(tmp_path / "a.png", "wb") as file:
        write_picture(Image.new("L", (4, 4)), file, ".png", {"optvis": as_json(settings)})
    assert read_settings(tmp_path / "a.png") == settings


@pytest.mark.parametrize("text", ["{", "[1]", "[" * 100_000, "7"])
def test_settings_that_are_none(tmp_path: Path, text: str) -> None:
    info = __import__("PIL.PngImagePlugin").PngImagePlugin.PngInfo()
    info.add_itxt("optvis", text)
    Image.new("L", (4, 4)).save(tmp_path / "a.png", pnginfo=info)
    with pytest.raises(ValueError, match=r"a\.png' carries no settings of optvis"):
        read_settings(tmp_path / "a.png")


@pytest.mark.parametrize("data", [b"", b"no picture"])
def test_settings_of_what_is_no_picture(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.png' is no image that Pillow can read"):
        read_settings(tmp_path / "a.png")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_settings(tmp_path / "b.png")
