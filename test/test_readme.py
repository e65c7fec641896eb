# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Every command, path, option and topic that README.md and the pages in docs name exists."""

from __future__ import annotations

import ast
from functools import lru_cache, partial
import os
from pathlib import Path
import re
import shlex
import subprocess
import sys

from bkd_core.benchmarks.adaptation.protocol import load_protocol
from bkd_core.config_file import load_experiment
from bkd_core.errors import InputError
from bkd_core.labels import LABEL_SPACES
from fixtures_models import write_tiny_model
import pytest

ROOT = Path(__file__).resolve().parents[1]
README = re.sub(r'<!--.*?-->', '', (ROOT / 'README.md').read_text(encoding='utf-8'), flags=re.S)
FOLDERS = ('.ci', 'bkd_core', 'bkd_ros', 'config', 'docs', 'launch', 'scripts', 'test')
# The pages that people follow; those in docs/results are written by benchmarks.
PAGES = {'README.md': README, **{
    path.name: path.read_text(encoding='utf-8') for path in sorted((ROOT / 'docs').glob('*.md'))}}
# Commands of the shell and of other projects; only their syntax is checked.
FOREIGN = {'cd', 'colcon', 'cp', 'export', 'ln', 'mkdir', 'source'}


def shell_lines(text: str) -> list[str]:
    """Return the command lines of a Markdown text's bash blocks."""
    blocks = re.findall(r'^```bash\n(.*?)^```', text, flags=re.S | re.M)
    return [
        line for block in blocks for line in block.replace('\\\n', '').splitlines()
        if line.strip()]


def named_paths(text: str, folder: str = '') -> list[str]:
    """
    Return the project's own paths that a Markdown text names in code spans or links.

    :param text: The page's.
    :param folder: Where the page lies; links start from there.
    """
    spans = re.findall(r'`([^`\n]+)`', re.sub(r'^```.*?^```', '', text, flags=re.S | re.M))
    links = re.findall(r'\]\(([^)#\s]+)', text)
    paths = [span for span in spans if re.fullmatch(r'[\w./-]+', span)]
    return sorted({
        path for path in paths if path.split('/')[0] in FOLDERS and '/' in path
    } | {os.path.join(folder, link) for link in links if '://' not in link})


def sections(text: str, title: str) -> str:
    """Return a section's text, down to the next title of its level."""
    return re.search(rf'^## {title}\n(.*?)(?=^## |\Z)', text, flags=re.S | re.M).group(1)


# A group is no command by itself, only with a word that follows it.
GROUPS = {'bag', 'benchmark', 'data', 'runs'}
COMMANDS = (
    'train', 'evaluate', 'export', 'predict', 'demo', 'benchmark adaptation', 'benchmark search',
    'benchmark online', 'benchmark latency', 'benchmark node', 'benchmark selection',
    'benchmark shift', 'benchmark students', 'benchmark training', 'bag info', 'bag frames',
    'bag extract', 'versions', 'adapt', 'data check', 'data list', 'package', 'runs list',
    'runs show', 'runs compare')


def subcommands(*group: str) -> list[str]:
    """Return the names that the help of `bkd` or of a group of it lists."""
    return re.search(r'\{([\w,]+)\}', help_of(*group)).group(1).split(',')


@lru_cache(maxsize=None)
def help_of(*command: str) -> str:
    """Return what `bkd COMMAND --help` prints; fail unless it succeeds."""
    result = subprocess.run(
        [sys.executable, '-m', 'bkd_core', *command, '--help'], cwd=ROOT, capture_output=True,
        text=True, timeout=120, env={**os.environ, 'COLUMNS': '200'})
    assert result.returncode == 0, result.stderr
    return result.stdout


def strings_in(source: str) -> set[str]:
    """Return the strings that a Python file's code uses; docstrings are left out."""
    tree = ast.parse(source)
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return {
        node.value for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        and id(node) not in docstrings}


def check_make(words):
    targets = [word for word in words if '=' not in word]
    assert targets
    dry_run = subprocess.run(
        ['make', '--dry-run', *words], cwd=ROOT, capture_output=True, text=True)
    assert dry_run.returncode == 0, dry_run.stderr


def check_pip(words):
    if words[-1] in ('onnxruntime', 'onnxruntime-gpu'):  # the second takes the first one's place
        return
    assert words[0] == 'install'
    setup = (ROOT / 'setup.py').read_text(encoding='utf-8')
    for extra in re.findall(r'\w+', ''.join(re.findall(r'\[(.*)\]', words[-1]))):
        assert f"    '{extra}': [" in setup, f'setup.py has no extra {extra}'
    assert words[-1].startswith('.')


def check_python(words):
    assert words == ['-m', 'venv', '.venv']


