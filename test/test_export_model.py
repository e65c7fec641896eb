# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`bkd export`: a file that names the network's labels takes its place; others change nothing."""

from __future__ import annotations

import copy
import errno
import json
import os
from types import SimpleNamespace

from bkd_core import atomic, model_directory
from bkd_core.__main__ import main
from bkd_core.config import DataConfig, TrainingConfig
from bkd_core.config_file import to_yaml
from bkd_core.errors import InputError
from bkd_core.inference import Segmenter
from bkd_core.labels import get_label_space
from bkd_core.model_card import int8_section, replace_section
from bkd_core.model_directory import INT8, ModelSpec, ONNX, read_spec, write_spec
import cv2
from fixtures_models import write_tiny_model
import numpy as np
import pytest

torch = pytest.importorskip('torch')
onnx = pytest.importorskip('onnx')
from bkd_core.commands.export import Export  # noqa: E402
from bkd_core.export import measure_parity, model as export_module  # noqa: E402
from bkd_core.models import MODELS, save_weights  # noqa: E402
from tiny_training import PaintedFrames  # noqa: E402

SPACE = get_label_space('street9')
NUM_FRAMES = 20
PAINTED = PaintedFrames(NUM_FRAMES)
INT8_RUN = ('--runtime', 'onnxruntime_int8', '--frames', 'drive', '--float-layers', '0')


class ColorNetwork(torch.nn.Module):
    """
    Names the class whose colour is nearest to the mean of each block of 8 by 8 pixels.

    :param num_classes: Those of street9.
    :param pretrained: Accepted as all networks do, without effect.
    """

    def __init__(self, num_classes, *, pretrained=True):
        super().__init__()
        self.mean = torch.nn.Conv2d(3, 3, 8, stride=8)
        self.classifier = torch.nn.Conv2d(3, num_classes, 1)
        spec = ModelSpec(name='', network='', label_space=SPACE, input_height=64)
        colors = (torch.tensor(SPACE.colors) - torch.tensor(spec.mean)) / torch.tensor(spec.std)
        with torch.no_grad():
            self.mean.weight.copy_(torch.eye(3)[:, :, None, None].expand(3, 3, 8, 8) / 64)
            self.mean.bias.zero_()
            self.classifier.weight.copy_(colors[:, :, None, None])
            self.classifier.bias.copy_(-(colors ** 2).sum(dim=1) / 2)

    def forward(self, images):
        """Return logits at stride 8."""
        return self.classifier(self.mean(images))


@pytest.fixture
def world(tmp_path, monkeypatch):
    """Make a model with weights and a card, and a folder of frames with labels."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv('BKD_DATA_ROOT', raising=False)
    monkeypatch.setitem(MODELS, 'color', ColorNetwork)
    for folder in ('drive/images', 'drive/labels', 'model'):
        (tmp_path / folder).mkdir(parents=True)
    for index in range(NUM_FRAMES):
        assert cv2.imwrite(f'drive/images/{index:02d}.png', PAINTED.image(index)[..., ::-1])
        assert cv2.imwrite(f'drive/labels/{index:02d}.png', PAINTED.labels(index))
    model = tmp_path / 'model'
    save_weights(ColorNetwork(9), model / model_directory.WEIGHTS)
    (model / model_directory.CONFIG).write_text(to_yaml(TrainingConfig(
        half_precision_weights=True, validation=DataConfig(
            name='image_folder', root=str(tmp_path / 'drive'),
            options={'label_space': 'street9'}))))
    (model / model_directory.CARD).write_text('# model\n\n## Data and licences\n\nOurs.\n')
    (model / model_directory.METRICS).write_text('{"seed": 3}')
    write_spec(model, ModelSpec(
        name='model', network='color', label_space=SPACE, input_height=64))
    return tmp_path


def files_below(folder):
    """Return the content of every file, by its path."""
    return {path.relative_to(folder): path.read_bytes()
            for path in folder.rglob('*') if path.is_file()}


def fails(capfd, *arguments):
    """Run an export that must fail by the user's mistake; return its one line."""
    with pytest.raises(SystemExit) as stop:
        main(['export', *map(str, arguments)])
    assert stop.value.code == 2
    return capfd.readouterr().err.splitlines()[-1]


def share_right(segmenter):
    """
    Return the share of the frames' pixels that a segmenter names as they were painted.

    About a ninth lies where two colours blend.
    """
    return np.mean([
        segmenter(PAINTED.image(index)).labels == PAINTED.labels(index)
        for index in range(NUM_FRAMES)])


