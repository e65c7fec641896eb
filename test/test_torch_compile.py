# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The compiled network answers as the eager one, is built once, and says what it lacks."""

from __future__ import annotations

from dataclasses import replace
import importlib.util
import logging
import os
from pathlib import Path
import shutil
import subprocess
import sys

from bkd_core.datasets.streets import Streets
from bkd_core.errors import InputError
from bkd_core.inference import Segmenter
from bkd_core.model_directory import read_spec, resolve
import numpy as np
import pytest

torch = pytest.importorskip('torch')

from bkd_core.inference import compiled_torch_runtime  # noqa: E402
from bkd_core.inference.compiled_torch_runtime import CompiledTorchRuntime  # noqa: E402
from bkd_core.inference.torch_runtime import TorchRuntime  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
SPEC = read_spec(resolve('default'))
SHAPE = (2, 32, 64, 3)
needs_compiler = pytest.mark.skipif(shutil.which('g++') is None, reason='g++ is not installed')


def small_network(seed=0):
    """Return a network of two layers that compiles in seconds, with real batch statistics."""
    torch.manual_seed(seed)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, stride=2, padding=1), torch.nn.BatchNorm2d(8), torch.nn.ReLU(),
        torch.nn.Conv2d(8, 9, 1))
    network(torch.randn(4, 3, 16, 16))  # in training mode: the running averages move
    return network.eval()


def compiled(network=None, spec=SPEC, device='cpu'):
    """Return the runtime around a network."""
    return CompiledTorchRuntime(network or small_network(), spec, num_threads=1, device=device)


def random_images(shape=SHAPE, seed=1):
    """Return noise."""
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
    """Return the folder of what is kept, with the small network's program in it."""
    folder = tmp_path_factory.mktemp('cache')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('XDG_CACHE_HOME', str(folder))
        compiled().logits(random_images())
        yield folder


@pytest.fixture
def own_cache(cache, tmp_path, monkeypatch):
    """Return a copy of that folder that a test may damage."""
    folder = tmp_path / 'cache'
    shutil.copytree(cache, folder)
    monkeypatch.setenv('XDG_CACHE_HOME', str(folder))
    return folder


@pytest.fixture
def never_builds(monkeypatch):
    """Let a build fail."""
    def build(self, shape, path):
        raise AssertionError('it is built again')
    monkeypatch.setattr(CompiledTorchRuntime, '_build', build)


@needs_compiler
def test_a_kept_program_answers_as_torch_without_another_build(cache, never_builds):
    runtime, images = compiled(), random_images()
    logits = runtime.logits(images)
    expected = TorchRuntime(small_network(), SPEC, device='cpu').logits(images)
    assert logits.dtype == np.float32 and logits.shape == expected.shape == (2, 9, 16, 32)
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5)
    copy = logits.copy()
    assert np.abs(runtime.logits(random_images(seed=2)) - copy).max() > .1
    np.testing.assert_array_equal(logits, copy)  # the next frame leaves it as it was


@needs_compiler
def test_a_frame_at_an_odd_address_is_answered_as_any_other(cache, never_builds):
    runtime, images = compiled(), random_images()
    shifted = np.empty(images.size + 1, np.uint8)[1:].reshape(images.shape)
    shifted[:] = images
    np.testing.assert_array_equal(runtime.logits(shifted), runtime.logits(images))


@needs_compiler
@pytest.mark.parametrize('size', [(1, 1), (33, 4097)])
def test_frames_of_odd_sizes_are_labelled_as_by_torch(size, cache):
    spec = replace(SPEC, input_height=32)
    frame = random_images((*size, 3))
    view = np.repeat(frame, 2, axis=1)[:, ::2]  # with gaps
    segmenters = [
        Segmenter(resolve('default'), spec, kind(small_network(), spec, device='cpu'))
        for kind in (TorchRuntime, CompiledTorchRuntime)]
    expected, found = (segmenter(view) for segmenter in segmenters)
    assert found.labels.shape == size
    assert (found.labels == expected.labels).mean() >= .999
    with pytest.raises(InputError, match='frame: expected'):
        segmenters[1](frame.astype(np.float32))


@needs_compiler
@pytest.mark.parametrize('damage', [lambda data: data[:1000], lambda data: b'no program'])
def test_a_damaged_program_is_built_again(own_cache, damage, caplog):
    runtime = compiled()
    path = runtime._path(SHAPE)
    path.write_bytes(damage(path.read_bytes()))
    with caplog.at_level(logging.INFO, logger='bkd_core.inference'):
        assert runtime.logits(random_images()).shape == (2, 9, 16, 32)
    assert f'{path} cannot be loaded and is built again' in caplog.text
    assert 'building for images (2, 32, 64, 3)' in caplog.text and 'built in ' in caplog.text
    assert torch._inductor.aoti_load_package(str(path)) is not None


@needs_compiler
def test_where_nothing_can_be_kept_a_warning_says_so(tmp_path, monkeypatch, caplog):
    (tmp_path / 'file').write_text('')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'file'))
    assert compiled().logits(random_images()).shape == (2, 9, 16, 32)
    assert 'the program cannot be kept' in caplog.text


