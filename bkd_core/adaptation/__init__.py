# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Adapting to what a robot sees. Nothing here imports torch at load but `round`."""
