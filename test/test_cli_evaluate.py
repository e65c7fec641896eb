# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What `bkd evaluate` prints and writes, with labels and without."""

from __future__ import annotations

import json

from bkd_core.__main__ import main
from bkd_core.config import DataConfig, TrainingConfig
from bkd_core.config_file import to_yaml
from bkd_core.datasets.recording import RecordingWriter
from bkd_core.evaluation import Calibration
from bkd_core.inference import Segmenter
from bkd_core.labels import get_label_space
import cv2
from fixtures_models import write_tiny_model
import numpy as np
import pytest

SPACE = get_label_space('street9')
COLORS = np.array(SPACE.colors, np.uint8)
MISTAKEN = SPACE.classes.index('sky')


@pytest.fixture
def world(tmp_path, monkeypatch):
    """Make a model that names colours, and labelled frames whose skies are painted as trees."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv('BKD_DATA_ROOT', raising=False)
    model = write_tiny_model(tmp_path / 'model', input_height=64)
    validation = DataConfig(
        name='image_folder', root=str(tmp_path), options={'label_space': 'street9'})
    (model / 'config.yaml').write_text(to_yaml(TrainingConfig(validation=validation)))
    for folder in ('images', 'labels'):
        (tmp_path / folder).mkdir()
    for index, classes in enumerate([(0, 8), (0, 6)]):
        labels = np.repeat(np.uint8([classes]), 64, axis=0).repeat(64, axis=1)
        seen = COLORS[np.where(labels == MISTAKEN, SPACE.classes.index('tree'), labels)]
        assert cv2.imwrite(f'labels/{index}.png', labels)
        assert cv2.imwrite(f'images/{index}.png', seen[..., ::-1])
    return tmp_path


def read_scores(folder):
    return json.loads((folder / 'scores.json').read_text())


def test_labelled_frames_give_calibration_and_the_noise_matrix(world, capfd):
    main(['evaluate', 'model', '--output', 'scores'])
    out = capfd.readouterr().out
    assert 'calibration error' in out and 'flicker' not in out
    scores = read_scores(world / 'scores')
    assert scores['iou']['road'] == scores['iou']['car'] == 1 and scores['iou']['sky'] == 0
    calibration, segmenter = Calibration(), Segmenter.load('model', runtime='onnxruntime')
    for index in range(2):
        prediction = segmenter(cv2.imread(f'images/{index}.png')[..., ::-1])
        truth = cv2.imread(f'labels/{index}.png', cv2.IMREAD_UNCHANGED)
        calibration.update(truth, prediction.labels, prediction.confidence)
    assert scores['ece'] == pytest.approx(calibration.error) and scores['ece'] > .1
    confusion = np.array(scores['confusion'])
    assert confusion.shape == (9, 10)
    assert confusion[MISTAKEN, SPACE.classes.index('tree')] == 64 * 64 == confusion[MISTAKEN].sum()
    picture = cv2.imread('scores/noise_matrix.png')
    assert picture.shape[0] > 9 * 44 and 'label_free' not in scores


def test_scores_without_labels_are_given_on_request_with_a_second_model(world, capfd):
    main(['evaluate', 'model', '--output', 'scores', '--reference', 'model'])
    out = capfd.readouterr().out
    assert '100.0 % of the pixels labelled like model' in out
    assert 'flicker 50.0 %' in out and 'motion of the camera counts too' in out.replace('\n', ' ')
    scores = read_scores(world / 'scores')
    assert scores['label_free']['flicker'] == .5 and scores['label_free']['agreement'] == 1
    assert scores['miou'] > 0


def test_a_recording_without_labels_gives_only_scores_that_need_none(world, capfd):
    with RecordingWriter(world / 'drive') as recording:
        for index, color in enumerate((0, 8, 8)):
            frame = np.full((64, 64, 3), COLORS[color])
            recording.write_image('/camera', frame, stamp_ns=index, frame_id='c', compressed=False)
    main(['evaluate', 'model', '--output', 'scores', '--validation.name', 'recording',
          '--validation.root', str(world / 'drive')])
    out = capfd.readouterr().out
    assert 'IoU' not in out and 'flicker 50.0 %' in out
    scores = read_scores(world / 'scores')
    assert list(scores) == ['label_free']
    assert scores['label_free']['num_frames'] == 3 and scores['label_free']['agreement'] is None
    assert not (world / 'scores' / 'noise_matrix.png').exists()