@needs_compiler
def test_a_program_is_named_by_all_that_it_depends_on(monkeypatch):
    first = compiled()._path(SHAPE)
    assert compiled()._path(SHAPE) == first
    others = [
        compiled()._path((1, *SHAPE[1:])), compiled(small_network(seed=1))._path(SHAPE),
        compiled(spec=replace(SPEC, mean=(1.0, 2.0, 3.0)))._path(SHAPE)]
    for target, value in (
            ('torch.__version__', '2.99'), ('torch.get_num_threads', lambda: 7),
            ('bkd_core.inference.machine.identity', lambda: 'another processor'),
            ('bkd_core.inference.compiled_torch_runtime.__version__', '9.9.9')):
        with monkeypatch.context() as patch:
            patch.setattr(target, value)
            others.append(compiled()._path(SHAPE))
    assert len({first, *others}) == 8


@needs_compiler
def test_a_few_shapes_stay_loaded_the_latest_ones(monkeypatch):
    built = []
    monkeypatch.setattr(
        CompiledTorchRuntime, '_load_or_build', lambda self, shape: built.append(shape))
    runtime = compiled()
    shapes = [(1, 32, 32 * n, 3) for n in range(compiled_torch_runtime.MOST_SHAPES + 1)]
    for shape in [*shapes[:-1], shapes[0], shapes[-1]]:
        runtime._program(shape)
    assert built == shapes and set(runtime._programs) == {shapes[0], *shapes[2:]}


def test_the_folder_of_programs_does_not_grow_without_end(tmp_path):
    (tmp_path / 'built').write_bytes(b'newest')
    folder = tmp_path / 'kept'
    folder.mkdir()
    for number in range(30):
        (folder / f'{number}.pt2').write_bytes(b'program')
        os.utime(folder / f'{number}.pt2', (number, number))
    compiled_torch_runtime._keep(tmp_path / 'built', folder / 'new.pt2')
    assert {path.stem for path in folder.iterdir()} == {'new', *map(str, range(15, 30))}


def test_a_missing_compiler_is_named_when_the_model_loads(monkeypatch):
    monkeypatch.delenv('CXX', raising=False)
    monkeypatch.setattr(shutil, 'which', lambda name: None)
    with pytest.raises(InputError, match="no C\\+\\+ compiler 'g\\+\\+' is found.*apt install g"):
        compiled()


def test_a_compiler_that_fails_is_named_with_its_cause():
    script = (
        'import numpy as np\n'
        'from bkd_core.inference import Segmenter\n'
        'segmenter = Segmenter.load(runtime="torch_compile", device="cpu")\n'
        'segmenter(np.zeros((32, 64, 3), np.uint8))\n')
    done = subprocess.run(
        [sys.executable, '-c', script], cwd=ROOT, capture_output=True, text=True, timeout=200,
        env={**os.environ, 'CXX': shutil.which('false')})
    assert done.returncode == 1
    message = done.stderr.strip().splitlines()[-1]
    assert 'cannot compile the network for images (1, 192, 384, 3) on cpu' in message
    assert "set runtime 'torch'" in message


def test_cuda_needs_triton(monkeypatch):
    monkeypatch.setattr(shutil, 'which', lambda name: '/usr/bin/g++')
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(InputError, match="device 'cuda' needs Triton.*pip install triton"):
        compiled_torch_runtime._check_compilers(torch.device('cuda'))


def test_a_torch_that_is_too_old_is_named(monkeypatch):
    monkeypatch.setattr(shutil, 'which', lambda name: '/usr/bin/g++')
    monkeypatch.delattr(torch._inductor, 'aoti_compile_and_package')
    with pytest.raises(InputError, match='is too old; it needs 2.6 or newer'):
        compiled()


def test_cuda_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(InputError, match="device 'cuda': torch .* sees no CUDA device"):
        compiled(device='cuda')


@needs_compiler
@pytest.mark.slow
def test_the_shipped_student_gives_the_labels_of_torch():
    """Frames of one shape, since a build of the whole student takes a minute."""
    streets = Streets(domain='target', num_frames=3, size=(240, 320), seed=3)
    segmenters = [
        Segmenter.load(runtime=name, device='cpu', num_threads=1, input_height=256)
        for name in ('torch', 'torch_compile')]
    for index in range(len(streets)):
        frame = streets.image(index)
        expected, found = (segmenter.logits(frame) for segmenter in segmenters)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3)
        labels = [segmenter(frame).labels for segmenter in segmenters]
        assert np.equal(*labels).mean() >= .999


@pytest.mark.gpu
@needs_compiler
def test_a_program_for_cuda_answers_as_torch():
    pytest.importorskip('triton')
    images = random_images()
    expected = TorchRuntime(small_network(), SPEC, device='cuda').logits(images)
    runtime = compiled(device='cuda')
    np.testing.assert_allclose(runtime.logits(images), expected, rtol=0, atol=1e-2)
