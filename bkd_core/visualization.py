# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Pictures of labels: colours, overlays, titled panels and legends. All images are RGB, uint8."""

from __future__ import annotations

from functools import lru_cache
import math
from typing import Sequence
import unicodedata

from bkd_core.errors import InputError
from bkd_core.labels import LabelSpace
import cv2
import numpy as np

UNLABELLED_COLOR = (0, 0, 0)
_BACKGROUND = (30, 30, 34)
_BORDER = (120, 120, 126)
_TEXT = (240, 240, 240)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_GAP = 6  # pixels between and around the parts of a panel or legend


@lru_cache(maxsize=16)
def color_table(label_space: LabelSpace) -> np.ndarray:
    """
    Return the colour of every label value.

    :param label_space: Classes and their colours.
    :return: (256, 3) uint8 RGB, read-only; black from `num_classes` on, and so for 255.
    """
    table = np.full((256, 3), UNLABELLED_COLOR, np.uint8)
    table[:label_space.num_classes] = label_space.colors
    table.setflags(write=False)
    return table


def colorize(labels: np.ndarray, label_space: LabelSpace) -> np.ndarray:
    """
    Paint labels in the colours of their classes; a pixel without a class becomes black.

    :param labels: (H, W), uint8, 255 = no label.
    :param label_space: What the labels mean.
    :return: (H, W, 3), uint8 RGB.
    :raises InputError: If the labels are not a uint8 image.
    """
    labels = _checked_labels(labels)
    return cv2.applyColorMap(labels, color_table(label_space)[:, np.newaxis])


def overlay(
        image: np.ndarray, labels: np.ndarray, label_space: LabelSpace, *,
        opacity: float = 0.5) -> np.ndarray:
    """
    Tint a frame by the classes of its pixels; a pixel without a class keeps the frame's colour.

    :param image: (H, W, 3), uint8 RGB.
    :param labels: (H, W), uint8, 255 = no label.
    :param label_space: What the labels mean.
    :param opacity: Share of the class colour, 0 (only the frame) to 1 (only the colour).
    :return: (H, W, 3), uint8 RGB, a new array.
    :raises InputError: If sizes, types or the opacity do not fit.
    """
    image, labels = _checked_image(image), _checked_labels(labels)
    if image.ndim != 3 or image.shape[:2] != labels.shape:
        raise InputError(
            f"overlay: expected an RGB image of the labels' size {labels.shape}; got shape "
            f'{image.shape}')
    if not 0 <= opacity <= 1:
        raise InputError(f'overlay: opacity must lie between 0 and 1; got {opacity}')
    colors = cv2.applyColorMap(labels, color_table(label_space)[:, np.newaxis])
    blended = cv2.addWeighted(image, 1 - opacity, colors, opacity, 0)
    has_no_class = cv2.compare(labels, float(label_space.num_classes), cv2.CMP_GE)
    return cv2.copyTo(image, has_no_class, blended)


def panel(titled_images: Sequence[tuple[str, np.ndarray]], *, columns: int = 2) -> np.ndarray:
    """
    Arrange images in a grid, each under its title, all cells of the first image's size.

    An image of another size is scaled to fit its cell with its aspect kept. A title that is too
    long for its cell is set smaller, then cut. Titles are drawn in ASCII: accents are dropped,
    other characters become '?'.

    :param titled_images: (title, image) pairs; images (H, W, 3) RGB or (H, W) grey, uint8.
    :param columns: Most images in a row, at least 1.
    :return: (H', W', 3), uint8 RGB.
    :raises InputError: If there is no image or one is not uint8.
    """
    if not titled_images or columns < 1:
        raise InputError(
            f'panel: expected at least one image and one column; got {len(titled_images)} '
            f'images and {columns} columns')
    images = [_checked_image(image) for _, image in titled_images]
    height, width = images[0].shape[:2]
    cells = [
        np.vstack([_title_bar(title, width), _fitted(image, height, width)])
        for (title, _), image in zip(titled_images, images)]
    return _grid(cells, min(columns, len(cells)))


