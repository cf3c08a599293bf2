"""``python -m optvis`` and the ``optvis`` command."""

from __future__ import annotations

import io
import sys


def main() -> None:
    """Run the command line; without typer, say what to install."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # the terminal's encoding may lack characters
    try:
        try:
            import typer  # noqa: F401
        except ImportError:
            sys.exit("optvis: the command line needs typer: pip install 'optvis[cli]'")
        from .cli import run

        code = run()
    except KeyboardInterrupt:  # while modules were imported
        code = 130
    # Python remembers a KeyboardInterrupt that passed through exec (which dataclasses use) even after it was caught,
    # and then ends itself by SIGINT instead of with this exit code. Another call of exec clears that state.
    exec("")
    sys.exit(code)


if __name__ == "__main__":
    main()
