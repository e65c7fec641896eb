# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Segmenter: frames of all kinds in, labels and confidence out, clear errors otherwise."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
import subprocess
import sys

from bkd_core.errors import InputError
from bkd_core.inference import Segmenter
from bkd_core.inference.onnx_runtime import OnnxRuntime
from bkd_core.inference.segmenter import resize_frame
from bkd_core.model_directory import ONNX, read_spec, WEIGHTS, write_spec
import cv2
from fixtures_models import nearest_color_network, write_tiny_model
import numpy as np
import onnx
import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope='module')
def tiny_model(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp('models') / 'tiny')


@pytest.fixture(scope='module')
def segmenter(tiny_model):
    return Segmenter.load(tiny_model, num_threads=1)


def painted(segmenter, labels):
    """Return the frame whose pixels have the colours of their classes."""
    return np.uint8(segmenter.label_space.colors)[labels]


def test_a_painted_frame_comes_back_as_its_labels(segmenter):
    truth = np.repeat(np.arange(9, dtype=np.uint8), 32)[None].repeat(64, 0)  # (64, 288)
    result = segmenter(painted(segmenter, truth))
    assert result.labels.dtype == result.confidence.dtype == np.uint8
    inner = np.arange(288) % 32
    inner = (inner >= 8) & (inner < 24)  # away from the borders, where blocks are interpolated
    np.testing.assert_array_equal(result.labels[:, inner], truth[:, inner])
    assert 0 < result.mean_entropy < np.log(9)


@pytest.mark.parametrize('size', [(1, 1), (1, 300), (300, 1), (7, 5), (97, 61), (480, 640)])
def test_every_size_of_frame_works(segmenter, size):
    frame = painted(segmenter, np.full(size, 5, np.uint8))
    result = segmenter(frame)
    assert (result.labels == 5).all()
    assert result.labels.shape == result.confidence.shape == size


def test_the_camera_may_change_its_resolution(segmenter):
    small, large = (painted(segmenter, np.full(size, 2)) for size in ((40, 60), (90, 50)))
    assert [segmenter(frame).labels.shape for frame in (small, large, small)] == [
        (40, 60), (90, 50), (40, 60)]


def test_a_view_of_a_larger_array_gives_the_labels_of_its_copy(segmenter):
    image = np.random.default_rng(0).integers(0, 256, (128, 96, 3), np.uint8)
    view = image[::-2, 3:80, ::-1]
    assert not view.flags.c_contiguous
    np.testing.assert_array_equal(
        segmenter(view).labels, segmenter(np.ascontiguousarray(view)).labels)
    same_size = image[:64, :64]
    np.testing.assert_array_equal(
        segmenter(same_size).labels, segmenter(same_size.copy()).labels)


def test_without_confidence_the_labels_are_the_same(segmenter):
    frame = np.random.default_rng(1).integers(0, 256, (50, 70, 3), np.uint8)
    plain = segmenter(frame, with_confidence=False)
    assert plain.confidence is None
    np.testing.assert_array_equal(plain.labels, segmenter(frame).labels)


@pytest.mark.parametrize(('frame', 'got'), [
    (np.zeros((4, 4, 3), np.float32), 'float32'),
    ([[1, 2]], 'list'),
    (np.zeros((4, 4), np.uint8), r'\(4, 4\)'),
    (np.zeros((4, 4, 4), np.uint8), r'\(4, 4, 4\)'),
    (np.zeros((0, 4, 3), np.uint8), r'\(0, 4, 3\)'),
])
def test_what_is_no_rgb_frame_is_refused(segmenter, frame, got):
    with pytest.raises(InputError, match=f'expected .*{got}'):
        segmenter(frame)


