"""``Watch``: views of a network while it learns, without any effect on the training."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, overload

import torch
from PIL import Image
from torch import nn

from ..checks import as_count, as_number, choice, shown
from ..figure import Figure, settings_of
from ..interrupts import postponed
from ..network import NetworkInput, isolated, shadow
from ..result import Result
from ..text import printable
from ..visualisation import Visualisation
from .film import Film
from .random_states import kept_random_states
from .settings import Settings
from .sinks import as_sinks
from .timing import Timing
from .views import Contexts, needed, takes_images, titled, with_addresses


class Watch:
    """Draws views of a network while it learns, and changes nothing of the training.

    ::

        watch = Watch(["gradcam", View("vis", objective="layer4:7")], every=200, data=loader, to="watched")
        for step, (images, labels) in enumerate(loader):
            ...
            watch.step(network, step)
        watch.close()

    Weights, buffers, gradients, modes, hooks, the optimiser and all random states are the same as without. Each view
    gets a shadow of the network, in eval mode. A view that fails warns once, and the run goes on. Under
    ``torch.distributed`` only rank 0 draws; there is no barrier, so that the other ranks wait at their next collective
    operation for as long as it draws.

    Args:
        views: a ``View`` with its options, the name of a view, its function, a ``Film``, or any function of a network
            and a ``Context`` that returns a result or a PIL image; or ``(title, view)``; or a list of these.
        every: draw when the number of the step or epoch is a multiple of it; or a dict with a number for each title.
        data: images for the views: a ``DataLoader``, a data set, ``(images, labels)``, a tensor, a list, or a folder
            (see ``training.Source``). In Lightning and Hugging Face, by default that of the trainer.
        to: a folder, a ``SummaryWriter``, ``TensorBoard(folder)``, or a function that is called with
            ``({title: picture}, number)``, such as ``wandb.log``; or a list of these.
        budget: the largest share of the time that drawing may take, such as 0.05. Views that would exceed it are left
            out; those that have waited longest come first. A view is drawn once before its time is known. ``None`` for
            any share.
        options: the fields of ``training.Settings``: ``unit``, ``mode``, ``n_inputs``, ``resample_inputs``, ``n_data``,
            ``normalised``, ``mean``, ``std``, ``names`` and ``seed``.

    Attributes:
        settings: the options.
        timing: what each view has cost; ``str(watch.timing)`` is a report.

    Raises:
        ValueError: an unknown view, data without images or whose images cannot be read, or an invalid option.
        TypeError: no view, an unknown option, or an option that a view does not have.
    """

    def __init__(
        self,
        views: Any,
        every: int | Mapping[str, int] = 100,
        data: Any = None,
        to: Any = "watched",
        budget: float | None = None,
        **options: Any,
    ) -> None:
        self.settings = Settings.of(options)
        self.views = titled(views)
        self.every = _every(every, list(self.views))
        self.films = {title: one for title, one in self.views.items() if isinstance(one, Film)}
        self.timing = Timing(list(self.views), None if budget is None else as_number("budget", budget, 0, 1, ends="()"))
        self.contexts = Contexts(self.settings)
        if data is not None:
            self.contexts.take_from(data)
        self.sinks = as_sinks(to)
        self._input: NetworkInput | None = None  # of the network, once it is known
        self._unit = self.settings.unit
        self._latest: dict[str, int] = {}  # number of the step or epoch at which each view was last due
        self._drawings = self._epochs = 0
        self._warned: set[str] = set()

    @property
    def share(self) -> float:
        """The share of the time since the first step that drawing has taken, 0 to 1."""
        return self.timing.share

    def step(self, network: nn.Module, step: int) -> None:
        """Say that a training step has been taken; draws the views if they are due.

        Args:
            network: the network that is trained, wrapped or not.
            step: its number.

        Raises:
            ValueError: at the first call: a view needs images and there is no ``data``, or mean and std do not fit.
        """
        self.reached(network, step, "steps")

    @overload
    def epoch(self, network: nn.Module, epoch: int) -> None: ...
    @overload
    def epoch(self, network: nn.Module) -> Any: ...
    def epoch(self, network: nn.Module, epoch: int | None = None) -> Any:
        """Say that an epoch has ended; without its number, return a ``with`` block that is one epoch.

        ::

            with watch.epoch(network) as epoch:  # 0, 1, ...
                for images, labels in loader: ...

        Args:
            network: as for ``step``.
            epoch: its number. The block counts epochs itself, from 0.
        """
        if epoch is None:
            return self._epoch(network)
        return self.reached(network, epoch, "epochs")

    @contextmanager
    def _epoch(self, network: nn.Module) -> Iterator[int]:
        self.begin(network)
        yield self._epochs
        self.reached(network, self._epochs, "epochs")
        self._epochs += 1

    def begin(self, network: nn.Module, data: Callable[[], Any] = lambda: None) -> None:
        """Start the clock, and check what can only be checked with the network; the first step does it otherwise.

        Args:
            network: as for ``step``.
            data: returns the data of the trainer, or ``None``; used if a view needs images and there are none.

        Raises:
            ValueError: as for ``step``.
        """
        if not _on_first_rank() or self._input is not None:
            return
        if self.contexts.source is None:
            found = data() if takes_images(self.views) else None
            if found is not None:
                self.contexts.take_from(found)
            for title, name in needed(self.views).items() if found is None else ():
                raise ValueError(f"view {title!r} needs {name}: give Watch data=")
        given = NetworkInput.of(network, self.settings.mean, self.settings.std)
        self.contexts.check(given)
        self._input = given
        self.timing.begin()

    def reached(self, network: nn.Module, number: int, unit: str, evaluated: bool = False) -> None:
        """Draw the views if they are due at a step or epoch.

        Args:
            network: as for ``step``.
            number: of the step or epoch.
            unit: ``"steps"`` or ``"epochs"``.
            evaluated: True at the end of a validation.
        """
        if not _on_first_rank():
            return
        self.begin(network)
        self._unit = self._unit or unit
        if unit != self._unit:
            return
        due = [title for title in self.views if self._due(title, number, evaluated)]
        self._latest.update(dict.fromkeys(due, number))
        if due:
            self._draw(network, number, self.timing.affordable(due))

    def _due(self, title: str, number: int, evaluated: bool) -> bool:
        latest, every = self._latest.get(title), self.every[title]
        if evaluated:
            return latest is None or number - latest >= every
        return number % every == 0 and number != latest

    def draw(self, network: nn.Module, number: int) -> None:
        """Draw all views now, whether they are due or not, and whatever the budget; arguments as for ``step``."""
        if _on_first_rank():
            self.begin(network)
            self._draw(network, number, self.views)

    def close(self) -> None:
        """Write the films, and the share of the time to the index page and to TensorBoard."""
        if not _on_first_rank():
            return
        report = str(self.timing)
        for sink in self.sinks:
            with self._survived(repr(sink)), kept_random_states():
                sink.finish(self.films, report)

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def lightning(self, part: str | None = None) -> Any:
        """A callback for the ``Trainer`` of Lightning.

        Args:
            part: address of the part of the ``LightningModule`` that is drawn, such as ``"model"``; by default itself.

        Raises:
            ImportError: Lightning is missing.
        """
        from .lightning import callback

        return callback(self, part)

    def huggingface(self) -> Any:
        """A callback for the ``Trainer`` of Hugging Face's transformers.

        Raises:
            ImportError: transformers is missing.
        """
        from .huggingface import callback

        return callback(self)

    def _draw(self, network: nn.Module, number: int, titles: Iterable[str]) -> None:
        """Draw views, and hand them to the sinks."""
        device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
        if device.type == "cuda":
            torch.cuda.synchronize(device)  # the time of steps that are still queued is the training's
        drawn: dict[str, Result] = {}
        self._drawings += 1
        with kept_random_states(), isolated(device), self.timing.drawing():
            for title in titles:
                with self.timing.view(title) as cost, postponed():
                    with self._survived(f"view {title!r}"):
                        drawn[title] = self._drawn(title, network, number)
                    cost.drawn, cost.failed = cost.drawn + (title in drawn), cost.failed + (title not in drawn)
            for sink in self.sinks if drawn else ():
                with postponed(), self._survived(repr(sink)):
                    sink.write(number, drawn, self.films)

    def _drawn(self, title: str, network: nn.Module, number: int) -> Result:
        assert self._input is not None
        view = with_addresses(self.views[title], network)
        result: Any = view(shadow(network), self.contexts.of(view, self._input, self._drawings))
        if isinstance(result, Image.Image):
            return Figure(result.convert("RGB"), settings_of(title, network))
        if isinstance(view, Film) and isinstance(result, Visualisation):
            view.add(result, number)
        if isinstance(result, Result):
            return result
        raise TypeError(f"it returned {shown(result)}, not a Visualisation, Attribution, Figure or PIL image")

    @contextmanager
    def _survived(self, name: str) -> Iterator[None]:
        """Turn any error in the block into a warning, which is given once for each name."""
        try:
            yield
        except Exception as error:
            if name not in self._warned:
                self._warned.add(name)
                reason = printable(f"{type(error).__name__}: {error}")
                warnings.warn(f"watching: {name} failed, and the training goes on: {reason}", stacklevel=6)

    def __repr__(self) -> str:
        return f"Watch({list(self.views)}, {self.share:.1%} of the time)"


def _every(every: Any, titles: Sequence[str]) -> dict[str, int]:
    """The number of steps or epochs between drawings of each view; raises ``ValueError`` if one is missing."""
    if not isinstance(every, Mapping):
        return dict.fromkeys(titles, as_count("every", every))
    for title in every:
        choice("view", title, titles)
    missing = [title for title in titles if title not in every]
    if missing:
        raise ValueError(f"every has no number for view {missing[0]!r}: give one for each view")
    return {title: as_count(f"every of {title!r}", every[title]) for title in titles}


def _on_first_rank() -> bool:
    distributed = torch.distributed
    return not (distributed.is_available() and distributed.is_initialized()) or distributed.get_rank() == 0
