# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
What a round did and why its student is used or not: report.html, and the same as JSON.

The page shows at most four of the held-back frames, so it stays in the folder of versions where
it was written (`version_files.files_to_add`). The JSON file holds numbers and names.
"""

from __future__ import annotations

from dataclasses import asdict
import json
import math
from pathlib import Path
from typing import Any, Sequence

from bkd_core import atomic
from bkd_core.adaptation.gate import Criterion, Decision, StudentScores
from bkd_core.adaptation.plots import class_share_plot, loss_plot
from bkd_core.config import TrainingConfig
from bkd_core.datasets.dataset import SegmentationDataset
from bkd_core.inference import Segmenter
from bkd_core.model_directory import REPORT
from bkd_core.report import Comparison, Picture, Plot, Table, Verdict, write_report
from bkd_core.visualization import legend, overlay
import cv2
import numpy as np

JSON = 'report.json'
_MAX_COMPARISONS = 4
_MAX_HEIGHT = 480  # of a picture in the report, pixels
_SCORES = {
    'replay_miou': 'mIoU on the held-back labelled replay, %',
    'agreement': 'agreement with the teacher, %',
    'consistency': 'agreement with itself in a changed view, %',
    'flicker': 'flicker, % of the pixels from frame to frame',
    'mean_entropy': 'mean entropy, nats',
    'memory_kept': 'sure pixels of earlier domains that keep their label, %'}


def write_round_report(
    directory: Path, *, facts: dict[str, Any], before: StudentScores, after: StudentScores,
    decision: Decision, segmenters: tuple[Segmenter, Segmenter],
    blocks: Sequence[SegmentationDataset], losses: dict[str, Sequence[float]],
    parent_change: str = '',
) -> dict[str, Any]:
    """
    Write both reports into a folder.

    :param directory: The folder.
    :param facts: What the round was made of; the keys are those of `round_version.describe`.
    :param before: Scores of the model in use.
    :param after: Scores of the new one.
    :param decision: The gate's.
    :param segmenters: The two models, for the pictures.
    :param blocks: Held-back target frames, for the pictures.
    :param losses: Loss of each step, by the name of the training.
    :param parent_change: Why an accepted one will not be used; '' if it will.
    :return: What the JSON file holds.
    """
    values = {
        **facts, **decision.to_dict(), 'parent_change': parent_change,
        'before': _plain(before), 'after': _plain(after),
        'classes': list(segmenters[0].label_space.classes)}
    atomic.write_text(directory / JSON, json.dumps(values, indent=1, allow_nan=False))
    space = segmenters[0].label_space
    write_report(
        directory / REPORT,
        title=f'Adaptation of {facts["model"]}',
        verdict=_verdict(decision, parent_change),
        intro=_intro(facts, after),
        tables=[_criteria_table(decision.criteria), _score_table(before, after)],
        comparisons=_comparisons(segmenters, blocks),
        plots=[
            Plot('Class shares', class_share_plot(
                _known(before.class_shares), _known(after.class_shares), space),
                'Percent of the pixels of the held-back target frames; pale: before, full: '
                'after.'),
            *(Plot(f'Loss of the {name}', loss_plot(list(steps), title=f'Loss of the {name}'))
              for name, steps in losses.items())],
        pictures=[Picture('Classes', [('', legend(space))])])
    return values


def _verdict(decision: Decision, parent_change: str) -> Verdict:
    sentences = [
        item.sentence for item in decision.criteria if decision.is_accepted or not item.is_met]
    if not decision.is_accepted:
        return Verdict(False, 'Refused', sentences)
    if parent_change:
        return Verdict(False, 'Accepted by the gate, but not used', [parent_change, *sentences])
    return Verdict(True, 'Accepted', sentences)


def _intro(facts: dict[str, Any], after: StudentScores) -> list[str]:
    labelled = after.labelled_counts
    return [
        f'Version {facts["parent"]} was adapted to {facts["num_adapting"]} unlabelled frames of '
        f'{", ".join(facts["sources"])}, beside {facts["num_replay"]} labelled frames of its '
        f'source. The gate looked at {after.num_frames} other target frames, '
        f'{facts["num_replay_gate"]} other labelled source frames and '
        f'{0 if labelled is None else len(labelled)} labelled target frames.',
        f'{facts["seconds"]:.0f} s on {facts["device"]}, bkd_ros {facts["bkd_ros"]}, commit '
        f'{facts["commit"]}, seed {facts["settings"]["seed"]}.']


def _criteria_table(criteria: Sequence[Criterion]) -> Table:
    return Table(
        'The gate', ['criterion', 'value', 'must be', 'holds', 'in words'],
        [[item.name.replace('_', ' '), _number(item.value),
          f'{item.bound} {_number(item.threshold)}', 'yes' if item.is_met else 'NO',
          item.sentence]
         for item in criteria],
        'Shares and mIoU from 0 to 1. All criteria must hold. Why each is asked for stands in '
        'the settings of the gate.')


def _score_table(before: StudentScores, after: StudentScores) -> Table:
    rows = []
    for name, title in _SCORES.items():
        if getattr(after, name) is None:
            continue
        factor, digits = (1, 3) if name == 'mean_entropy' else (100, 1)
        numbers = [factor * getattr(scores, name) for scores in (before, after)]
        rows.append([
            title, *(_number(value, digits) for value in numbers),
            _number(numbers[1] - numbers[0], digits, sign='+')])
    return Table(
        'Scores', ['', 'before', 'after', 'difference'], rows,
        'Without labels a score only compares: motion flickers too, and agreement and certainty '
        'are no accuracy.')


def _comparisons(
    segmenters: tuple[Segmenter, Segmenter], blocks: Sequence[SegmentationDataset],
) -> list[Comparison]:
    frames = [
        (block, index) for block in blocks for index in sorted({0, len(block) - 1})]
    chosen = np.linspace(0, len(frames) - 1, min(_MAX_COMPARISONS, len(frames)))
    comparisons = []
    for number in chosen.round().astype(int).tolist():
        block, index = frames[number]
        frame = block.image(index)
        pair = [
            _shrunk(overlay(
                frame, segmenter(frame, with_confidence=False).labels, segmenter.label_space))
            for segmenter in segmenters]
        comparisons.append(Comparison(
            f'Held-back frame {block.name(index)}', ('before', pair[0]), ('after', pair[1])))
    return comparisons


def _shrunk(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    if height <= _MAX_HEIGHT:
        return image
    size = (round(width * _MAX_HEIGHT / height), _MAX_HEIGHT)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _plain(scores: StudentScores) -> dict[str, Any]:
    values = asdict(scores)
    counts = values.pop('labelled_counts')
    values['labelled_counts'] = None if counts is None else counts.tolist()
    values['class_shares'] = [_finite(share) for share in scores.class_shares]
    return {
        key: _finite(value) if isinstance(value, float) else value
        for key, value in values.items()}


def _known(shares: Sequence[float]) -> list[float]:
    """Return shares to draw: one that could not be computed has no bar."""
    return [share if math.isfinite(share) else 0.0 for share in shares]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _number(value: float, digits: int = 4, *, sign: str = '') -> str:
    if not math.isfinite(value):
        return '-'
    return f'{round(value, digits) + 0.0:{sign}.{digits}f}'  # no minus before a zero


def round_card(
    name: str, config: TrainingConfig, values: dict[str, Any], decision: Decision,
) -> str:
    """
    Return the model card of a version that a round made.

    :param name: The model's name.
    :param config: The settings that it was trained with.
    :param values: What is in the report.
    :param decision: The gate's.
    """
    verdict = _verdict(decision, values['parent_change'])
    title = verdict.title if decision.is_accepted else 'REFUSED: never use it'
    lines = [
        f'# {name}, adapted', '',
        f'Made from version {values["parent"]} by an adaptation round on '
        f'{values["num_adapting"]} unlabelled frames of {", ".join(values["sources"])}; '
        f'bkd_ros {values["bkd_ros"]}, commit {values["commit"]}.', '',
        f'{title}. {" ".join(verdict.sentences)}',
        '', 'All numbers are in metrics.json and report.html.', '']
    if config.data_licences:
        lines += ['## Data and licences of the original', '', config.data_licences.strip(), '']
    return '\n'.join(lines)
