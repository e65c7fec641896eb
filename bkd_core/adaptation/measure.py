# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Measure a student for the gate, with and without labels."""

from __future__ import annotations

import math
from typing import Callable, Sequence

from bkd_core.adaptation.gate import StudentScores
from bkd_core.datasets.dataset import SegmentationDataset
from bkd_core.errors import InputError
from bkd_core.evaluation import ConfusionMatrix, evaluate, LabelFreeScores, score_without_labels
from bkd_core.inference import Segmentation, Segmenter
from bkd_core.inference.segmenter import segmentation_of
from bkd_core.labels import id_mapping
import numpy as np

# Of the changed view: as much as a cloud before the sun, and nothing that clips a frame.
_BRIGHTNESS = 0.8
# Probability from which on a student counts as sure of a pixel, and the same in a confidence map.
SURE = 0.9
_SURE_VALUE = math.ceil(255 * SURE)
_SMALLEST_SHARE = 1e-5  # of a class that the teacher never sees, as in training
Segment = Callable[[np.ndarray], Segmentation]


class Watched:
    """
    Segment frames, and keep count of the classes and of the agreement with a changed view.

    :param segment: Frame -> `Segmentation`.
    :param num_classes: Of its label space.
    """

    def __init__(self, segment: Segment, num_classes: int) -> None:
        self._segment = segment
        self._counts = np.zeros(num_classes, np.int64)
        self._consistencies: list[float] = []

    def __call__(self, frame: np.ndarray) -> Segmentation:
        """
        Segment a frame.

        :param frame: (H, W, 3) uint8 RGB.
        """
        answer = self._segment(frame)
        changed = self._segment(changed_view(frame)).labels[:, ::-1]
        self._consistencies.append(float((changed == answer.labels).mean()))
        self._counts += np.bincount(answer.labels.ravel(), minlength=len(self._counts))
        return answer

    @property
    def consistency(self) -> float:
        """Return the share of pixels that were labelled alike in the changed view."""
        return float(np.mean(self._consistencies)) if self._consistencies else math.nan

    @property
    def class_shares(self) -> tuple[float, ...]:
        """Return the share of the pixels that each class got."""
        total = self._counts.sum()
        if not total:
            return (math.nan,) * len(self._counts)
        return tuple((self._counts / total).tolist())


class AdjustedTeacher:
    """
    Label frames like the soft labels of the target, logit adjustment included.

    :param teacher: The teacher.
    :param blocks: Target frames, by whose mean probabilities a class is rare or frequent.
    :param power: See `logit_adjustment` of `bilateral_distillation`; with 0 these are the
        teacher's own labels.
    """

    def __init__(
        self, teacher: Segmenter, blocks: Sequence[SegmentationDataset], *, power: float,
    ) -> None:
        self._teacher = teacher
        self._handicap = np.zeros((teacher.label_space.num_classes, 1, 1), np.float32)
        if power and any(map(len, blocks)):
            means = [
                _mean_probabilities(teacher.logits(block.image(index)))
                for block in blocks for index in range(len(block))]
            shares = np.maximum(np.mean(means, axis=0), _SMALLEST_SHARE)
            self._handicap[:, 0, 0] = power * np.log(shares / shares.sum())

    def __call__(self, frame: np.ndarray) -> Segmentation:
        """
        Segment a frame.

        :param frame: (H, W, 3) uint8 RGB.
        """
        return segmentation_of(self._teacher.logits(frame) - self._handicap, *frame.shape[:2])


def _mean_probabilities(logits: np.ndarray) -> np.ndarray:
    """Return the mean probability of each class, (C,), from (C, h, w) logits."""
    exponentials = np.exp(logits - logits.max(axis=0))
    return (exponentials / exponentials.sum(axis=0)).mean(axis=(1, 2))


def changed_view(frame: np.ndarray) -> np.ndarray:
    """
    Return a frame mirrored left to right and darker: its labels should be the mirror image.

    :param frame: (H, W, 3) uint8.
    """
    return np.ascontiguousarray((frame[:, ::-1] * _BRIGHTNESS).astype(np.uint8))


def measure_student(
    student: Segmenter, *, teacher: Segment, replay: SegmentationDataset,
    blocks: Sequence[SegmentationDataset], labelled: SegmentationDataset | None,
    progress: Callable[[int], None],
) -> StudentScores:
    """
    Measure a student.

    :param student: The student.
    :param teacher: The refreshed teacher, in the same label space; see `AdjustedTeacher`.
    :param replay: Labelled frames that it must not have forgotten.
    :param blocks: Held-back target frames, each block a piece of one sequence: between two
        blocks a label may change without flickering.
    :param labelled: Labelled target frames, if there are some.
    :param progress: Called with the number of frames that were looked at.
    """
    classes = student.label_space.num_classes
    replay_scores = evaluate(
        student, replay, label_space=student.label_space, progress=progress)
    done = len(replay)
    watched = Watched(student, classes)
    scores = []
    for block in blocks:
        scores.append(score_without_labels(
            watched, block, reference=teacher,
            progress=lambda count, done=done: progress(done + count)))
        done += len(block)
    return StudentScores(
        replay_miou=replay_scores.miou,
        agreement=_mean(scores, 'agreement'),
        consistency=watched.consistency,
        flicker=_mean(scores, 'flicker'),
        mean_entropy=_mean(scores, 'mean_entropy'),
        class_shares=watched.class_shares,
        num_frames=sum(len(block) for block in blocks),
        labelled_counts=None if labelled is None else counts_by_frame(student, labelled))


def kept_share(
    student: Segmenter, *, before: Segmenter, memory: SegmentationDataset,
) -> float:
    """
    Return the share of the pixels that one student was sure of that another one labels alike.

    :param student: The other one.
    :param before: The one whose answers count, where its probability is at least `SURE`.
    :param memory: Frames.
    :return: 0 to 1; NaN if it was sure of no pixel.
    """
    alike = sure = 0
    for index in range(len(memory)):
        frame = memory.image(index)
        answer = before(frame)
        is_sure = answer.confidence >= _SURE_VALUE
        labels = student(frame, with_confidence=False).labels
        alike += int((labels == answer.labels)[is_sure].sum())
        sure += int(is_sure.sum())
    return alike / sure if sure else math.nan


def counts_by_frame(student: Segmenter, labelled: SegmentationDataset) -> np.ndarray:
    """
    Return a confusion matrix for each labelled frame.

    :param student: The student.
    :param labelled: Frames with labels, in a label space that has counterparts in the student's.
    :return: (N, C, C + 1) int64.
    :raises InputError: If a frame and its labels don't fit.
    """
    mapping = id_mapping(labelled.label_space, student.label_space)
    counts = []
    for index in range(len(labelled)):
        confusion = ConfusionMatrix(student.label_space.num_classes)
        try:
            confusion.update(
                mapping[labelled.labels(index)], student(labelled.image(index)).labels)
        except InputError as error:
            raise InputError(f"labelled frame '{labelled.name(index)}': {error}") from error
        counts.append(confusion.counts)
    return np.stack(counts)


def _mean(scores: Sequence[LabelFreeScores], name: str) -> float:
    """Return the mean over all frames of the blocks; a pair of frames is one frame less."""
    weights = [item.num_frames - (name == 'flicker') for item in scores]
    values = [getattr(item, name) for item in scores]
    return float(np.average(values, weights=weights)) if sum(weights) else math.nan