@pytest.mark.parametrize('runtime', ['onnxruntime', 'openvino'])
@pytest.mark.parametrize('frames', [(), ('--frames', 'drive')])
def test_a_float_export_is_made_from_the_weights_alone(world, capfd, runtime, frames):
    pytest.importorskip(runtime)
    before = files_below(world / 'model')
    main(['export', 'model', '--runtime', runtime, *frames])
    assert f'model/{ONNX}: the class that the weights name for 100.00%' in capfd.readouterr().out
    assert set(read_spec('model').files) == {model_directory.WEIGHTS, ONNX}
    assert share_right(Segmenter.load('model', runtime=runtime)) > .85
    assert {path: content for path, content in files_below(world / 'model').items()
            if path.name not in (ONNX, model_directory.MODEL_YAML)} == {
                path: content for path, content in before.items()
                if path.name != model_directory.MODEL_YAML}
    types = {node.op_type for node in onnx.load(f'model/{ONNX}').graph.node}
    assert 'Conv' in types and 'QuantizeLinear' not in types


def test_a_new_model_gets_no_records_of_the_run_and_the_model_itself_keeps_them(world):
    records = [
        '.lock', 'checkpoint.pt', 'log.jsonl', 'resources.jsonl', 'validation.jsonl', 'run.json',
        'best/model.yaml', 'pictures/00000003.jpg', 'tensorboard/events', 'report.html']
    kept = ['shift.json', 'replay/run.json', 'replay/best/00.png']
    for name in (*records, *kept):
        (world / 'model' / name).parent.mkdir(exist_ok=True)
        (world / 'model' / name).write_text('private')
    main(['export', 'model', '--runtime', 'onnxruntime', '--frames', 'drive', '--output', 'new'])
    own = [
        model_directory.CARD, model_directory.CONFIG, model_directory.METRICS,
        model_directory.MODEL_YAML, model_directory.WEIGHTS, ONNX]
    assert sorted(map(str, files_below(world / 'new'))) == sorted([*own, *kept])
    main(['export', 'model', '--runtime', 'onnxruntime', '--frames', 'drive'])
    assert sorted(map(str, files_below(world / 'model'))) == sorted([*own, *kept, *records])


@pytest.mark.parametrize('runtime', ['onnxruntime_int8', 'openvino_int8'])
def test_an_int8_export_names_the_networks_labels_and_stands_in_the_card(world, capfd, runtime):
    pytest.importorskip(runtime.removesuffix('_int8'))
    main(['export', 'model', *INT8_RUN, '--runtime', runtime, '--score'])
    out = capfd.readouterr().out
    assert 'float32' in out and 'of 4 frames (worst frame' in out
    file = onnx.load(f'model/{INT8}')
    # ONNX Runtime 1.17, the oldest that the package takes, reads these.
    assert [(item.domain, item.version) for item in file.opset_import] == [('', 17)]
    assert file.ir_version <= 9
    graph = file.graph
    weights = [tensor for tensor in graph.initializer
               if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) == 4]
    assert len(weights) == 2
    assert max(np.abs(onnx.numpy_helper.to_array(each)).max() for each in weights) == 64
    assert set(read_spec('model').files) == {model_directory.WEIGHTS, INT8}
    assert share_right(Segmenter.load('model', runtime=runtime)) > .85
    metrics = json.loads((world / 'model' / model_directory.METRICS).read_text())
    values = metrics['int8']
    assert metrics['seed'] == 3 and values['num_calibration'] == 12 and values['frames'] == 'drive'
    assert .99 <= values['agreement'] <= 1 and values['worst'] <= values['agreement']
    card = (world / 'model' / model_directory.CARD).read_text()
    assert '| float32 | ' in card and '| int8 | ' in card and 'Ours.' in card
    main(['export', 'model', *INT8_RUN])  # once more, without labels
    card = (world / 'model' / model_directory.CARD).read_text()
    assert 'It was not compared with labels.' in card and '| int8 |' not in card
    assert card.count('## In 8-bit integers') == 1


def test_float_layers_stay_in_float(world):
    main(['export', 'model', *INT8_RUN[:-1], '1'])
    graph = onnx.load(f'model/{INT8}').graph
    kinds = {tensor.data_type for tensor in graph.initializer if len(tensor.dims) == 4}
    assert kinds == {onnx.TensorProto.FLOAT, onnx.TensorProto.INT8}


