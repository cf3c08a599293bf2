"""The progress bar of methods that pass many images through the network."""

from __future__ import annotations

from typing import Any

from ..display import check_verbose, progress_bar


class Progress:
    """A progress bar that counts images passed through the network, with the time left; a context manager.

    It appears when a method says how many images it will pass. Methods that take one pass say nothing and show none.

    Args:
        name: of the method.
        verbose: as for ``progress_bar``; by default it shows none.
        runs: how many times the method will run, at least once.
    """

    def __init__(self, name: str = "", verbose: bool | str = False, runs: int = 1) -> None:
        check_verbose(verbose)
        self._name, self._verbose, self._runs = name, verbose, runs
        self._bar: Any = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def begin(self, images: int) -> None:
        """A run of the method will pass this many images; later runs are expected to pass as many."""
        if self._bar is None:
            self._bar = progress_bar(images * self._runs, self._verbose, self._name)
        self._bar.total = self._bar.n + images * self._runs
        self._runs -= 1

    def extend(self, images: int) -> None:
        """This many images are added to what was expected."""
        self._bar.total += images

    def advance(self, images: int) -> None:
        """This many images have passed."""
        if self._bar is not None:
            self._bar.update(images)
