# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Every runtime does what torch does; what OpenVINO adds; errors that name their cause."""

from __future__ import annotations

import importlib.util
from pathlib import Path
import shutil
import subprocess
import sys

from bkd_core.datasets.streets import Streets
from bkd_core.errors import InputError
from bkd_core.inference import machine, openvino_runtime, Segmenter
from bkd_core.inference.openvino_runtime import OpenVinoRuntime
from bkd_core.inference.runtimes import LOADERS
from bkd_core.model_directory import INT8, ONNX, read_spec, resolve, write_spec
from fixtures_models import nearest_color_network, write_tiny_model
import numpy as np
import onnx
import pytest

ROOT = Path(__file__).resolve().parents[1]
# Share of equal labels, and the largest difference of logits. The files hold half precision, the
# ONNX file of weights that batch norm is folded into; bfloat16 keeps 8 bits of 24. The shipped
# student is undecided on these streets, so that small differences cost labels.
TOLERANCES = {
    'onnxruntime': (.998, .1), 'openvino': (.998, .1), 'openvino_bf16': (.9, 1.5),
    'onnxruntime_int8': (.9, 2.5), 'openvino_int8': (.9, 2.5), 'torch': (1, 0)}
SIZES = [(240, 320), (97, 211), (180, 120), (3, 7)]


@pytest.fixture(scope='module')
def frames():
    """Return streets of several sizes, odd ones too, one of them a view with gaps."""
    street = Streets(domain='target', num_frames=1, size=(240, 320), seed=3).image(0)
    views = [street[:height, :width] for height, width in SIZES]
    return [*views, street[::-1, ::2]]


@pytest.fixture(scope='module')
def torch_answers(frames):
    """Return the logits of torch, eager float32."""
    pytest.importorskip('torch')
    reference = Segmenter.load('default', runtime='torch', device='cpu', num_threads=1)
    return [reference.logits(frame) for frame in frames]


@pytest.fixture(scope='module')
def int8_student(tmp_path_factory):
    """Return a copy of the shipped student with a file in 8-bit integers."""
    pytest.importorskip('torch')
    from bkd_core.export import export_int8
    from bkd_core.models import load_network
    directory = tmp_path_factory.mktemp('int8') / 'student'
    shutil.copytree(resolve('default'), directory)
    spec, streets = read_spec(directory), Streets(domain='target', num_frames=4)
    export_int8(
        load_network(directory), spec, directory / INT8, map(streets.image, range(len(streets))))
    write_spec(directory, spec)
    return directory


# Some take a minute to build, some a CUDA device: they have tests of their own.
APART = ('torch_half', 'torch_compile', 'tensorrt', 'tensorrt_half')


@pytest.fixture(scope='module', params=[name for name in LOADERS if name not in APART])
def segmenter(request):
    """Return the shipped student in each runtime that this machine has."""
    package = request.param.split('_')[0]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f'{package} is not installed')
    if request.param == 'openvino_bf16' and not machine.has_bfloat16():
        pytest.skip('the processor has no bfloat16')
    is_int8 = request.param.endswith('_int8')
    model = request.getfixturevalue('int8_student') if is_int8 else 'default'
    return Segmenter.load(model, runtime=request.param, device='cpu', num_threads=1)


def test_a_runtime_gives_the_labels_of_torch(segmenter, frames, torch_answers):
    share, difference = TOLERANCES[segmenter.runtime]
    for frame, expected in zip(frames, torch_answers):
        logits = segmenter.logits(frame)
        assert logits.dtype == np.float32 and logits.shape == expected.shape
        if frame.size > 1000:  # a few pixels magnified look like nothing it was trained on
            np.testing.assert_allclose(logits, expected, rtol=0, atol=difference)
            assert (logits.argmax(axis=0) == expected.argmax(axis=0)).mean() >= share


@pytest.mark.parametrize('runtime', ['onnxruntime_int8', 'openvino_int8'])
def test_a_missing_int8_file_names_the_command_that_makes_it(tmp_path, runtime):
    pytest.importorskip(runtime.split('_')[0])
    model = write_tiny_model(tmp_path / 'tiny')
    command = f'bkd export {model} --runtime onnxruntime_int8 --frames RECORDING_OR_FOLDER'
    with pytest.raises(InputError, match=(  # a version never changes, so it makes a copy
            f'{INT8} is missing. Make a copy that has it: {command} --output FOLDER;')):
        Segmenter.load(model, runtime=runtime)


