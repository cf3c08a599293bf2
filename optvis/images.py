"""Images: reading files, arrays and tensors; resizing; conversion to PIL; labelled grids; encoding."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from .checks import Size, as_count, as_flag, as_list, as_numbers, as_size, shown
from .files import expanded
from .network.imagenet import IMAGENET_MEAN, IMAGENET_STD
from .network.inputs import as_std
from .text import printable

MAX_PIXELS = 89_478_485
"""The largest number of pixels of an image file: above it Pillow warns of decompression bombs."""

GAP = 2
"""Pixels between the pictures of a grid."""
NARROW = 128
"""Below narrower pictures, labels have two lines and more space between them."""
NARROW_LABEL, NARROW_GAP = 64, 8
"""The least width of such a label, and the space between two of them, in pixels."""
SCREEN, SCREEN_SHEET = 224, 960
"""Smaller pictures are enlarged on a screen, as long as the grid's longer side does not exceed the second number."""

WITH_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")


def read_image(image: str | PathLike[str] | Image.Image | np.ndarray | Tensor) -> Tensor:
    """An image as float32 ``[N, C, H, W]`` in [0, 1].

    Args:
        image: a path, a PIL image, an array ``[H, W]`` or ``[H, W, C]``, or a tensor ``[C, H, W]`` or
            ``[N, C, H, W]``. Arrays and tensors hold uint8, bool, or floats in [0, 1]. Files and PIL images with 8
            bits become RGB, or one channel if they are grey; transparent pixels are blended with white. 16-bit grey is
            divided by 65535; floats are not scaled. Only the first frame of an animation is read.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, no image, or has more than ``MAX_PIXELS`` pixels; or the shape, type or
            range of the values is not that of an image.
    """
    name = "the image"
    if isinstance(image, (str, PathLike)):
        name = repr(str(image))
        with open_image(image) as opened:
            image = _decoded(opened, name)
    elif isinstance(image, Image.Image):
        image = _decoded(image, name)
    if isinstance(image, np.ndarray):
        image = _from_array(image)
    if not isinstance(image, Tensor):
        raise TypeError(f"no image: {shown(image)}; give a path, PIL image, array or tensor")
    tensor = _as_image(image)
    if not (image.is_floating_point() or image.dtype in (torch.uint8, torch.bool)):
        raise ValueError(_unknown_scale("a tensor", image.dtype))
    tensor = (tensor / 255 if image.dtype == torch.uint8 else tensor).detach()
    low, high = tensor.aminmax()  # NaN if one is
    if not (low >= -1e-4 and high <= 1 + 1e-4):
        raise ValueError(f"{name}'s values run from {low:.3g} to {high:.3g}: give floats in [0, 1], or uint8")
    return (tensor[None] if tensor.dim() == 3 else tensor).clamp(0, 1)


@contextmanager
def open_image(path: str | PathLike[str]) -> Iterator[Image.Image]:
    """Open a file as a PIL image, of which only the header is read; raises the errors of ``read_image``."""
    name, path = repr(str(path)), expanded(path)
    try:
        found = path.exists()
    except OSError as error:  # too long a name, or no permission
        raise OSError(f"{name} cannot be read: {error.strerror}") from error
    if not found:
        raise FileNotFoundError(f"there is no file {name}")
    with _errors_naming(name):
        if not path.is_file():
            raise ValueError("it is a folder" if path.is_dir() else "it is not a regular file")
        opened = Image.open(path)
    with opened:
        yield opened


@contextmanager
def _errors_naming(name: str) -> Iterator[None]:
    """Turn Pillow's errors, which are of nearly every type for damaged files, into ``ValueError``."""
    try:
        yield
    except Image.DecompressionBombError as error:
        raise ValueError(f"{name} is too large: at most {MAX_PIXELS:,} pixels are read, it has more") from error
    except Exception as error:
        why = printable(error) or type(error).__name__
        raise ValueError(f"{name} is no image that Pillow can read: {why}") from error


