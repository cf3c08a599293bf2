"""The tab of the live view on which a picture grows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..network.inputs import NetworkInput
from .choice import DEGREES, KINDS, SCALE, SHIFT, Amounts, Choice, Menu
from .parts import code_box, errors_shown, picture_box
from .session import Session


def growing_tab(gradio: Any, page: Any, session: Session, menu: Menu) -> None:
    """Lay out the tab and connect it to a session."""
    with gradio.Row():
        with gradio.Column(scale=9, min_width=300):
            fields = [*_objective_fields(gradio, menu), *_number_fields(gradio, session)]
        with gradio.Column(scale=12, min_width=360):
            picture = picture_box(gradio, "picture")
            status = gradio.Markdown(session.shot.status, elem_id="status")
            with gradio.Row():
                new = gradio.Button("New picture", variant="primary", elem_id="new", min_width=90)
                further = gradio.Button("Continue", elem_id="continue", min_width=90)
                stop = gradio.Button("Stop", elem_id="stop", min_width=90)
    shown = [picture, status, code_box(gradio, "code")]
    acts = _Acts(gradio, session, menu)
    # Nothing that the user does waits for what is watched. Without the queue, Gradio would not show errors.
    done: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}
    new.click(acts.start, fields, None, **done).success(acts.watch, None, shown, **done)
    further.click(acts.resume, fields, None, **done).success(acts.watch, None, shown, **done)
    stop.click(session.stop, None, None, **done)
    page.load(acts.watch, None, shown, **done)
    kind, layer, channel, *others = fields
    kind.input(acts.show_fields, kind, fields[1:5], **done).then(acts.change, fields, None, **done)
    layer.input(acts.show_channels, layer, channel, **done).success(acts.change, fields, None, **done)
    for one in (channel, *others):
        one.input(acts.change, fields, None, **done)


def _objective_fields(gradio: Any, menu: Menu) -> list[Any]:
    """Kind, layer, channel, class, and weights of a direction."""
    kinds = [kind for kind in KINDS if kind != "class" or menu.classes]
    first, layer = next(iter(menu.classes), None), menu.last_layer
    channels = list(menu.channels(layer))
    kind = gradio.Radio(kinds, value="class" if first else "channel", label="Draw a", elem_id="kind")
    return [
        kind,
        gradio.Dropdown(list(menu.layers), value=layer, label="Layer", elem_id="layer", visible=not first),
        gradio.Dropdown(channels, value=channels[0], label="Channel", elem_id="channel", visible=not first),
        gradio.Dropdown(list(menu.classes), value=first, label="Class", elem_id="class", visible=bool(first)),
        gradio.Textbox("0: 1, 1: 1", label="Channels and their weights", elem_id="weights", visible=False),
    ]


def _number_fields(gradio: Any, session: Session) -> list[Any]:
    """Size, steps, seed, and the amounts of the transforms."""
    size = max(NetworkInput.of(session.network, **session.options).default_size)
    with gradio.Row():
        numbers = [
            gradio.Number(value, label=label, precision=0, minimum=least, elem_id=name, min_width=90)
            for name, label, value, least in (
                ("size", "Size (px)", size, 8), ("steps", "Steps", 128, 1), ("seed", "Seed", 0, 0)
            )
        ]  # fmt: skip
    with gradio.Accordion("Transforms", open=True):
        amounts = [
            gradio.Slider(0, most, value, step=step, label=label, elem_id=name)
            for name, label, value, most, step in (
                ("shift", "Shift", SHIFT, 0.5, 0.01),
                ("scale", "Scale", SCALE, 0.5, 0.01),
                ("degrees", "Rotation (degrees)", DEGREES, 90, 1),
            )
        ]
    return [*numbers, *amounts]


class _Acts:
    """What happens on the tab."""

    def __init__(self, gradio: Any, session: Session, menu: Menu) -> None:
        self.gradio, self.session, self.menu = gradio, session, menu

    def _choice(self, fields: tuple[Any, ...]) -> Choice:
        kind, layer, channel, label, weights, size, steps, seed, *amounts = fields
        objective = self.menu.objective(kind, layer, str(channel), label, weights or "")
        return Choice(objective, size or 0, steps or 0, seed or 0, Amounts(*amounts))

    def start(self, *fields: Any) -> None:
        with errors_shown(self.gradio):
            self.session.start(self._choice(fields))

    def resume(self, *fields: Any) -> None:
        with errors_shown(self.gradio):
            self.session.resume(self._choice(fields))

    def change(self, *fields: Any) -> None:
        if self.session.running:
            with errors_shown(self.gradio):
                self.session.change(self._choice(fields))

    def watch(self) -> Iterator[tuple[Any, ...]]:
        for shot in self.session.watch():
            yield (self.gradio.skip() if shot.picture is None else shot.picture), shot.status, shot.code

    def show_fields(self, kind: str) -> list[Any]:
        visible = [kind != "class", kind == "channel", kind == "class", kind == "direction"]
        return [self.gradio.update(visible=one) for one in visible]

    def show_channels(self, layer: str) -> Any:
        with errors_shown(self.gradio):
            names = list(self.menu.channels(layer))
            return self.gradio.update(choices=names, value=names[0])
