"""The command line: one file per command, found by location; a thin layer over ``ddbench.api``.

A command's module has ``HELP``, ``EXAMPLE``, ``add_arguments(parser)`` and ``run(args) -> int``. It
imports what it needs inside ``run``, so that ``--help`` is quick.
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import sys
from collections.abc import Sequence

import ddbench
from ddbench import plugins

EXIT_DONE, EXIT_FAILED, EXIT_BAD_INPUT, EXIT_CUT_OFF, EXIT_INTERRUPTED = 0, 1, 2, 75, 130


class _Parser(argparse.ArgumentParser):
    """Argument errors in one line, exit code 2."""

    def error(self, message: str) -> None:  # type: ignore[override]
        print(f"ddbench: {message}; see '{self.prog} --help'", file=sys.stderr)
        raise SystemExit(EXIT_BAD_INPUT)


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = _Parser(
        prog="ddbench",
        description="Benchmark suite for dataset distillation: a recipe in, a table row out.",
        epilog="example: ddbench run recipes/digits_dc_ipc2.yaml && ddbench table results/",
    )
    parser.add_argument("--version", action="version", version=f"ddbench {ddbench.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    for name in plugins.names(__name__):
        module = plugins.load(__name__, name)
        command = commands.add_parser(
            name.rstrip("_"), help=module.HELP, description=module.HELP,
            epilog=f"example: {module.EXAMPLE}",
        )  # fmt: skip
        module.add_arguments(command)
        command.set_defaults(handler=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code (0, 1, 2, 75, 130)."""
    from ddbench.errors import BadInput, CutOff, RunFailed
    from ddbench.store.lock import Locked

    args = build_parser().parse_args(argv)
    if args.command is None:
        build_parser().print_help()
        return EXIT_BAD_INPUT
    level = logging.DEBUG if os.environ.get("DDBENCH_DEBUG") else logging.INFO
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    logging.getLogger("ddbench").setLevel(level)
    codes = {BadInput: EXIT_BAD_INPUT, RunFailed: EXIT_FAILED, Locked: EXIT_FAILED,
             CutOff: EXIT_CUT_OFF}  # fmt: skip
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without the character still prints
    try:
        code: int = args.handler(args)
        if sys.stdout is not None:
            sys.stdout.flush()
    except (BadInput, RunFailed, Locked, CutOff) as error:
        print(f"ddbench: {' '.join(str(error).splitlines())}", file=sys.stderr)
        code = next(code for kind, code in codes.items() if isinstance(error, kind))
    except KeyboardInterrupt:
        print("ddbench: interrupted; the same command resumes it", file=sys.stderr)
        code = EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe has gone: no message can reach it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = EXIT_DONE
    except OSError as error:  # a path that cannot be read or written
        place = f"{error.filename}: " if error.filename else ""
        print(f"ddbench: {place}{error.strerror or error}", file=sys.stderr)
        code = EXIT_BAD_INPUT
    return code