def test_logits_come_at_the_size_of_the_network(segmenter):
    # Short side 64; 128 * 64 / 72 = 113.8 is nearest to 128 among the multiples of 32.
    logits = segmenter.logits(np.zeros((72, 128, 3), np.uint8))
    assert logits.shape == (9, 64 // 8, 128 // 8) and logits.dtype == np.float32


def test_a_frame_that_shrinks_a_lot_is_averaged_over_areas(segmenter):
    spec = dataclasses.replace(segmenter.spec, input_height=32)
    frame = np.zeros((128, 128, 3), np.uint8)
    frame[:, ::4] = [200, 100, 40]  # bilinear samples would miss every fourth column
    shrunk = resize_frame(frame, spec)
    assert shrunk.shape == (32, 32, 3)
    assert (shrunk == [50, 25, 10]).all()


def test_a_frame_twice_as_large_is_averaged_over_blocks_of_four_pixels(segmenter):
    spec = dataclasses.replace(segmenter.spec, input_height=96)
    frame = np.random.default_rng(0).integers(0, 256, (200, 260, 3), np.uint8)
    blocks = frame.reshape(100, 2, 130, 2, 3).mean(axis=(1, 3))
    expected = cv2.resize(blocks, (128, 96), interpolation=cv2.INTER_LINEAR)
    assert np.abs(resize_frame(frame, spec) - expected).max() <= 1  # rounded twice


def test_where_the_largest_factor_does_not_divide_a_smaller_one_does(segmenter):
    spec = dataclasses.replace(segmenter.spec, input_height=96)
    frame = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)  # 3 divides 300
    blocks = frame.reshape(150, 2, 200, 2, 3).mean(axis=(1, 3))
    expected = cv2.resize(blocks, (128, 96), interpolation=cv2.INTER_LINEAR)
    assert np.abs(resize_frame(frame, spec) - expected).max() <= 1  # rounded twice


def test_a_frame_whose_sides_have_no_common_factor_is_averaged_over_areas(segmenter):
    spec = dataclasses.replace(segmenter.spec, input_height=32)
    frame = np.random.default_rng(0).integers(0, 256, (131, 131, 3), np.uint8)
    shrunk = resize_frame(frame, spec)
    assert abs(shrunk.mean() - frame.mean()) < .5
    assert shrunk.std() < frame.std() / 3  # the mean of 16.8 pixels; samples keep it all


def test_a_very_long_frame_is_squeezed_and_does_not_fill_the_memory(segmenter):
    assert resize_frame(np.zeros((1, 100_000, 3), np.uint8), segmenter.spec).shape == (
        64, 8 * 64, 3)


def test_the_input_height_can_be_lowered(tiny_model):
    coarse = Segmenter.load(tiny_model, input_height=32)
    assert coarse.spec.input_height == 32
    assert coarse.logits(np.zeros((64, 64, 3), np.uint8)).shape == (9, 4, 4)


def batch_of_frames():
    """Return street-like frames of which two pairs have one size for the network."""
    random = np.random.default_rng(7)
    return [
        cv2.resize(random.integers(0, 256, (6, 8, 3), np.uint8), size)
        for size in ((128, 96), (90, 120), (256, 192), (128, 96), (50, 200))]


def assert_batch_is_one_by_one(segmenter):
    frames = batch_of_frames()
    for with_confidence in (True, False):
        batch = segmenter.segment_batch(frames, with_confidence=with_confidence)
        assert len(batch) == len(frames)
        for frame, found in zip(frames, batch):
            alone = segmenter(frame, with_confidence=with_confidence)
            np.testing.assert_array_equal(found.labels, alone.labels)
            assert found.labels.shape == frame.shape[:2]
            assert found.mean_entropy == pytest.approx(alone.mean_entropy, abs=1e-5)
            assert found.mean_confidence == pytest.approx(alone.mean_confidence, abs=1e-5)
            if with_confidence:
                difference = found.confidence.astype(int) - alone.confidence
                assert np.abs(difference).max() <= 1  # where .5 is rounded
            else:
                assert found.confidence is None


def test_frames_that_the_network_sees_at_one_size_go_through_it_together(segmenter, monkeypatch):
    passes = []
    logits = segmenter._runtime.logits
    monkeypatch.setattr(
        segmenter._runtime, 'logits',
        lambda images: passes.append(images.shape) or logits(images))
    assert_batch_is_one_by_one(segmenter)
    assert passes[:3] == [(3, 64, 96, 3), (1, 96, 64, 3), (1, 256, 64, 3)]


def test_an_empty_batch_has_no_answers(segmenter):
    assert segmenter.segment_batch([]) == []


def test_a_batch_with_a_frame_that_is_none_is_refused(segmenter):
    with pytest.raises(InputError, match=r'expected .*\(4, 4\)'):
        segmenter.segment_batch([np.zeros((8, 8, 3), np.uint8), np.zeros((4, 4), np.uint8)])