def _decoded(image: Image.Image, name: str) -> np.ndarray:
    """The upright pixels of a PIL image, ``[H, W]`` or ``[H, W, 3]``: uint8, or float32 in [0, 1]."""
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(
            f"{name} is too large: at most {MAX_PIXELS:,} pixels are read, it has {image.width:,} × {image.height:,}"
        )
    with _errors_naming(name):
        image = ImageOps.exif_transpose(image)
        if image.mode in WITH_ALPHA or ("transparency" in image.info and not image.mode.startswith("I")):
            above = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", above.size, "white"), above).convert("RGB")
        if not image.mode.startswith(("I", "F")):
            return np.asarray(image if image.mode in ("L", "RGB") else image.convert("RGB"))
        values = np.asarray(image, dtype=np.float32)
    if image.mode == "F":
        return values
    if values.size and not 0 <= values.min() <= values.max() <= 65535:  # "I" also holds integers of 32 bits
        raise ValueError(
            f"{name} holds integers from {values.min():.6g} to {values.max():.6g}: which one is white is not known; "
            "give 8 or 16 bits, or floats in [0, 1]"
        )
    return values / 65535


def _from_array(array: np.ndarray, kinds: str = "f") -> Tensor:
    """``[H, W]`` or ``[H, W, C]`` as a tensor ``[C, H, W]``, floats as float32; uint8 and bool are always allowed."""
    if array.ndim not in (2, 3):
        raise ValueError(f"an array of shape {array.shape} is no image: give [H, W] or [H, W, C]")
    if array.dtype.kind not in kinds and array.dtype not in (np.uint8, np.bool_):
        raise ValueError(_unknown_scale("an array", array.dtype))
    # torch takes neither read-only arrays, negative strides, other byte orders nor long doubles.
    kind = np.float32 if array.dtype.kind == "f" else array.dtype.newbyteorder("=")
    array = np.array(array, kind, order="C")
    return torch.from_numpy(array[..., None] if array.ndim == 2 else array).movedim(-1, 0)


def _as_image(image: Any) -> Tensor:
    """A tensor ``[C, H, W]`` or ``[N, C, H, W]`` of any scale as float32; raises an error on anything else."""
    if not isinstance(image, Tensor):
        raise TypeError(f"no image: {shown(image)}; give a PIL image, array or tensor")
    if image.layout != torch.strided or image.is_meta or image.is_quantized:
        raise ValueError(f"a tensor ({image.layout}, {image.device}, {image.dtype}) is no image: give a dense one")
    if image.is_complex():
        raise ValueError(_unknown_scale("a tensor", image.dtype))
    if image.dim() not in (3, 4) or 0 in image.shape:
        raise ValueError(f"a tensor of shape {list(image.shape)} is no image: give [C, H, W] or [N, C, H, W]")
    return image.float()


def _unknown_scale(what: str, dtype: object) -> str:
    return f"{what} of {dtype} is no image: which value is white is not known; give uint8, or floats in [0, 1]"


def with_channels(images: Tensor, channels: int) -> Tensor:
    """Images ``[N, C, H, W]`` with the number of channels that a network takes: grey to RGB, or RGB to grey."""
    found = images.shape[1]
    if found == channels:
        return images
    if (found, channels) == (1, 3):
        return images.repeat(1, 3, 1, 1)
    if (found, channels) == (3, 1):
        return images.mean(1, keepdim=True)
    raise ValueError(f"the image has {found} channels, the network takes {channels}")


def fit(pictures: Tensor, size: int | Sequence[int] | None) -> Tensor:
    """Images ``[N, C, H, W]`` in [0, 1] at another size, or the same for ``None``.

    A number is the length of the smaller side in pixels; for (height, width) the images are scaled to cover that shape
    and cropped around their centre.
    """
    if size is None:
        return pictures
    whole, top, left, (height, width) = _fitted(pictures.shape[-2:], size)
    pictures = torch.nn.functional.interpolate(pictures, size=whole, mode="bicubic", antialias=True).clamp(0, 1)
    return pictures[..., top : top + height, left : left + width]


def fitted_part(picture: Sequence[int], size: int | Sequence[int]) -> tuple[int, int, int, int]:
    """The part of an image of (height, width) that ``fit`` keeps: (top, left, height, width) in pixels of the image."""
    whole, *corner, target = _fitted(picture, size)
    sides = []
    for pixels, scaled, start, wanted in zip(picture, whole, corner, target, strict=True):
        first = min(round(start * pixels / scaled), pixels - 1)
        sides.append((first, min(max(round(wanted * pixels / scaled), 1), pixels - first)))
    (top, height), (left, width) = sides
    return top, left, height, width


def _fitted(picture: Sequence[int], size: int | Sequence[int]) -> tuple[Size, int, int, Size]:
    """The size to which an image of (height, width) is scaled, and top, left and size of the part cropped from it."""
    height, width = picture
    if isinstance(size, int):
        scale = as_size(size)[0] / min(height, width)
        target = (round(height * scale), round(width * scale))
    else:
        target = as_size(size)
        scale = max(target[0] / height, target[1] / width)
    whole = (max(round(height * scale), target[0]), max(round(width * scale), target[1]))
    return whole, (whole[0] - target[0]) // 2, (whole[1] - target[1]) // 2, target


