# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
Configuration files: YAML that holds only what differs from the defaults.

A file may list `stages`: each stage is a training run of its own that takes the file's other
keys and adds or replaces some. A stage refers to an earlier one as `stage:NAME`.
"""

from __future__ import annotations

from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
import re
import types
from typing import Any, get_args, get_origin, get_type_hints, Literal, Union

from bkd_core.config import MODEL_PRESETS, ModelConfig, TrainingConfig
from bkd_core.errors import InputError, unknown_name
from bkd_core.method_config import METHOD_CONFIGS, MethodConfig
import yaml

# Settings that configurations of earlier versions didn't have.
_ADDED_LATER = (
    'gradient_accumulation_steps', 'sync_batch_norm', 'optimizer.name', 'optimizer.momentum')


def load_experiment(path: str | Path) -> dict[str, TrainingConfig]:
    """
    Read a configuration file.

    :param path: The YAML file.
    :return: One configuration for each stage, in order; a file without stages has one that
        is named 'model'.
    :raises InputError: If the file is missing or anything in it is unknown or out of range.
    """
    path = Path(path)
    values = read_yaml(path)
    stages = values.pop('stages', None)
    if stages is None:
        return {'model': parse(values, str(path))}
    if not isinstance(stages, dict) or not stages:
        raise InputError(f"{path}: stages: expected a mapping 'name: settings'; got {stages!r}")
    experiment = {}
    for name, changes in stages.items():
        _check_stage(name, changes, path)
        merged = merge(values, changes or {})
        experiment[name] = parse(merged, f'{path}: stages.{name}')
        for reference in references(experiment[name]):
            if reference not in experiment or reference == name:
                raise InputError(
                    f"{path}: stages.{name}: 'stage:{reference}' is not an earlier stage; "
                    f'earlier are {[stage for stage in experiment if stage != name]}')
    return experiment


def references(config: TrainingConfig) -> list[str]:
    """
    Return the names of the earlier stages that a configuration builds on.

    :param config: A stage's configuration.
    """
    teachers = getattr(config.method, 'teacher', None)
    if isinstance(teachers, str):
        teachers = (teachers,)
    values = (config.model.init, *(teachers or ()))
    return [value[len('stage:'):] for value in values if value and value.startswith('stage:')]


def parse(values: dict[str, Any], where: str) -> TrainingConfig:
    """
    Build a configuration from plain values.

    :param values: What a YAML file holds.
    :param where: The file's name, for messages.
    :raises InputError: If a key is unknown, or a value has the wrong type or range.
    """
    try:
        return _build(TrainingConfig, _write_out_preset(values), where, '')
    except InputError as error:
        text = str(error)
        raise InputError(text if text.startswith(where) else f'{where}: {text}') from error


def override(config: TrainingConfig, options: list[str], where: str) -> TrainingConfig:
    """
    Apply dotted command line options, such as '--optimizer.learning-rate 1e-4'.

    As in a file's stages, a method or data set of another name replaces all its settings.

    :param config: The configuration to start from.
    :param options: Words of the command line; '--key=value' works too.
    :param where: The command, for messages.
    :raises InputError: If an option is unknown, or a value is missing or wrong.
    """
    values = yaml.safe_load(to_yaml(config, is_complete=True))
    changes: dict[str, Any] = {}
    for option, words in _pair_options(options, where):
        *parents, last = option[2:].replace('-', '_').split('.')
        level, old = changes, values
        for key in parents:
            level = level.setdefault(key, {})
            old = old.get(key, {}) if isinstance(old, dict) else {}
            if not isinstance(level, dict):
                raise InputError(f"{where}: '{option}' contradicts an option before it")
        if not isinstance(old, dict) or not isinstance(old.get(last), str):
            words = [_read_word(word) for word in words]
        level[last] = words[0] if len(words) == 1 else words
    return parse(merge(values, changes), where)


def to_yaml(config: TrainingConfig, *, is_complete: bool = False) -> str:
    """
    Return the resolved configuration as YAML that `load_experiment` reads back.

    Its hash is a run's fingerprint, so settings that were added later are left out while they
    have their default: runs that were begun before stay the same.

    :param config: Any configuration.
    :param is_complete: Leave nothing out. Without, the text holds what decides the network,
        which is what runs are told apart by, and not what the run writes down.
    """
    values = _plain(asdict(config))
    if is_complete:
        return yaml.safe_dump(values, sort_keys=False)
    del values['records']
    defaults = _plain(asdict(TrainingConfig()))
    for setting in _ADDED_LATER:
        *parents, last = setting.split('.')
        level, default = values, defaults
        for key in parents:
            level, default = level[key], default[key]
        if level[last] == default[last]:
            del level[last]
    return yaml.safe_dump(values, sort_keys=False)


def _pair_options(options: list[str], where: str) -> list[tuple[str, list[str]]]:
    """Return each option with the words behind it."""
    pairs: list[tuple[str, list[str]]] = []
    for word in options:
        if word.startswith('--'):
            option, *value = word.split('=', 1)
            pairs.append((option, value))
        elif not pairs:
            raise InputError(f"{where}: unexpected argument '{word}'")
        else:
            pairs[-1][1].append(word)
    for option, words in pairs:
        if not words:
            raise InputError(f"{where}: option '{option}' needs a value")
    return pairs


def _read_word(word: str) -> Any:
    """Return a word of the command line as YAML reads it, and 1e-4 as the number it means."""
    if re.fullmatch(r'[-+]?\d+\.?\d*[eE][-+]?\d+', word):
        return float(word)
    try:
        return yaml.safe_load(word)
    except yaml.YAMLError:
        return word


def _check_stage(name: Any, changes: Any, path: Path) -> None:
    if not isinstance(name, str) or not re.fullmatch(r'\w[\w.-]*', name):
        raise InputError(
            f'{path}: stages: got the name {name!r}; expected letters, digits, _ . and -, since '
            'it names a folder')
    if not isinstance(changes or {}, dict):
        raise InputError(
            f"{path}: stages.{name}: expected 'key: value' lines; got {changes!r}")


def read_yaml(path: Path) -> dict[str, Any]:
    """
    Return the mapping that a YAML file holds.

    :param path: The file.
    :raises InputError: If it is missing, not readable, or no mapping.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding='utf-8'))
    except FileNotFoundError as error:
        raise InputError(
            f'{path}: no such configuration file; examples are in config/experiments') from error
    except (yaml.YAMLError, UnicodeDecodeError, IsADirectoryError) as error:
        raise InputError(f'{path}: not readable as YAML: {error}') from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected 'key: value' lines; got {type(values).__name__}")
    return values


def merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """
    Return base with changes on top; a method or data set of another name replaces all.

    So does an optimizer of another name, and a network of another name the network's options.
    What a `model.preset` stands for is written out first, so that a later one replaces an
    earlier network.

    :param base: Plain values, as a YAML file holds them.
    :param changes: The same; nested mappings are merged.
    """
    merged = dict(_write_out_preset(base))
    for key, value in _write_out_preset(changes).items():
        old = merged.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        if key == 'model' and both and _is_other_network(old, value):
            old = {name: setting for name, setting in old.items() if name != 'options'}
        if both and value.get('name', old.get('name')) == old.get('name'):
            merged[key] = merge(old, value)
        else:
            merged[key] = value
    return merged


def _is_other_network(old: dict[str, Any], new: dict[str, Any]) -> bool:
    before = old.get('network', ModelConfig.network)
    return new.get('network', before) != before


def _write_out_preset(values: dict[str, Any]) -> dict[str, Any]:
    """Return values with what `model.preset` stands for; an unknown one stays, to be refused."""
    model = values.get('model')
    if not isinstance(model, dict) or model.get('preset') not in (*MODEL_PRESETS,):
        return values
    beside = {key: value for key, value in model.items() if key != 'preset'}
    return {**values, 'model': merge(MODEL_PRESETS[model['preset']], beside)}


def _build(kind: type, values: Any, where: str, prefix: str) -> Any:
    if not isinstance(values, dict):
        raise InputError(
            f"{where}: {prefix or 'file'}: expected 'key: value' lines; got {values!r}")
    hints = get_type_hints(kind)
    known = [item.name for item in fields(kind)]
    arguments = {}
    for key, value in values.items():
        if kind is ModelConfig and key == 'preset':
            raise unknown_name('model.preset', str(value), MODEL_PRESETS)
        if key not in known:
            error = unknown_name('key', str(key), known)
            place = f'{where}: {prefix[:-1]}' if prefix else where
            raise InputError(f'{place}: {error}')
        arguments[key] = _convert(hints[key], value, where, f'{prefix}{key}')
    return kind(**arguments)


def _convert(hint: Any, value: Any, where: str, key: str) -> Any:
    """Return the value in the type that the dataclass declares."""
    origin = get_origin(hint)
    if hint is MethodConfig:
        return _method(value, where, key)
    if is_dataclass(hint):
        return _build(hint, value, where, f'{key}.')
    if origin is Literal:
        if value not in get_args(hint):
            raise InputError(f'{where}: {unknown_name(key, str(value), get_args(hint))}')
        return value
    if origin in (Union, types.UnionType):
        if value is None and type(None) in get_args(hint):
            return None
        inner = [kind for kind in get_args(hint) if kind is not type(None)]
        if isinstance(value, (list, tuple)):
            inner.sort(key=lambda kind: get_origin(kind) is not tuple)
        return _convert(inner[0], value, where, key)
    if origin is tuple and isinstance(value, (list, tuple)):
        kinds = get_args(hint)
        if kinds[-1] is Ellipsis:
            kinds = kinds[:1] * len(value)
        if len(kinds) == len(value):
            return tuple(_convert(k, v, where, key) for k, v in zip(kinds, value))
    elif origin is dict and isinstance(value, dict):
        return value
    elif hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    elif hint in (int, bool, str) and type(value) is hint:
        return value
    name = getattr(hint, '__name__', str(hint)) if origin is None else str(hint)
    note = ' (write 1.0e-4, YAML reads 1e-4 as text)' if hint is float else ''
    raise InputError(f'{where}: {key}: got {value!r}; expected {name}{note}')


def _method(value: Any, where: str, key: str) -> Any:
    name = value.get('name') if isinstance(value, dict) else value
    if name not in METHOD_CONFIGS:
        raise InputError(f"{where}: {unknown_name('method', str(name), METHOD_CONFIGS)}")
    return _build(
        METHOD_CONFIGS[name], value if isinstance(value, dict) else {}, where, f'{key}.')


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value
