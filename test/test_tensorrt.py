# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Engines of TensorRT: built once, kept by what they depend on, and what happens without a GPU."""

from __future__ import annotations

import importlib.util
from pathlib import Path
import sys
from types import SimpleNamespace

from bkd_core.datasets.streets import Streets
from bkd_core.errors import InputError
from bkd_core.inference import machine, Segmenter, tensorrt_runtime
from bkd_core.inference.out_of_memory import OutOfMemory
from bkd_core.inference.tensorrt_runtime import engines_folder, MOST_SHAPES, PROVIDER
import numpy as np
import onnxruntime
import pytest

ENGINE = 'engine'


class FakeSession:
    """A session that computes on the processor, and keeps an 'engine' as TensorRT would."""

    def __init__(self, library, path, options, settings):
        self._session = onnxruntime.InferenceSession(
            path, options, providers=['CPUExecutionProvider'])
        self.library, self.settings = library, settings
        if 'trt_engine_cache_path' in settings:
            self.load_or_build(settings['trt_engine_cache_path'])

    def load_or_build(self, folder):
        file = tensorrt_runtime.Path(folder) / ENGINE
        content = self.settings['trt_profile_opt_shapes']
        if not file.exists():
            self.library.built.append(content)
            file.write_text(content)
        elif file.read_text() != content:
            raise RuntimeError('could not deserialize the engine')

    def get_providers(self):
        return [self.library.started, 'CPUExecutionProvider']

    def run(self, names, feed):
        shape = 'image:' + 'x'.join(map(str, feed['image'].shape))
        # An engine answers for the one shape that it was built for.
        assert self.settings['trt_profile_min_shapes'] == shape
        assert self.settings['trt_profile_max_shapes'] == shape
        if self.library.error is not None:
            raise self.library.error
        self.library.ran.append(shape)
        return self._session.run(names, feed)


class FakeLibrary:
    """ONNX Runtime as it looks where TensorRT is."""

    __version__ = onnxruntime.__version__
    SessionOptions = onnxruntime.SessionOptions

    def __init__(self):
        self.built, self.ran, self.sessions = [], [], []
        self.started, self.error = PROVIDER, None

    def get_available_providers(self):
        return [PROVIDER, 'CUDAExecutionProvider', 'CPUExecutionProvider']

    def InferenceSession(self, path, options, providers):
        (name, settings), cuda, processor = providers
        assert (name, cuda, processor) == tuple(self.get_available_providers())
        self.sessions.append(FakeSession(self, path, options, settings))
        return self.sessions[-1]


@pytest.fixture
def library(monkeypatch, tmp_path):
    """Return the stand-in for ONNX Runtime; engines are kept below `tmp_path`."""
    library = FakeLibrary()
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    monkeypatch.setattr(tensorrt_runtime, 'import_onnxruntime', lambda: library)
    monkeypatch.setitem(sys.modules, 'tensorrt', SimpleNamespace(__version__='10.9.0'))
    monkeypatch.setattr(machine, 'nvidia_devices', lambda: ['NVIDIA H100'])
    return library


@pytest.fixture(scope='module')
def frame():
    """Return a street."""
    return Streets(domain='target', num_frames=1, size=(240, 320), seed=3).image(0)


def test_the_labels_are_those_of_onnxruntime(library, frame):
    segmenter = Segmenter.load(runtime='tensorrt', num_threads=1)
    expected = Segmenter.load(runtime='onnxruntime', device='cpu', num_threads=1)
    assert segmenter.runtime == 'tensorrt'
    np.testing.assert_array_equal(segmenter(frame).labels, expected(frame).labels)


def test_an_engine_is_built_once_for_each_shape(library, frame):
    segmenter = Segmenter.load(runtime='tensorrt')
    for _ in range(3):
        segmenter(frame)
    assert len(library.built) == 1
    segmenter(frame[:, :160])
    assert len(library.built) == len(set(library.built)) == 2
    Segmenter.load(runtime='tensorrt')(frame)  # as after a restart
    assert len(library.built) == 2
    assert len(list(engines_folder().iterdir())) == 2


def test_only_the_newest_shapes_stay_loaded(library, frame):
    segmenter = Segmenter.load(runtime='tensorrt')
    for width in range(160, 160 + 40 * (MOST_SHAPES + 1), 40):
        segmenter(frame[:, :width])
    sessions = len(library.sessions)
    segmenter(frame[:, :width])
    assert len(library.sessions) == sessions
    segmenter(frame[:, :160])  # it comes from the cache again
    assert len(library.sessions) == sessions + 1 and len(library.built) == MOST_SHAPES + 1


