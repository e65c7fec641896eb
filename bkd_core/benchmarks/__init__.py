# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What is measured, side by side, and the report that shows it."""
