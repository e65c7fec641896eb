# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The exported file does what the network does, on every size, on real frames, at half size."""

from __future__ import annotations

import copy
import sys

from bkd_core.errors import InputError
from bkd_core.inference import Segmenter
from bkd_core.inference.onnx_runtime import OnnxRuntime
from bkd_core.labels import get_label_space
from bkd_core.model_directory import ModelSpec, ONNX, WEIGHTS, write_spec
import cv2
import numpy as np
import pytest

torch = pytest.importorskip('torch')
onnx = pytest.importorskip('onnx')
from bkd_core.export import check_parity, export_onnx, ExportError  # noqa: E402
from bkd_core.models import build_network, MODELS, save_weights  # noqa: E402

# Without weights from elsewhere, and without the ResNets, which are for GPUs and large.
NETWORKS = [
    *((name, {}) for name in sorted(MODELS) if 'resnet' not in name and name != 'hrda'),
    ('hrda', {'variant': 'b0'}), ('dino', {'variant': 'dinov3_small'}),
    ('lite_fpn', {'num_stages': 5}), ('lite_fpn', {'num_stages': 4, 'logits_stride': 8})]


def make_spec(network, options=None):
    return ModelSpec(
        name='trial', network=network, network_options=options or {},
        label_space=get_label_space('street9'), input_height=64,
        size_multiple=MODELS[network].size_multiple)


def make_network(name, options=None):
    """Return a network whose weights and batch-norm statistics are away from their defaults."""
    torch.manual_seed(0)
    network = build_network(name, 9, **(options or {}), pretrained=False)
    network.train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(2, 3, 64, 128))
    return network.eval()


@pytest.fixture(scope='module', params=NETWORKS, ids=str)
def exported(request, tmp_path_factory):
    """Return a network, its spec and the file that was exported from it."""
    network, spec = make_network(*request.param), make_spec(*request.param)
    path = tmp_path_factory.mktemp(request.param[0]) / ONNX
    export_onnx(network, spec, path)
    return network, spec, path


@pytest.mark.parametrize('size', [(32, 32), (64, 96), (160, 64)])
def test_the_file_gives_the_logits_of_the_network_at_every_size(exported, size):
    network, spec, path = exported
    size = tuple(side * spec.size_multiple // 32 for side in size)
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    normalised = (image - np.float32(spec.mean)) / np.float32(spec.std)
    with torch.inference_mode():
        expected = network(torch.from_numpy(normalised).permute(2, 0, 1)[None])[0].numpy()
    logits = OnnxRuntime(path, 9).logits(image[None])[0]
    stride = spec.network_options.get('logits_stride', 8 if spec.network == 'dino' else 4)
    assert logits.shape == expected.shape == (9, size[0] // stride, size[1] // stride)
    assert expected.std() > .01
    np.testing.assert_allclose(logits, expected, atol=1e-3 * np.abs(expected).max())


def test_the_graph_is_one_file_with_uint8_images_in_and_free_sizes(exported):
    _, _, path = exported
    assert [file.name for file in path.parent.iterdir()] == [ONNX]
    graph = onnx.load(path).graph
    image, logits = graph.input[0].type.tensor_type, graph.output[0].type.tensor_type
    assert [value.name for value in (*graph.input, *graph.output)] == ['image', 'logits']
    assert image.elem_type == onnx.TensorProto.UINT8
    assert [d.dim_value for d in image.shape.dim] == [0, 0, 0, 3]  # 0 stands for free
    assert logits.elem_type == onnx.TensorProto.FLOAT


def test_exporting_leaves_the_network_as_it_was(tmp_path):
    network = make_network('lite_fpn').train()
    before = copy.deepcopy(network.state_dict())
    export_onnx(network, make_spec('lite_fpn'), tmp_path / ONNX)
    assert network.training
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name


def smooth_frames(count=2):
    random = np.random.default_rng(5)
    return [
        cv2.resize(random.integers(0, 256, (4, 6, 3), np.uint8), (120, 80)) for _ in range(count)]


def test_parity_of_an_export_with_its_network_is_almost_complete(exported):
    network, spec, path = exported
    assert .999 <= check_parity(network, path, spec, smooth_frames()) <= 1


def test_parity_fails_for_the_export_of_other_weights(exported):
    network, spec, path = exported
    other = copy.deepcopy(network)
    with torch.no_grad():
        for layer in other.modules():
            if getattr(layer, 'out_channels', None) == 9:
                layer.bias[4] += 100  # class 4 wins everywhere
    with pytest.raises(ExportError, match=f'{path}: only .* of the labels'):
        check_parity(other, path, spec, smooth_frames())
    share = check_parity(other, path, spec, smooth_frames(), minimum=0)
    labels = [Segmenter(path.parent, spec, OnnxRuntime(path, 9))(f).labels
              for f in smooth_frames()]
    assert share == pytest.approx(np.mean([each == 4 for each in labels]))


def test_parity_fails_where_the_normalisation_was_left_out(tmp_path):
    network, spec = make_network('lite_fpn'), make_spec('lite_fpn')
    plain = ModelSpec(
        name='plain', network='lite_fpn', label_space=spec.label_space, input_height=64,
        mean=(0, 0, 0), std=(1, 1, 1))
    export_onnx(network, plain, tmp_path / ONNX)
    with pytest.raises(ExportError):
        check_parity(network, tmp_path / ONNX, spec, smooth_frames())


def test_parity_without_frames_is_refused(exported):
    network, spec, path = exported
    with pytest.raises(ValueError, match='no frames'):
        check_parity(network, path, spec, [])


def test_a_missing_onnx_package_names_the_pip_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnx', None)
    with pytest.raises(InputError, match=r'pip install "bkd_ros\[train\]"'):
        export_onnx(torch.nn.Identity(), make_spec('lite_fpn'), tmp_path / ONNX)
    assert list(tmp_path.iterdir()) == []


def test_both_runtimes_of_a_model_directory_agree_on_real_frames(tmp_path, data_root):
    paths = sorted((data_root / 'camvid' / 'images' / 'val').iterdir())[::25]
    frames = [cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for path in paths]
    assert len(frames) >= 4
    network, spec = make_network('lite_fpn'), make_spec('lite_fpn')
    save_weights(network, tmp_path / WEIGHTS)
    export_onnx(network, spec, tmp_path / ONNX)
    write_spec(tmp_path, spec)
    by_onnx, by_torch = (
        Segmenter.load(tmp_path, runtime=name) for name in ('onnxruntime', 'torch'))
    for frame in frames:
        labels = by_onnx(frame).labels
        assert (labels == by_torch(frame).labels).mean() >= .999
        assert len(np.unique(labels)) > 1