def check_bkd(words):
    command = ' '.join(words[:2] if words[0] in GROUPS else words[:1])
    text = help_of(*command.split())
    assert f'usage: bkd {command} ' in text
    for word in words[1:]:
        if word.startswith('--') and '.options.' not in word:  # these depend on the file
            assert re.search(rf'{re.escape(word)}\b', text), f'bkd {command} has no {word}'
        if word.endswith('.yaml'):  # one without a folder is a copy of a shipped one
            folder = ROOT if '/' in word else ROOT / 'config' / 'experiments'
            assert load_experiment(folder / word)
    values = dict(zip(words, words[1:]))
    if '--protocol' in values:
        assert load_protocol(values['--protocol']).budget(values.get('--budget', 'cpu'))


def check_ros2(words):
    if words[:2] != ['launch', 'bkd_ros']:
        check_running_node(words)
        return
    path = ROOT / 'launch' / words[2]
    assert path.is_file()
    names = {word.split(':=')[0] for word in words[3:]}
    assert all(':=' in word for word in words[3:])
    assert names <= strings_in(path.read_text(encoding='utf-8'))


def check_running_node(words):
    page = PAGES['ros.md']
    if words[:2] == ['service', 'call']:
        name = words[2].rpartition('/')[2]
        assert f'| `~/{name}` | `{words[3].replace("/srv/", "/")}` |' in page
    elif words[:2] == ['param', 'set']:
        parameters = sections(page, f'Parameters of {words[2].strip("/")}')
        assert re.search(rf'^\| `{words[3]}` \| .* \| yes \|', parameters, re.M)
    else:
        assert words[:2] == ['topic', 'echo']
        assert f'`~/{words[2].rpartition("/")[2]}`' in page


def check_node(node, words):
    assert words[0] == '--ros-args'
    parameters = sections(PAGES['ros.md'], f'Parameters of {node}')
    for option, value in zip(words[1::2], words[2::2]):
        if option == '--params-file':
            assert node in (ROOT / value).read_text(encoding='utf-8')
        elif option == '-p':
            assert f'| `{value.partition(":=")[0]}` |' in parameters
        else:
            assert option == '-r' and value.startswith('image:=')


def check_torchrun(words):
    before, command = words[:words.index('-m')], words[words.index('-m') + 1:]
    pytest.importorskip('torch')
    text = subprocess.run(
        [sys.executable, '-m', 'torch.distributed.run', '--help'], capture_output=True, text=True,
        check=True, timeout=120).stdout
    assert all(word in text for word in before if word.startswith('--'))
    assert command[0] == 'bkd_core'
    check_bkd(command[1:])


CHECKS = {'make': check_make, 'pip': check_pip, 'python3': check_python, 'bkd': check_bkd,
          'ros2': check_ros2, 'torchrun': check_torchrun,
          **{node: partial(check_node, node) for node in (
              'segmentation_node', 'collector_node', 'adaptation_node', 'player_node',
              'recorder_node')}}


@pytest.mark.parametrize(
    'line', [line for text in PAGES.values() for line in shell_lines(text)])
def test_a_command_that_a_page_shows_is_right(line):
    subprocess.run(['bash', '-n', '-c', line], check=True)
    program, *words = shlex.split(line, comments=True)
    if program not in FOREIGN and not re.fullmatch(r'[A-Z_]+=.*', program):
        assert program in CHECKS, f"this test doesn't know how to check '{program}'"
        CHECKS[program](words)


@pytest.mark.parametrize(
    'path', [path for page, text in PAGES.items()
             for path in named_paths(text, '' if page == 'README.md' else 'docs')])
def test_a_path_that_a_page_names_exists(path):
    assert (ROOT / path).exists()


@pytest.mark.parametrize(
    'path', sorted((ROOT / 'config' / 'experiments').glob('*.yaml')), ids=lambda path: path.name)
def test_every_shipped_experiment_loads(path):
    assert load_experiment(path)


@pytest.mark.parametrize('command', COMMANDS)
def test_every_command_has_help_with_examples_and_stands_in_the_readme(command):
    text = help_of(*command.split())
    assert re.search(rf'^\s*bkd {command} ?.*$', text, flags=re.M)
    writes = '--output' in text or '--results' in text
    assert writes != (command in (
        'bag info', 'bag frames', 'versions', 'data list', 'runs list', 'runs show',
        'runs compare'))
    assert f'`bkd {command}`' in README


def test_every_command_is_in_these_tests():
    listed = {name for group in ((), *((name,) for name in GROUPS))
              for name in (' '.join((*group, command)) for command in subcommands(*group))}
    assert listed - GROUPS == set(COMMANDS)


