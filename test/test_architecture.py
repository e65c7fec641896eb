# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The direction of imports: a line of LINES may import only lines below it."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path
import subprocess
import sys
from typing import Iterator

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Top to bottom. Names on one line don't import each other.
LINES = (
    '__main__',
    'commands',
    'benchmarks',
    'adaptation',
    'experiment',
    'stage_networks',
    'training export',
    'methods evaluation inference',
    'losses models datasets',
    'model_package',
    'config_file model_card report runs',
    'config batch visualization image_encodings model_directory progress',
    'package_cache',
    'labels manifest method_config',
    'cache_folder',
    'errors atomic checkout',
)
LEVELS = {
    name: len(LINES) - number for number, line in enumerate(LINES) for name in line.split()}

OPEN_TO_BKD_ROS = {
    'inference', 'adaptation', 'labels', 'visualization', 'config',
    'errors', 'image_encodings', 'model_directory', 'atomic'}

ROS_MODULES = {
    'rclpy', 'launch', 'launch_ros', 'ament_index_python', 'builtin_interfaces', 'cv_bridge',
    'diagnostic_msgs', 'geometry_msgs', 'lifecycle_msgs', 'rcl_interfaces', 'rosbag2_py',
    'sensor_msgs', 'std_msgs', 'std_srvs', 'vision_msgs'}

# A robot installs no torch, and `bkd --help` must be quick: these load without it.
TORCH_FREE = {
    '', '__main__', 'adaptation', 'commands', 'inference', 'evaluation', 'datasets', 'config',
    'config_file', 'method_config', 'labels', 'errors', 'atomic', 'visualization',
    'image_encodings', 'model_directory', 'progress', 'cache_folder', 'runs', 'manifest',
    'model_package', 'package_cache'}
# The files in those parts that exist for torch; nothing may load them at import.
TORCH_USERS = {
    'bkd_core.adaptation.round', 'bkd_core.adaptation.round_training',
    'bkd_core.adaptation.round_version', 'bkd_core.datasets.loader',
    'bkd_core.datasets.transforms', 'bkd_core.inference.compiled_torch_runtime',
    'bkd_core.inference.torch_half_runtime', 'bkd_core.inference.torch_runtime'}
# What the node is compared with; it takes torch when it runs.
HAND_WRITTEN_NODE = 'bkd_ros.benchmark.plain_node'


@dataclass(frozen=True, kw_only=True)
class Import:
    """One imported name: `target` is dotted; `is_at_load` says that loading the file runs it."""

    target: str
    line: int
    is_at_load: bool


def imports_of(tree: ast.Module, module: str) -> Iterator[Import]:
    """
    Yield everything that a file imports, relative imports resolved.

    `from a import b` yields 'a.b', since b may be a module.

    :param tree: The parsed file.
    :param module: Its dotted name; a package's ends in '.__init__'.
    """
    lazy = {id(node) for outer in ast.walk(tree) if _runs_later(outer) for node in _body(outer)}
    for node in ast.walk(tree):
        is_at_load = id(node) not in lazy
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = module.split('.')[:-node.level] if node.level else []
            prefix = '.'.join([*base, *([node.module] if node.module else [])])
            targets = [f'{prefix}.{alias.name}' for alias in node.names]
        else:
            continue
        for target in targets:
            yield Import(target=target, line=node.lineno, is_at_load=is_at_load)


def _runs_later(node: ast.AST) -> bool:
    if isinstance(node, ast.If):
        return 'TYPE_CHECKING' in ast.unparse(node.test)
    return isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))


def _body(node: ast.AST) -> Iterator[ast.AST]:
    children = node.body if isinstance(node.body, list) else [node.body]
    for child in children:  # not the `else` of `if TYPE_CHECKING`
        yield from ast.walk(child)


def part_of(target: str) -> str:
    """Return 'labels' for 'bkd_core.labels.LabelSpace', '' for bkd_core's own attributes."""
    part = target.split('.')[1] if '.' in target else ''
    return '' if part.startswith('__') and part != '__main__' else part


