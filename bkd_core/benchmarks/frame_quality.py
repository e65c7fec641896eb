# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What the limits of `QualityConfig` lose of real drives, and what they find of spoilt frames."""

from __future__ import annotations

from collections import Counter
from typing import Callable, Iterable, Sequence

from bkd_core.adaptation.frame_quality import (
    BLURRED,
    FrameQuality,
    NEAR_DUPLICATE,
    QualityConfig,
    sharpness,
    thumbnail,
    Thumbnails,
    TOO_BRIGHT,
    TOO_DARK,
    working_grey,
)
import cv2
import numpy as np

LOSS = 0.01  # of the frames as they are, at which two measures of blur are compared
HASH_BITS = 4  # of 64 that may differ between a frame and its repetition
EVERY = 3  # one frame of so many is spoilt

Images = Sequence[np.ndarray]
Spoil = Callable[[np.ndarray], np.ndarray]

BLURS: dict[str, Spoil] = {
    'out of focus, sigma 1': lambda image: cv2.GaussianBlur(image, (0, 0), 1),
    'out of focus, sigma 1.5': lambda image: cv2.GaussianBlur(image, (0, 0), 1.5),
    'out of focus, sigma 2.5': lambda image: cv2.GaussianBlur(image, (0, 0), 2.5),
    'moved by 5 pixels': lambda image: cv2.blur(image, (5, 1)),
    'moved by 9 pixels': lambda image: cv2.blur(image, (9, 1)),
    'moved by 15 pixels': lambda image: cv2.blur(image, (15, 1)),
    'moved by 15 pixels, upright': lambda image: cv2.blur(image, (1, 15)),
    'moved by 15 pixels, and noise': lambda image: _noisy(cv2.blur(image, (15, 1))),
}
EXPOSURES: dict[str, Spoil] = {
    f'exposure times {gain:g}': lambda image, gain=gain: cv2.convertScaleAbs(image, alpha=gain)
    for gain in (0.05, 0.1, 0.2, 0.5, 2, 4, 8)}
REPEATS: dict[str, Spoil] = {
    'noise of deviation 5': lambda image: _noisy(image),
    'moved by 1 pixel': lambda image: np.roll(image, 1, axis=1),
    'exposure times 1.05': lambda image: cv2.convertScaleAbs(image, alpha=1.05),
    'all three': lambda image: _noisy(
        cv2.convertScaleAbs(np.roll(image, 1, axis=1), alpha=1.05)),
}


def quality_section(drives: dict[str, Images]) -> str:
    """
    Measure, and return a section of Markdown.

    :param drives: Name -> frames of one drive in their order, each (H, W, 3) uint8 RGB.
    """
    config = QualityConfig()
    return '\n'.join([
        '## Frames that are left out at once', '',
        f'Limits: sharpness {config.min_sharpness:g} of the median of the last '
        f'{config.recent_frames} frames, {100 * config.max_dark:g} % dark, '
        f'{100 * config.max_bright:g} % bright, thumbnails {config.min_difference:g} apart.', '',
        'Of the frames as they are:', '', *_as_they_are(drives, config), '',
        f'Of frames that were spoilt, one in {EVERY}, and left out for that reason:', '',
        *_spoilt(drives, config), '',
        f'Blur by the re-blur measure and by the variance of the Laplacian, both relative to the '
        f'median of the last frames, both with the limit that loses {100 * LOSS:g} % of the '
        'frames as they are:', '', *_blur_measures(drives, config), '',
        'Near-duplicates by thumbnails and by a difference hash (at most '
        f'{HASH_BITS} of 64 bits):', '', *_repeats(drives, config)])


def _as_they_are(drives: dict[str, Images], config: QualityConfig) -> list[str]:
    faults = (BLURRED, TOO_DARK, TOO_BRIGHT, NEAR_DUPLICATE)
    rows = []
    for name, images in drives.items():
        counts = Counter(faults_of(images, config))
        rows.append([name, len(images), *(percent(counts[fault] / len(images))
                                          for fault in faults)])
    return table(['drive', 'frames', *faults], rows)


