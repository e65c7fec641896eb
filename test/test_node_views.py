# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The picture of what the node sends shows one frame in all its views."""

from __future__ import annotations

from bkd_core.benchmarks.node_views import node_picture, node_views
from bkd_core.benchmarks.ros_playback import (
    CONFIDENCE_TOPIC,
    IMAGE_TOPIC,
    LABELS_TOPIC,
    OVERLAY_TOPIC,
)
from bkd_core.datasets.recording import RecordingWriter
from bkd_core.errors import InputError
from bkd_core.labels import get_label_space
import numpy as np
import pytest

SPACE = get_label_space('street9')
SIZE = (48, 160)


def write_bags(folder, *, labelled, overlaid):
    """Write five frames and the answers to some; frame n is of value 10 n and of class n."""
    frames, answers = folder / 'frames', folder / 'answers'
    with RecordingWriter(frames) as writer:
        for number in range(5):
            writer.write_image(
                IMAGE_TOPIC, np.full((*SIZE, 3), 10 * number, np.uint8), stamp_ns=number + 1,
                compressed=True)
    with RecordingWriter(answers) as writer:
        for number in labelled:
            labels = np.full(SIZE, number, np.uint8)
            writer.write_labels(LABELS_TOPIC, labels, stamp_ns=number + 1)
            writer.write_labels(CONFIDENCE_TOPIC, labels + 100, stamp_ns=number + 1)
        for number in overlaid:
            writer.write_image(
                OVERLAY_TOPIC, np.full((*SIZE, 3), 200 + number, np.uint8), stamp_ns=number + 1)
    return frames, answers


def test_the_views_are_of_the_middle_one_of_the_frames_with_all_answers(tmp_path):
    frames, answers = write_bags(tmp_path, labelled=[0, 1, 3, 4], overlaid=[1, 2, 3, 4])
    views = dict(node_views(frames, answers, SPACE))
    assert list(views) == ['camera', '~/labels', '~/overlay', '~/confidence']
    assert (views['camera'] == 30).all() and (views['~/overlay'] == 203).all()
    assert (views['~/labels'] == SPACE.colors[3]).all() and (views['~/confidence'] == 103).all()


def test_without_such_a_frame_it_says_so(tmp_path):
    frames, answers = write_bags(tmp_path, labelled=[0], overlaid=[1])
    with pytest.raises(InputError, match='no frame has labels, confidence and overlay'):
        node_views(frames, answers, SPACE)


def test_the_picture_holds_the_views_and_the_colour_of_every_class(tmp_path):
    frames, answers = write_bags(tmp_path, labelled=[2], overlaid=[2])
    picture = node_picture(node_views(frames, answers, SPACE), SPACE)
    assert picture.shape[1] > 2 * SIZE[1] and picture.shape[0] > 2 * SIZE[0]
    colors = {tuple(color) for color in np.unique(picture.reshape(-1, 3), axis=0).tolist()}
    assert {tuple(color) for color in SPACE.colors} <= colors
    assert {(20, 20, 20), (202, 202, 202), (102, 102, 102)} <= colors
