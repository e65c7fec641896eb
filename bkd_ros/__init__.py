# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""ROS 2 nodes around bkd_core; the only package that imports rclpy and messages."""
