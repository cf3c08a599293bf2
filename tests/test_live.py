"""The live view: the session that draws, the Python that it writes, and the page in a browser."""

from __future__ import annotations

import io
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import optvis
from optvis import Channel, Class, Direction, Layer
from optvis.demo import make_pictures
from optvis.live import launch
from optvis.live.choice import Amounts, Choice, Menu, direction
from optvis.live.session import Session, Shot

CHROMIUM = Path("/usr/bin/chromium")
PREAMBLE = ["network = optvis.load_network('demo')", ""]


@pytest.fixture(scope="module")
def demo():
    return optvis.load_network("demo")


@pytest.fixture
def session(demo):
    made = Session(demo, PREAMBLE)
    yield made
    made.stop()
    made.wait(60)


def made_by(code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Image.Image:
    """The picture that the code saves."""
    monkeypatch.chdir(folder)
    exec(compile(code, "copied", "exec"), {})
    return Image.open(folder / "picture.png").convert("RGB")


def after(session: Session, steps: int) -> Shot:
    """What is on the screen when at least so many steps of the run were shown."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        shot = session.shot
        if shot.picture is not None and shot.status.startswith("step") and int(shot.status.split()[1]) >= steps:
            return shot
        time.sleep(0.01)
    raise AssertionError(f"{steps} steps were not shown within a minute: {session.shot.status}")


def same(one: Image.Image, other: Image.Image) -> bool:
    return one.size == other.size and one.convert("RGB").tobytes() == other.convert("RGB").tobytes()


# What can be chosen


def test_objectives_of_a_menu(demo):
    menu = Menu.of(demo, {})
    assert {"pattern: rings", "colour: red"} <= set(menu.classes)
    assert menu.channels("pattern")[:2] == ("stripes", "zigzag")
    assert menu.channels("features/0") == tuple(map(str, range(len(menu.channels("features/0")))))
    assert menu.objective("class", "", "", "pattern: rings", "") == Class("pattern", "rings")
    assert menu.objective("channel", "features/0", "3", "", "") == Channel("features/0", 3)
    assert menu.objective("channel", "pattern", "rings", "", "") == Channel("pattern", "rings")
    assert menu.objective("layer", "features/0", "", "", "") == Layer("features/0")
    vector = torch.zeros(12)
    vector[3], vector[5] = 1, -0.5
    assert menu.objective("direction", "pattern", "", "", "3: 1, 5:-.5") == Direction("pattern", vector)
    assert (menu.target("no such"), menu.target("colour: red")) == (None, Channel("colour", "red"))


def test_what_the_network_does_not_have_is_refused(demo):
    menu = Menu.of(demo, {})
    with pytest.raises(ValueError, match="no class 'rongs'"):
        menu.objective("class", "", "", "rongs", "")
    with pytest.raises(ValueError, match="layer 'pattern' has no channel '12'"):
        menu.objective("channel", "pattern", "12", "", "")
    with pytest.raises(ValueError, match="no channel 12: there are 12"):
        direction("12: 1", 12)
    for text in ("", "1: 0", "1", "a: 1", "1: 1 2: 3"):
        with pytest.raises(ValueError, match="such as '3: 1, 17: "):
            direction(text, 12)


def test_networks_without_names_have_numbers():
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    menu = Menu.of(network.append(torch.nn.Linear(4, 5)), {"mean": 0.0, "std": 1.0})
    assert menu.classes == {str(i): ("", i) for i in range(5)}
    assert menu.last_layer == "3" and menu.channels("3") == ("0", "1", "2", "3", "4")
    assert menu.target("2") is not None


def test_default_amounts_are_the_default_transforms():
    assert Amounts().transforms is None and Amounts().code == ""
    default = optvis.transforms.standard()
    assert repr(default.transforms[:2]) == repr(Amounts(degrees=0).transforms)
    assert Amounts(0, 0, 0).transforms == [] and Amounts(0, 0, 0).code == ", transforms=[]"
    with pytest.raises(ValueError, match="shift"):
        Amounts(shift=0.7)


# The session


def test_a_finished_picture_is_that_of_one_plain_call(session, demo, tmp_path, monkeypatch):
    session.start(Choice(Class("pattern", "rings"), 64, steps=24, seed=3))
    shots = list(session.watch())
    assert len(shots) >= 2 and shots[0].running and not shots[-1].running
    assert shots[-1].status.startswith("finished: step 24 of 24 · 64 × 64 px · score ")
    plain = optvis.OptVis(demo, Class("pattern", "rings")).vis(64, steps=24, seed=3, verbose=False)
    assert same(shots[-1].picture, plain.to_pil()[0])
    assert same(shots[-1].picture, made_by(shots[-1].code, tmp_path, monkeypatch))


@pytest.mark.parametrize("steps", [3, 60])
def test_the_code_of_every_picture_on_the_way_makes_it(session, tmp_path, monkeypatch, steps):
    monkeypatch.setattr("optvis.live.session.REFRESH", 0)
    session.start(Choice(Channel("features/8", 5), 96, steps=80))
    shot = after(session, steps)
    session.stop()
    session.wait()
    assert f"steps={shot.status.split()[1]}" in shot.code
    assert same(shot.picture, made_by(shot.code, tmp_path, monkeypatch))


def test_settings_change_while_the_picture_grows(session, tmp_path, monkeypatch):
    monkeypatch.setattr("optvis.live.session.REFRESH", 0)
    monkeypatch.setattr("optvis.live.session.SETTLED", 0)
    first = Choice(Class("pattern", "rings"), 64, steps=5000)
    session.start(first)
    before = after(session, 4)
    vector = torch.zeros(12)
    vector[[2, 7]] = torch.tensor([1.0, -0.3])
    session.change(Choice(Direction("pattern", vector), 64, steps=5000))
    while "run 2" not in session.shot.status:
        time.sleep(0.01)
    session.change(Choice(Channel("features/8", 1), 40, steps=12, amounts=Amounts(0.05, 0, 30)))
    *_, last = session.watch()
    assert last.status.startswith("finished: step 12 of 12 · 40 × 40 px") and "run 3" in last.status
    assert last.picture.size == (40, 40) and before.picture.size != (40, 40)
    assert last.code.count("engine.vis(") == 3 and "result.param.grow(40)" in last.code
    assert "transforms=[Jitter(0.05), RandomRotate(30)]" in last.code
    assert "vector[[2, 7]] = torch.tensor([1.0, -0.3])" in last.code
    assert same(last.picture, made_by(last.code, tmp_path, monkeypatch))


def test_stop_ends_and_continue_goes_on_from_there(session, tmp_path, monkeypatch):
    monkeypatch.setattr("optvis.live.session.REFRESH", 0)
    choice = Choice(Class("pattern", "dots"), 48, steps=5000)
    session.start(choice)
    after(session, 3)
    session.stop()
    session.wait(30)
    stopped = session.shot
    assert not session.running and stopped.status.startswith("stopped: step ")
    time.sleep(0.1)
    assert session.shot is stopped
    session.change(choice)  # nothing grows
    assert not session.running
    session.resume(Choice(Class("pattern", "dots"), 48, steps=6))
    *_, last = session.watch()
    assert not same(last.picture, stopped.picture)
    assert last.code.count("OptVis(") == 1 and last.code.count("engine.vis(") == 2
    assert same(last.picture, made_by(last.code, tmp_path, monkeypatch))


def test_a_new_picture_forgets_the_last_one(session):
    session.start(Choice(Class("pattern", "dots"), 32, steps=3))
    list(session.watch())
    session.start(Choice(Class("pattern", "dots"), 32, steps=3))
    assert list(session.watch())[-1].code.count("engine.vis(") == 1


def test_an_error_is_shown_and_the_next_run_works(session):
    session.start(Choice(Channel("pattern", 99), 64, steps=4))
    shot = list(session.watch())[-1]
    assert not shot.running and "channel 99" in shot.status and shot.picture is None
    session.start(Choice(Channel("pattern", 1), 64, steps=4))
    assert list(session.watch())[-1].status.startswith("finished")


def test_what_decides_the_network_is_in_the_code(demo, tmp_path, monkeypatch):
    session = Session(demo, PREAMBLE, {"mean": [0.5, 0.5, 0.5], "std": 0.25})
    session.start(Choice(Layer("features/0"), 32, steps=4))
    *_, last = session.watch()
    assert "mean=[0.5, 0.5, 0.5], std=0.25" in last.code
    assert same(last.picture, made_by(last.code, tmp_path, monkeypatch))


# The page


@pytest.fixture(scope="module")
def page(demo):
    pytest.importorskip("gradio", reason="the live view needs Gradio")
    opened = launch(demo, port=None, open_browser=False, name="demo", block=False)
    yield opened
    opened.close()


def test_without_gradio_it_is_said_what_to_install(demo, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(ImportError, match=r"pip install 'optvis\[live\]'"):
        launch(demo, open_browser=False)


def test_importing_optvis_does_not_load_gradio():
    code = "import sys, optvis; assert not {'gradio', 'matplotlib'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
def test_the_page_is_for_this_machine_only(page, demo):
    assert page.local_url.startswith("http://127.0.0.1:")
    with urllib.request.urlopen(page.local_url) as answer:
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
    assert not page.analytics_enabled and page.share_url is None
    port = int(page.local_url.rstrip("/").rpartition(":")[2])
    with pytest.raises(OSError, match=f"port {port} of 127.0.0.1 cannot be used"):
        launch(demo, port=port, open_browser=False, block=False)


@pytest.fixture
def tab(page):
    """The page in headless Chromium, of 1200 px width, with the addresses that it asks for."""
    driver = pytest.importorskip("playwright.sync_api", reason="the browser is driven by Playwright")
    if not CHROMIUM.exists():
        pytest.skip(f"no {CHROMIUM}")
    with driver.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        opened = browser.new_page(viewport={"width": 1200, "height": 1000})
        opened.set_default_timeout(60_000)
        asked: list[str] = []
        opened.on("request", lambda request: asked.append(request.url))
        opened.goto(page.local_url)
        opened.wait_for_selector("#new")
        opened.asked = asked
        yield opened
        browser.close()


def picture_in(tab: Any, name: str = "picture") -> Image.Image:
    """The picture on the screen, as it was sent."""
    source = tab.get_attribute(f"#{name} img", "src")
    with urllib.request.urlopen(source) as answer:
        return Image.open(io.BytesIO(answer.read())).convert("RGB")


def code_in(tab: Any, name: str = "code") -> str:
    return tab.eval_on_selector_all(f"#{name} .cm-line", "lines => lines.map(line => line.textContent).join('\\n')")


def status_of(tab: Any, text: str) -> str:
    """The status, when it contains a text."""
    tab.wait_for_function(f"document.querySelector('#status').textContent.includes({text!r})")
    return tab.inner_text("#status")


@pytest.mark.slow
@pytest.mark.native_precision  # the copied code runs in another process
def test_in_a_browser_a_picture_grows_changes_stops_and_its_code_makes_it(tab, tmp_path):
    tab.fill("#size input", "48")
    tab.fill("#steps input", "100000")
    tab.click("#new")
    status_of(tab, "step ")
    first, seen = picture_in(tab), tab.inner_text("#status")
    tab.wait_for_function(f"document.querySelector('#status').textContent.trim() != {seen!r}")
    time.sleep(2)
    second = np.asarray(picture_in(tab), float)
    assert np.abs(np.asarray(first.resize((48, 48)), float) - second).mean() > 3  # it grows

    tab.click("#class input")
    tab.get_by_role("option", name="pattern: dots").click()
    status_of(tab, "run 2")
    tab.fill("#size input", "56")
    status_of(tab, "56 × 56 px")
    tab.fill("#shift input[type=number]", "0.02")
    status_of(tab, "run 4")
    tab.click("#stop")
    status = status_of(tab, "stopped")
    time.sleep(1.5)
    assert tab.inner_text("#status") == status  # nothing goes on
    picture, code = picture_in(tab), code_in(tab)
    assert picture.size == (56, 56) and "Class('pattern', 'dots')" in code and "Jitter(0.02)" in code
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert same(picture, Image.open(tmp_path / "picture.png"))
    assert all(url.startswith(("http://127.0.0.1:", "data:", "blob:")) for url in tab.asked)


@pytest.mark.slow
def test_in_a_browser_layers_channels_and_errors(tab):
    tab.click("#kind label:has-text('direction')")
    tab.fill("#weights textarea, #weights input", "99: 1")
    tab.click("#new")
    tab.wait_for_selector("text=no channel 99: there are")
    tab.click("#kind label:has-text('channel')")
    tab.fill("#steps input", "8")
    tab.click("#layer input")
    tab.fill("#layer input", "features/8")
    tab.get_by_role("option", name="features/8", exact=True).click()
    tab.click("#channel input")
    tab.get_by_role("option", name="3", exact=True).click()
    tab.click("#new")
    status_of(tab, "finished: step 8 of 8")
    assert "Channel('features/8', 3)" in code_in(tab)


@pytest.mark.slow
@pytest.mark.native_precision
def test_in_a_browser_an_image_is_explained(tab, demo, tmp_path):
    file = tmp_path / "given.png"
    optvis.images.to_pil(make_pictures(1, seed=0)[0][0]).save(file)
    tab.get_by_role("tab", name="An image of yours").click()
    tab.set_input_files("#image input[type=file]", str(file))
    tab.wait_for_selector("#image img")
    tab.click("#explain")
    tab.wait_for_selector("#answer img")
    assert same(picture_in(tab, "answer"), optvis.attribute(demo, file).sheet())
    code = code_in(tab, "answer-code")
    assert "optvis.attribute(network, 'given.png', 'gradcam')" in code
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert same(picture_in(tab, "answer"), Image.open(tmp_path / "picture.png"))


@pytest.mark.slow
@pytest.mark.native_precision
def test_in_a_browser_an_image_is_exaggerated(tab, tmp_path):
    pytest.importorskip("optvis.recipes.caricature", reason="caricatures are not there yet")
    file = tmp_path / "given.png"
    optvis.images.to_pil(make_pictures(1, seed=0)[0][0]).save(file)
    tab.get_by_role("tab", name="An image of yours").click()
    tab.click("#exaggerate")
    tab.wait_for_selector("text=there is no image: drop one first")
    tab.set_input_files("#image input[type=file]", str(file))
    tab.wait_for_selector("#image img")
    tab.click("#exaggerate")
    tab.wait_for_selector("#answer img")
    code = code_in(tab, "answer-code")
    assert "optvis.caricature(network, 'given.png')" in code
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert same(picture_in(tab, "answer"), Image.open(tmp_path / "picture.png"))
