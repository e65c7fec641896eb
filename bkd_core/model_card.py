# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The model card: what a network was trained on and what was measured, for people."""

from __future__ import annotations

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
        f'- source (labelled): {_describe(config.source)}',
        f'- target (unlabelled): {_describe(config.target) if metrics["uses_target"] else "none"}',
        f'- steps: {config.steps} with {config.batch_size} crops of {_size(config)} a domain',
        f'- seed: {config.seed}',
        f'- trained with: {metrics["device"]}, {metrics["seconds"]:.0f} s, '
        f'bkd_ros {metrics["version"]}, commit {metrics["commit"]}', '',
        '## Measured', '',
        f'On {_describe(config.validation)}, {scores["num_frames"]} frames, through the exported '
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


def _describe(data: DataConfig) -> str:
    options = ', '.join(f'{key} {value}' for key, value in data.options.items())
    return data.name + (f' ({options})' if options else '')


def _size(config: TrainingConfig) -> str:
    height, width = config.augmentation.crop_size
    return f'{width}x{height}'


def _percent(value: float | None) -> str:
    return '-' if value is None else f'{100 * value:.1f}'
