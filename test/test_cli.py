# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The command line: help, results, and one line for each mistake."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
import subprocess
import sys

from bkd_core import experiment
from bkd_core.__main__ import main
from bkd_core.datasets.recording import RecordingWriter
from bkd_core.labels import get_label_space
import cv2
from fixtures_models import write_tiny_model
import numpy as np
import pytest
from tiny_training import PaintedFrames, register_tiny_network

ROOT = Path(__file__).resolve().parents[1]
STREETS = str(ROOT / 'config' / 'experiments' / 'streets.yaml')
COMMANDS = (
    'train', 'runs', 'adapt', 'evaluate', 'export', 'package', 'predict', 'demo', 'bag', 'data',
    'benchmark', 'versions')
FRAMES = PaintedFrames(3)
COLORS = np.array(get_label_space('street9').colors, np.uint8)


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch):
    """Run every command in an empty folder without a data root."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv('BKD_DATA_ROOT', raising=False)


@pytest.fixture
def model(tmp_path):
    """Return a model that names the colours of frames."""
    return str(write_tiny_model(tmp_path / 'model', input_height=128))


def fails(capfd, *arguments):
    """Run a command that must fail by the user's mistake; return its one line."""
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    assert stop.value.code == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if line.strip()]
    assert len(lines) == 1 and lines[0].startswith('bkd: error: ')
    return lines[0]


def painted(index):
    """Return a frame of pure class colours, and its labels."""
    labels = np.kron(FRAMES.labels(index)[::16, ::16], np.ones((32, 32))).astype(np.uint8)
    return COLORS[labels], labels


