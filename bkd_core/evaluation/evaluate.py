# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Compare a segmenter with the labels of a data set."""

from __future__ import annotations

from dataclasses import dataclass
import math
from typing import Any, Callable, Protocol, Sequence

from bkd_core.errors import InputError, unknown_name
from bkd_core.evaluation.calibration import Calibration
from bkd_core.evaluation.confusion import ConfusionMatrix
from bkd_core.labels import id_mapping, LabelSpace, SYNTHIA_13, SYNTHIA_16
import numpy as np

# Means over some of the classes that are reported by convention.
CLASS_SUBSETS = {'synthia16': SYNTHIA_16, 'synthia13': SYNTHIA_13}


class LabelledFrames(Protocol):
    """The part of a data set that evaluation needs."""

    label_space: LabelSpace

    def __len__(self) -> int:
        """Return the number of frames."""

    def name(self, index: int) -> str:
        """Return a frame's name."""

    def image(self, index: int) -> np.ndarray:
        """Return (H, W, 3) uint8 RGB."""

    def labels(self, index: int) -> np.ndarray:
        """Return (H, W) uint8 in `label_space`, 255 to ignore."""


class Prediction(Protocol):
    """What a segmenter answers; `mean_entropy` and `confidence` count where it has them."""

    labels: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Scores:
    """
    How well a segmenter did on a data set.

    :param miou: Mean IoU over the classes that occur in the truth, 0 to 1.
    :param iou: IoU by class name, 0 to 1; NaN for a class without a true pixel.
    :param pixel_accuracy: Share of labelled pixels that were right, 0 to 1.
    :param mean_entropy: Mean entropy of the predictions, nats; NaN if they carry none.
    :param num_frames: How many frames it was measured on.
    :param ece: Expected calibration error, 0 to 1; NaN if the predictions carry no confidence.
    """

    miou: float
    iou: dict[str, float]
    pixel_accuracy: float
    mean_entropy: float
    num_frames: int
    ece: float = math.nan

    def miou_over(self, names: Sequence[str]) -> float:
        """
        Return the mean IoU over some of the classes, such as the 16 that SYNTHIA has.

        Pixels of the other classes still count where they are taken for one of these, as is
        usual in SYNTHIA -> Cityscapes with a network of all 19 classes.

        :param names: Class names.
        :return: 0 to 1; NaN if none of them occurs in the truth.
        :raises InputError: If a name is no class.
        """
        for name in names:
            if name not in self.iou:
                raise unknown_name('class', name, self.iou)
        values = [self.iou[name] for name in names if not math.isnan(self.iou[name])]
        return float(np.mean(values)) if values else math.nan

    @property
    def subset_mious(self) -> dict[str, float]:
        """Return the mean IoU over each of `CLASS_SUBSETS` whose classes are all here."""
        return {
            subset: self.miou_over(names) for subset, names in CLASS_SUBSETS.items()
            if set(names) <= set(self.iou)}

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON and YAML; None stands for NaN, which JSON lacks."""
        return {
            'miou': _finite(self.miou),
            'iou': {name: _finite(value) for name, value in self.iou.items()},
            'pixel_accuracy': _finite(self.pixel_accuracy),
            'mean_entropy': _finite(self.mean_entropy),
            'num_frames': self.num_frames,
            'ece': _finite(self.ece),
            'subset_mious': {name: _finite(value) for name, value in self.subset_mious.items()},
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Scores:
        """
        Return the scores that `to_dict` wrote.

        :param values: Plain values; None stands for NaN.
        """
        return cls(
            miou=_number(values['miou']),
            iou={name: _number(value) for name, value in values['iou'].items()},
            pixel_accuracy=_number(values['pixel_accuracy']),
            mean_entropy=_number(values['mean_entropy']),
            num_frames=values['num_frames'],
            ece=_number(values.get('ece')))


def evaluate(
    segmenter: Callable[[np.ndarray], Prediction], dataset: LabelledFrames, *,
    label_space: LabelSpace, progress: Callable[[int], None] | None = None,
    confusion: ConfusionMatrix | None = None,
) -> Scores:
    """
    Run a segmenter over a data set and compare its labels with the truth.

    :param segmenter: Frame in, object with `labels` out, such as a `Segmenter`.
    :param dataset: Frames with labels, in a label space of its own.
    :param label_space: The space that the segmenter answers in. The truth is mapped into it;
        true classes without a counterpart are ignored.
    :param progress: Called after each frame with the number of frames done.
    :param confusion: An empty count to fill, for a caller who wants to see it, too.
    :raises InputError: If the data set is empty or a frame and its labels don't fit.
    """
    if not len(dataset):
        raise InputError('evaluation: the data set has no frames')
    mapping = id_mapping(dataset.label_space, label_space)
    confusion = ConfusionMatrix(label_space.num_classes) if confusion is None else confusion
    calibration = Calibration()
    entropies = []
    for index in range(len(dataset)):
        prediction = segmenter(dataset.image(index))
        truth = mapping[dataset.labels(index)]
        confidence = getattr(prediction, 'confidence', None)
        try:
            confusion.update(truth, prediction.labels)
            if confidence is not None:
                calibration.update(truth, prediction.labels, confidence)
        except InputError as error:
            raise InputError(f"frame '{dataset.name(index)}': {error}") from error
        entropies.append(getattr(prediction, 'mean_entropy', math.nan))
        if progress is not None:
            progress(index + 1)
    return scores_of(
        confusion, label_space, mean_entropy=float(np.mean(entropies)),
        num_frames=len(dataset), ece=calibration.error)


def scores_of(
    confusion: ConfusionMatrix, label_space: LabelSpace, *, mean_entropy: float,
    num_frames: int, ece: float = math.nan,
) -> Scores:
    """
    Return the scores of a finished count.

    :param confusion: The count.
    :param label_space: Names of its classes.
    :param mean_entropy: To be handed on.
    :param num_frames: To be handed on.
    :param ece: To be handed on.
    """
    occurs = confusion.counts.sum(axis=1) > 0
    iou = np.where(occurs, confusion.iou(), np.nan)
    return Scores(
        miou=confusion.miou(),
        iou=dict(zip(label_space.classes, iou.tolist())),
        pixel_accuracy=confusion.pixel_accuracy,
        mean_entropy=mean_entropy,
        num_frames=num_frames,
        ece=ece)


def _finite(value: float) -> float | None:
    return None if math.isnan(value) else value


def _number(value: float | None) -> float:
    return math.nan if value is None else value
