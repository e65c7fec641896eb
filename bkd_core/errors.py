# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The error that a user's mistake raises, and the usual causes of it."""

from __future__ import annotations

import difflib
from typing import Any, Iterable


class InputError(ValueError):
    """
    Say what is wrong with something that the user gave, and how to mend it.

    The command line prints its text in one line and exits with code 2; any other exception
    is a defect of the program and keeps its traceback.
    """


def unknown_name(kind: str, name: str, choices: Iterable[str]) -> InputError:
    """
    Return the error for a name that is not among the choices.

    :param kind: What is being chosen, such as 'method'.
    :param name: What the user wrote.
    :param choices: The names that exist.
    :return: An error that lists the choices and names the nearest one.
    """
    choices = sorted(choices)
    near = difflib.get_close_matches(name, choices, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ''
    return InputError(f"Unknown {kind} '{name}'; choose one of {choices}.{hint}")


def require(condition: bool, setting: str, got: Any, expected: str) -> None:
    """
    Refuse a setting's value.

    :param condition: Whether the value may stand.
    :param setting: Its dotted name, for the message.
    :param got: The value.
    :param expected: What it may be, in words.
    :raises InputError: If it may not.
    """
    if not condition:
        raise InputError(f'{setting}: got {got!r}; expected {expected}')