def norm(
    image: Image.Image | np.ndarray | Tensor,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    input_range: tuple[float, float] = (0, 255),
    unsqueeze: bool = True,
    grad: bool = True,
) -> Tensor:
    """Normalise an image for a network: scale to [0, 1], subtract the mean, divide by the standard deviation.

    ``image`` is a PIL image, an array ``[H, W, C]`` or a tensor ``[C, H, W]`` or ``[N, C, H, W]``, with values from the
    first to the second of ``input_range``; mean and standard deviation are those of each channel. ``unsqueeze`` gives a
    single image a batch axis; ``grad`` lets the result require a gradient.
    """
    if isinstance(image, (Image.Image, np.ndarray)):
        image = _from_array(np.asarray(image), "uif")
    image = _as_image(image)
    low, high = as_numbers("input_range", input_range, 2, "ends")
    if not low < high:
        raise ValueError(f"input_range {input_range!r}: give the lowest and then the highest value")
    image = (image - low) / (high - low)
    shift, scale = _of_channels(mean, std, image)
    image = (image - shift) / scale
    if as_flag("unsqueeze", unsqueeze) and image.dim() == 3:
        image = image[None]
    return image.detach().requires_grad_() if as_flag("grad", grad) else image


def denorm(
    image: Tensor, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD
) -> Image.Image | list[Image.Image]:
    """The reverse of ``norm``: a PIL image from ``[C, H, W]`` or ``[1, C, H, W]``, a list of them from a batch."""
    image = _as_image(image).detach().cpu()
    shift, scale = _of_channels(mean, std, image)
    image = image * scale + shift
    if image.dim() == 3:
        return to_pil(image)
    pictures = [to_pil(one) for one in image]
    return pictures[0] if len(pictures) == 1 else pictures