def test_the_options_that_the_text_names_exist():
    text = re.sub(r'^pip .*$', '', sections(README, 'Using it'), flags=re.M)
    known = ''.join(help_of(*command.split()) for command in COMMANDS)
    # A dotted option sets a key of the configuration, which the resolved help doesn't list.
    options = set(re.findall(r'(?<![\w-])--[a-z-]+(?![\w.-])', text)) - {'--help'}
    assert '--data-root' in options
    assert [option for option in options if not re.search(rf'{option}\b', known)] == []


@pytest.mark.parametrize(('transport', 'camera'), [
    ('raw', ('image', 'sensor_msgs/Image')),
    ('compressed', ('image/compressed', 'sensor_msgs/CompressedImage'))])
def test_the_topics_of_the_table_are_the_running_nodes(transport, camera, tmp_path):
    pytest.importorskip('rclpy')
    section = sections(README, 'The ROS 2 node')
    rows = re.findall(r'^\| `(\S+)`(?: \(in\))? \| `([^`]+)`', section, re.M)
    outputs = {
        row for row in rows if row[0].startswith('~/') and 'vision_msgs' not in row[1]}
    assert len(outputs) == 6 and camera in rows
    assert ('/diagnostics', 'diagnostic_msgs/DiagnosticArray') in rows
    published, subscribed = topics_of_node(
        write_tiny_model(tmp_path), transport, outputs=outputs, camera=camera)
    assert outputs <= published
    assert camera in subscribed


def topics_of_node(model: Path, transport: str, *, outputs: set, camera: tuple) -> tuple[set, set]:
    """
    Return (topic, type) of what a running segmentation node publishes and subscribes to.

    The graph lags behind, so it is asked until it shows what is expected; in vain is a failure.
    """
    from bkd_ros.segmentation_node import SegmentationNode
    from fixtures_ros import wait_until
    import rclpy
    from rclpy.context import Context
    context = Context()
    rclpy.init(context=context)
    try:
        # A namespace each: the graph may still know the node before, and is asked by name.
        node = SegmentationNode(context=context, namespace=transport, parameter_overrides=[
            rclpy.Parameter('model', value=str(model)),
            rclpy.Parameter('image_transport', value=transport)])
        space = node.get_namespace() + '/'
        own = f'{space}{node.get_name()}/'

        def found():
            return tuple(
                {(topic.replace(own, '~/').replace(space, ''), types[0].replace('/msg/', '/'))
                 for topic, types in ask(node.get_name(), node.get_namespace())}
                for ask in (node.get_publisher_names_and_types_by_node,
                            node.get_subscriber_names_and_types_by_node))
        wait_until(
            lambda: outputs <= found()[0] and camera in found()[1], f'{outputs} and {camera}')
        result = found()
        node.close()
    finally:
        rclpy.try_shutdown(context=context)
    return result


def test_the_label_spaces_that_the_readme_lists_are_those_of_the_code():
    listed = re.search(
        r'There are seven label spaces: (.*?)Other', sections(README, 'Data sets'), re.S)[1]
    assert set(re.findall(r'`(\w+)`', listed)) == set(LABEL_SPACES) and len(LABEL_SPACES) == 7


def test_the_two_commands_come_first():
    assert shell_lines(README)[:2] == ['make demo', 'make test']


def test_ci_runs_all_tests_and_asks_for_ros():
    script = ROOT / '.ci' / 'run'
    assert os.access(script, os.X_OK)
    text = script.read_text(encoding='utf-8')
    assert 'set -euo pipefail' in text
    assert text.strip().endswith('REQUIRE_ROS=1 make test')


def test_the_readme_reader_finds_planted_commands_and_paths():
    text = (
        'See `config/a.yaml`, `bkd train` and [b](docs/b.md).\n'
        '```bash\nmake x\n\ncd \\\n    y\n```\n')
    assert shell_lines(text) == ['make x', 'cd     y']
    assert named_paths(text) == ['config/a.yaml', 'docs/b.md']
    assert named_paths('[c](c.md)', 'docs') == ['docs/c.md']
    assert strings_in('"""Publishes ~/a."""\ncreate_publisher(Image, "~/b")') == {'~/b'}


@pytest.mark.parametrize('line', [
    'bkd train config/experiments/streets.yaml --outptu x', 'make no-such-target',
    "pip install '.[trian]'", 'bkd benchmark search --protocol streets --budget gpus',
    'ros2 launch bkd_ros other.launch.py', 'bkd fly',
    'ros2 launch bkd_ros segment.launch.py modle:=x',
    'ros2 service call /segmentation_node/rolback std_srvs/srv/Trigger',
    'ros2 param set /segmentation_node runtime torch',
    'segmentation_node --ros-args -p modle:=x'])
def test_a_planted_wrong_command_is_found(line):
    program, *words = shlex.split(line, comments=True)
    with pytest.raises((AssertionError, InputError)):
        CHECKS[program](words)
