# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Real frames, a real recording, the real node: labels over the topic are predict's labels."""

from __future__ import annotations

import json

from bkd_core import labels
from bkd_core.benchmarks.ros_playback import IMAGE_TOPIC, play_through_node, score
from bkd_core.datasets.camvid import CamVid
from bkd_core.datasets.image_files import read_label_ids
from bkd_core.datasets.recording import RecordingWriter
from bkd_core.evaluation import evaluate
from bkd_core.inference import Segmenter
from bkd_core.inference.predict import predict
import numpy as np
import pytest

NUM_FRAMES = 30
PERIOD_NS = 66_666_667  # CamVid's val sequence was filmed at 30 Hz and keeps every second frame


@pytest.fixture(scope='module')
def frames(data_root):
    """Return CamVid's val sequence; skip where it is missing."""
    if not (data_root / 'camvid').is_dir():
        pytest.skip('BKD_DATA_ROOT holds no camvid')
    return CamVid(root=data_root / 'camvid', split='val')


def test_labels_received_from_the_node_are_those_that_predict_writes(frames, tmp_path):
    pytest.importorskip('rclpy')
    with RecordingWriter(tmp_path / 'drive') as writer:
        for index in range(NUM_FRAMES):
            writer.write_image(
                IMAGE_TOPIC, frames.image(index), stamp_ns=index * PERIOD_NS + 1, compressed=True)
    segmenter = Segmenter.load('default')
    assert predict(segmenter, tmp_path / 'drive', output=tmp_path / 'labels') == NUM_FRAMES

    playback = play_through_node(
        'default', tmp_path / 'drive', num_frames=NUM_FRAMES,
        duration_s=NUM_FRAMES * PERIOD_NS / 1e9, output=tmp_path / 'received')

    # A busy machine may drop frames: the newest wins. What came must be right, to the pixel.
    assert len(playback.labels) >= NUM_FRAMES // 2
    for stamp_ns, received in playback.labels.items():
        expected = read_label_ids(tmp_path / 'labels' / f'{stamp_ns}.png')
        np.testing.assert_array_equal(received, expected)
    mapping = labels.id_mapping(frames.label_space, segmenter.label_space)
    truth = {
        index * PERIOD_NS + 1: mapping[frames.labels(index)] for index in range(NUM_FRAMES)}
    assert score(playback, truth, segmenter.label_space.num_classes).miou() > 0.25


def test_the_shipped_student_scores_what_its_model_card_says(frames):
    segmenter = Segmenter.load('default')
    scores = evaluate(segmenter, frames, label_space=segmenter.label_space)
    metrics = json.loads((segmenter.directory / 'metrics.json').read_text(encoding='utf-8'))
    assert scores.num_frames == metrics['scores']['num_frames']
    assert scores.miou == pytest.approx(metrics['scores']['miou'], abs=0.005)