def test_frames_calibrate_or_compare_never_both(world):
    given = Export(
        model='model', runtime='onnxruntime_int8', frames=(world / 'drive',))._frames(
            world / 'model')
    numbers = {
        name: [item for index in range(len(given[name])) for item in range(NUM_FRAMES)
               if np.array_equal(given[name].image(index), PAINTED.image(item))]
        for name in ('calibration', 'frames')}
    assert (len(numbers['calibration']), len(numbers['frames'])) == (12, 4)
    distance = np.abs(np.subtract.outer(numbers['calibration'], numbers['frames']))
    assert distance.min() == 2  # one beside each block is used for nothing


def test_the_models_own_replay_is_the_default(world):
    (world / 'drive').rename(world / 'model' / 'replay')
    given = Export(model='model', runtime='onnxruntime_int8')._frames(world / 'model')
    assert len(given['calibration']) == 12
    assert given['frames_name'] == "the model's own replay"


@pytest.mark.parametrize(('file', 'function', 'limit'), [
    (ONNX, 'export_onnx', '99.9%'), (INT8, 'export_int8', '99.0%')])
def test_a_broken_export_is_refused_and_replaces_nothing(
        world, capfd, monkeypatch, file, function, limit):
    arguments = INT8_RUN if file == INT8 else ('--frames', 'drive')
    main(['export', 'model', *arguments])
    before, beside = files_below(world / 'model'), sorted(os.listdir(world))
    write = getattr(export_module, function)

    def write_another(network, *given, **options):
        other = copy.deepcopy(network)
        with torch.no_grad():
            other.classifier.bias[4] += 100  # class 4 wins everywhere
        write(other, *given, **options)

    monkeypatch.setattr(export_module, function, write_another)
    line = fails(capfd, 'model', *arguments)
    assert f'the new {file} names the class that the network names for only ' in line
    assert f'expected at least {limit}. Nothing was replaced.' in line
    assert files_below(world / 'model') == before and sorted(os.listdir(world)) == beside


@pytest.mark.parametrize('file', [ONNX, INT8, model_directory.MODEL_YAML, model_directory.CARD])
def test_a_full_disk_replaces_nothing(world, capfd, monkeypatch, file):
    before, beside = files_below(world / 'model'), sorted(os.listdir(world))
    write = atomic.write_bytes

    def write_until(path, data):
        if path.name == file:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(path, data)

    monkeypatch.setattr(atomic, 'write_bytes', write_until)
    line = fails(capfd, 'model', *(('--frames', 'drive') if file == ONNX else INT8_RUN))
    assert f'{world}/model: No space left on device. Nothing was replaced. Make room' in line
    assert files_below(world / 'model') == before and sorted(os.listdir(world)) == beside


def test_a_copy_with_the_export_leaves_the_model_as_it_was(world):
    before = files_below(world / 'model')
    main(['export', 'model', *INT8_RUN, '--output', 'copy'])
    assert files_below(world / 'model') == before
    copied = files_below(world / 'copy')
    assert set(copied) == {*before, (world / INT8).relative_to(world)}
    assert Segmenter.load('copy', runtime='onnxruntime_int8').runtime == 'onnxruntime_int8'


@pytest.mark.parametrize(('arguments', 'message'), [
    (('nowhere',), "model 'nowhere': no such directory"),
    (('drive/images/00.png',), "model 'drive/images/00.png': no such directory"),
    (('drive',), 'holds no model.yaml'),
    (('tiny',), 'holds no model.safetensors, from which an export is made'),
    (('default',), 'the student that comes with the package stays as it is'),
    (('model', '--runtime', 'torch'), "Unknown runtime to export for 'torch'"),
    (('model', '--runtime', 'onnxruntime_int'), "Did you mean 'onnxruntime_int8'"),
    (('model', '--runtime', 'onnxruntime_int8'), 'give --frames RECORDING_OR_FOLDER'),
    (('model', '--frames', 'nowhere'), 'nowhere: no such file or folder'),
    (('model', '--frames', 'empty'), 'empty: holds no file that ends in'),
    (('model', '--runtime', 'onnxruntime_int8', '--frames', 'one'), 'expected at least 6'),
    (('model', *INT8_RUN[:-1], '-1'), 'float_layers: got -1; expected 0 to 1'),
    (('model', *INT8_RUN[:-1], '2'), 'float_layers: got 2; expected 0 to 1, for the 2'),
    (('model', '--score'), 'only int8 exports are scored'),
    (('model', '--float-layers', '6'), 'all its layers are in float32'),
    (('model', '--output', 'model/new'), 'model/new: lies in the model itself'),
    (('model', '--output', 'drive'), 'drive: is there already'),
    (('model', '--frame', 'drive'), "Did you mean '--frames'"),
    (('model', *INT8_RUN, '--validation.nam', 'x'), "Did you mean '--validation.name'"),
    (('model', *INT8_RUN, '--validation.options.labels', 'null'), 'has no labels to score on'),
])
def test_a_mistake_is_one_line_and_changes_nothing(world, capfd, arguments, message):
    write_tiny_model(world / 'tiny')
    (world / 'empty').mkdir()
    (world / 'one').mkdir()
    assert cv2.imwrite('one/0.png', PAINTED.image(0))
    before = files_below(world)
    assert message in fails(capfd, *arguments)
    assert files_below(world) == before


