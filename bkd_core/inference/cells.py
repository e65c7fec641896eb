# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
The winner of every frame pixel from coarse logits, computed only where it is in question.

Four neighbouring coarse pixels enclose a cell of frame pixels. An interpolated logit is a mean
of its class's four corner values, with weights that are the same for all classes, never negative
and add up to 1. Hence, for any factor from coarse pixels to frame, integer or not:

* Where one class is the largest at all four corners, it is the largest everywhere in the cell.
  Such cells, most of a frame, are filled and nothing is interpolated.
* A class whose largest corner value is below another class's smallest wins nowhere in the cell.
  The two or three classes that this leaves are interpolated in the remaining, mixed cells. (A
  class that is first at no corner can be among them: second everywhere, it may win between.)

Rounding keeps this. With u = 2^-24 and the largest magnitude M of all logits, an interpolated
value is off by at most 20 u M, whether interpolated here or by OpenCV, so a class that leads by
`CLOSE` M = 64 u M leads after rounding too. Where two classes are closer than that at a corner,
its cells count as mixed; a class that much below the bar is still a candidate. Only where two
classes are within rounding of each other at a pixel may another implementation name the other
one. Here such a pixel does not depend on the machine, equal corners tie exactly, and the lowest
class id wins a tie.

The border, where the edge pixel is repeated, is made of cells whose corners coincide.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

CLOSE = 2 ** -18
# Share of all (cell, class) pairs that may be candidates in mixed cells. Beyond it interpolating
# every class everywhere is faster: measured between 0.05 and 0.12 for 4 to 19 classes and factors
# 4 to 9, about a third of the cells being mixed then. Streets need 0.02 to 0.05, noise 0.9.
MOST_CANDIDATES = .08
# Corner differences and their sums stay finite below it.
HUGE = 1e30


@dataclass(frozen=True, kw_only=True, eq=False)
class Side:
    """
    One side of the frame, cut into the n + 1 cells that n coarse pixels make.

    :param sizes: (n + 1,) frame pixels of each cell.
    :param starts: (n + 2,) the first of them, and the side's size.
    :param weights: (size,) float32, the weight of the corner after at each frame pixel.
    :param corners: (2, n + 1) the coarse pixels before and after each cell.
    :param pixels: (longest, n + 1) each cell's frame pixels; a shorter cell repeats its last.
    """

    sizes: np.ndarray
    starts: np.ndarray
    weights: np.ndarray
    corners: np.ndarray
    pixels: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class Mixed:
    """
    The pixels of the mixed cells.

    :param index: (a, b, N) their places in the flat frame, some more than once.
    :param lead: (a, b, N) float32, the winner's logit less the corners' largest logits,
        interpolated like a class's: 0 or below; None if it was not asked for.
    """

    index: np.ndarray
    lead: np.ndarray | None


@lru_cache(maxsize=32)
def cut(coarse: int, size: int) -> Side:
    """
    Cut a side into cells, by half-pixel centres as OpenCV and torch do.

    :param coarse: Coarse pixels of the side.
    :param size: Its frame pixels, at least twice as many: then no cell is empty.
    """
    position = (np.arange(size) + .5) * (coarse / size) - .5
    before = np.floor(position).astype(np.intp)
    sizes = np.bincount(before + 1, minlength=coarse + 1)
    starts = np.append(0, np.cumsum(sizes))
    pixels = np.minimum(np.arange(sizes.max())[:, None], sizes - 1) + starts[:-1]
    corners = np.clip([np.arange(-1, coarse), np.arange(coarse + 1)], 0, coarse - 1)
    weights = (position - before).astype(np.float32)
    return Side(sizes=sizes, starts=starts, weights=weights, corners=corners, pixels=pixels)


def settle(
    logits: np.ndarray, winner: np.ndarray, largest: np.ndarray, height: int, width: int, *,
    with_lead: bool = False,
) -> tuple[np.ndarray, Mixed | None] | None:
    """
    Find the winner of every frame pixel.

    :param logits: (C, h, w) float32.
    :param winner: (h, w) uint8, the coarse winners.
    :param largest: (h, w) float32, their logits.
    :param height: The frame's height.
    :param width: The frame's width.
    :param with_lead: Whether `Mixed.lead` is wanted.
    :return: The labels (H, W) uint8 and the pixels that had to be interpolated, if any; None
        where cells don't pay: the frame is less than twice the coarse size, a logit is not
        finite, or too many classes are in question, as in noise.
    """
    size = logits.shape[1:]
    magnitude = max(abs(float(largest.max())), abs(float(logits.min())))
    if height < 2 * size[0] or width < 2 * size[1] or not magnitude < HUGE:
        return None
    margin = np.float32(CLOSE * magnitude)
    rows, columns = cut(size[0], height), cut(size[1], width)
    mixed = _mixed_cells(logits, winner, largest - margin)
    question = _candidates(logits, mixed, rows.corners * size[1], columns.corners, margin)
    if question is None:
        return None
    upper_left = cv2.copyMakeBorder(winner, 1, 0, 1, 0, cv2.BORDER_REPLICATE)
    labels = upper_left.repeat(columns.sizes, axis=1).repeat(rows.sizes, axis=0)
    row, column, corners, values, candidates = question
    if not row.size:
        return labels, None
    top = largest.reshape(-1).take(corners) if with_lead else None
    y, x = rows.pixels.take(row, axis=1), columns.pixels.take(column, axis=1)
    settled, lead = _compare(
        values, candidates, top, rows.weights.take(y)[:, None], columns.weights.take(x))
    index = (y * width)[:, None] + x
    labels.reshape(-1)[index] = settled
    return labels, Mixed(index=index, lead=lead)


