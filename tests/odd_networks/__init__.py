"""Networks of every kind, and the truth about their layers, written by hand from their sources."""

from .architecture import Architecture, Layout
from .check import Verdict, check
from .listing import ARCHITECTURES, QUICK

__all__ = ["ARCHITECTURES", "QUICK", "Architecture", "Layout", "Verdict", "check"]
