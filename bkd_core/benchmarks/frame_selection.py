# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Which frames a full store should keep: selections and embeddings side by side on real drives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bkd_core import atomic
from bkd_core.adaptation.collector import CollectorConfig
from bkd_core.adaptation.embedding import embedding_of
from bkd_core.adaptation.frame_selection import Selection, SELECTIONS
from bkd_core.adaptation.privacy import class_ids
from bkd_core.benchmarks.frame_quality import percent, quality_section, table
from bkd_core.checkout import commit
from bkd_core.datasets import build_dataset
from bkd_core.datasets.dataset import SegmentationDataset
from bkd_core.datasets.frame_record import FrameMetadata, FrameRecord
from bkd_core.inference import Segmenter
from bkd_core.inference.segmenter import resize_frame
from bkd_core.labels import get_label_space
from bkd_core.models import load_network
from bkd_core.progress import progress_bar
import cv2
import numpy as np

PAGE = 'frame_selection.md'
DAY_SEQUENCES, DUSK, DENSE = ('0006R0', '0016E5'), '0001TP', 'val'
PERIOD_NS = {DENSE: 10**9 * 2 // 15}  # the rest was sampled once a second
SECOND = 10**9
STREAMS = {
    'day, then dusk': ('0006R0', '0016E5', '0001TP'),
    'the same with a dense part': ('0006R0', 'val', '0016E5', '0001TP'),
    'dusk first, the dense part last': ('0001TP', '0006R0', '0016E5', 'val'),
}
BUDGETS = (30, 80)
USED_SHARE = 0.9  # of a stream, drawn anew for every seed
LAYOUT_GRID = (8, 6)
RARE = ('pole', 'sign', 'fence', 'pedestrian', 'bicyclist')
CANDIDATES = (
    ('keep_latest', 'probabilities'), ('stratified_reservoir', 'probabilities'),
    ('k_center', 'probabilities'), ('k_center', 'encoder'),
    ('stratified_k_center', 'probabilities'), ('stratified_k_center', 'encoder'))


@dataclass(frozen=True, kw_only=True)
class Features:
    """
    What is known of the frames of all drives; rows belong together.

    :param drives: (N,) name of each frame's drive.
    :param embeddings: Name -> (N, D), what a selection may go by.
    :param judges: Name -> (N, D), what coverage is judged by.
    :param class_shares: (N, C) share of each class by the labels.
    """

    drives: np.ndarray
    embeddings: dict[str, np.ndarray]
    judges: dict[str, np.ndarray]
    class_shares: np.ndarray


def run_selection_benchmark(
    results: Path, *, data_root: Path, model: str = 'default', num_seeds: int = 5,
) -> Path:
    """
    Measure on CamVid, and write the page.

    :param results: Folder of the page.
    :param data_root: Folder that holds camvid.
    :param model: The student: a model directory or 'default'.
    :param num_seeds: How many times a stream is drawn.
    :return: The page.
    """
    made_by = commit()
    drives = camvid_drives(data_root)
    features = compute_features(drives, model)
    images = {
        name: [drive.image(index) for index in range(len(drive))]
        for name, drive in drives.items()}
    lines = [
        '# Which frames are worth keeping', '',
        f'Written by `bkd benchmark selection`; do not edit. CamVid: {_described(drives)}. '
        f"Student: '{model}'. Commit: {made_by}.", '',
        quality_section(images), '', *selection_section(features, num_seeds=num_seeds)]
    results.mkdir(parents=True, exist_ok=True)
    atomic.write_text(results / PAGE, '\n'.join(lines) + '\n')
    return results / PAGE


def camvid_drives(data_root: Path) -> dict[str, SegmentationDataset]:
    """
    Return CamVid's drives by name.

    :param data_root: Folder that holds camvid.
    """
    def drive(split: str, sequence: str | None) -> SegmentationDataset:
        return build_dataset('camvid', root=data_root, split=split, sequence=sequence)
    return {
        **{name: drive('train', name) for name in (*DAY_SEQUENCES, DUSK)},
        DENSE: drive('val', None)}


def compute_features(drives: dict[str, SegmentationDataset], model: str) -> Features:
    """
    Look at every frame with the student, with a network that it does not know, and at its labels.

    :param drives: Name -> frames in their order.
    :param model: The student.
    """
    from bkd_core.models.lite_trunk import LiteTrunk
    import torch
    segmenter = Segmenter.load(model, runtime='onnxruntime')
    student, judge = load_network(model), LiteTrunk(variant='lite2').eval()
    encoder = getattr(student, 'trunk', student)
    rows: list[tuple[np.ndarray, ...]] = []
    names = [name for name, drive in drives.items() for _ in range(len(drive))]
    with progress_bar('look at the frames', len(names)) as advance, torch.inference_mode():
        for drive in drives.values():
            num_classes = drive.label_space.num_classes
            for index in range(len(drive)):
                image, labels = drive.image(index), drive.labels(index)
                pixels = _normalised(image, segmenter.spec)
                layout = _layout(labels, num_classes)
                rows.append((
                    embedding_of(segmenter.logits(image)), _pooled(encoder(pixels)[-1]),
                    _pooled(judge(pixels)[-1]), np.sqrt(layout).ravel(),
                    layout.sum(axis=(1, 2))))
                advance(len(rows))
    probabilities, features, seen, layouts, shares = (np.stack(part) for part in zip(*rows))
    return Features(
        drives=np.array(names), class_shares=shares,
        embeddings={'probabilities': probabilities, 'encoder': _unit(features)},
        judges={'ImageNet features': _unit(_standardised(seen)), 'true layout': layouts})


def selection_section(features: Features, *, num_seeds: int) -> list[str]:
    """
    Fill stores of a few sizes by every selection; return a section of Markdown.

    :param features: Of all frames.
    :param num_seeds: How many times a stream is drawn.
    """
    lines = [
        '## Frames that give way when the store is full', '',
        'Distance from every frame of the stream to the nearest one that was kept, the farthest '
        'and the mean: in features of an ImageNet network that the student does not know, and in '
        'the layout of the classes by the labels, which serve for nothing else. *Rare*: pixels of '
        f'{", ".join(RARE)} among the kept frames, relative to the stream. Each stream is nine '
        f'tenths of its frames, drawn {num_seeds} times; mean and, where it is given, standard '
        'deviation.']
    every: list[dict[str, np.ndarray]] = []
    for stream in STREAMS:
        for budget in BUDGETS:
            scores = {
                _title(selection, embedding): _score(
                    features, stream, budget, selection, embedding, num_seeds)
                for selection, embedding in CANDIDATES}
            every.append({title: values.mean(axis=0) for title, values in scores.items()})
            lines += ['', f'{stream[0].upper()}{stream[1:]}; {budget} frames may stay:', '',
                      *table(['selection', *_COLUMNS],
                             [[title, *_cells(values)] for title, values in scores.items()])]
    return [*lines, '', *_comparison(every)]


def _title(selection: str, embedding: str) -> str:
    return f'{selection}, {embedding}' if SELECTIONS[selection].needs_embedding else selection


def _comparison(every: list[dict[str, np.ndarray]]) -> list[str]:
    """Return the default beside the selection that needs no network, over all tables."""
    default, other = _title(CollectorConfig().selection, 'probabilities'), 'stratified_reservoir'
    changes = [scores[default] / scores[other] - 1 for scores in every]
    farthest, mean = (
        np.concatenate([[change[first], change[first + 2]] for change in changes])
        for first in (0, 1))
    return [
        f'The default is `{default.split(",")[0]}` by the probabilities. Beside `{other}`, which '
        f'needs no network, the farthest distance is {compared(farthest)}; the mean distance is '
        f'{compared(mean)}. What a student learns from either was not measured.']


def compared(changes: np.ndarray) -> str:
    """
    Say how many of some changes go the way that they go on average, and how far.

    :param changes: (N,) float, relative to what they are compared with; below 0 is smaller.
    """
    way, count = ('smaller', changes < 0) if changes.mean() < 0 else ('larger', changes > 0)
    return (f'{way} in {count.sum()} of {changes.size} comparisons, by '
            f'{100 * abs(changes.mean()):.1f} % on average')


_COLUMNS = (
    'farthest, ImageNet', 'mean, ImageNet', 'farthest, layout', 'mean, layout', 'rare', 'dusk')


def _score(
    features: Features, stream: str, budget: int, selection: str, embedding: str,
    num_seeds: int,
) -> np.ndarray:
    """Return (seeds, columns)."""
    rare = class_ids(RARE, get_label_space('camvid11'))
    values = []
    for seed in range(num_seeds):
        frames, stamps = draw_stream(features.drives, stream, seed)
        kept = keep(
            SELECTIONS[selection](seed=seed), features.embeddings[embedding], frames, stamps,
            budget)
        row = [
            number for judge in features.judges.values()
            for number in coverage(judge[frames], judge[kept])]
        shares = features.class_shares[:, rare]
        row += [shares[kept].mean() / shares[frames].mean(),
                (features.drives[kept] == DUSK).mean()]
        values.append(row)
    return np.array(values)


def _cells(values: np.ndarray) -> list[str]:
    means, deviations = values.mean(axis=0), values.std(axis=0)
    return [
        f'{means[0]:.3f} ± {deviations[0]:.3f}', f'{means[1]:.3f}',
        f'{means[2]:.3f} ± {deviations[2]:.3f}', f'{means[3]:.3f}', f'{means[4]:.2f}',
        percent(means[5])]


def draw_stream(
    drives: np.ndarray, stream: str, seed: int,
) -> tuple[np.ndarray, list[int]]:
    """
    Return the frames of a stream in their order, and their stamps in nanoseconds.

    :param drives: (N,) name of each frame's drive.
    :param stream: One of `STREAMS`.
    :param seed: Nine tenths of the frames are drawn by it.
    """
    frames, stamps, now = [], [], 0
    chance = np.random.default_rng(seed)
    for drive in STREAMS[stream]:
        for index in np.flatnonzero(drives == drive):
            now += PERIOD_NS.get(drive, SECOND)
            if chance.random() < USED_SHARE:
                frames.append(index)
                stamps.append(now)
    return np.array(frames), stamps


def keep(
    selection: Selection, embeddings: np.ndarray, frames: np.ndarray, stamps: list[int],
    budget: int,
) -> np.ndarray:
    """
    Return which frames of a stream are left at its end.

    :param selection: Empty.
    :param embeddings: (N, D).
    :param frames: Indices of the stream's frames.
    :param stamps: Their stamps, nanoseconds.
    :param budget: How many may stay.
    """
    kept: dict[str, int] = {}
    for frame, stamp_ns in zip(frames, stamps):
        record = FrameRecord(
            name=f'{stamp_ns:019d}_', metadata=FrameMetadata(stamp_ns=stamp_ns, topic='/c'),
            suffix='.jpg', height=1, width=1, num_bytes=1, crc32=0,
            thumbnail=np.zeros(0, np.uint8), embedding=embeddings[frame].astype(np.float16))
        selection.add(record)
        kept[record.name] = frame
        if len(kept) > budget:
            victim = selection.victim()
            selection.remove(victim)
            del kept[victim]
    return np.array(list(kept.values()))


def coverage(everything: np.ndarray, kept: np.ndarray) -> tuple[float, float]:
    """
    Return the farthest and the mean distance to the nearest kept frame.

    :param everything: (N, D).
    :param kept: (K, D).
    """
    nearest = np.linalg.norm(everything[:, None] - kept[None], axis=2).min(axis=1)
    return float(nearest.max()), float(nearest.mean())


def _layout(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Return (C, rows, columns), the share of each class in each cell of the whole frame."""
    planes = [(labels == number).astype(np.float32) for number in range(num_classes)]
    cells = np.stack([
        cv2.resize(plane, LAYOUT_GRID, interpolation=cv2.INTER_AREA) for plane in planes])
    return cells / (LAYOUT_GRID[0] * LAYOUT_GRID[1])


def _normalised(image: np.ndarray, spec: Any) -> Any:
    import torch
    pixels = (resize_frame(image, spec) - np.float32(spec.mean)) / np.float32(spec.std)
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]


def _pooled(features: Any) -> np.ndarray:
    return features.mean(dim=(2, 3))[0].numpy()


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _standardised(rows: np.ndarray) -> np.ndarray:
    return (rows - rows.mean(axis=0)) / np.maximum(rows.std(axis=0), 1e-6)


def _described(drives: dict[str, SegmentationDataset]) -> str:
    return ', '.join(
        f'{name} ({len(drive)} frames{", dusk" if name == DUSK else ""}, '
        f'{"7.5" if name == DENSE else "1"} Hz)' for name, drive in drives.items())
