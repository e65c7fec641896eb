# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What every Python file of the project has in common."""

from __future__ import annotations

import ast
from pathlib import Path
import re
import subprocess
import sys

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEADER = ['# Copyright 2026 bkd_ros contributors', '# SPDX-License-Identifier: Apache-2.0']
LEFT_OVER = re.compile(r'\b(TO' r'DO|FIX' r'ME|X' r'XX)\b|\braise NotImplemented' r'Error\b')
PICKLES = {'pickle', 'cPickle', 'dill', 'cloudpickle', 'shelve'}


def python_files() -> list[Path]:
    """Return all Python files of the project, scripts without a suffix too."""
    folders = [ROOT / name for name in ('bkd_core', 'bkd_ros', 'launch', 'test')]
    files = [path for folder in folders for path in folder.rglob('*.py')]
    scripts = [path for path in (ROOT / 'scripts').glob('*') if path.is_file()]
    pythons = [path for path in scripts if 'python' in path.read_text().split('\n', 1)[0]]
    return sorted([ROOT / 'setup.py', *files, *pythons])


def lacks_header(text: str) -> bool:
    """Return whether a file doesn't begin with the two header lines (after a shebang)."""
    lines = text.splitlines()
    if lines and lines[0].startswith('#!'):
        lines = lines[1:]
    return lines[:2] != HEADER


def unsafe_calls(source: str) -> list[str]:
    """
    Return the lines that could run code from a file that somebody hands us.

    :param source: A Python file's text.
    """
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            unsafe = node.module in PICKLES and node.names[0].name != 'UnpicklingError'
        elif isinstance(node, ast.Import):
            unsafe = bool({alias.name for alias in node.names} & (PICKLES - {'pickle'}))
        elif isinstance(node, ast.Call):
            function = ast.unparse(node.func)
            keywords = {item.arg: ast.unparse(item.value) for item in node.keywords}
            unsafe = (
                function.split('.')[0] in PICKLES
                or function in ('yaml.load', 'yaml.unsafe_load', 'yaml.full_load', 'eval', 'exec')
                or function == 'torch.load' and keywords.get('weights_only') != 'True'
                or keywords.get('allow_pickle') == 'True' or keywords.get('shell') == 'True')
        else:
            continue
        if unsafe:
            found.append(f'line {node.lineno}: {ast.unparse(node)}')
    return found


def relative(path: Path) -> str:
    """Return a path as the test's id."""
    return path.relative_to(ROOT).as_posix()


def test_ruff_finds_nothing():
    command = [
        sys.executable, '-m', 'ruff', 'check', '--no-cache', '--output-format=concise',
        '--config', str(ROOT / 'pyproject.toml'), *map(str, python_files())]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize('path', python_files(), ids=relative)
def test_a_file_begins_with_copyright_and_licence(path):
    assert not lacks_header(path.read_text(encoding='utf-8'))


@pytest.mark.parametrize('path', python_files(), ids=relative)
def test_nothing_is_left_for_later(path):
    assert LEFT_OVER.findall(path.read_text(encoding='utf-8')) == []


@pytest.mark.parametrize('path', python_files(), ids=relative)
def test_no_file_can_run_code_from_data(path):
    assert unsafe_calls(path.read_text(encoding='utf-8')) == []


@pytest.mark.parametrize(('source', 'count'), [
    ('import pickle\npickle.load(file)', 1),
    ('import pickle\ntry:\n    pass\nexcept pickle.UnpicklingError:\n    pass', 0),
    ('from pickle import loads', 1),
    ('import dill', 1),
    ('import torch\ntorch.load(p)', 1),
    ('torch.load(p, weights_only=False)', 1),
    ('torch.load(p, map_location="cpu", weights_only=True)', 0),
    ('yaml.load(f, Loader=yaml.Loader)', 1),
    ('yaml.safe_load(f)', 0),
    ('np.load(p, allow_pickle=True)', 1),
    ('np.load(p)', 0),
    ('subprocess.run(c, shell=True)', 1),
    ('model.eval()', 0),
])
def test_a_planted_unsafe_call_is_found(source, count):
    assert len(unsafe_calls(source)) == count


def test_a_missing_header_is_found():
    header = '\n'.join(HEADER)
    assert not lacks_header(header)
    assert not lacks_header('#!/usr/bin/env python3\n' + header + '\nimport os\n')
    assert lacks_header('')
    assert lacks_header('"""Text."""\n' + header)


def test_what_was_left_over_is_found():
    assert LEFT_OVER.search('# TO' + 'DO: later')
    assert LEFT_OVER.search('    raise NotImplemented' + 'Error')
    assert not LEFT_OVER.search('autodoc')
