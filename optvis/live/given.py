"""The tab of the live view for an image of the user's: attribution and caricature."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

from ..attribution import METHODS, attribute
from ..objectives import Objective
from .choice import Menu
from .parts import code_box, errors_shown, picture_box
from .session import Session

BEST = "the most probable class"
DEPTHS = "three, from early to late"


def given_tab(gradio: Any, session: Session, menu: Menu) -> None:
    """Lay out the tab and connect it to a session."""
    acts = _Acts(gradio, session, menu)
    with gradio.Row():
        with gradio.Column(scale=9, min_width=300):
            image = gradio.Image(
                type="filepath", label="Drop an image", sources=["upload", "clipboard"], height=260, elem_id="image"
            )
            method = gradio.Dropdown(list(METHODS), value="gradcam", label="Method", elem_id="method")
            target = gradio.Dropdown([BEST, *menu.classes], value=BEST, label="Class", elem_id="target")
            explain = gradio.Button("Attribution", variant="primary", elem_id="explain")
            layer = gradio.Dropdown([DEPTHS, *menu.layers], value=DEPTHS, label="Layer", elem_id="image-layer")
            exaggerate = gradio.Button("Caricature", elem_id="exaggerate")
        with gradio.Column(scale=12, min_width=360):
            shown = [picture_box(gradio, "answer"), code_box(gradio, "answer-code")]
    one = {"concurrency_id": "image", "concurrency_limit": 1, "api_visibility": "private"}
    explain.click(acts.attribution, [image, method, target], shown, **one)
    exaggerate.click(acts.caricature, [image, layer], shown, **one)


class _Acts:
    """What happens on the tab."""

    def __init__(self, gradio: Any, session: Session, menu: Menu) -> None:
        self.gradio, self.session, self.menu = gradio, session, menu

    def attribution(self, path: str | None, method: str, label: str) -> tuple[Image.Image, str]:
        with errors_shown(self.gradio):
            target = self.menu.target(label)
            result = attribute(
                self.session.network, _given(path), method, target, verbose=False, **self.session.options
            )
            said = "" if target is None else f", target={'optvis.' * isinstance(target, Objective)}{target!r}"
            return result.sheet(), self._code("attribute", path, f", {method!r}{said}")

    def caricature(self, path: str | None, layer: str) -> tuple[Image.Image, str]:
        with errors_shown(self.gradio):
            from ..recipes.caricature import caricature

            given = None if layer == DEPTHS else layer
            result = caricature(self.session.network, _given(path), given, verbose=False, **self.session.options)
            return result.sheet(), self._code("caricature", path, "" if given is None else f", {given!r}")

    def _code(self, function: str, path: str | None, arguments: str) -> str:
        options = "".join(f", {name}={value!r}" for name, value in self.session.options.items())
        return "\n".join(
            [
                "import optvis",
                "",
                *self.session.preamble,
                f"result = optvis.{function}(network, {Path(_given(path)).name!r}{arguments}{options})",
                'result.save("picture.png")',
            ]
        )


def _given(path: str | None) -> str:
    if path is None:
        raise ValueError("there is no image: drop one first")
    return path