def test_int8_by_onnxruntime_runs_on_the_processor(tmp_path):
    model = write_tiny_model(tmp_path / 'tiny')
    shutil.copy(model / ONNX, model / INT8)
    with pytest.raises(InputError, match="'onnxruntime_int8': 8-bit integers are for processors"):
        Segmenter.load(model, runtime='onnxruntime_int8', device='cuda')
    segmenter = Segmenter.load(model, runtime='onnxruntime_int8', device='auto')
    assert segmenter.runtime == 'onnxruntime_int8'
    assert segmenter._runtime._session.get_providers() == ['CPUExecutionProvider']


def test_openvino_and_onnxruntime_agree_on_the_file_that_both_read(frames):
    pytest.importorskip('openvino')
    answers = [
        Segmenter.load('default', runtime=name, num_threads=1).logits(frames[0])
        for name in ('onnxruntime', 'openvino')]
    np.testing.assert_allclose(*answers, rtol=0, atol=1e-3)
    assert np.equal(*(logits.argmax(axis=0) for logits in answers)).mean() >= .9999


def test_a_runtime_takes_frames_of_every_size(segmenter, frames):
    for frame in frames:
        result = segmenter(frame)
        assert result.labels.shape == result.confidence.shape == frame.shape[:2]
        assert result.labels.dtype == result.confidence.dtype == np.uint8
        np.testing.assert_array_equal(
            result.labels, segmenter(np.ascontiguousarray(frame)).labels)


def test_a_runtime_answers_a_batch_as_its_frames_one_by_one(segmenter, frames):
    batch = segmenter.segment_batch([frames[0], frames[1], frames[0][:, ::-1]])
    for frame, found in zip([frames[0], frames[1], frames[0][:, ::-1]], batch):
        alone = segmenter(frame)
        # bfloat16 may add up in another order for another batch.
        floor = 1 if segmenter.runtime != 'openvino_bf16' else .99
        assert (found.labels == alone.labels).mean() >= floor
        assert found.mean_confidence == pytest.approx(alone.mean_confidence, abs=.01)


def test_answers_of_a_runtime_stay_when_the_next_frame_comes(segmenter, frames):
    first = segmenter.logits(frames[0])
    copy = first.copy()
    segmenter.logits(frames[0][::-1])
    np.testing.assert_array_equal(first, copy)


@pytest.mark.parametrize('frame', [
    np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 3), np.int8), np.zeros((4, 4), np.uint8)])
def test_a_runtime_never_sees_what_is_no_frame(segmenter, frame):
    with pytest.raises(InputError, match='frame: expected'):
        segmenter(frame)


@pytest.mark.parametrize(
    'runtime', ['auto', 'onnxruntime', 'openvino', 'onnxruntime_int8', 'openvino_int8'])
def test_without_torch_in_the_name_no_torch_is_imported(tmp_path, runtime):
    if runtime.startswith('openvino'):
        pytest.importorskip('openvino')
    model = write_tiny_model(tmp_path / 'tiny')
    shutil.copy(model / ONNX, model / INT8)
    script = (
        'import sys, numpy as np\n'
        'from bkd_core.inference import Segmenter\n'
        f'segmenter = Segmenter.load({str(model)!r}, runtime={runtime!r}, device="cpu")\n'
        'segmenter(np.zeros((40, 60, 3), np.uint8))\n'
        'sys.exit("torch was imported" if "torch" in sys.modules else 0)')
    subprocess.run([sys.executable, '-c', script], cwd=ROOT, check=True, timeout=60)


@pytest.fixture
def tiny(tmp_path):
    """Return a model directory whose files a test may damage; skip without OpenVINO."""
    pytest.importorskip('openvino')
    return write_tiny_model(tmp_path / 'tiny')


def test_a_missing_openvino_names_the_pip_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'openvino', None)
    with pytest.raises(InputError, match=r'pip install "bkd_ros\[openvino\]"'):
        Segmenter.load(write_tiny_model(tmp_path), runtime='openvino')


def test_openvino_names_a_file_that_is_no_graph(tiny):
    (tiny / ONNX).write_bytes(b'not a graph')
    write_spec(tiny, read_spec(tiny))  # with the hash of the damaged file
    with pytest.raises(InputError, match=f'{tiny / ONNX}: OpenVINO .* cannot read it'):
        Segmenter.load(tiny, runtime='openvino')


def test_openvino_names_a_truncated_file(tiny):
    path = tiny / ONNX
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=f'{path}.*truncated'):
        Segmenter.load(tiny, runtime='openvino')


