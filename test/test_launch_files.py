# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
What launch files hand to nodes, with a stand-in for launch, which wheels do not bring.

test_ros_launch.py runs the same files under the real `ros2 launch` where that is installed.
"""

from __future__ import annotations

from pathlib import Path
import runpy
import sys
from types import ModuleType, SimpleNamespace
from unittest.mock import MagicMock

import pytest

LAUNCH = Path(__file__).resolve().parents[1] / 'launch'


class Argument:
    """Like `DeclareLaunchArgument`."""

    def __init__(self, name, *, default_value='', **more):
        self.name, self.default_value = name, default_value


@pytest.fixture
def nodes_of(monkeypatch):
    """Return a function: file and arguments -> executable -> all parameters but files."""
    def configuration(name):
        return SimpleNamespace(perform=lambda given: given[name])
    for name, members in {
            'launch': {'LaunchDescription': MagicMock()},
            'launch.actions': {
                'DeclareLaunchArgument': Argument, 'OpaqueFunction': MagicMock(),
                'SetEnvironmentVariable': MagicMock(), 'Shutdown': MagicMock()},
            'launch.logging': {'get_logger': MagicMock()},
            'launch.substitutions': {'LaunchConfiguration': configuration},
            'launch_ros': {},
            'launch_ros.actions': {'Node': lambda **options: options}}.items():
        module = ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)

    class Context(dict):
        launch_configurations = ()

    def start(file, **arguments):
        parts = runpy.run_path(str(LAUNCH / file))
        context = Context({item.name: item.default_value for item in parts['ARGUMENTS']})
        assert arguments.keys() <= context.keys()
        context.update(arguments)
        nodes = [item for item in parts['start'](context) if isinstance(item, dict)]
        return {node['executable']: node['parameters'] for node in nodes}
    return start


@pytest.mark.parametrize(('file', 'own'), [
    ('collect.launch.py', {}), ('segment.launch.py', {'collect': 'true'})])
def test_the_collector_is_told_what_to_hide_and_where_poses_come_from(file, own, nodes_of):
    given = {**own, 'store': 'frames'}
    parameters, values, *_ = nodes_of(file, **given)['collector_node']
    assert Path(parameters).name == 'collect.yaml'
    assert not {'blur_classes', 'pose_topic'} & values.keys()
    _, values, *_ = nodes_of(
        file, **given, blur_classes='pedestrian, car', pose_topic='/pose')['collector_node']
    assert (values['blur_classes'], values['pose_topic']) == (['pedestrian', 'car'], '/pose')


def test_the_collector_beside_the_labels_takes_a_parameter_file(nodes_of, tmp_path):
    own = tmp_path / 'own.yaml'
    own.touch()
    given = {'collect': 'true', 'store': 'frames', 'collect_params_file': str(own)}
    assert nodes_of('segment.launch.py', **given)['collector_node'][0] == str(own)
    own.unlink()
    with pytest.raises(ValueError, match='collect_params_file: .* is no file'):
        nodes_of('segment.launch.py', **given)


def test_rounds_begin_as_the_argument_the_own_file_or_the_loop_wants(nodes_of, tmp_path):
    own = tmp_path / 'own.yaml'
    own.touch()
    given = {'adapt': 'true', 'model': 'm', 'store': 's', 'versions': 'v'}

    def told(**more):
        file, values, *_ = nodes_of('segment.launch.py', **given, **more)['adaptation_node']
        return Path(file).name, values.get('start_on')
    assert told() == ('adapt.yaml', 'frames')
    assert told(start_on='shift') == ('adapt.yaml', 'shift')
    assert told(adapt_params_file=str(own)) == ('own.yaml', None)
    assert told(adapt_params_file=str(own), start_on='request') == ('own.yaml', 'request')
