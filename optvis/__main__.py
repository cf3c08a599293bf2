"""``python -m optvis`` and the ``optvis`` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; without typer, say what to install."""
    try:
        import typer  # noqa: F401
    except ImportError:
        sys.exit("optvis: the command line needs typer: pip install 'optvis[cli]'")
    from .cli import run

    sys.exit(run())


if __name__ == "__main__":
    main()