def test_openvino_refuses_a_graph_with_other_inputs_or_classes(tiny):
    graph = onnx.load(tiny / ONNX)
    graph.graph.input[0].name = graph.graph.node[0].input[0] = 'pixels_in'
    onnx.save(graph, tiny / ONNX)
    with pytest.raises(InputError, match="expected one input 'image'.*pixels_in"):
        OpenVinoRuntime(tiny / ONNX, 9)
    onnx.save(nearest_color_network(np.eye(3, dtype=np.float32)), tiny / ONNX)
    with pytest.raises(InputError, match='3 classes, but .* has 9'):
        OpenVinoRuntime(tiny / ONNX, 9)


def test_openvino_has_no_cuda(tiny):
    with pytest.raises(InputError, match="device 'cuda': OpenVINO"):
        Segmenter.load(tiny, runtime='openvino', device='cuda')


def test_bfloat16_is_refused_where_the_processor_has_none(tiny, monkeypatch):
    monkeypatch.setattr(openvino_runtime, 'has_bfloat16', lambda: False)
    with pytest.raises(InputError, match="'openvino_bf16'.*Set runtime 'openvino'"):
        Segmenter.load(tiny, runtime='openvino_bf16')


def test_openvino_keeps_a_few_compiled_shapes_the_latest_ones(tiny):
    runtime = OpenVinoRuntime.load(tiny, read_spec(tiny), num_threads=1)
    shapes = [(1, 32, 32 * width, 3) for width in range(1, openvino_runtime.MOST_SHAPES + 2)]
    for shape in [*shapes[:-1], shapes[0], shapes[-1]]:
        assert runtime.logits(np.zeros(shape, np.uint8)).shape == (1, 9, 4, shape[2] // 8)
    assert set(runtime._requests) == {shapes[0], *shapes[2:]}


def test_the_runtimes_agree_on_which_file_they_read(tiny):
    (tiny / ONNX).unlink()
    for runtime in ('onnxruntime', 'openvino'):
        with pytest.raises(InputError, match=f'{ONNX} is missing'):
            Segmenter.load(tiny, runtime=runtime)


@pytest.mark.parametrize(('text', 'has', 'name'), [
    ('model name\t: Some Xeon\nflags\t\t: fpu avx512f amx_bf16 sse\n', True, 'Some Xeon'),
    ('model name\t: Some Core\nflags\t\t: fpu avx2 f16c\n\nmodel name\t: other\n', False,
     'Some Core'),
    ('processor\t: 0\nFeatures\t: fp asimd bf16 i8mm\n', True, 'bf16'),
])
def test_the_processor_is_read_from_what_linux_says(text, has, name, tmp_path, monkeypatch):
    (tmp_path / 'cpuinfo').write_text(text)
    monkeypatch.setattr(machine, 'CPUINFO', tmp_path / 'cpuinfo')
    machine._cpuinfo.cache_clear()
    try:
        assert machine.has_bfloat16() == has
        assert name in machine.identity()
    finally:
        machine._cpuinfo.cache_clear()


def test_a_machine_that_says_nothing_has_no_bfloat16(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, 'CPUINFO', tmp_path / 'none')
    machine._cpuinfo.cache_clear()
    try:
        assert not machine.has_bfloat16() and 'cores' in machine.identity()
    finally:
        machine._cpuinfo.cache_clear()


def test_cuda_devices_are_named_as_the_driver_names_them(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, 'NVIDIA', tmp_path)
    assert machine.nvidia_devices() == [] and not machine.has_nvidia_driver()
    (tmp_path / 'version').write_text('NVRM version: 1')
    for number, name in enumerate(('Orin', 'Some RTX')):
        folder = tmp_path / 'gpus' / f'0000:0{number}:00.0'
        folder.mkdir(parents=True)
        (folder / 'information').write_text(f'Model: \t\t {name}\nIRQ:   \t\t 24\n')
    assert machine.nvidia_devices() == ['Orin', 'Some RTX'] and machine.has_nvidia_driver()


def test_a_signal_still_arrives_after_openvino_models_came_and_went(tiny):
    script = (
        'import faulthandler, gc, os, signal\n'
        'import numpy as np\n'
        'from bkd_core.inference import Segmenter\n'
        'faulthandler.enable()\n'
        'received = []\n'
        'signal.signal(signal.SIGINT, lambda *given: received.append(given[0]))\n'
        'frame = np.zeros((64, 96, 3), np.uint8)\n'
        f'load = lambda: Segmenter.load({str(tiny)!r}, runtime="openvino")\n'
        'first, second = load(), load()\n'
        'first(frame), second(frame)\n'
        'del first\n'
        'gc.collect()\n'
        'third = load()\n'
        'third(frame)\n'
        'del second, third\n'
        'gc.collect()\n'
        'os.kill(os.getpid(), signal.SIGINT)\n'
        'print(received)\n')
    done = subprocess.run(
        [sys.executable, '-c', script], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, '[2]\n'), done.stderr