def violations(module: str, source: str) -> list[str]:
    """
    Return what is wrong with a file's imports, one sentence each.

    :param module: The file's dotted name.
    :param source: Its text.
    """
    found = []
    for item in imports_of(ast.parse(source), module):
        reason = _reason(module, item)
        if reason:
            found.append(f'{module}, line {item.line}, imports {item.target}: {reason}')
    return found


def _reason(module: str, item: Import) -> str:
    top = item.target.split('.')[0]
    if module.startswith('bkd_ros'):
        if top == 'torch' and (item.is_at_load or module != HAND_WRITTEN_NODE):
            return 'a node must run without torch'
        if top == 'bkd_core' and part_of(item.target) not in OPEN_TO_BKD_ROS | {''}:
            return f'bkd_ros may use only {sorted(OPEN_TO_BKD_ROS)}'
        return ''
    part = part_of(module)
    if top == 'bkd_ros' or top in ROS_MODULES:
        return 'bkd_core is free of ROS'
    if top == 'torch' and item.is_at_load and part in TORCH_FREE and module not in TORCH_USERS:
        return 'this file must load without torch'
    if top == 'bkd_core' and part:
        return _direction(part, part_of(item.target))
    return ''


def _direction(part: str, imported: str) -> str:
    if imported in ('', part):
        return ''
    if imported not in LEVELS:
        return f"'{imported}' has no line in this test's LINES"
    return '' if LEVELS[imported] < LEVELS[part] else f"'{imported}' is not below '{part}'"


def project_modules() -> dict[str, str]:
    """Return dotted name -> text of every file of both packages."""
    paths = [path for top in ('bkd_core', 'bkd_ros') for path in (ROOT / top).rglob('*.py')]
    return {
        '.'.join(path.relative_to(ROOT).with_suffix('').parts): path.read_text(encoding='utf-8')
        for path in paths}


def load_graph(modules: dict[str, str]) -> dict[str, set[str]]:
    """
    Return which module loads which: its imports at load, and the packages around those.

    :param modules: Dotted name -> text; a package's name ends in '.__init__'.
    """
    names = {name.removesuffix('.__init__'): name for name in modules}
    graph = {}
    for module, source in modules.items():
        loaded = set()
        for item in imports_of(ast.parse(source), module):
            words = item.target.split('.') if item.is_at_load else []
            prefixes = ['.'.join(words[:count]) for count in range(1, len(words) + 1)]
            loaded.update(names.get(prefix, prefix) for prefix in prefixes)
        graph[module] = loaded
    return graph


def import_cycles(modules: dict[str, str]) -> list[list[str]]:
    """
    Return the cycles among the files, each as the list of files along it.

    A file that imports its siblings also loads the `__init__` around them: that is no cycle.

    :param modules: Dotted name -> text.
    """
    names = {name.removesuffix('.__init__'): name for name in modules}
    graph = {}
    for module, source in modules.items():
        targets = set()
        for item in imports_of(ast.parse(source), module):
            owner = item.target if item.target in names else item.target.rpartition('.')[0]
            if owner in names and names[owner] != module:
                targets.add(names[owner])
        graph[module] = targets
    return [path for module in sorted(graph) for path in _paths_back(graph, module)]


def _paths_back(graph: dict[str, set[str]], start: str) -> Iterator[list[str]]:
    stack, seen = [(start, [start])], set()
    while stack:
        module, path = stack.pop()
        for target in sorted(graph.get(module, ())):
            if target == start:
                yield path
                return
            if target not in seen:
                seen.add(target)
                stack.append((target, [*path, target]))


MODULES = project_modules()


@pytest.mark.parametrize('module', sorted(MODULES))
def test_a_file_imports_only_what_lies_below_it(module):
    assert violations(module, MODULES[module]) == []


@pytest.mark.parametrize('module', sorted(m for m in MODULES if m.startswith('bkd_core.')))
def test_every_part_of_bkd_core_has_its_line(module):
    part = part_of(module)
    assert part == '' or part in LEVELS


