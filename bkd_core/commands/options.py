# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What commands share: dotted overrides, unknown options, the data root, what is installed."""

from __future__ import annotations

from dataclasses import asdict, fields
import difflib
import importlib.util
import os
from pathlib import Path
from typing import Any, Iterable

from bkd_core.config import TrainingConfig
from bkd_core.config_file import override
from bkd_core.errors import InputError


def override_settings(
    command: Any, config: TrainingConfig, options: list[str], *, prefix: str = '',
) -> TrainingConfig:
    """
    Return a configuration with dotted options applied.

    :param command: The command that they were given to.
    :param config: The configuration as it was read.
    :param options: Words that the command itself does not know.
    :param prefix: Only settings that begin with it may be replaced.
    :raises InputError: If an option is unknown or its value is wrong.
    """
    own = {f'--{item.name}'.replace('_', '-') for item in fields(command)}
    known = {f'--{key}' for key in _dotted_keys(asdict(config)) if key.startswith(prefix)}
    for option in options:
        name = option.split('=')[0].replace('_', '-')
        if name.startswith('--') and name not in known and '.options.' not in name:
            raise _unknown_option(name, known | own)
    return override(config, options, f'bkd {type(command).__name__.lower()}')


def refuse_options(command: Any, words: list[str], group: str = '') -> None:
    """
    Refuse words that a command does not know.

    :param command: The command that they were given to.
    :param words: The words; must be empty.
    :param group: The command that it belongs to, such as 'benchmark '.
    :raises InputError: If it is not, with the option that may be meant.
    """
    name = type(command).__name__.lower()
    for word in words:
        known = [f'--{item.name}'.replace('_', '-') for item in fields(command)]
        near = difflib.get_close_matches(word, known, n=1) if word.startswith('--') else []
        hint = f" Did you mean '{near[0]}'?" if near else ''
        raise InputError(f"unknown option '{word}'.{hint} See 'bkd {group}{name} --help'")


def find_data_root(given: Path | None) -> Path | None:
    """
    Return the folder that holds the data sets; None if nothing names one.

    :param given: The option --data-root; None takes the variable BKD_DATA_ROOT.
    :raises InputError: If it is no folder.
    """
    variable = os.environ.get('BKD_DATA_ROOT')
    root = given or (Path(variable) if variable else None)
    if root is not None and not root.is_dir():
        where = '--data-root' if given else 'BKD_DATA_ROOT'
        raise InputError(f'{where}: no such folder: {root}')
    return root


def require_training() -> None:
    """
    Refuse a command that trains where the packages for it are missing.

    :raises InputError: With the line that installs them.
    """
    for module in ('torch', 'torchvision', 'timm', 'safetensors', 'onnx'):
        if importlib.util.find_spec(module) is None:
            raise InputError(
                f"this command needs '{module}', which is not installed: "
                "pip install 'bkd_ros[train]'")


def _unknown_option(name: str, known: Iterable[str]) -> InputError:
    near = difflib.get_close_matches(name, sorted(known), n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ''
    return InputError(
        f"unknown option '{name}'.{hint} 'bkd train FILE --show' prints all settings")


def _dotted_keys(values: dict[str, Any], prefix: str = '') -> list[str]:
    keys = []
    for key, value in values.items():
        keys.append(f'{prefix}{key}'.replace('_', '-'))
        if isinstance(value, dict):
            keys.extend(_dotted_keys(value, f'{prefix}{key}.'))
    return keys
