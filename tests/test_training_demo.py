"""Training the bundled network with ``Watch`` on."""

from __future__ import annotations

import warnings

import pytest
import torch
from PIL import Image

from optvis import VIEWS
from optvis.demo import watched


@pytest.mark.slow
def test_the_demonstration_writes_a_page_with_pictures_and_a_film(tmp_path, monkeypatch):
    monkeypatch.setattr(watched, "FRAMES", 4)
    monkeypatch.setattr(watched, "PICTURES", 2)
    monkeypatch.setattr(watched, "SHOWN", 60)
    state = torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "watching")  # no view may fail
        watch = watched.train_demo(tmp_path / "demo", minutes=0.001, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    assert watch.films["film of rings"].numbers == [0, 1, 2, 3, 4]
    with Image.open(tmp_path / "demo" / "film-of-rings.webp") as film:
        assert film.n_frames == 5
    titles = [title for title, (name, _, _) in watched._VIEWS.items() if name in VIEWS]
    assert list(watch.views) == ["film of rings", *titles]
    page = (tmp_path / "demo" / "index.html").read_text()
    for title in titles:
        pictures = [path.name for path in sorted((tmp_path / "demo" / title).glob("*.png"))]
        assert pictures == ["00000000.png", "00000002.png", "00000004.png"], title
        assert title in page


def test_wrong_arguments_are_refused(tmp_path):
    with pytest.raises(ValueError, match="minutes 0"):
        watched.train_demo(tmp_path / "demo", minutes=0)
    with pytest.raises(ValueError, match="seed -1"):
        watched.train_demo(tmp_path / "demo", seed=-1)
    assert not (tmp_path / "demo").exists()