def legend(
        label_space: LabelSpace, *, width: int = 640, has_unlabelled: bool = False) -> np.ndarray:
    """
    Draw the classes of a label space with their colours, in as many columns as fit.

    :param label_space: The classes.
    :param width: Width of the picture, pixels; one column that needs more widens it.
    :param has_unlabelled: Whether black, for pixels without a label, is listed too.
    :return: (H, width, 3), uint8 RGB.
    """
    entries = list(zip(label_space.classes, label_space.colors))
    if has_unlabelled:
        entries.append(('no label', UNLABELLED_COLOR))
    row, swatch, scale = 26, 28, 0.55
    text_width = max(_text_size(name, scale)[0] for name, _ in entries)
    entry_width = _GAP + swatch + _GAP + text_width + _GAP
    columns = max(1, min(len(entries), width // entry_width))
    rows = math.ceil(len(entries) / columns)
    picture = np.full(
        (rows * row + _GAP, max(width, entry_width), 3), _BACKGROUND, np.uint8)
    step = picture.shape[1] // columns
    for index, (name, color) in enumerate(entries):
        left, top = index % columns * step + _GAP, index // columns * row + _GAP
        box = (left, top, swatch, row - _GAP)
        cv2.rectangle(picture, box, color, cv2.FILLED)
        cv2.rectangle(picture, box, _BORDER, 1)
        _draw_text(picture, name, (left + swatch + _GAP, top + row - _GAP - 5), scale)
    return picture


def encode_png(image: np.ndarray) -> bytes:
    """
    Return an image as a PNG file, without loss.

    :param image: (H, W, 3) RGB or (H, W) grey or labels, uint8.
    :raises InputError: If it is no such image.
    """
    return _encode(image, '.png', [])


def encode_jpeg(image: np.ndarray, *, quality: int = 90) -> bytes:
    """
    Return an image as a JPEG file.

    :param image: (H, W, 3) RGB or (H, W) grey, uint8. Never labels: JPEG changes values.
    :param quality: 1 to 100.
    :raises InputError: If it is no such image, or the quality is out of range.
    """
    if not 1 <= quality <= 100:
        raise InputError(f'encode_jpeg: quality must lie between 1 and 100; got {quality}')
    return _encode(image, '.jpg', [cv2.IMWRITE_JPEG_QUALITY, quality])


def _encode(image: np.ndarray, suffix: str, settings: list[int]) -> bytes:
    image = _checked_image(image)
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    is_encoded, data = cv2.imencode(suffix, image, settings)
    assert is_encoded, suffix
    return data.tobytes()


def _checked_image(image: np.ndarray) -> np.ndarray:
    is_image = isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.size > 0 and (
        image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3))
    if not is_image:
        raise InputError(f'expected a uint8 image (H, W, 3) or (H, W); got {_described(image)}')
    return np.ascontiguousarray(image)


def _checked_labels(labels: np.ndarray) -> np.ndarray:
    if not isinstance(labels, np.ndarray) or labels.dtype != np.uint8 or labels.ndim != 2 \
            or labels.size == 0:
        raise InputError(f'expected uint8 labels (H, W); got {_described(labels)}')
    return np.ascontiguousarray(labels)


def _described(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f'{value.dtype} of shape {value.shape}'
    return type(value).__name__


def _fitted(image: np.ndarray, height: int, width: int) -> np.ndarray:
    if image.ndim == 2:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    if image.shape[:2] == (height, width):
        return image
    scale = min(height / image.shape[0], width / image.shape[1])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    filter_type = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    image = cv2.resize(image, size, interpolation=filter_type)
    cell = np.full((height, width, 3), _BACKGROUND, np.uint8)
    top, left = (height - image.shape[0]) // 2, (width - image.shape[1]) // 2
    cell[top:top + image.shape[0], left:left + image.shape[1]] = image
    return cell


def _title_bar(title: str, width: int) -> np.ndarray:
    title = _ascii(title)
    scale = 0.7 if width >= 480 else 0.5
    bar = np.full((32 if width >= 480 else 24, width, 3), _BACKGROUND, np.uint8)
    room = width - 2 * _GAP
    while _text_size(title, scale)[0] > room and scale > 0.45:
        scale -= 0.05
    while _text_size(title, scale)[0] > room and len(title) > 3:
        title = title[:-4] + '...'
    _draw_text(bar, title, (_GAP, bar.shape[0] - 10), scale)
    return bar


def _grid(cells: list[np.ndarray], columns: int) -> np.ndarray:
    height, width = cells[0].shape[:2]
    rows = math.ceil(len(cells) / columns)
    picture = np.full(
        (rows * (height + _GAP) + _GAP, columns * (width + _GAP) + _GAP, 3), _BACKGROUND, np.uint8)
    for index, cell in enumerate(cells):
        top = _GAP + index // columns * (height + _GAP)
        left = _GAP + index % columns * (width + _GAP)
        picture[top:top + height, left:left + width] = cell
    return picture


def _ascii(text: str) -> str:
    plain = unicodedata.normalize('NFKD', text)
    plain = ''.join(character for character in plain if not unicodedata.combining(character))
    return plain.encode('ascii', 'replace').decode('ascii')


def _text_size(text: str, scale: float) -> tuple[int, int]:
    (width, height), _ = cv2.getTextSize(text, _FONT, scale, 1)
    return width, height


def _draw_text(picture: np.ndarray, text: str, origin: tuple[int, int], scale: float) -> None:
    cv2.putText(picture, text, origin, _FONT, scale, _TEXT, 1, cv2.LINE_AA)
