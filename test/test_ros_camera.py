# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Names of cameras, their calibration at another size, and the region of interest."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip('rclpy')

from bkd_core.errors import InputError  # noqa: E402
from bkd_ros.camera import camera_names, scaled_camera_info  # noqa: E402
from bkd_ros.labelling import region_of_interest  # noqa: E402
from sensor_msgs.msg import CameraInfo  # noqa: E402
from std_msgs.msg import Header  # noqa: E402


@pytest.mark.parametrize(('topics', 'names'), [
    (['image'], ['image']),
    (['/front/image_raw', '/rear/image_raw/compressed'], ['front', 'rear']),
    (['/robot/front/image', '/robot/left_eye'], ['robot_front', 'robot_left_eye']),
    (['/a/image_color', '/a/depth'], ['a', 'a_depth']),
])
def test_cameras_are_called_by_what_tells_their_topics_apart(topics, names):
    assert camera_names(topics) == names


def test_two_topics_of_one_name_are_refused():
    with pytest.raises(InputError, match="'/a/image', '/a/image_raw'.*~/a/labels"):
        camera_names(['/a/image', '/b/image', '/a/image_raw'])


def test_the_calibration_of_half_the_size_by_hand():
    info = CameraInfo(
        height=480, width=640, k=[500.0, 0.0, 319.5, 0.0, 400.0, 239.5, 0.0, 0.0, 1.0],
        p=[500.0, 0.0, 319.5, -50.0, 0.0, 400.0, 239.5, 0.0, 0.0, 0.0, 1.0, 0.0],
        d=[0.1, 0.2], distortion_model='plumb_bob')
    header = Header(frame_id='camera')
    half = scaled_camera_info(info, header, (240, 320))
    assert (half.height, half.width, half.header) == (240, 320, header)
    # The middle of the image stays the middle: (639 / 2 -> 319 / 2).
    np.testing.assert_allclose(half.k, [250, 0, 159.5, 0, 200, 119.5, 0, 0, 1])
    np.testing.assert_allclose(half.p, [250, 0, 159.5, -25, 0, 200, 119.5, 0, 0, 0, 1, 0])
    assert (list(half.d), half.distortion_model) == ([0.1, 0.2], 'plumb_bob')
    assert info.width == 640 and info.k[0] == 500


def test_a_calibration_of_the_same_or_an_unknown_size_is_passed_on():
    for size in ((480, 640), (0, 0)):
        info = CameraInfo(height=size[0], width=size[1], k=[2.0] * 9)
        assert scaled_camera_info(info, Header(), (480, 640)).k.tolist() == [2.0] * 9


@pytest.mark.parametrize('shares', [
    [], [0.0, 0.0, 1.0], [0.5, 0.0, 0.5, 1.0], [0.0, 0.9, 1.0, 0.1], [-0.1, 0.0, 1.0, 1.0],
    [0.0, 0.0, 1.0, 1.5], [float('nan'), 0.0, 1.0, 1.0]])
def test_a_region_that_is_none_is_refused(shares):
    with pytest.raises(InputError, match="'region_of_interest': got"):
        region_of_interest(shares)