def test_a_version_never_changes(world, capfd):
    from bkd_core.adaptation.versions import ModelVersions
    versions = ModelVersions(world / 'versions')
    versions.begin(world / 'model', reason='It is the first.')
    assert 'a version never changes; give an --output' in fails(capfd, 'versions', *INT8_RUN)
    main(['export', 'versions', *INT8_RUN, '--output', 'copy'])
    assert versions.in_use().state == 'in use'
    assert versions.add(
        world / 'copy', is_accepted=True, reason='It is faster.').state == 'accepted'


def test_parity_is_of_all_pixels_and_of_the_worst_frame():
    def segmenter(equal):
        def answer(frame, *, with_confidence):
            labels = np.zeros(frame.shape[:2], np.uint8)
            labels.flat[:0 if equal else frame.shape[0]] = 1
            return SimpleNamespace(labels=labels)
        return answer
    frames = [np.zeros((1, 10, 3), np.uint8), np.zeros((3, 10, 3), np.uint8),
              np.zeros((6, 10, 3), np.uint8)]
    parity = measure_parity(segmenter(False), segmenter(True), frames)
    assert (parity.agreement, parity.worst, parity.num_frames) == (.9, .9, 3)
    frames[1] = np.zeros((10, 3, 3), np.uint8)
    parity = measure_parity(segmenter(False), segmenter(True), frames)
    assert parity.agreement == pytest.approx(.83) and parity.worst == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match='no frames'):
        measure_parity(segmenter(True), segmenter(True), [])


def test_a_section_takes_the_place_of_its_predecessor():
    card = '# m\n\ntext\n\n## A\n\none\n\n## B\n\ntwo\n'
    assert replace_section(card, '## A\n\nnew\n') == '# m\n\ntext\n\n## B\n\ntwo\n\n## A\n\nnew\n'
    assert replace_section(card, '## C\n\nnew\n') == card + '\n## C\n\nnew\n'


def test_the_section_says_what_was_measured():
    text = int8_section({
        'num_calibration': 31, 'frames': 'drive', 'float_layers': 3, 'num_frames': 20,
        'runtime': 'onnxruntime_int8', 'agreement': .99349, 'worst': .98, 'labelled': 'val',
        'scores': {'float32': {'miou': .5, 'num_frames': 7, 'iou': {'road': .75, 'car': None}},
                   'int8': {'miou': .25, 'num_frames': 7, 'iou': {'road': .5, 'car': None}}}})
    assert 'for 99.35 % of the pixels (98.00 % of the worst frame)' in text
    assert 'On val, 7 frames' in text
    assert '| float32 | 50.0 | 75.0 | - |\n| int8 | 25.0 | 50.0 | - |' in text


def test_an_int8_file_is_asked_for_by_name_and_compared_with_its_hash(world):
    from bkd_core.inference.trial import candidates
    main(['export', 'model', *INT8_RUN])
    main(['export', 'model'])
    assert not {name for name in candidates(world / 'model', 'cpu') if 'int8' in name}
    path = world / 'model' / INT8
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=f'{INT8}: its SHA-256 differs'):
        Segmenter.load('model', runtime='onnxruntime_int8')
    assert Segmenter.load('model', runtime='onnxruntime').runtime == 'onnxruntime'


def test_the_shipped_student_keeps_its_labels_of_real_frames_in_int8(tmp_path, data_root):
    images = data_root / 'camvid' / 'images'
    main(['export', 'default', '--runtime', 'onnxruntime_int8', '--frames', str(images / 'train'),
          '--output', str(tmp_path / 'student')])
    by_float, by_int8 = (
        Segmenter.load(tmp_path / 'student', runtime=name, num_threads=1)
        for name in ('onnxruntime', 'onnxruntime_int8'))
    paths = sorted((images / 'val').iterdir())[::20]
    frames = [cv2.imread(str(path))[..., ::-1] for path in paths]
    shares = [(by_float(frame).labels == by_int8(frame).labels).mean() for frame in frames]
    assert .99 <= np.mean(shares) < 1
