"""``python -m ddbench`` and the ``ddbench`` command."""

import sys

from ddbench.cli import main as run_command_line


def main() -> None:
    """Entry point of the installed command."""
    sys.exit(run_command_line())


if __name__ == "__main__":
    main()
