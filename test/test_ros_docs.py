# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""docs/ros.md says what the nodes and the launch file really have."""

from __future__ import annotations

import ast
from pathlib import Path
import re

from bkd_core.adaptation.shift import ShiftSettings
from fixtures_models import write_tiny_model
import pytest

pytest.importorskip('rclpy')

from bkd_core.adaptation import RoundProcess  # noqa: E402
from bkd_ros import diagnostics, frame_statistics, parameters  # noqa: E402
from bkd_ros.adaptation_node import AdaptationNode  # noqa: E402
from bkd_ros.segmentation_node import SegmentationNode  # noqa: E402
from fixtures_ros import wait_until  # noqa: E402
import rclpy  # noqa: E402
from rclpy.context import Context  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / 'docs' / 'ros.md').read_text(encoding='utf-8')


def rows(title):
    """Return the cells of the table in a section, without the head."""
    section = PAGE.split(f'## {title}\n')[1].split('\n## ')[0]
    lines = [line for line in section.splitlines() if line.startswith('|')]
    return [[cell.strip() for cell in line.strip('|').split(' | ')] for line in lines[2:]]


def text_of(default):
    """Return a default as a parameter file writes it."""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, list):
        return str(default).replace("'", '')
    return str(default) if default != '' else "''"


@pytest.mark.parametrize('node', [
    'segmentation', 'collector', 'adaptation', 'player', 'recorder'])
def test_the_parameters_are_those_of_the_node(node):
    settings = getattr(parameters, node.upper())
    found = rows(f'Parameters of {node}_node')
    assert [name for name, *_ in found] == [f'`{name}`' for name in settings]
    for (_, default, live, what), setting in zip(found, settings.values()):
        assert default == f'`{text_of(setting.default)}`'
        assert live == ('yes' if setting.is_live else 'no')
        assert what.startswith(setting.description)
        assert re.findall(r'`(\w+)`', what.partition('One of')[2]) == list(setting.choices)
        if setting.minimum is not None:
            assert what.endswith(f'{setting.minimum:g} to {setting.maximum:.15g}.')


def offered_by(node):
    """Return (name, types) of a node's services that are its own."""
    return [
        (name, types) for name, types in node.get_service_names_and_types_by_node(
            node.get_name(), node.get_namespace()) if types[0].startswith('std_srvs/')]


def test_the_services_are_those_of_the_running_node(tmp_path):
    context = Context()
    rclpy.init(context=context)
    try:
        node = SegmentationNode(context=context, parameter_overrides=[
            rclpy.Parameter('model', value=str(write_tiny_model(tmp_path)))])
        own = f'/{node.get_name()}/'
        wait_until(lambda: len(offered_by(node)) == 3, 'the services in the graph')
        offered = {
            (name.replace(own, '~/'), types[0].replace('/srv/', '/'))
            for name, types in offered_by(node)}
        node.close()
    finally:
        rclpy.try_shutdown(context=context)
    assert {(name.strip('`'), kind.strip('`')) for name, kind, _ in rows(
        'Services of segmentation_node')} == offered


def test_the_services_are_those_of_the_running_adaptation_node(tmp_path, monkeypatch):
    monkeypatch.setattr(RoundProcess, 'check', lambda self: None)  # the model lacks a replay
    context = Context()
    rclpy.init(context=context)
    try:
        values = {'store': tmp_path / 'store', 'model': write_tiny_model(tmp_path / 'model'),
                  'versions': tmp_path / 'versions'}
        node = AdaptationNode(context=context, parameter_overrides=[
            rclpy.Parameter(name, value=str(value)) for name, value in values.items()])
        wait_until(lambda: len(offered_by(node)) == 3, 'the services in the graph')
        offered = {
            (name.replace(f'/{node.get_name()}/', '~/'), types[0].replace('/srv/', '/'))
            for name, types in offered_by(node)}
        node.close()
    finally:
        rclpy.try_shutdown(context=context)
    table = PAGE.split('## Adapting\n')[1].split('\n## ')[0].split('| service |')[1]
    assert set(re.findall(r'^\| `(~/\w+)` \| `([\w/]+)` \|', table, re.M)) == offered


@pytest.mark.parametrize('name', sorted(
    path.name for path in (ROOT / 'launch').glob('*.launch.py')))
def test_the_launch_arguments_are_those_of_the_launch_file(name):
    tree = ast.parse((ROOT / 'launch' / name).read_text(encoding='utf-8'))
    declared = {
        call.args[0].value: ast.literal_eval(
            next(word.value for word in call.keywords if word.arg == 'description'))
        for call in ast.walk(tree) if isinstance(call, ast.Call)
        and getattr(call.func, 'id', '') == 'DeclareLaunchArgument'}
    found = {name.strip('`'): what for name, what in rows(f'Arguments of {name}')}
    assert list(found) == list(declared)
    for name, what in found.items():
        assert what.startswith(declared[name])


def test_the_thresholds_of_the_diagnostics_are_those_of_the_code():
    assert diagnostics.MAX_LATENCY_S == 1 and 'is above 1 s;' in PAGE
    assert diagnostics.MAX_BAD_SHARE == 0.5 and 'more than half of its frames' in PAGE
    settings = ShiftSettings()
    assert (settings.window, settings.min_share) == (20, 0.5)
    assert 'half of its newest 20 frames' in PAGE
    assert settings.quantile == 0.95 and '95 of 100' in PAGE
    assert frame_statistics.WINDOW_S == 10 and 'over the last ten\nseconds' in PAGE
