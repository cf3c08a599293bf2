"""Views of a network while it learns: in a plain loop, in Lightning and in Hugging Face's ``Trainer``."""

from .film import Film
from .samples import Source
from .settings import Settings
from .sinks import Call, Folder, Sink, TensorBoard
from .watch import Watch

__all__ = ["Call", "Film", "Folder", "Settings", "Sink", "Source", "TensorBoard", "Watch"]