def _mixed_cells(logits: np.ndarray, winner: np.ndarray, bar: np.ndarray) -> np.ndarray:
    """Return (h + 1, w + 1) bool: whose corners' winners differ, or reach the bar in pairs."""
    corners = _corners(winner)
    mixed = corners[0] != corners[1]
    for corner in corners[2:]:
        mixed |= corners[0] != corner
    close = np.add.reduce(logits >= bar, axis=0, dtype=np.uint8) > 1
    if close.any():
        for corner in _corners(close.view(np.uint8)):
            mixed |= corner.view(bool)
    return mixed


def _candidates(
    logits: np.ndarray, mixed: np.ndarray, above: np.ndarray, left: np.ndarray,
    margin: np.float32,
) -> tuple[np.ndarray, ...] | None:
    """
    Find the classes that can win in each mixed cell; None if they are too many.

    :return: Row (N,) and column (N,) of the cells with the most candidates first, their corners
        (4, N) in the flat coarse image, their values (C, 4, N), and the candidates (C, N) bool.
    """
    most = MOST_CANDIDATES * len(logits) * mixed.size
    row, column = np.nonzero(mixed)
    if 2 * row.size > most:  # a mixed cell has at least two
        return None
    # `take` keeps its result contiguous; an index in brackets would lay out cells first.
    corners = (above.take(row, axis=1)[:, None] + left.take(column, axis=1)).reshape(4, -1)
    values = logits.reshape(len(logits), -1).take(corners, axis=1)
    candidates = values.max(axis=1) >= values.min(axis=1).max(axis=0) - margin
    number = candidates.sum(axis=0)
    if number.sum() > most:
        return None
    order = np.argsort(-number, kind='stable')
    return (
        row[order], column[order], corners.take(order, axis=1), values.take(order, axis=2),
        candidates.take(order, axis=1))


def _corners(plane: np.ndarray) -> list[np.ndarray]:
    """Return the four (h + 1, w + 1) views of the cells' corners; the edge is repeated."""
    padded = cv2.copyMakeBorder(plane, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    return [half[:, side] for half in (padded[:-1], padded[1:])
            for side in (slice(None, -1), slice(1, None))]


def _compare(
    values: np.ndarray, candidates: np.ndarray, top: np.ndarray | None, down: np.ndarray,
    right: np.ndarray,
) -> tuple[np.ndarray, np.ndarray | None]:
    """
    Interpolate the candidates of each cell in the order of their ids; keep the largest.

    :param values: (C, 4, N) corners of the cells, those with the most candidates first.
    :param candidates: (C, N) bool.
    :param top: (4, N) largest logits of the corners, if the lead is wanted.
    :param down: (a, 1, N) weights of the lower corners.
    :param right: (b, N) weights of the right ones.
    :return: The winners (a, b, N) uint8, and `lead` of `Mixed`.
    """
    number = candidates.sum(axis=0)
    _, classes = np.nonzero(candidates.T)
    first = np.cumsum(number) - number
    cells, corner = np.arange(number.size), np.arange(4)[:, None]
    reference = values[classes[first], corner, cells]
    shape = (len(down), len(right), number.size)
    labels = np.empty(shape, np.uint8)
    labels[:] = classes[first]
    best = np.zeros(shape, np.float32)  # of the differences from the first candidate
    for rank in range(1, number[0]):
        n = np.count_nonzero(number > rank)
        rival = classes[first[:n] + rank]
        plane = _interpolate(
            values[rival, corner, cells[:n]] - reference[:, :n], down[..., :n], right[:, :n])
        wins = np.greater(plane, best[..., :n]).view(np.uint8)
        np.multiply(wins, rival.astype(np.uint8), out=wins)
        np.maximum(labels[..., :n], wins, out=labels[..., :n])
        np.maximum(best[..., :n], plane, out=best[..., :n])
    if top is None:
        return labels, None
    best += _interpolate(reference - top, down, right)
    return labels, best


def _interpolate(corners: np.ndarray, down: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Interpolate (4, N) corners to (a, b, N) pixels."""
    upper = (corners[1] - corners[0]) * right
    upper += corners[0]
    lower = (corners[3] - corners[2]) * right
    lower += corners[2]
    lower -= upper
    plane = down * lower
    plane += upper
    return plane
