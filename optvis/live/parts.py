"""Parts that both tabs of the live view use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..text import printable


@contextmanager
def errors_shown(gradio: Any) -> Iterator[None]:
    """Within the block an error is shown on the page, as Gradio shows its own ``Error``."""
    try:
        yield
    except Exception as error:
        raise gradio.Error(printable(str(error)), duration=8, print_exception=False) from error


def picture_box(gradio: Any, name: str) -> Any:
    """A picture, sent without loss, with a button that downloads it."""
    return gradio.Image(
        type="pil", format="png", height=448, show_label=False, interactive=False, buttons=["download"], elem_id=name
    )


def code_box(gradio: Any, name: str) -> Any:
    """Python code with a button that copies it."""
    return gradio.Code(
        language="python", label="The Python that makes this picture", interactive=False, buttons=["copy"],
        elem_id=name, wrap_lines=True,
    )  # fmt: skip
