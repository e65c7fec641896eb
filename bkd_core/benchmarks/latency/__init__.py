# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
Every way from a frame to labels, side by side.

Nothing is imported here: a contestant must not load what only the others need.
"""