def test_warm_up_leaves_the_segmenter_as_it_was(segmenter):
    frame = np.random.default_rng(2).integers(0, 256, (40, 40, 3), np.uint8)
    before = segmenter(frame).labels
    assert segmenter.warm_up(90, 120) is None
    np.testing.assert_array_equal(segmenter(frame).labels, before)


def test_the_newest_sizes_and_numbers_of_frames_are_known(tiny_model):
    segmenter = Segmenter.load(tiny_model, num_threads=1)

    def send(*sizes):
        segmenter.segment_batch([np.zeros((*size, 3), np.uint8) for size in sizes])
    send((90, 120), (90, 120), (40, 40))
    send((40, 40))
    segmenter.warm_up(50, 70, 2)
    assert segmenter.recent_batches == [(90, 120, 2), (40, 40, 1), (50, 70, 2)]
    for width in (60, 61):
        send((50, width))
    assert segmenter.recent_batches == [(40, 40, 1), (50, 70, 2), (50, 60, 1), (50, 61, 1)]


def test_the_log_says_which_runtime_runs_the_model(tiny_model, caplog):
    with caplog.at_level(logging.INFO, logger='bkd_core.inference'):
        segmenter = Segmenter.load(str(tiny_model), runtime='onnxruntime')
    assert segmenter.runtime == 'onnxruntime' and segmenter.directory == tiny_model
    assert "model 'tiny'" in caplog.text and 'runs by onnxruntime' in caplog.text


def test_a_missing_torch_names_the_pip_line(tiny_model, monkeypatch):
    monkeypatch.setitem(sys.modules, 'torch', None)
    monkeypatch.delitem(sys.modules, 'bkd_core.inference.torch_runtime', raising=False)
    with pytest.raises(InputError, match=r'pip install "bkd_ros\[train\]"') as error:
        Segmenter.load(tiny_model, runtime='torch')
    assert str(tiny_model) in str(error.value)


def copy_of_tiny(tmp_path):
    return write_tiny_model(tmp_path / 'copy')


def test_a_truncated_onnx_file_is_named(tmp_path):
    path = copy_of_tiny(tmp_path) / ONNX
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=f'{path}.*truncated'):
        Segmenter.load(path.parent)


def test_an_onnx_file_that_is_none_is_named(tmp_path):
    path = copy_of_tiny(tmp_path) / ONNX
    path.write_bytes(b'not a graph')
    write_spec(path.parent, read_spec(path.parent))  # with the hash of the damaged file
    with pytest.raises(InputError, match=f'{path}: ONNX Runtime .* cannot load it'):
        Segmenter.load(path.parent)


def test_a_graph_with_other_inputs_is_refused(tmp_path):
    path = copy_of_tiny(tmp_path) / ONNX
    graph = onnx.load(path)
    graph.graph.input[0].name = graph.graph.node[0].input[0] = 'pixels_in'
    onnx.save(graph, path)
    write_spec(path.parent, read_spec(path.parent))
    with pytest.raises(InputError, match="expected one input 'image'.*pixels_in"):
        Segmenter.load(path.parent)


def test_a_graph_for_one_image_at_a_time_is_refused(tmp_path):
    path = tmp_path / 'single.onnx'
    graph = nearest_color_network(np.eye(3, dtype=np.float32))
    graph.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(graph, path)
    with pytest.raises(InputError, match='with a free batch.*Export the model again'):
        OnnxRuntime(path, 3)


def test_a_graph_with_other_classes_than_the_label_space_is_refused(tmp_path):
    path = tmp_path / 'other.onnx'
    onnx.save(nearest_color_network(np.eye(3, dtype=np.float32)), path)
    with pytest.raises(InputError, match='3 classes, but .* has 9'):
        OnnxRuntime(path, 9)


def test_a_directory_without_model_yaml_and_one_that_is_missing_are_named(tmp_path):
    with pytest.raises(InputError, match=f'{tmp_path}.*model.yaml'):
        Segmenter.load(tmp_path)
    with pytest.raises(InputError, match='nowhere.*no such directory'):
        Segmenter.load(tmp_path / 'nowhere')


