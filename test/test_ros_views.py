# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The files for RViz, Foxglove and Nav2 name the node's own topics and classes."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

from bkd_core.inference import Segmenter
from bkd_core.model_directory import read_spec, resolve
from fixtures_models import write_tiny_model
import pytest
import yaml

pytest.importorskip('rclpy')

from bkd_ros.camera import IMAGE_OUTPUTS, INPUT_QOS, OUTPUT_QOS  # noqa: E402
from bkd_ros.label_info import vision_label_info  # noqa: E402

CONFIG = Path(__file__).resolve().parents[1] / 'config'
TOPICS = {'/image', *(f'/segmentation_node/{name}' for name in IMAGE_OUTPUTS)}


def test_rviz_shows_topics_of_the_node():
    content = yaml.safe_load((CONFIG / 'segment.rviz').read_text(encoding='utf-8'))
    manager = content['Visualization Manager']
    displays = {display['Topic']['Value']: display for display in manager['Displays']}
    assert len(displays) == 3 and displays.keys() <= TOPICS
    for topic, display in displays.items():
        assert display['Class'] == 'rviz_default_plugins/Image'
        assert display['Enabled'] is display['Value'] is True
        # A subscription that asks for more than is offered gets nothing.
        offered = INPUT_QOS if topic == '/image' else OUTPUT_QOS
        wanted = display['Topic']['Reliability Policy'].replace(' ', '_').upper()
        assert wanted == offered.reliability.name
        assert display['Topic']['Durability Policy'] == 'Volatile'
    assert {'Fixed Frame', 'Frame Rate'} <= manager['Global Options'].keys()
    assert manager['Views']['Current']['Class'].startswith('rviz_default_plugins/')
    assert 'rviz_common/Displays' in [panel['Class'] for panel in content['Panels']]


def test_foxglove_shows_topics_of_the_node():
    layout = json.loads((CONFIG / 'foxglove_layout.json').read_text(encoding='utf-8'))
    panels = layout['configById']
    assert {name.partition('!')[0] for name in panels} == {'Image', 'DiagnosticSummary'}
    assert {'configById', 'playbackConfig', 'layout'} <= layout.keys()
    topics = [
        panel['imageMode']['imageTopic'] for name, panel in panels.items()
        if name.startswith('Image!')]
    assert len(topics) == 3 and set(topics) <= TOPICS
    assert panels['DiagnosticSummary!node']['topicToRender'] == '/diagnostics'

    def leaves(part):
        if isinstance(part, str):
            return [part]
        assert part['direction'] in ('row', 'column')
        return leaves(part['first']) + leaves(part['second'])
    assert sorted(leaves(layout['layout'])) == sorted(panels)


def test_nav2_gets_a_cost_for_every_class_of_the_shipped_student_but_the_sky():
    content = yaml.safe_load((CONFIG / 'nav2_semantic_layer.yaml').read_text(encoding='utf-8'))
    layer = content['local_costmap']['local_costmap']['ros__parameters'][
        'semantic_segmentation_layer']
    camera = layer['camera']
    classes = [name for kind in camera['class_types'] for name in camera[kind]['classes']]
    known = read_spec(resolve('default')).label_space.classes
    assert sorted([*classes, 'sky']) == sorted(known)
    for kind in camera['class_types']:
        assert 0 <= camera[kind]['base_cost'] <= camera[kind]['max_cost'] <= 254
    assert {camera['segmentation_topic'], camera['confidence_topic']} <= TOPICS
    assert camera['labels_topic'] == '/segmentation_node/vision_label_info'


def test_the_class_names_reach_nav2_under_their_ids(tmp_path):
    segmenter = Segmenter.load(write_tiny_model(tmp_path))
    info = vision_label_info(
        segmenter, SimpleNamespace(LabelInfo=SimpleNamespace, VisionClass=SimpleNamespace))
    assert [(item.class_id, item.class_name) for item in info.class_map] == list(
        enumerate(segmenter.label_space.classes))
