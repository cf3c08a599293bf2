"""The page of the live view, made with Gradio."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ..checks import as_flag, as_whole
from ..network import unwrap
from ..network.inputs import NetworkInput
from .choice import Menu
from .given import given_tab
from .growing import growing_tab
from .session import Session

CSS = """
.gradio-container {max-width: 1180px !important; margin: 0 auto !important;}
#picture img, #answer img {width: 100%; height: 100%; object-fit: contain;}
#kind .wrap {gap: 4px;}
#kind label {padding: 4px 8px;}
footer {display: none !important;}
"""
POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:"
"""The page loads nothing from outside: browsers refuse what this header does not name."""


def launch(
    network: nn.Module,
    port: int | None = 7860,
    open_browser: bool = True,
    name: str | None = None,
    *,
    weights: str | os.PathLike[str] | None = None,
    names: str | os.PathLike[str] | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    block: bool = True,
) -> Any:
    """Open a page on which pictures of a network grow while their settings change.

    The page is served to this machine only (127.0.0.1), to one user; it loads nothing from elsewhere and sends nothing.
    It shows the Python that makes the picture on the screen, at every step.

    Args:
        network: any ``nn.Module`` that takes images; it is read only.
        port: of the page; ``None`` for a free one.
        open_browser: open the page in the browser.
        name: with which ``load_network`` loads the network, for the Python that is shown.
        weights: the file of weights that ``load_network`` was given, likewise.
        names: the file of names that ``load_network`` was given, likewise.
        mean: of the normalisation, per channel; by default the network's own.
        std: likewise.
        block: return after Ctrl-C only; with ``False`` at once.

    Returns:
        Gradio's ``Blocks``, with ``local_url`` and ``close()``.

    Raises:
        ImportError: Gradio is not installed.
        OSError: the port is in use.
        ValueError: mean and std that do not fit the network.
    """
    gradio = _gradio()
    if port is not None:
        as_whole("port", port, 1, 65535)
    as_flag("open_browser", open_browser)
    device = NetworkInput.of(network, mean, std).device
    options = {key: value for key, value in (("mean", mean), ("std", std)) if value is not None}
    session = Session(network, _preamble(name, weights, names, device), options)
    title = f"optvis live: {name or type(unwrap(network)).__name__}"
    page = _page(gradio, session, Menu.of(network, options), title)
    page.queue(default_concurrency_limit=1, api_open=False)
    try:
        page.launch(
            server_name="127.0.0.1", server_port=port, inbrowser=open_browser, share=False, prevent_thread_lock=True,
            quiet=True, show_error=True, footer_links=[], ssr_mode=False, css=CSS, theme=_theme(gradio),
            mcp_server=False, enable_monitoring=False, app_kwargs={"middleware": [_policy()]},
        )  # fmt: skip
    except OSError as error:
        raise OSError(f"port {port} of 127.0.0.1 cannot be used: give another one, port= ({error})") from error
    print(f"{title}: {page.local_url} (Ctrl-C ends)")
    if block:
        page.block_thread()
    return page


def _gradio() -> Any:
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when Gradio is imported, and in each launch
    try:
        import gradio
    except ImportError as error:
        raise ImportError("the live view needs Gradio: pip install 'optvis[live]'") from error
    return gradio


def _theme(gradio: Any) -> Any:
    """A plain theme in the fonts of the system: Gradio's own come from the network."""
    plain, mono = ["system-ui", "sans-serif"], ["ui-monospace", "monospace"]
    return gradio.themes.Base(font=plain, font_mono=mono, primary_hue="blue", neutral_hue="gray", radius_size="sm")


def _policy() -> Any:
    from starlette.middleware import Middleware

    class Policy:
        """Adds ``POLICY`` to every answer."""

        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            async def with_policy(message: Any) -> None:
                if message["type"] == "http.response.start":
                    headers = [*message.get("headers", ()), (b"content-security-policy", POLICY.encode())]
                    message = {**message, "headers": headers}
                await send(message)

            await self.app(scope, receive, with_policy if scope["type"] == "http" else send)

    return Middleware(Policy)


def _preamble(name: str | None, weights: Any, names: Any, device: torch.device) -> list[str]:
    if name is None:
        return ["network = ...  # your network, as it was given to optvis.live.launch", ""]
    given = "".join(f", {key}={str(value)!r}" for key, value in (("weights", weights), ("names", names)) if value)
    moved = "" if device.type == "cpu" else f".to({str(device)!r})"
    return [f"network = optvis.load_network({name!r}{given}){moved}", ""]


def _page(gradio: Any, session: Session, menu: Menu, title: str) -> Any:
    with gradio.Blocks(title=title, analytics_enabled=False, delete_cache=(60, 600)) as page:
        gradio.Markdown(f"## {title}")
        with gradio.Tab("A picture that grows"):
            growing_tab(gradio, page, session, menu)
        with gradio.Tab("An image of yours"):
            given_tab(gradio, session, menu)
    return page
