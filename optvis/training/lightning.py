"""``Watch`` in Lightning."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import nn

from ..network import find_layer
from ..network.addresses import module_at

if TYPE_CHECKING:
    from .watch import Watch


def callback(watch: Watch, part: str | None) -> Any:
    """A callback of Lightning that calls ``watch``; of the package that is in use, lightning or pytorch_lightning."""
    try:
        if "pytorch_lightning" in sys.modules and "lightning.pytorch" not in sys.modules:
            from pytorch_lightning import Callback
        else:
            from lightning.pytorch import Callback  # type: ignore[assignment]
    except ImportError as error:
        raise ImportError("watch.lightning() needs Lightning: pip install 'optvis[lightning]'") from error

    class WatchCallback(Callback):  # type: ignore[misc]
        """Draws the views of ``watch``."""

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            evaluating = watch.settings.mode == "eval"
            watch.begin(_part(pl_module, part), lambda: _first(getattr(trainer, _LOADERS[evaluating])))

        def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            self._reached(trainer, pl_module, "steps", "train")

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            self._reached(trainer, pl_module, "epochs", "train")

        def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
            if not trainer.sanity_checking:
                self._reached(trainer, pl_module, watch.settings.unit or "steps", "eval")

        def on_train_end(self, *_: Any) -> None:
            watch.close()

        def on_exception(self, *_: Any) -> None:
            watch.close()

        def _reached(self, trainer: Any, pl_module: Any, unit: str, mode: str) -> None:
            if mode == watch.settings.mode and unit == (watch.settings.unit or "steps"):
                number = trainer.global_step if unit == "steps" else trainer.current_epoch
                watch.reached(_part(pl_module, part), number, unit, evaluated=mode == "eval")

    return WatchCallback()


_LOADERS = ("train_dataloader", "val_dataloaders")


def _part(module: nn.Module, part: str | None) -> nn.Module:
    return module if part is None else module_at(module, find_layer(module, part))


def _first(loaders: Any) -> Any:
    """The first of several loaders."""
    if isinstance(loaders, Mapping):
        loaders = list(loaders.values())
    return _first(loaders[0]) if isinstance(loaders, (list, tuple)) and loaders else loaders
