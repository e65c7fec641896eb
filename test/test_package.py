# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What pip and colcon install, and what is said where an extra is missing."""

from __future__ import annotations

from email.parser import Parser
import os
from pathlib import Path
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
import zipfile

import bkd_core
import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = (
    'bkd_core', 'bkd_ros', 'config', 'launch', 'resource', 'scripts', 'LICENSE', 'README.md',
    'package.xml', 'pyproject.toml', 'setup.cfg', 'setup.py')
NODES = ('adaptation_node', 'collector_node', 'player_node', 'recorder_node', 'segmentation_node')
DATA = 'bkd_ros-{version}.data/data/'


def run(command, **options):
    """Run a command; fail with all that it printed."""
    result = subprocess.run(
        [str(word) for word in command], text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, timeout=300, **options)
    assert result.returncode == 0, f'{command}:\n{result.stdout}'
    return result.stdout


def files_below(folder):
    """Return the project's files below a folder as paths relative to the root."""
    return {
        path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob('*')
        if path.is_file() and '__pycache__' not in path.parts}


@pytest.fixture(scope='session')
def source(tmp_path_factory):
    """Return a copy of the sources, so that building leaves nothing in the checkout."""
    target = tmp_path_factory.mktemp('workspace') / 'src' / 'bkd_ros'
    target.mkdir(parents=True)
    for name in SOURCES:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(
                path, target / name, ignore=shutil.ignore_patterns('__pycache__', '*.pyc'))
        else:
            shutil.copy2(path, target / name)
    return target


@pytest.fixture(scope='session')
def wheel(source, tmp_path_factory):
    """Build the wheel and return it opened."""
    folder = tmp_path_factory.mktemp('wheel')
    run([sys.executable, '-m', 'pip', 'wheel', '--no-deps', '--no-build-isolation',
         '--wheel-dir', folder, source])
    with zipfile.ZipFile(next(folder.glob('*.whl'))) as opened:
        yield opened
    shutil.rmtree(source / 'build', ignore_errors=True)


@pytest.fixture(scope='session')
def metadata(wheel):
    """Return the wheel's METADATA."""
    name = next(name for name in wheel.namelist() if name.endswith('.dist-info/METADATA'))
    return Parser().parsestr(wheel.read(name).decode())


@pytest.fixture(scope='session')
def workspace(source):
    """Build a colcon workspace and return it."""
    colcon = Path(sys.executable).parent / 'colcon'
    if not colcon.exists():
        pytest.fail("colcon is missing; pip install '.[test]' brings it")
    folder = source.parents[1]
    environment = {**os.environ, 'COLCON_HOME': str(folder / 'home')}
    listed = run([colcon, 'list'], cwd=folder, env=environment)
    assert re.search(r'^bkd_ros\s+\S+\s+\(ros\.ament_python\)$', listed, re.MULTILINE), listed
    run([colcon, 'build'], cwd=folder, env=environment)
    return folder


def test_the_wheel_holds_every_file_of_both_packages(wheel):
    expected = files_below('bkd_core') | files_below('bkd_ros')
    assert {'bkd_core/__main__.py', 'bkd_ros/segmentation_node.py'} <= expected
    assert expected <= set(wheel.namelist())


def test_the_wheel_holds_the_shipped_model(wheel):
    shipped = files_below('bkd_core/shipped')
    assert {Path(name).name for name in shipped} >= {'model.yaml', 'model.onnx', 'MODEL_CARD.md'}
    assert shipped <= set(wheel.namelist())
    assert sum(wheel.getinfo(name).file_size for name in shipped) <= 10e6


def test_the_wheel_holds_no_tests_and_no_stray_packages(wheel):
    tops = {name.split('/')[0] for name in wheel.namelist()}
    version = bkd_core.__version__
    assert tops == {
        'bkd_core', 'bkd_ros', f'bkd_ros-{version}.data', f'bkd_ros-{version}.dist-info'}


def test_the_wheel_puts_everything_where_ros_looks_for_it(wheel):
    data = DATA.format(version=bkd_core.__version__)
    installed = {
        name[len(data):] for name in wheel.namelist() if name.startswith(data)}
    launch = {name for name in files_below('launch') if name.endswith('.launch.py')}
    expected = {f'share/bkd_ros/{name}' for name in launch | files_below('config')}
    expected |= {f'lib/bkd_ros/{name}' for name in NODES}
    expected |= {
        'share/ament_index/resource_index/packages/bkd_ros', 'share/bkd_ros/package.xml'}
    assert 'share/bkd_ros/launch/segment.launch.py' in expected
    assert expected == installed


def test_the_executables_of_the_nodes_are_executable(wheel):
    data = DATA.format(version=bkd_core.__version__)
    for node in NODES:
        mode = wheel.getinfo(f'{data}lib/bkd_ros/{node}').external_attr >> 16
        assert mode & 0o111 == 0o111, node


def test_pip_makes_the_commands(wheel):
    name = next(name for name in wheel.namelist() if name.endswith('entry_points.txt'))
    commands = dict(
        line.split(' = ') for line in wheel.read(name).decode().splitlines() if ' = ' in line)
    assert commands == {
        'bkd': 'bkd_core.__main__:main',
        **{node: f'bkd_ros.start:{node}' for node in NODES}}


