# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What the student saw in a frame, as a short vector: which classes where."""

from __future__ import annotations

import cv2
import numpy as np

GRID = (4, 3)  # columns, rows


def embedding_of(logits: np.ndarray) -> np.ndarray:
    """
    Return the square roots of the mean class probabilities in the cells of a coarse grid.

    The Euclidean distance of square roots of probabilities is the Hellinger distance: a rare
    class counts more than in plain probabilities. It costs next to nothing beside the network,
    and students of one label space can be compared with each other.

    :param logits: (C, h, w) float32, from `Segmenter.logits`.
    :return: (C * cells,) float16, of length 1.
    """
    exponentials = np.exp(logits - logits.max(axis=0))
    probabilities = exponentials / exponentials.sum(axis=0)
    cells = np.stack([
        cv2.resize(plane, GRID, interpolation=cv2.INTER_AREA) for plane in probabilities])
    return np.sqrt(cells / (GRID[0] * GRID[1])).ravel().astype(np.float16)


def distances(embedding: np.ndarray, others: np.ndarray) -> np.ndarray:
    """
    Return the Euclidean distances between an embedding and others.

    :param embedding: (D,) float32.
    :param others: (N, D) float32.
    :return: (N,) float32.
    """
    return np.linalg.norm(others - embedding, axis=1)