def _of_channels(mean: Any, std: Any, image: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation ``[C, 1, 1]`` for the channels of an image."""
    shift, scale = as_numbers("mean", mean, image.shape[-3], "channels"), as_std(std, image.shape[-3])
    return image.new_tensor(shift)[:, None, None], image.new_tensor(scale)[:, None, None]


def to_pil(image: Tensor) -> Image.Image:
    """``[C, H, W]`` in [0, 1] as a PIL image: RGB for 3 channels, otherwise grey with the channels side by side."""
    data = (image.detach().float().cpu().clamp(0, 1) * 255).round().to(torch.uint8)
    if data.shape[0] == 3:
        return Image.fromarray(data.permute(1, 2, 0).contiguous().numpy())
    return Image.fromarray(torch.cat(list(data), dim=1).numpy())


def grid(pictures: Sequence[Image.Image], columns: int | None = None, labels: Sequence[str] = ()) -> Image.Image:
    """PIL images of one size in a grid on white, each with its label below it if there are labels."""
    labels = as_list("labels", labels, "a list of texts, one for each picture")
    columns = _columns(len(pictures), columns)
    if len(pictures) == 1 and not labels:
        return pictures[0]
    width, height = pictures[0].size
    font, line = ImageFont.load_default(size=_points(width)), _points(width) * 3 // 2
    mode = "RGB" if labels or any(picture.mode != "L" for picture in pictures) else "L"
    sheet = Image.new(mode, grid_size(len(pictures), (height, width), columns, bool(labels))[::-1], "white")
    draw = ImageDraw.Draw(sheet)
    places = grid_places(len(pictures), (height, width), columns, bool(labels))
    room = _cell((height, width), True)[1] - _gap(width, True)
    for i, (picture, (x, y)) in enumerate(zip(pictures, places, strict=True)):
        sheet.paste(picture, (x, y))
        texts = _in_lines(printable(labels[i]), room, _lines(width), draw, font) if i < len(labels) else ()
        for row, text in enumerate(texts):
            draw.text((x + width / 2, y + height + (row + 0.5) * line), text, "black", font, anchor="mm")
    return sheet


def enlarged(pictures: Sequence[Image.Image]) -> list[Image.Image]:
    """Small pictures of one size, magnified without smoothing to be seen on a screen; each pixel becomes a square."""
    width, height = pictures[0].size
    sheet = grid_size(len(pictures), (height, width))
    factor = max(1, min(SCREEN // max(width, height), SCREEN_SHEET // max(sheet)))
    size = (width * factor, height * factor)
    return list(pictures) if factor == 1 else [one.resize(size, Image.Resampling.NEAREST) for one in pictures]


def grid_places(count: int, size: Size, columns: int | None = None, labelled: bool = False) -> list[tuple[int, int]]:
    """The upper left corner (x, y) of each picture in a ``grid`` of ``count`` pictures of ``size`` (height, width)."""
    columns, (row, column) = _columns(count, columns), _cell(size, labelled)
    left = (column - _gap(size[1], labelled) - size[1]) // 2
    return [(left + i % columns * column, i // columns * row) for i in range(count)]


def grid_size(count: int, size: Size, columns: int | None = None, labelled: bool = False) -> Size:
    """(height, width) of a ``grid`` of ``count`` pictures of ``size`` (height, width)."""
    if count == 1 and not labelled:
        return size
    columns, (row, column) = _columns(count, columns), _cell(size, labelled)
    return math.ceil(count / columns) * row - GAP, columns * column - _gap(size[1], labelled)


def _cell(size: Size, labelled: bool) -> Size:
    """(height, width) of a picture of ``size`` with its label and the gap."""
    height, width = size
    if not labelled:
        return height + GAP, width + GAP
    row = height + GAP + _lines(width) * (_points(width) * 3 // 2)
    return row, (max(width, NARROW_LABEL) if width < NARROW else width) + _gap(width, labelled)


def _gap(width: int, labelled: bool) -> int:
    """Pixels between the pictures of a row."""
    return NARROW_GAP if labelled and width < NARROW else GAP


def _lines(width: int) -> int:
    """The number of lines of the label of a picture."""
    return 2 if width < NARROW else 1


def _columns(count: int, columns: int | None) -> int:
    """The number of columns: the given one, or the one near a square grid that leaves the fewest empty cells."""
    if columns is not None:
        return min(as_count("columns", columns), count)
    root = math.ceil(math.sqrt(count))
    return min(min(range(root, root * 3 // 2 + 1), key=lambda n: (-count % n, n)), count)


def _points(width: int) -> int:
    """Font size of the labels below pictures of this width; a line is half as much again."""
    return max(9, min(width // 10, 14))


def _in_lines(text: str, width: int, lines: int, draw: ImageDraw.ImageDraw, font: Any) -> list[str]:
    """A text in at most so many lines of ``width`` pixels, broken after a space or sign, or where nothing else fits."""
    if lines == 1 or draw.textlength(text[: width + 1], font) <= width:
        return [_shortened(text, width, draw, font)]
    ends = [found.end() for found in re.finditer(r"[\s/:,._(-]+", text[: width + 1])]
    fitting = [end for end in ends if draw.textlength(text[:end].rstrip(), font) <= width and text[end:]]
    fitting = fitting or [n for n in range(1, min(width, len(text))) if draw.textlength(text[:n], font) <= width]
    if not fitting:
        return [_shortened(text, width, draw, font)]
    return [text[: fitting[-1]].rstrip(), *_in_lines(text[fitting[-1] :], width, lines - 1, draw, font)]


def _shortened(text: str, width: int, draw: ImageDraw.ImageDraw, font: Any) -> str:
    """A text, shortened with an ellipsis if it is wider than ``width`` pixels: an address keeps its channel's number.

    Every character is wider than a pixel, and measuring long texts is slow.
    """
    numbered = re.search(r":\d{1,18}$", text) is not None
    text = text[-width - 1 :] if numbered else text[: width + 1]
    while text and draw.textlength(text, font) > width:
        text = "" if len(text) <= 2 else "…" + text[2:] if numbered else text[:-2] + "…"
    return text


def write_picture(image: Image.Image, file: Any, ending: str, texts: Mapping[str, str] | None = None) -> None:
    """Encode a PIL image in the format of an ending (``.png``, ``.webp``, ``.jpg``); a PNG also contains ``texts``."""
    if ending == ".png":
        info = PngInfo()
        for key, text in (texts or {}).items():
            # Pillow reads no compressed text that is longer than a mebibyte.
            info.add_itxt(key, text, zip=2**16 < len(text.encode()) < 2**20)
        image.save(file, "PNG", pnginfo=info)
    elif ending == ".webp":
        image.save(file, "WEBP", quality=90)
    else:
        image.convert("RGB").save(file, "JPEG", quality=92)


def as_json(settings: Mapping[str, Any]) -> str:
    """Settings as JSON text; characters of file names that are not valid Unicode are escaped."""
    return json.dumps(settings, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()
