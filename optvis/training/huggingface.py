"""``Watch`` in the ``Trainer`` of Hugging Face's transformers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .watch import Watch


def callback(watch: Watch) -> Any:
    """A callback of transformers that calls ``watch``."""
    try:
        from transformers import TrainerCallback
    except ImportError as error:
        raise ImportError("watch.huggingface() needs transformers: pip install 'optvis[hf]'") from error

    class WatchCallback(TrainerCallback):  # type: ignore[misc]
        """Draws the views of ``watch``."""

        def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            if watch.settings.mode == "train":  # the other loader is made for the first evaluation
                watch.begin(given["model"], lambda: given.get("train_dataloader"))

        def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            self._reached(state, given["model"], "steps", "train")

        def on_epoch_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            self._reached(state, given["model"], "epochs", "train")

        def on_evaluate(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            if watch.settings.mode == "eval":
                watch.begin(given["model"], lambda: given.get("eval_dataloader"))
            self._reached(state, given["model"], watch.settings.unit or "steps", "eval")

        def on_train_end(self, *_: Any, **__: Any) -> None:
            watch.close()

        def _reached(self, state: Any, network: Any, unit: str, mode: str) -> None:
            if mode == watch.settings.mode and unit == (watch.settings.unit or "steps"):
                number = state.global_step if unit == "steps" else round(state.epoch)
                watch.reached(network, number, unit, evaluated=mode == "eval")

    return WatchCallback()
