# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Processes of `bkd benchmark node`: cameras, and two nodes around a network that only waits."""
