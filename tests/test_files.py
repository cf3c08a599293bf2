"""Where a file can be written, and that it is whole or not there."""

from __future__ import annotations

import io
import os
import stat
import struct
import tempfile
import threading
from pathlib import Path

import pytest
from PIL import Image

from optvis.files import LARGEST_SIDE, check_path, check_picture_size, save_or_rescue, write_whole


def entries(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


# Before the work


@pytest.mark.parametrize("length", [200, 245, 251, 254, 255])
@pytest.mark.parametrize("letter", ["a", "é", "赤"])
def test_long_names_are_written(tmp_path: Path, length: int, letter: str) -> None:
    count = (length - 4) // len(letter.encode())
    name = letter * count + "b" * (length - 4 - count * len(letter.encode())) + ".png"
    assert len(name.encode()) == length
    path = check_path(tmp_path / name)
    assert entries(tmp_path) == []
    write_whole(path, b"new")
    assert path.read_bytes() == b"new" and entries(tmp_path) == [name]


@pytest.mark.parametrize("name", ["a" * 252 + ".png", "é" * 126 + ".png", "a" * 5000 + ".png"])
def test_names_that_the_file_system_does_not_take_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(OSError, match=r"cannot save to .*: no file can be created there \(File name too long\)"):
        check_path(tmp_path / name)
    assert entries(tmp_path) == []


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc")
@pytest.mark.parametrize("path", ["/proc/x.png", "/proc/self/x.png"])
def test_a_folder_in_which_no_file_can_be_created(path: str) -> None:
    with pytest.raises(OSError, match=rf"cannot save to '{path}': no (file can be created|permission to write) there$"):
        check_path(path)


def test_what_is_no_place_for_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nowhere" / "a.png")
    os.mkfifo(tmp_path / "pipe.png")
    before = entries(tmp_path)
    for path, message in (
        ("file/a.png", r"there is no folder '.*file'"),
        ("dangling.png", r"there is no folder '.*nowhere'"),
        ("pipe.png", "it is not a regular file"),
    ):
        with pytest.raises(OSError, match=rf"cannot save to '.*{path}': {message}"):
            check_path(tmp_path / path)
    for path in ("a\0.png", "~nobody-of-that-name/a.png"):
        with pytest.raises(ValueError, match="is no path"):
            check_path(path)
    assert entries(tmp_path) == before


@pytest.mark.parametrize("ending", LARGEST_SIDE)
def test_sizes_that_a_format_cannot_hold(ending: str) -> None:
    """The limits are those of the encoders."""
    largest = LARGEST_SIDE[ending]
    check_picture_size(f"a{ending}", largest, 1)
    form = Image.registered_extensions()[ending]
    Image.new("L", (largest, 1)).save(io.BytesIO(), form)
    with pytest.raises((OSError, ValueError, OverflowError, struct.error)):
        Image.new("L", (largest + 1, 1)).save(io.BytesIO(), form)
    for size in ((largest + 1, 1), (1, largest + 1)):
        with pytest.raises(ValueError, match=rf"cannot save 'a{ending}': .* holds at most {largest:,} a side"):
            check_picture_size(Path(f"folder/a{ending}"), *size)


def test_formats_that_hold_any_size() -> None:
    check_picture_size("a.png", 10**6, 1)
    check_picture_size("a.npy", 10**6, 1)


# Writing


def test_a_link_stays_and_its_target_is_written(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "a.png").symlink_to("there/b.png")
    for data in (b"first", b"second"):  # the target is made, then replaced
        write_whole(check_path(tmp_path / "a.png"), data)
        assert (tmp_path / "a.png").is_symlink() and (tmp_path / "there" / "b.png").read_bytes() == data
    assert entries(tmp_path) == ["a.png", "there"] and entries(tmp_path / "there") == ["b.png"]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o755])
def test_the_mode_of_an_old_file_is_kept(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    path.chmod(mode)
    write_whole(path, b"new")
    assert stat.S_IMODE(path.stat().st_mode) == mode and path.read_bytes() == b"new"


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_new_file_has_the_mode_of_the_umask(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        write_whole(tmp_path / "a.png", b"new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.png").stat().st_mode) == mode


def test_threads_write_one_file_without_mixing(tmp_path: Path) -> None:
    texts = [bytes([65 + i]) * 200_000 for i in range(4)]
    threads = [threading.Thread(target=lambda t=t: [write_whole(tmp_path / "a", t) for _ in range(20)]) for t in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "a").read_bytes() in texts and entries(tmp_path) == ["a"]


# Where writing fails


def encode_fails() -> bytes:
    raise OverflowError("int too big to convert")


def test_what_can_be_written_is_written(tmp_path: Path) -> None:
    save_or_rescue(tmp_path / "a.webp", lambda: b"webp", lambda: pytest.fail("no PNG is needed"))
    assert (tmp_path / "a.webp").read_bytes() == b"webp" and entries(tmp_path) == ["a.webp"]


def test_a_png_beside_it_where_encoding_fails(tmp_path: Path) -> None:
    (tmp_path / "a.gif").write_bytes(b"old")
    for name in ("a-rescued.png", "a-rescued1.png"):
        with pytest.raises(OSError, match=rf"a\.gif' could not be written \(int too big.*\); .* saved as '.*{name}'"):
            save_or_rescue(tmp_path / "a.gif", encode_fails, lambda: b"png")
        assert (tmp_path / name).read_bytes() == b"png"
    assert (tmp_path / "a.gif").read_bytes() == b"old" and len(entries(tmp_path)) == 3


def test_a_png_in_the_temporary_folder_where_the_folder_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    name = "ü" * 120 + ".png"
    with pytest.raises(OSError, match=r"No such file or directory.*saved as '.*tmp/ü+-rescued\.png' instead"):
        save_or_rescue(tmp_path / "gone" / name, lambda: b"png", lambda: b"png")
    assert len(entries(tmp_path / "tmp")) == 1


def test_no_file_where_none_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(OSError, match=r"could not be written \(No such file.*\), nor could a PNG beside it or in"):
        save_or_rescue(tmp_path / "none" / "a.png", lambda: b"png", lambda: b"png")
    with pytest.raises(OSError, match="nor could a PNG"):
        save_or_rescue(tmp_path / "a.png", encode_fails, encode_fails)
    assert entries(tmp_path) == []
