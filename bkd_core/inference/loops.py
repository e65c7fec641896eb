# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
Loops that Numba compiles: the labels of `cells`, and the certainty of a frame.

At the size of a camera's frame much of NumPy's time goes into its calls and into the arrays
between them. Importing this module needs Numba. The first import on a machine compiles for some
seconds; Numba keeps the result beside this file or, where that can't be written, in its own
cache, which the variable NUMBA_CACHE_DIR names.
"""

from __future__ import annotations

from bkd_core.inference.cells import CLOSE, cut, HUGE, MOST_CANDIDATES
from bkd_core.inference.upsampling import RANGE
import numba
from numba import types
import numpy as np

LN2 = float(np.log(2))


def settle_labels(logits: np.ndarray, height: int, width: int) -> np.ndarray | None:
    """
    Find the winner of every frame pixel, as `cells.settle`, whose labels these are.

    :param logits: (C, h, w) float32.
    :param height: The frame's height.
    :param width: The frame's width.
    :return: (H, W) uint8, the lowest class id on ties; None where cells don't pay.
    """
    size = logits.shape[1:]
    if height < 2 * size[0] or width < 2 * size[1]:
        return None
    rows, columns = cut(size[0], height), cut(size[1], width)
    labels = np.empty((height, width), np.uint8)
    most = MOST_CANDIDATES * len(logits) * (size[0] + 1) * (size[1] + 1)
    is_settled = _settle(
        np.ascontiguousarray(logits), rows.starts, rows.weights, columns.starts, columns.weights,
        most, labels)
    return labels if is_settled else None


def mean_certainty(logits: np.ndarray) -> tuple[float, float]:
    """
    Do as `upsampling.mean_certainty`, whose values these are to 1e-6.

    :param logits: (C, h, w) float32.
    """
    return _mean_certainty(np.ascontiguousarray(logits.reshape(len(logits), -1)))


# Arrays that can't be written, as some runtimes return them, would be another type to Numba, and
# that would be compiled when the first one comes.
_GIVEN = [types.Array(dtype, dimensions, 'C', readonly=True) for dtype, dimensions in (
    (types.float32, 3), (types.intp, 1), (types.float32, 1), (types.intp, 1), (types.float32, 1))]


@numba.njit(types.boolean(*_GIVEN, types.float64, types.uint8[:, ::1]), cache=True, nogil=True)
def _settle(logits, row_starts, down, column_starts, right, most, labels):
    """
    Fill in the labels.

    :param logits: (C, h, w) float32.
    :param row_starts: (h + 2,) of `Side.starts`.
    :param down: (H,) float32, of `Side.weights`.
    :param column_starts: (w + 2,) of `Side.starts`.
    :param right: (W,) float32, of `Side.weights`.
    :param most: Candidates that all mixed cells together may have.
    :param labels: (H, W) uint8, is written.
    :return: False, labels half written, where a logit is not finite or too large, or where the
        candidates are too many.
    """
    classes, height, width = logits.shape
    winner = np.zeros((height, width), np.uint8)
    largest = logits[0].copy()
    lowest = logits[0, 0, 0]
    for c in range(classes):
        for y in range(height):
            for x in range(width):
                value = logits[c, y, x]
                if not abs(value) < HUGE:
                    return False
                lowest = min(lowest, value)
                if value > largest[y, x]:
                    largest[y, x] = value
                    winner[y, x] = c
    margin = np.float32(CLOSE * max(abs(largest.max()), abs(lowest)))
    is_close = np.zeros((height, width), np.bool_)  # rounding might swap two classes
    for c in range(classes):
        for y in range(height):
            for x in range(width):
                if logits[c, y, x] >= largest[y, x] - margin and c != winner[y, x]:
                    is_close[y, x] = True
    candidates = np.empty(classes, np.intp)
    best = np.empty((np.diff(row_starts).max(), labels.shape[1]), np.float32)
    total = 0
    for i in range(height + 1):
        above, below = max(i - 1, 0), min(i, height - 1)
        # Unsigned: no index is checked for being negative, so that loops become vector code.
        top, bottom = np.uint64(row_starts[i]), np.uint64(row_starts[i + 1])
        for j in range(width + 1):
            labels[top, column_starts[j]:column_starts[j + 1]] = winner[above, max(j - 1, 0)]
        for y in range(top + np.uint64(1), bottom):
            labels[y] = labels[top]
        for j in range(width + 1):
            before, after = max(j - 1, 0), min(j, width - 1)
            first = winner[above, before]
            if not (
                is_close[above, before] or is_close[above, after] or is_close[below, before]
                or is_close[below, after] or first != winner[above, after]
                or first != winner[below, before] or first != winner[below, after]
            ):
                continue
            bar = -np.float32(HUGE)
            for c in range(classes):
                bar = max(bar, min(
                    min(logits[c, above, before], logits[c, above, after]),
                    min(logits[c, below, before], logits[c, below, after])))
            number = 0
            for c in range(classes):
                if bar - margin <= max(
                    max(logits[c, above, before], logits[c, above, after]),
                    max(logits[c, below, before], logits[c, below, after]),
                ):
                    candidates[number] = c
                    number += 1
            total += number
            if total > most:
                return False
            left, end = np.uint64(column_starts[j]), np.uint64(column_starts[j + 1])
            first = np.uint8(candidates[0])
            for y in range(top, bottom):
                for x in range(left, end):
                    labels[y, x] = first
                    best[y - top, x] = 0
            for k in range(1, number):
                rival = np.uint8(candidates[k])
                # Differences from the first candidate: equal corners tie exactly.
                upper_start = logits[rival, above, before] - logits[first, above, before]
                upper_step = logits[rival, above, after] - logits[first, above, after]
                lower_start = logits[rival, below, before] - logits[first, below, before]
                lower_step = logits[rival, below, after] - logits[first, below, after]
                upper_step -= upper_start
                lower_step -= lower_start
                for y in range(top, bottom):
                    for x in range(left, end):
                        upper = upper_step * right[x] + upper_start
                        lower = lower_step * right[x] + lower_start
                        value = (lower - upper) * down[y] + upper
                        so_far = best[y - top, x]
                        labels[y, x] = rival if value > so_far else labels[y, x]
                        best[y - top, x] = max(value, so_far)
    return True


@numba.njit(
    types.UniTuple(types.float64, 2)(types.Array(types.float32, 2, 'C', readonly=True)),
    cache=True, nogil=True)
def _mean_certainty(logits):
    classes, pixels = logits.shape
    largest = logits[0].copy()
    for c in range(1, classes):
        for i in range(pixels):
            largest[i] = max(largest[i], logits[c, i])
    total, weighted = np.zeros(pixels, np.float32), np.zeros(pixels, np.float32)
    for c in range(classes):
        for i in range(pixels):
            # exp(shifted) = 2^power exp(rest), |rest| < .35: Taylor's series to 1e-7; written
            # out, since a call of exp would keep the loop from becoming vector code.
            shifted = max(logits[c, i] - largest[i], np.float32(-RANGE))
            power = np.floor(shifted * np.float32(1 / LN2) + np.float32(.5))
            rest = shifted - power * np.float32(LN2)
            series = np.float32(1 / 120) + rest * np.float32(1 / 720)
            series = np.float32(1 / 24) + rest * series
            series = np.float32(1 / 6) + rest * series
            series = np.float32(1 / 2) + rest * series
            series = np.float32(1) + rest * (np.float32(1) + rest * series)
            bits = np.int32(np.int32(power) + np.int32(127)) << np.int32(23)
            exponential = series * np.int32(bits).view(np.float32)
            total[i] += exponential
            weighted[i] += shifted * exponential
    entropy, confidence = 0., 0.
    for i in range(pixels):
        entropy += np.log(total[i]) - weighted[i] / total[i]
        confidence += 1 / total[i]
    return entropy / pixels, confidence / pixels