def test_an_onnx_file_that_was_asked_for_and_is_missing_is_named(tmp_path):
    directory = copy_of_tiny(tmp_path)
    (directory / ONNX).unlink()
    with pytest.raises(InputError, match=f'{directory}.*{ONNX} is missing'):
        Segmenter.load(directory, runtime='onnxruntime')


@pytest.mark.parametrize(('settings', 'words'), [
    ({'runtime': 'caffe'}, "Unknown runtime 'caffe'"),
    ({'num_threads': -1}, 'num_threads.*-1'),
    ({'input_height': 8}, 'input_height.*8'),
    ({'device': 'tpu'}, "Unknown device 'tpu'"),
])
def test_a_wrong_setting_is_named(tiny_model, settings, words):
    with pytest.raises(InputError, match=words):
        Segmenter.load(tiny_model, **settings)


@pytest.fixture
def trained_directory(tmp_path):
    """Return a model directory with random weights for torch and no ONNX file."""
    pytest.importorskip('torch')
    from bkd_core.models import build_network, save_weights
    directory = copy_of_tiny(tmp_path)
    (directory / ONNX).unlink()
    save_weights(build_network('lite_fpn', 9, pretrained=False), directory / WEIGHTS)
    write_spec(directory, read_spec(directory))
    return directory


def test_without_an_onnx_file_torch_runs_the_weights(trained_directory):
    segmenter = Segmenter.load(trained_directory, device='cpu')
    assert segmenter.runtime == 'torch'
    assert segmenter(np.zeros((50, 70, 3), np.uint8)).labels.shape == (50, 70)
    assert segmenter.logits(np.zeros((64, 96, 3), np.uint8)).shape == (9, 16, 24)


def test_a_processor_has_no_device_memory_to_tell_of(trained_directory, segmenter):
    assert Segmenter.load(trained_directory, device='cpu').device_memory() is None
    assert segmenter.device_memory() is None


@pytest.mark.gpu
def test_a_gpu_tells_what_the_network_holds_and_what_is_free(trained_directory):
    allocated, free = Segmenter.load(trained_directory, device='cuda').device_memory()
    weights = (trained_directory / WEIGHTS).stat().st_size
    assert allocated >= 0.9 * weights and free > 0


def test_truncated_weights_are_named(trained_directory):
    path = trained_directory / WEIGHTS
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match=f'{path}.*truncated'):
        Segmenter.load(trained_directory)


def test_cuda_that_is_not_there_is_named_by_both_runtimes(
        trained_directory, tiny_model, monkeypatch):
    import onnxruntime
    import torch
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(
        onnxruntime, 'get_available_providers', lambda: ['CPUExecutionProvider'])
    with pytest.raises(InputError, match="device 'cuda': torch .* sees no CUDA device"):
        Segmenter.load(trained_directory, device='cuda')
    with pytest.raises(InputError, match="device 'cuda': this onnxruntime is built without"):
        Segmenter.load(tiny_model, device='cuda')
    assert Segmenter.load(trained_directory, device='auto').runtime == 'torch'


@pytest.mark.parametrize('runtime', ['onnxruntime', 'openvino', 'torch'])
def test_a_batch_without_room_is_one_clear_error_and_the_next_frame_is_labelled(runtime):
    pytest.importorskip(runtime)
    script = (
        'from pathlib import Path\n'
        'import resource, numpy as np\n'
        'from bkd_core.inference import OutOfMemory, Segmenter\n'
        "segmenter = Segmenter.load('default', runtime={!r}, device='cpu', num_threads=1)\n"
        'frame = np.zeros((480, 640, 3), np.uint8)\n'
        'segmenter(frame)\n'
        "used = int(Path('/proc/self/statm').read_text().split()[0])\n"
        'limit = used * resource.getpagesize() + (300 << 20)\n'
        'resource.setrlimit(resource.RLIMIT_AS, (limit, limit))\n'
        'try:\n'
        '    segmenter.segment_batch([frame] * 64)\n'
        'except OutOfMemory as error:\n'
        '    print(error)\n'
        'assert segmenter(frame).labels.shape == (480, 640)').format(runtime)
    done = subprocess.run(
        [sys.executable, '-c', script], cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True,
        timeout=120)
    assert 'out of memory with 64 x ' in done.stdout and 'max_batch lower' in done.stdout