def test_no_files_import_each_other_in_a_circle():
    assert import_cycles(MODULES) == []


def test_what_a_robot_loads_never_loads_torch_by_a_detour():
    graph = load_graph(MODULES)
    for module in MODULES:
        if module in TORCH_USERS or part_of(module) not in TORCH_FREE:
            continue
        stack, reached = [module], {module}
        while stack:
            for target in graph.get(stack.pop(), set()) - reached:
                reached.add(target)
                stack.append(target)
        assert 'torch' not in reached, f'{module} loads torch at import'


def test_no_file_is_called_utils():
    words = {word for module in MODULES for word in module.split('.')}
    assert not words & {'utils', 'util', 'helpers', 'common', 'misc'}


def test_every_folder_with_python_files_is_a_package():
    folders = {(ROOT / module.replace('.', '/')).parent for module in MODULES}
    assert [folder for folder in folders if not (folder / '__init__.py').is_file()] == []


@pytest.mark.parametrize(('module', 'source', 'expected'), [
    ('bkd_core.losses.entropy', 'from bkd_core.methods import METHODS', 'not below'),
    ('bkd_core.losses.entropy', 'def f():\n    import bkd_core.config_file as c', ''),
    ('bkd_core.labels', 'from . import config', 'not below'),
    ('bkd_core.methods.bilateral', 'from ..training import trainer', 'not below'),
    ('bkd_core.methods.bilateral', 'from bkd_core.evaluation import x', 'not below'),
    ('bkd_core.labels', 'from bkd_core import errors', ''),
    ('bkd_core.training.log', 'from bkd_core import __version__', ''),
    ('bkd_core.training.log', 'import bkd_core.tools', 'no line'),
    ('bkd_core.datasets.recording', 'def f():\n    import rclpy', 'free of ROS'),
    ('bkd_core.datasets.recording', 'from bkd_ros.conversions import x', 'free of ROS'),
    ('bkd_core.datasets.camvid', 'import torch.nn', 'without torch'),
    ('bkd_core.datasets.loader', 'import torch', ''),
    ('bkd_core.inference.segmenter', 'try:\n    import torch\nexcept ImportError:\n    pass',
     'without torch'),
    ('bkd_core.inference.segmenter', 'def f():\n    from torch import nn', ''),
    ('bkd_core.batch', 'if TYPE_CHECKING:\n    import torch', ''),
    ('bkd_ros.player_node', 'from rosbags.highlevel import AnyReader', ''),
    ('bkd_ros.player_node', 'from bkd_core.datasets import Recording', 'bkd_ros may use only'),
    ('bkd_ros.player_node', 'def f():\n    import torch', 'without torch'),
])
def test_the_rules_find_a_planted_import(module, source, expected):
    found = violations(module, source)
    assert len(found) == (1 if expected else 0)
    assert all(expected in sentence for sentence in found)


def test_a_planted_circle_is_found():
    circle = {'p.__init__': '', 'p.a': 'from p import b', 'p.b': 'from p.c import f', 'p.c':
              'def g():\n    from p.a import h'}
    assert sorted(map(sorted, import_cycles(circle))) == [['p.a', 'p.b', 'p.c']] * 3
    assert import_cycles({**circle, 'p.c': ''}) == []


def test_a_planted_detour_to_torch_is_found():
    graph = load_graph({
        'p.__init__': '', 'p.a': 'from p.models.net import Net', 'p.models.__init__':
        'import torch', 'p.models.net': 'Net = 1'})
    assert 'p.models.__init__' in graph['p.a']
    assert graph['p.models.__init__'] == {'torch'}


def test_bkd_core_loads_in_a_fresh_interpreter_without_torch_or_ros():
    script = (
        'import sys, bkd_core, bkd_core.config_file, bkd_core.labels, bkd_core.model_directory\n'
        'bad = {"torch", "rclpy"} & set(sys.modules)\n'
        'sys.exit(f"loaded {bad}" if bad else 0)')
    subprocess.run([sys.executable, '-c', script], cwd=ROOT, check=True, timeout=60)
