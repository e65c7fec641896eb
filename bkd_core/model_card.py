# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The model card: what a network was trained on and what was measured, for people."""

from __future__ import annotations

import re
from typing import Any

from bkd_core.config import DataConfig, TrainingConfig


def model_card(name: str, config: TrainingConfig, metrics: dict[str, Any]) -> str:
    """
    Return the card as Markdown.

    :param name: Name of the model.
    :param config: Its run's resolved configuration.
    :param metrics: What `metrics.json` holds.
    """
    scores = metrics['scores']
    lines = [
        f'# {name}', '',
        f'A {config.model.network} with {metrics["parameters"] / 1e6:.2f} M parameters that '
        f'labels images in the label space {config.label_space}.', '',
        f'- method: {config.method.name}',
        f'- source (labelled): {describe(config.source)}',
        f'- target (unlabelled): {describe(config.target) if metrics["uses_target"] else "none"}',
        f'- steps: {config.steps} with {config.batch_size} crops of {_size(config)} a domain',
        f'- seed: {config.seed}',
        f'- trained with: {metrics["device"]}, {metrics["seconds"]:.0f} s, '
        f'bkd_ros {metrics["version"]}, commit {metrics["commit"]}', '',
        '## Measured', '',
        f'On {describe(config.validation)}, {scores["num_frames"]} frames, through the exported '
        f'network ({metrics["runtime"]}) at a short side of {config.model.input_height} pixels, '
        'scored at full resolution. IoU in percent.', '',
        '| ' + ' | '.join(['mIoU', *scores['iou']]) + ' |',
        '|' + ' --- |' * (len(scores['iou']) + 1),
        '| ' + ' | '.join(map(_percent, [scores['miou'], *scores['iou'].values()])) + ' |', '',
        f'Pixel accuracy {_percent(scores["pixel_accuracy"])}. Classes marked - do not occur in '
        'the frames that were scored and do not count.', '']
    if config.data_licences:
        lines += ['## Data and licences', '', config.data_licences.strip(), '']
    return '\n'.join(lines)


def int8_section(values: dict[str, Any]) -> str:
    """
    Return the section about the export in 8-bit integers.

    :param values: What `metrics.json` holds about it.
    """
    lines = [
        '## In 8-bit integers', '',
        f'`model_int8.onnx` was calibrated on {values["num_calibration"]} frames of '
        f'{values["frames"]}; its first {values["float_layers"]} convolutions compute in float32. '
        f'On {values["num_frames"]} other frames of them ({values["runtime"]}) it names the class '
        f'that the float32 network names for {100 * values["agreement"]:.2f} % of the pixels '
        f'({100 * values["worst"]:.2f} % of the worst frame).', '']
    scores = values['scores']
    if not scores:
        return '\n'.join([*lines, 'It was not compared with labels.', ''])
    first = next(iter(scores.values()))
    lines += [
        f'On {values["labelled"]}, {first["num_frames"]} frames, IoU in percent:', '',
        '| | ' + ' | '.join(['mIoU', *first['iou']]) + ' |',
        '|' + ' --- |' * (len(first['iou']) + 2),
        *('| ' + ' | '.join([name, *map(_percent, [item['miou'], *item['iou'].values()])]) + ' |'
          for name, item in scores.items()), '']
    return '\n'.join(lines)


def replace_section(card: str, section: str) -> str:
    """
    Return a card with a section at its end, in place of an earlier one of the same heading.

    :param card: Markdown.
    :param section: Begins with its heading, '## ...'.
    """
    heading = section.splitlines()[0]
    parts = re.split(r'^(?=## )', card, flags=re.MULTILINE)
    kept = [part for part in parts if part.splitlines()[:1] != [heading]]
    return ''.join(kept).rstrip('\n') + '\n\n' + section


def describe(data: DataConfig) -> str:
    """
    Return a data set's name and options for people.

    :param data: Its settings.
    """
    options = ', '.join(f'{key} {value}' for key, value in data.options.items())
    return data.name + (f' ({options})' if options else '')


def _size(config: TrainingConfig) -> str:
    height, width = config.augmentation.crop_size
    return f'{width}x{height}'


def _percent(value: float | None) -> str:
    return '-' if value is None else f'{100 * value:.1f}'
