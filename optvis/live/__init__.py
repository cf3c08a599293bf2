"""A live view of a network in the browser: pictures that grow while their settings change."""

from .page import launch

__all__ = ["launch"]