@pytest.mark.parametrize('change', ['device', 'tensorrt', 'onnxruntime', 'half'])
def test_an_engine_of_something_else_is_never_loaded(library, frame, monkeypatch, change):
    Segmenter.load(runtime='tensorrt')(frame)
    name = 'tensorrt'
    if change == 'device':
        monkeypatch.setattr(machine, 'nvidia_devices', lambda: ['NVIDIA L4'])
    elif change == 'tensorrt':
        monkeypatch.setitem(sys.modules, 'tensorrt', SimpleNamespace(__version__='10.10.0'))
    elif change == 'onnxruntime':
        monkeypatch.setattr(FakeLibrary, '__version__', '1.99')
    else:
        name = 'tensorrt_half'
    Segmenter.load(runtime=name)(frame)
    assert len(library.built) == 2 and len(list(engines_folder().iterdir())) == 2
    assert library.sessions[-1].settings['trt_fp16_enable'] is (change == 'half')


def test_a_damaged_engine_is_built_anew(library, frame, caplog):
    expected = Segmenter.load(runtime='tensorrt')(frame).labels
    (folder,) = engines_folder().iterdir()
    (folder / ENGINE).write_text('torn')
    np.testing.assert_array_equal(Segmenter.load(runtime='tensorrt')(frame).labels, expected)
    assert len(library.built) == 2 and 'is built anew' in caplog.text
    Segmenter.load(runtime='tensorrt')(frame)
    assert len(library.built) == 2


def test_a_build_that_fails_leaves_nothing_and_says_so(library, frame):
    library.error = RuntimeError('no tactic')
    with pytest.raises(InputError, match='cannot build it for images .*no tactic'):
        Segmenter.load(runtime='tensorrt')(frame)
    assert not list(engines_folder().iterdir())


def test_a_full_device_is_told_as_such(library, frame):
    Segmenter.load(runtime='tensorrt')(frame)
    library.error = RuntimeError('Failed to allocate memory for requested buffer: out of memory')
    with pytest.raises(OutOfMemory):
        Segmenter.load(runtime='tensorrt')(frame)
    assert len(list(engines_folder().iterdir())) == 1  # it is not the engine's fault


def test_a_cache_that_cannot_be_written_costs_a_warning(library, frame, tmp_path, caplog):
    (tmp_path / 'bkd_ros').write_text('in the way')
    segmenter = Segmenter.load(runtime='tensorrt')
    segmenter(frame)
    assert 'cannot be kept' in caplog.text
    assert 'trt_engine_cache_path' not in library.sessions[-1].settings


def test_the_oldest_engines_are_forgotten(library, frame, monkeypatch):
    monkeypatch.setattr(tensorrt_runtime, '_MOST_ENGINES', 2)
    segmenter = Segmenter.load(runtime='tensorrt')
    for width in (160, 200, 240):
        segmenter(frame[:, :width])
    assert len(list(engines_folder().iterdir())) == 2


def test_a_provider_that_does_not_start_is_an_error(library, frame):
    Segmenter.load(runtime='tensorrt')(frame)
    library.started = 'CUDAExecutionProvider'
    with pytest.raises(InputError, match='TensorRT did not start.*CUDAExecutionProvider'):
        Segmenter.load(runtime='tensorrt')(frame)
    assert len(list(engines_folder().iterdir())) == 1


def test_the_processor_is_not_its_device():
    with pytest.raises(InputError, match="'tensorrt_half': it needs a CUDA device"):
        Segmenter.load(runtime='tensorrt_half', device='cpu')


def test_a_library_without_it_names_the_pip_line(monkeypatch, library):
    monkeypatch.setattr(library, 'get_available_providers', lambda: ['CPUExecutionProvider'])
    with pytest.raises(InputError, match='built without TensorRT: pip install .*; pip'):
        Segmenter.load(runtime='tensorrt')


def test_tensorrt_missing_names_the_pip_line(monkeypatch, library):
    monkeypatch.setitem(sys.modules, 'tensorrt', None)
    with pytest.raises(InputError, match=r'tensorrt cannot be imported .*bkd_ros\[tensorrt\]'):
        Segmenter.load(runtime='tensorrt')


@pytest.mark.gpu
@pytest.mark.skipif(importlib.util.find_spec('tensorrt') is None, reason='needs TensorRT')
@pytest.mark.parametrize(('name', 'share'), [('tensorrt', .998), ('tensorrt_half', .99)])
def test_real_engines_name_the_classes_of_onnxruntime(frame, name, share, tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    expected = Segmenter.load(runtime='onnxruntime', device='cpu')(frame).labels
    for _ in range(2):  # built, then from the cache
        labels = Segmenter.load(runtime=name)(frame).labels
        assert np.mean(labels == expected) >= share
    assert len(list(engines_folder().iterdir())) == 1


def test_the_readme_and_the_error_name_the_same_steps_and_the_gpus_package_comes_last():
    steps = tensorrt_runtime._INSTALL.replace('bkd_ros[', '.[').split('; ')
    readme = (Path(__file__).resolve().parents[1] / 'README.md').read_text(encoding='utf-8')
    assert '\n'.join(steps) in readme
    assert steps[-2:] == [
        'pip uninstall -y onnxruntime', 'pip install --force-reinstall --no-deps onnxruntime-gpu']