def save(path, frame):
    """Write an image file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))


def read_labels(path):
    """Read a label file."""
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


@pytest.mark.parametrize('command', [(), *((name,) for name in COMMANDS)])
def test_help_shows_examples(command, capfd):
    with pytest.raises(SystemExit) as stop:
        main([*command, '--help'])
    assert stop.value.code == 0
    text = capfd.readouterr().out
    for name in command or COMMANDS:
        assert f'bkd {name} ' in text or f'bkd {name}\n' in text
    assert 'For example' in text


@pytest.mark.parametrize('name', ['adaptation', 'search'])
def test_shared_options_of_benchmarks_are_explained(name, capfd):
    with pytest.raises(SystemExit):
        main(['benchmark', name, '--help'])
    text = ' '.join(capfd.readouterr().out.replace('│', ' ').split())
    assert '--protocol STR Name of a protocol in config/protocols' in text


def test_the_package_runs_as_a_module():
    result = subprocess.run(
        [sys.executable, '-m', 'bkd_core', 'train', 'nowhere.yaml'], cwd=ROOT,
        capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert result.stdout == ''
    assert result.stderr == (
        'bkd: error: nowhere.yaml: no such configuration file; '
        'examples are in config/experiments\n')


def test_help_loads_no_torch():
    script = (
        'import sys\nfrom bkd_core.__main__ import main\ntry:\n    main(["--help"])\n'
        'except SystemExit:\n    print("torch" in sys.modules)')
    result = subprocess.run(
        [sys.executable, '-c', script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.stdout.splitlines()[-1] == 'False', result.stderr


@pytest.mark.parametrize(('arguments', 'message'), [
    ((), 'train, runs, adapt, evaluate, export, package, predict'),
    (('trian',), 'train, runs, adapt, evaluate, export, package, predict'),
    (('train',), 'YAML file'),
    (('train', 'a.yaml'), 'a.yaml: no such configuration file'),
    (('train', STREETS, '--optimizer.learning-rat', '1'),
     "unknown option '--optimizer.learning-rat'. Did you mean '--optimizer.learning-rate'"),
    (('train', STREETS, '--outptu', 'x'), "unknown option '--outptu'. Did you mean '--output'"),
    (('train', STREETS, '--optimizer.learning-rate', 'fast'), "learning_rate: got 'fast'"),
    (('train', STREETS, '--optimizer.learning-rate', '-1'), 'got -1.0; expected above 0'),
    (('train', STREETS, '--steps'), "'--steps' needs a value"),
    (('train', STREETS, '--stage', 'studnet'), "stage 'studnet'"),
    (('train', STREETS, '--data-root', 'nowhere'), '--data-root: no such folder: nowhere'),
    (('train', STREETS, '--source.name', 'street'), "data set 'street'"),
    (('train', STREETS, '--device', 'gpu'), "device: got 'gpu'"),
    (('train', STREETS, 'stray'), "unexpected argument 'stray'"),
    (('predict', 'nowhere', 'x.png'), "model 'nowhere': no such directory"),
    (('predict', 'default'), 'Missing'),
    (('evaluate', '.'), 'it holds no model.yaml'),
    (('evaluate', 'x', '--validation.nam', 'y'), 'no such directory'),
    (('demo', '--step', '3'), "unknown option '--step'. Did you mean '--steps'"),
    (('demo', '--steps', 'many'), 'many'),
])
def test_a_mistake_is_one_line_and_exit_code_2(arguments, message, capfd):
    assert message in fails(capfd, *arguments)


@pytest.mark.parametrize(('text', 'message'), [
    ('optimizer: {learning_rat: 1.0}', "Unknown key 'learning_rat'"),
    ('a: [\n  b: {', 'not readable as YAML'),  # the library's message has several lines
])
def test_a_wrong_configuration_file_is_one_line(tmp_path, capfd, text, message):
    (tmp_path / 'run.yaml').write_text(text)
    line = fails(capfd, 'train', 'run.yaml')
    assert 'run.yaml' in line and message in line


def test_data_without_a_root_says_how_to_give_one(capfd):
    config = ROOT / 'config' / 'experiments' / 'gazebo_to_camvid.yaml'
    assert 'Give --data-root DIR or set BKD_DATA_ROOT' in fails(capfd, 'train', config)


def test_a_wrong_data_root_variable_is_named(monkeypatch, capfd):
    monkeypatch.setenv('BKD_DATA_ROOT', 'nowhere')
    assert 'BKD_DATA_ROOT: no such folder: nowhere' in fails(capfd, 'train', STREETS)


def test_show_prints_the_resolved_settings_and_trains_nothing(tmp_path, capfd):
    main(['train', STREETS, '--show', '--stage', 'student', '--steps', '9',
          '--model.options.width', '64'])
    stages = capfd.readouterr().out.split('# stage ')[1:]
    assert [stage.split()[0] for stage in stages] == ['source_only', 'teacher', 'student']
    assert ['steps: 9\n' in stage for stage in stages] == [False, False, True]
    assert 'width: 64' in stages[2] and 'width' not in stages[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings('ignore')
def test_train_then_evaluate(tmp_path, monkeypatch, capfd):
    register_tiny_network(monkeypatch)
    opened = []

    def open_painted(config, data_root):
        opened.append((config, data_root))
        return FRAMES

    monkeypatch.setattr(experiment, 'open_dataset', open_painted)
    monkeypatch.setattr('bkd_core.datasets.open_dataset.open_dataset', open_painted)
    (tmp_path / 'run.yaml').write_text(
        'model: {network: tiny, input_height: 64}\naugmentation: {crop_size: [32, 32]}\n'
        'steps: 2\nbatch_size: 2\ndevice: cpu\n')
    main(['train', 'run.yaml', '--output', 'out', '--seed', '3'])
    out = capfd.readouterr().out
    assert 'mean' in out and 'pedestrian' in out
    metrics = json.loads((tmp_path / 'out' / 'model' / 'metrics.json').read_text())
    assert (metrics['seed'], metrics['steps']) == (3, 2)
    main(['evaluate', 'out/model', '--output', 'scores', '--data-root', '.',
          '--validation.name', 'camvid', '--validation.options.split', 'val'])
    scores = json.loads((tmp_path / 'scores' / 'scores.json').read_text())
    assert scores['miou'] == metrics['scores']['miou']
    capfd.readouterr()
    config, root = opened[-1]
    assert (config.name, config.root, config.options) == ('camvid', '', {'split': 'val'})
    assert root == Path('.')
    assert "Did you mean '--validation.name'" in fails(
        capfd, 'evaluate', 'out/model', '--validation.nam', 'x')
    assert 'unknown option' in fails(capfd, 'evaluate', 'out/model', '--steps', '3')


def test_predict_labels_an_image(tmp_path, model, capfd):
    frame, labels = painted(0)
    save(tmp_path / 'photo.png', frame)
    main(['predict', model, 'photo.png', '--overlay'])
    found = read_labels(tmp_path / 'predictions' / 'photo.png')
    assert found.dtype == np.uint8 and found.shape == labels.shape
    assert (found == labels).mean() > 0.9
    overlay = cv2.imread(str(tmp_path / 'predictions' / 'photo_overlay.jpg'))
    assert overlay.shape == frame.shape
    assert '1 frames labelled in predictions (label space street9: road' in capfd.readouterr().out


def test_predict_labels_a_folder(tmp_path, model, capfd):
    for index in range(3):
        save(tmp_path / 'frames' / f'{index}.png', painted(index)[0])
    (tmp_path / 'frames' / 'notes.txt').write_text('not an image')
    main(['predict', model, 'frames', '--output', 'labels'])
    assert sorted(path.name for path in (tmp_path / 'labels').iterdir()) == [
        '0.png', '1.png', '2.png']
    for index in range(3):
        found = read_labels(tmp_path / 'labels' / f'{index}.png')
        assert (found == painted(index)[1]).mean() > 0.9


def test_predict_labels_a_video(tmp_path, model, capfd):
    size = (192, 128)
    writer = cv2.VideoWriter('drive.avi', cv2.VideoWriter_fourcc(*'MJPG'), 10, size)
    assert writer.isOpened()
    for index in range(3):
        writer.write(cv2.cvtColor(painted(index)[0], cv2.COLOR_RGB2BGR))
    writer.release()
    main(['predict', model, 'drive.avi', '--output', 'labels'])
    files = sorted((tmp_path / 'labels').iterdir())
    assert [path.name for path in files] == ['000000.png', '000001.png', '000002.png']
    for index, path in enumerate(files):
        assert (read_labels(path) == painted(index)[1]).mean() > 0.8  # JPEG moves colours


def test_predict_labels_a_recording_by_stamp_and_topic(tmp_path, model, capfd):
    with RecordingWriter(tmp_path / 'drive') as writer:
        for index in range(3):
            for topic, shown in (('/front/image', index), ('/rear/image', 2 - index)):
                writer.write_image(
                    topic, painted(shown)[0], stamp_ns=1_000 + index, frame_id='camera',
                    compressed=False)
    line = fails(capfd, 'predict', model, 'drive')
    assert '/front/image' in line and '/rear/image' in line
    main(['predict', model, 'drive', '--topic', '/rear/image', '--output', 'labels'])
    files = sorted((tmp_path / 'labels').iterdir())
    assert [path.name for path in files] == ['1000.png', '1001.png', '1002.png']
    assert (read_labels(files[0]) == painted(2)[1]).mean() > 0.9


def test_frames_with_the_same_stamp_do_not_overwrite_each_other(tmp_path, model, capfd):
    with RecordingWriter(tmp_path / 'drive') as writer:
        for index in range(2):
            writer.write_image(
                '/image', painted(index)[0], stamp_ns=0, frame_id='', compressed=False)
    main(['predict', model, 'drive', '--output', 'labels'])
    assert sorted(path.name for path in (tmp_path / 'labels').iterdir()) == ['0.png', '0_1.png']


@pytest.mark.parametrize(('make', 'arguments', 'message'), [
    (lambda path: None, ('missing.png',), 'missing.png: no such file'),
    (lambda path: (path / 'a.png').write_bytes(b'\x89PNG'), ('a.png',),
     'a.png: is damaged or no picture'),
    (lambda path: (path / 'a.png').write_bytes(b''), ('a.png',), '(0 bytes)'),
    (lambda path: (path / 'a.txt').touch(), ('a.txt',), "unknown kind of input '.txt'"),
    (lambda path: (path / 'empty').mkdir(), ('empty',), 'empty: holds no images'),
    (lambda path: (path / 'a.mcap').write_bytes(b'x'), ('a.mcap',), 'a.mcap'),
    (lambda path: save(path / 'a.png', painted(0)[0]), ('a.png', '--topic', '/x'),
     '--topic only goes with a rosbag'),
    (lambda path: save(path / 'a.png', painted(0)[0]), ('a.png', '--output', '.'),
     '--output .: the images themselves lie there'),
    (lambda path: save(path / 'f' / 'a.png', painted(0)[0]), ('f', '--output', 'f'),
     '--output f: the images themselves lie there'),
    (lambda path: (save(path / 'f' / 'a.png', painted(0)[0]), save(
        path / 'f' / 'a.jpg', painted(0)[0])), ('f',), "two images are called 'a'"),
    (lambda path: (save(path / 'a.png', painted(0)[0]), (path / 'taken').touch()),
     ('a.png', '--output', 'taken'), 'taken: File exists'),
    (lambda path: None, ('x.png', '--runtime', 'onnx'), "runtime 'onnx'"),
    (lambda path: None, ('x.png', '--overlai'), "Did you mean '--overlay'"),
])
def test_a_wrong_input_to_predict_is_named(tmp_path, model, capfd, make, arguments, message):
    make(tmp_path)
    assert message in fails(capfd, 'predict', model, *arguments)


def test_a_corrupt_image_in_a_folder_is_named(tmp_path, model, capfd):
    save(tmp_path / 'frames' / 'a.png', painted(0)[0])
    (tmp_path / 'frames' / 'b.png').write_bytes(b'no image')
    with pytest.raises(SystemExit) as stop:
        main(['predict', model, 'frames'])
    assert stop.value.code == 2
    assert 'b.png: is damaged or no picture' in capfd.readouterr().err.splitlines()[-1]


def test_a_damaged_model_is_named(tmp_path, model, capfd):
    path = Path(model) / 'model.onnx'
    path.write_bytes(path.read_bytes()[:-10])
    assert 'model.onnx: its SHA-256 differs' in fails(capfd, 'predict', model, 'x.png')


def test_a_missing_extra_names_the_line_that_brings_it(monkeypatch, capfd):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        'importlib.util.find_spec', lambda name: None if name == 'timm' else find_spec(name))
    line = fails(capfd, 'train', STREETS)
    assert "needs 'timm'" in line and "pip install 'bkd_ros[train]'" in line


def test_a_closed_pipe_is_no_error():
    command = f'{sys.executable} -m bkd_core train {STREETS} --show | head -1'
    result = subprocess.run(
        ['bash', '-c', command], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.stdout == '# stage source_only\n' and result.stderr == ''