def faults_of(images: Images, config: QualityConfig) -> list[str]:
    """
    Return what would be wrong with each frame of a drive for a store that never fills up.

    :param images: The frames in their order.
    :param config: The limits.
    """
    quality, known = FrameQuality(config), Thumbnails(min_difference=config.min_difference)
    faults = []
    for number, image in enumerate(images):
        fault, picture = quality.fault(image, ''), thumbnail(image)
        if not fault and known.repeats(picture, ''):
            fault = NEAR_DUPLICATE
        if not fault:
            known.add(str(number), '', picture)
        faults.append(fault)
    return faults


def _spoilt(drives: dict[str, Images], config: QualityConfig) -> list[str]:
    rows = []
    expected = {
        **{name: (spoil, BLURRED) for name, spoil in BLURS.items()},
        **{name: (spoil, TOO_BRIGHT if name.split()[-1] in '248' else TOO_DARK)
           for name, spoil in EXPOSURES.items()}}
    for name, (spoil, fault) in expected.items():
        found = []
        for images in drives.values():
            quality = FrameQuality(config)
            for number, image in enumerate(images):
                is_spoilt = number % EVERY == EVERY - 1
                seen = quality.fault(spoil(image) if is_spoilt else image, '')
                if is_spoilt:
                    found.append(seen == fault)
        rows.append([name, fault, percent(np.mean(found))])
    return table(['spoilt by', 'expected', 'found'], rows)


def _blur_measures(drives: dict[str, Images], config: QualityConfig) -> list[str]:
    measures = {'re-blur': sharpness, 'Laplacian': _laplacian}
    rows = {name: [name] for name in BLURS}
    for measure in measures.values():
        clean = {name: [measure(working_grey(image)) for image in images]
                 for name, images in drives.items()}
        usual = {name: _running_median(values, config.recent_frames)
                 for name, values in clean.items()}
        limit = np.quantile(np.concatenate([clean[name] / usual[name] for name in drives]), LOSS)
        for kind, spoil in BLURS.items():
            ratios = np.concatenate([
                np.array([measure(working_grey(spoil(image))) for image in images]) / usual[name]
                for name, images in drives.items()])
            rows[kind].append(percent((ratios < limit).mean()))
    return table(['spoilt by', *measures], list(rows.values()))


def _repeats(drives: dict[str, Images], config: QualityConfig) -> list[str]:
    rows = []
    for name, spoil in REPEATS.items():
        pairs = [(image, spoil(image)) for images in drives.values() for image in images]
        rows.append([f'repeated, {name}', *_found_alike(pairs, config)])
    for name, images in drives.items():
        rows.append([f'the next frame of {name}', *_found_alike(zip(images, images[1:]), config)])
    return table(['frame', 'thumbnails', 'difference hash'], rows)


def _found_alike(
    pairs: Iterable[tuple[np.ndarray, np.ndarray]], config: QualityConfig,
) -> tuple[str, str]:
    thumbs, hashes = [], []
    for one, other in pairs:
        known = Thumbnails(min_difference=config.min_difference)
        known.add('', '', thumbnail(one))
        thumbs.append(known.repeats(thumbnail(other), ''))
        hashes.append((_difference_hash(one) != _difference_hash(other)).sum() <= HASH_BITS)
    return percent(np.mean(thumbs)), percent(np.mean(hashes))


def _difference_hash(image: np.ndarray) -> np.ndarray:
    grey = cv2.resize(
        cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (9, 8), interpolation=cv2.INTER_AREA)
    return grey[:, 1:] > grey[:, :-1]


def _laplacian(grey: np.ndarray) -> float:
    return float(cv2.Laplacian(grey, cv2.CV_32F).var())


def _running_median(values: Sequence[float], count: int) -> np.ndarray:
    return np.array([
        np.median(values[max(0, end - count):end]) for end in range(1, len(values) + 1)])


def _noisy(image: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 5, image.shape)
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)


def percent(share: float) -> str:
    """
    Return a share as text.

    :param share: 0 to 1.
    """
    return f'{100 * share:.1f} %'


def table(head: Sequence[object], rows: Sequence[Sequence[object]]) -> list[str]:
    """
    Return the lines of a Markdown table; all columns but the first are aligned right.

    :param head: The columns' titles.
    :param rows: The cells.
    """
    lines = [head, ['---', *['---:'] * (len(head) - 1)], *rows]
    return ['| ' + ' | '.join(map(str, line)) + ' |' for line in lines]
