# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Pictures that are seen in perspective."""

from __future__ import annotations

import cv2
import numpy as np


class Texture:
    """
    A picture with its smaller versions, so that it does not flicker far away.

    :param image: (H, W, 3) uint8 RGB.
    :param pixels_per_metre: Its resolution.
    :param alpha: (H, W) uint8, or None where the whole picture is opaque.
    """

    def __init__(
        self, image: np.ndarray, *, pixels_per_metre: float, alpha: np.ndarray | None = None,
    ) -> None:
        if alpha is None:
            alpha = np.full(image.shape[:2], 255, np.uint8)
        # Four channels also without alpha: OpenCV warps them faster than three.
        image = np.dstack([image, alpha])
        self.levels = [(image, pixels_per_metre)]
        while min(image.shape[:2]) > 8 and len(self.levels) < 6:
            size = ((image.shape[1] + 1) // 2, (image.shape[0] + 1) // 2)
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
            self.levels.append((image, size[0] / self.width))

    @property
    def height(self) -> float:
        """Return the height, metres."""
        return self.levels[0][0].shape[0] / self.levels[0][1]

    @property
    def width(self) -> float:
        """Return the width, metres."""
        return self.levels[0][0].shape[1] / self.levels[0][1]

    def level(self, pixels_per_metre: float) -> np.ndarray:
        """
        Return the smallest version that still shows enough, (H, W, 4) RGBA.

        :param pixels_per_metre: Resolution on the screen.
        """
        for image, resolution in reversed(self.levels):
            if resolution >= 0.8 * pixels_per_metre:
                return image
        return self.levels[0][0]
