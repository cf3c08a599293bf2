"""``python -m optvis`` and the ``optvis`` command."""

from __future__ import annotations

import io
import sys


def main() -> None:
    """Run the command line; without typer, say what to install."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal may lack letters
    try:
        try:
            import typer  # noqa: F401
        except ImportError:
            sys.exit("optvis: the command line needs typer: pip install 'optvis[cli]'")
        from .cli import run

        code = run()
    except KeyboardInterrupt:  # while modules are imported
        code = 130
    # A KeyboardInterrupt that passed through exec, as while a dataclass is made, is remembered although it was caught:
    # Python then ends itself by SIGINT in place of this exit code. Another exec makes it forget.
    exec("")
    sys.exit(code)


if __name__ == "__main__":
    main()
