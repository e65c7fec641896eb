# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The command line: bkd train | adapt | evaluate | export | predict | bag | benchmark | ..."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import sys

from bkd_core.commands import Command
from bkd_core.errors import InputError
import tyro


def main(arguments: list[str] | None = None) -> None:
    """
    Run a command; a user's mistake becomes one line on standard error and exit code 2.

    :param arguments: The command line without the program's name; None takes sys.argv.
    """
    try:
        command, rest = _parse(arguments)
        command.run(rest)
        sys.stdout.flush()
    except InputError as error:
        _fail(str(error), 2)
    except BrokenPipeError:  # such as `bkd train FILE --show | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (PermissionError, FileExistsError, NotADirectoryError) as error:
        _fail(f'{error.filename}: {error.strerror}', 2)
    except KeyboardInterrupt:
        _fail('stopped; the same command goes on from the last checkpoint', 130)


def _fail(message: str, code: int) -> None:
    print('bkd: error:', ' '.join(message.split()), file=sys.stderr)
    sys.exit(code)


def _parse(arguments: list[str] | None) -> tuple[Command, list[str]]:
    """Return the command and the words that it doesn't know, which may be dotted options."""
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(
                Command, prog='bkd', args=arguments, return_unknown_args=True,
                description='Adapt a segmentation network to a camera without labels (UDA + BKD).')
    except SystemExit as stop:
        if not stop.code:
            raise  # it was --help
        # tyro draws a box; what stands above its inner line is the reason.
        lines = [line.strip('│ ') for line in complaint.getvalue().splitlines()[1:]]
        reason = itertools.takewhile(lambda line: not line.startswith(('─', '╰')), lines)
        raise InputError(' '.join(reason) + " See 'bkd --help'") from stop


if __name__ == '__main__':
    main()