def test_a_robot_needs_neither_torch_nor_ros(metadata):
    base = {
        re.match(r'[\w-]+', line).group() for line in metadata.get_all('Requires-Dist')
        if 'extra ==' not in line}
    assert base == {
        'numpy', 'onnxruntime', 'opencv-python-headless', 'pyyaml', 'rich', 'rosbags', 'tyro'}


def test_the_extras_bring_training_ros_and_tests(metadata):
    assert set(metadata.get_all('Provides-Extra')) == {
        'train', 'numba', 'openvino', 'tensorboard', 'tensorrt', 'ros', 'test'}
    lines = metadata.get_all('Requires-Dist')
    for extra, package in (
            ('train', 'torch'), ('train', 'torchvision'), ('ros', 'ros-jazzy-rclpy[fastrtps]'),
            ('ros', 'ros-jazzy-sensor-msgs'), ('numba', 'numba'), ('openvino', 'openvino'),
            ('test', 'numba'), ('test', 'openvino'), ('test', 'pytest')):
        found = [line for line in lines if re.match(re.escape(package) + r'\W', line)]
        assert any(re.search(rf'extra == ["\']{extra}["\']', line) for line in found), package


def test_torch_is_not_pinned_to_one_pair(metadata):
    lines = [line for line in metadata.get_all('Requires-Dist') if line.startswith('torch')]
    assert len(lines) == 2
    assert all('>=' in line.split(';')[0] and '==' not in line.split(';')[0] for line in lines)


def test_the_metadata_names_licence_python_and_readme(metadata):
    assert metadata['Name'].replace('-', '_') == 'bkd_ros'
    assert metadata['Requires-Python'] == '>=3.10'
    assert 'Apache-2.0' in (metadata['License-Expression'] or metadata['License'])
    assert metadata.get_payload().startswith('# bkd_ros')
    assert 'Version 2.0, January 2004' in (ROOT / 'LICENSE').read_text()


def test_one_version_stands_everywhere(metadata):
    version = ElementTree.parse(ROOT / 'package.xml').findtext('version')
    assert version == bkd_core.__version__ == metadata['Version']
    changes = (ROOT / 'CHANGELOG.rst').read_text()
    assert re.search(rf'^(Forthcoming|{re.escape(version)} \(.+\))\n-+$', changes, re.MULTILINE)


def test_colcon_installs_executables_model_launch_and_config(workspace):
    prefix = workspace / 'install' / 'bkd_ros'
    site = next(prefix.glob('lib/python3*/site-packages'))
    expected = [prefix / 'lib' / 'bkd_ros' / node for node in (*NODES, 'bkd')]
    expected += [site / name for name in files_below('bkd_core/shipped')]
    expected += [prefix / 'share' / 'bkd_ros' / name for name in files_below('config')]
    expected.append(prefix / 'share/bkd_ros/launch/segment.launch.py')
    expected.append(prefix / 'share/ament_index/resource_index/packages/bkd_ros')
    assert [path for path in expected if not path.is_file()] == []


def test_what_colcon_installed_runs_with_the_python_of_the_environment(workspace):
    executable = workspace / 'install/bkd_ros/lib/bkd_ros/bkd'
    assert executable.read_text().startswith('#!/usr/bin/env python3\n')
    text = run(['bash', '-c', 'source install/local_setup.bash && "$0" --help', executable],
               cwd=workspace, env={
                   **os.environ, 'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}'})
    assert 'predict' in text


@pytest.mark.parametrize('name', ['torch', 'torchvision', 'timm'])
def test_training_without_its_extra_names_the_pip_line(name):
    result = without_module(name, 'train', 'config/experiments/streets.yaml')
    assert result.returncode == 2
    assert f"'{name}'" in result.stderr
    assert re.search(r'pip install .*\[train\]', result.stderr)
    assert 'Traceback' not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize('node', NODES)
def test_a_node_without_rclpy_names_the_pip_line(node):
    result = without_module('rclpy', node=node)
    assert result.returncode == 2
    assert re.search(r'pip install .*\[ros\]', result.stderr)
    assert 'Traceback' not in result.stderr


@pytest.mark.parametrize('command', ['train', 'evaluate', 'predict', 'demo'])
def test_help_works_on_a_robot_without_torch_and_ros(command):
    result = without_module('torch', command, '--help')
    assert result.returncode == 0, result.stderr
    assert f'bkd {command}' in result.stdout


HIDE = """
from importlib.machinery import PathFinder
import sys

hidden = sys.argv.pop(1)

class Hiding(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        is_hidden = name.split('.')[0] == hidden
        return None if is_hidden else PathFinder.find_spec(name, path, target)

sys.meta_path = [Hiding if finder is PathFinder else finder for finder in sys.meta_path]
from {module} import {function}
sys.exit({function}())
"""


def without_module(name, *arguments, node=None):
    """Run bkd, or a node, in an interpreter where a module is not installed."""
    script = HIDE.format(
        module='bkd_ros.start' if node else 'bkd_core.__main__', function=node or 'main')
    return subprocess.run(
        [sys.executable, '-c', script, name, *arguments], cwd=ROOT, capture_output=True,
        text=True, timeout=120, env={**os.environ, 'COLUMNS': '200'})
