# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Half precision keeps the labels, a graph stands for one shape, and CUDA is asked for clearly."""

from __future__ import annotations

from bkd_core.datasets.streets import Streets
from bkd_core.errors import InputError
from bkd_core.inference import Segmenter
from bkd_core.model_directory import read_spec, resolve
import numpy as np
import pytest

torch = pytest.importorskip('torch')

from bkd_core.inference import torch_half_runtime, torch_runtime  # noqa: E402
from bkd_core.inference.torch_half_runtime import HalfNetwork, TorchHalfRuntime  # noqa: E402
from bkd_core.models import load_network  # noqa: E402

SPEC = read_spec(resolve('default'))
SIZES = [(240, 320), (97, 211), (180, 120), (3, 7), (1, 1)]


@pytest.fixture(scope='module')
def frames():
    """Return streets of several sizes, odd ones too, one of them a view with gaps."""
    street = Streets(domain='target', num_frames=1, size=(240, 320), seed=3).image(0)
    return [*(street[:height, :width] for height, width in SIZES), street[::-1, ::2]]


@pytest.fixture
def fake_cuda(monkeypatch):
    """Let the processor stand for a CUDA device, and the network itself for its graph."""
    class FakeGraph:
        def __init__(self, network, shape, device):
            self.network, self.shape = network, shape
            FakeGraph.captured.append(shape)

        def run(self, images):
            assert images.shape == self.shape
            with torch.inference_mode():
                return self.network(torch.from_numpy(images)).numpy()

    FakeGraph.captured = []
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch_runtime, '_choose_device', lambda device: torch.device('cpu'))
    monkeypatch.setattr(torch_half_runtime, 'CapturedGraph', FakeGraph)
    return FakeGraph


def test_half_precision_names_the_classes_of_float32(frames, fake_cuda):
    half, full = (
        Segmenter.load(runtime=name, num_threads=1) for name in ('torch_half', 'torch'))
    logits, expected = half.logits(frames[0]), full.logits(frames[0])
    assert half.runtime == 'torch_half'
    assert logits.dtype == np.float32 and logits.shape == expected.shape
    difference = np.abs(logits - expected)
    assert 1e-4 < difference.max() < .1  # it did compute in float16
    assert (logits.argmax(axis=0) == expected.argmax(axis=0)).mean() >= .998


def test_only_batch_norm_stays_in_float32():
    original = load_network('default')
    half = HalfNetwork(original)
    kinds = {
        (isinstance(module, torch.nn.BatchNorm2d), parameter.dtype)
        for module in half.modules() for parameter in module.parameters(recurse=False)}
    assert kinds == {(True, torch.float32), (False, torch.float16)}
    assert {parameter.dtype for parameter in original.parameters()} == {torch.float32}


def test_a_variance_beyond_float16_is_kept():
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1), torch.nn.BatchNorm2d(2)).eval()
    network[1].running_var.fill_(1e6)
    images = 1e3 * torch.ones(1, 3, 4, 4)
    with torch.inference_mode():
        expected, found = network(images), HalfNetwork(network)(images)
    assert torch.isfinite(found).all() and expected.abs().max() > .01
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-3)


def test_a_few_graphs_are_kept_the_latest_ones(fake_cuda):
    network = torch.nn.Conv2d(3, 9, 1)
    runtime = TorchHalfRuntime(network, SPEC)
    shapes = [(1, 4, 4 * n, 3) for n in range(1, torch_half_runtime.MOST_SHAPES + 2)]
    for shape in [*shapes[:-1], shapes[0], shapes[-1]]:
        assert runtime.logits(np.zeros(shape, np.uint8)).shape == (1, 9, *shape[1:3])
    assert fake_cuda.captured == shapes
    assert set(runtime._graphs) == {shapes[0], *shapes[2:]}


@pytest.mark.parametrize(('device', 'has_cuda', 'reason'), [
    ('cpu', True, "device is 'cpu'"), ('auto', False, 'sees none'), ('cuda', False, 'sees none')])
def test_without_cuda_it_is_refused(device, has_cuda, reason, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: has_cuda)
    with pytest.raises(InputError, match=f"'torch_half': it needs a CUDA device, and .*{reason}"):
        Segmenter.load(runtime='torch_half', device=device)


@pytest.mark.gpu
def test_cuda_graphs_give_the_labels_of_torch(frames):
    half, full = (
        Segmenter.load(runtime=name, device='cuda') for name in ('torch_half', 'torch'))
    for frame in [*frames, frames[0]]:  # the last one by a graph that is there or comes again
        result, expected = half(frame), full(frame)
        assert result.labels.shape == result.confidence.shape == frame.shape[:2]
        if frame.size > 1000:
            assert (result.labels == expected.labels).mean() >= .998
    assert len(half._runtime._graphs) <= torch_half_runtime.MOST_SHAPES


@pytest.mark.gpu
def test_answers_of_a_graph_stay_when_the_next_frame_comes(frames):
    segmenter = Segmenter.load(runtime='torch_half', device='cuda')
    first = segmenter.logits(frames[0])
    copy = first.copy()
    assert np.abs(segmenter.logits(frames[0][::-1]) - copy).max() > .1
    np.testing.assert_array_equal(first, copy)
    np.testing.assert_array_equal(segmenter.logits(frames[0]), copy)


@pytest.mark.gpu
def test_a_graph_answers_a_batch_as_its_frames_one_by_one(frames):
    segmenter = Segmenter.load(runtime='torch_half', device='cuda')
    batch = [frames[0], frames[1], frames[0][:, ::-1]]
    for frame, found in zip(batch, segmenter.segment_batch(batch)):
        assert (found.labels == segmenter(frame).labels).mean() >= .998


@pytest.mark.gpu
def test_a_graph_is_captured_while_another_thread_uses_the_device(frames):
    from concurrent.futures import ThreadPoolExecutor
    first = Segmenter.load(runtime='torch_half', device='cuda')
    expected = first(frames[0]).labels
    with ThreadPoolExecutor(1) as pool:
        labelling = pool.submit(lambda: [first(frames[0]).labels for _ in range(200)])
        second = Segmenter.load(runtime='torch_half', device='cuda')
        found = second(frames[0]).labels
        assert all(np.array_equal(labels, expected) for labels in labelling.result())
    np.testing.assert_array_equal(found, expected)
