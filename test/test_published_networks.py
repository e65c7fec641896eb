# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The field's networks: their numbers of parameters, their equations, and published weights."""

from __future__ import annotations

from bkd_core.errors import InputError
from bkd_core.model_directory import IMAGENET_MEAN, IMAGENET_STD
from bkd_core.models import build_network
from bkd_core.models.deeplabv2_resnet101 import DeepLabV2ResNet101
from bkd_core.models.dino import VARIANTS as DINO_VARIANTS
from bkd_core.models.mix_transformer import MixTransformer, ReducedAttention, VARIANTS
from bkd_core.models.pretrained_files import read_state
from bkd_core.models.published_weights import adapt_input, load_deeplabv2, load_segformer
from bkd_core.models.torchvision_guard import ensure_torchvision_imports
from bkd_core.training.batch_norm import synchronise_batch_norm
import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn


def deeplabv2(num_classes=5, **options):
    """Return a network from scratch."""
    torch.manual_seed(0)
    return DeepLabV2ResNet101(num_classes, pretrained=False, **options).eval()


@pytest.fixture(scope='module')
def resnet():
    """Return the weights of torchvision's ResNet-101, with a classifier, all of them random."""
    ensure_torchvision_imports()
    from torchvision.models import resnet101
    torch.manual_seed(1)
    state = resnet101(weights=None).state_dict()
    return {
        name: torch.rand_like(value) if value.is_floating_point() else value
        for name, value in state.items()}


def summed_head(layer, channels, num_classes=5):
    """Return the head of AdaptSegNet in its own names."""
    return {
        f'{layer}.conv2d_list.{index}.{name}': torch.randn(shape)
        for index in range(4)
        for name, shape in (('weight', (num_classes, channels, 3, 3)), ('bias', (num_classes,)))}


def proda_head(num_classes=5):
    """Return the head of ProDA in its own names."""
    shapes = {}
    for index in range(5):
        kernel = 1 if index == 0 else 3
        shapes[f'conv2d_list.{index}.0.weight'] = (256, 2048, kernel, kernel)
        shapes[f'conv2d_list.{index}.0.bias'] = (256,)
        shapes[f'conv2d_list.{index}.1.weight'] = shapes[f'conv2d_list.{index}.1.bias'] = (256,)
    shapes |= {
        'bottleneck.0.se.0.weight': (80, 1280), 'bottleneck.0.se.0.bias': (80,),
        'bottleneck.0.se.2.weight': (1280, 80), 'bottleneck.0.se.2.bias': (1280,),
        'bottleneck.1.weight': (256, 1280, 3, 3), 'bottleneck.1.bias': (256,),
        'bottleneck.2.weight': (256,), 'bottleneck.2.bias': (256,),
        'head.1.weight': (num_classes, 256, 1, 1)}
    return {f'layer5.{name}': torch.randn(shape) for name, shape in shapes.items()}


def trunk_of(resnet):
    """Return a ResNet-101 without its classifier."""
    return {name: value for name, value in resnet.items() if not name.startswith('fc.')}


def test_deeplabv2_has_output_stride_8_and_dilates_every_block():
    trunk = deeplabv2().backbone
    assert trunk.layer2[0].conv1.stride == (2, 2) and trunk.layer2[0].conv2.stride == (1, 1)
    for layer, dilation, blocks in ((trunk.layer3, 2, 23), (trunk.layer4, 4, 3)):
        assert len(layer) == blocks
        for block in layer:
            assert block.conv2.dilation == block.conv2.padding == (dilation, dilation)
            assert block.conv1.stride == block.conv2.stride == (1, 1)


def test_the_head_sums_its_dilated_convolutions():
    head = deeplabv2().classifier
    features = torch.randn(1, 2048, 30, 30)
    by_hand = sum(
        nn.functional.conv2d(features, conv.weight, conv.bias, padding=dilation, dilation=dilation)
        for conv, dilation in zip(head.conv2d_list, (6, 12, 18, 24)))
    torch.testing.assert_close(head(features), by_hand, rtol=1e-4, atol=1e-5)


def test_a_trunk_of_imagenet_is_loaded_and_the_heads_stay(resnet):
    network = deeplabv2()
    before = network.classifier.conv2d_list[0].weight.clone()
    load_deeplabv2(network, resnet, where='resnet101.pth')
    for name, value in trunk_of(resnet).items():
        assert torch.equal(network.backbone.state_dict()[name], value), name
    assert torch.equal(network.classifier.conv2d_list[0].weight, before)


def test_the_caffe_weights_of_adaptsegnet_lose_their_own_head(resnet):
    state = {f'Scale.{name}': value for name, value in {
        **trunk_of(resnet), **summed_head('layer5', 2048, num_classes=21)}.items()}
    network = deeplabv2()
    load_deeplabv2(network, state, where='init.pth')
    assert torch.equal(
        network.backbone.layer4[2].conv3.weight, resnet['layer4.2.conv3.weight'])


def test_a_multi_level_network_of_adaptsegnet_finds_both_heads(resnet):
    state = {
        **trunk_of(resnet), **summed_head('layer5', 1024), **summed_head('layer6', 2048)}
    network = deeplabv2(auxiliary=True)
    load_deeplabv2(network, state, where='gta2cityscapes.pth')
    assert torch.equal(
        network.aux_classifier.conv2d_list[3].weight, state['layer5.conv2d_list.3.weight'])
    assert torch.equal(
        network.classifier.conv2d_list[3].bias, state['layer6.conv2d_list.3.bias'])
    without = deeplabv2()
    load_deeplabv2(without, state, where='gta2cityscapes.pth')
    assert torch.equal(
        without.classifier.conv2d_list[0].weight, state['layer6.conv2d_list.0.weight'])


def test_of_two_summed_branches_the_published_other_two_are_left_out(resnet):
    state = {**trunk_of(resnet), **summed_head('layer5', 2048)}
    network = deeplabv2(summed_branches=2)
    load_deeplabv2(network, state, where='single.pth')
    assert len(network.classifier.conv2d_list) == 2
    with pytest.raises(InputError, match='summed_branches: got 5; expected 1 to 4'):
        deeplabv2(summed_branches=5)


def test_a_network_of_proda_is_loaded_from_inside_of_its_checkpoint(resnet, tmp_path):
    state = {**trunk_of(resnet), **proda_head()}
    path = tmp_path / 'proda.pkl'
    norm = {
        f'bn_pretrain.{name}': value for name, value in nn.BatchNorm2d(2048).state_dict().items()}
    torch.save({'ResNet101': {'model_state': {
        f'module.{name}': value for name, value in {**state, **norm}.items()}},
        'iter': 3, 'best_iou': np.float64(0.57)}, path)
    with pytest.raises(InputError, match='bn_clr.; set network_options.features_norm to true'):
        load_deeplabv2(deeplabv2(head='proda'), read_state(path), where=path)
    network = deeplabv2(head='proda', features_norm=True)
    load_deeplabv2(network, read_state(path), where=path)
    ours = network.classifier.state_dict()
    theirs = {name.removeprefix('layer5.'): value for name, value in proda_head().items()}
    assert set(ours) == set(theirs)
    assert torch.equal(ours['bottleneck.1.weight'], state['layer5.bottleneck.1.weight'])


@pytest.mark.parametrize(('kind', 'prepare'), [
    ('caffe', lambda pixels: pixels.flip(1) - torch.tensor(
        [104.00698793, 116.66876762, 122.67891434]).view(1, 3, 1, 1)),
    ('unit', lambda pixels: pixels / 255)])
def test_weights_for_other_pixels_see_the_same_of_ours(kind, prepare):
    theirs, ours = deeplabv2().backbone, deeplabv2().backbone
    for trunk in (theirs, ours):
        torch.manual_seed(2)
        nn.init.normal_(trunk.bn1.running_mean)
    adapt_input(ours, kind, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    pixels = 255 * torch.rand(1, 3, 32, 32)
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.no_grad():
        expected = theirs.bn1(theirs.conv1(prepare(pixels)))
        found = ours.bn1(ours.conv1((pixels - mean) / std))
    inside = (..., slice(2, -2), slice(2, -2))  # beyond, one is padded by another grey
    torch.testing.assert_close(found[inside], expected[inside], rtol=1e-3, atol=1e-3)
    assert expected[inside].std() > 0.5


def test_the_input_of_weights_is_converted_once_when_they_are_read(resnet, tmp_path):
    path = tmp_path / 'resnet.pth'
    torch.save(resnet, path)
    plain = DeepLabV2ResNet101(5, weights=str(path))
    caffe = DeepLabV2ResNet101(5, weights=str(path), weights_input='caffe')
    assert not torch.equal(plain.backbone.conv1.weight, caffe.backbone.conv1.weight)
    torch.testing.assert_close(
        caffe.backbone.conv1.weight[:, 0], resnet['conv1.weight'][:, 2] * IMAGENET_STD[0])
    with pytest.raises(InputError, match='weights_input.*caffe'):
        DeepLabV2ResNet101(5, weights=str(path), weights_input='bgr')


@pytest.mark.parametrize(('change', 'message'), [
    ({'layer5.conv2d_list.0.weight': torch.zeros(19, 2048, 3, 3)},
     r'shape \(19, 2048, 3, 3\), expected \(5, 2048, 3, 3\)'),
    ({'layer3.22.conv2.weight': None}, 'backbone.layer3.22.conv2.weight is missing'),
    ({'layer7.weight': torch.zeros(1)}, 'backbone.layer7.weight is not part of the network')])
def test_weights_of_another_network_name_the_first_difference(resnet, change, message):
    state = {**trunk_of(resnet), **summed_head('layer5', 2048)} | change
    state = {name: value for name, value in state.items() if value is not None}
    with pytest.raises(InputError, match=f'other.pth.*{message}'):
        load_deeplabv2(deeplabv2(), state, where='other.pth')


@pytest.mark.parametrize(('batch_norm', 'trains', 'moves'), [
    ('affine_fixed', False, True), ('fixed', False, False), ('trained', True, True)])
def test_batch_norm_trains_and_moves_as_it_is_told(batch_norm, trains, moves):
    network = deeplabv2(batch_norm=batch_norm).train()
    norm = network.backbone.bn1
    before = norm.running_mean.clone()
    with torch.no_grad():
        network(torch.rand(2, 3, 32, 32))
    assert norm.weight.requires_grad == trains
    assert (not torch.equal(norm.running_mean, before)) == moves
    assert network.backbone.conv1.weight.requires_grad
    synchronise_batch_norm(network, torch.device('cuda'))  # another class of layers
    assert network.train().backbone.bn1.training == moves


def offline(*_, **__):
    """Fail as a download does without a connection."""
    raise OSError('Network is unreachable')


@pytest.mark.parametrize('name', ['deeplabv2_resnet101', 'deeplab_resnet101', 'segformer', 'dino'])
def test_a_download_without_a_connection_says_how_to_do_without(name, monkeypatch):
    ensure_torchvision_imports()
    import huggingface_hub
    import timm
    from torchvision.models import ResNet101_Weights
    monkeypatch.setattr(ResNet101_Weights, 'get_state_dict', offline)
    monkeypatch.setattr(huggingface_hub, 'hf_hub_download', offline)
    monkeypatch.setattr(timm, 'create_model', offline)
    with pytest.raises(InputError, match=(
            f'{name}: .*could not be downloaded .Network is unreachable.*'
            '--model.options.weights.*pretrained false')):
        build_network(name, 5)


# Millions of parameters, counted once.
@pytest.mark.parametrize(('variant', 'millions'), [
    ('b0', 3.3), ('b1', 13.2), ('b2', 24.2), ('b3', 44.1), ('b4', 60.8), ('b5', 81.4)])
def test_the_trunks_have_their_numbers_of_parameters(variant, millions):
    with torch.device('meta'):
        network = MixTransformer(variant)
    count = sum(weight.numel() for weight in network.parameters()) / 1e6
    assert count == pytest.approx(millions, abs=0.05)


def test_daformer_has_its_number_of_parameters():
    with torch.device('meta'):
        network = build_network('segformer', 19, variant='b5', pretrained=False)
    count = sum(weight.numel() for weight in network.parameters()) / 1e6
    assert count == pytest.approx(85.2, abs=0.05)


def test_attention_without_reduction_is_that_of_torch():
    torch.manual_seed(0)
    ours = ReducedAttention(32, heads=4, reduction=1)
    theirs = nn.MultiheadAttention(32, 4, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.q.weight, ours.kv.weight]))
        theirs.in_proj_bias.copy_(torch.cat([ours.q.bias, ours.kv.bias]))
        theirs.out_proj.load_state_dict(ours.proj.state_dict())
        tokens = torch.randn(2, 12, 32)
        expected = theirs(tokens, tokens, tokens, need_weights=False)[0]
        torch.testing.assert_close(ours(tokens, (3, 4)), expected, rtol=1e-4, atol=1e-5)


def test_skipped_blocks_keep_the_mean(monkeypatch):
    block = MixTransformer('b0', drop_path=0.5).block4[-1].train()
    assert block.drop_path == 0.5
    branch = torch.ones(4000, 1, 1)
    torch.manual_seed(0)
    skipped = block._skip(branch)
    assert set(skipped.unique().tolist()) == {0.0, 2.0}
    assert skipped.mean() == pytest.approx(1, abs=0.06)
    assert torch.equal(block.eval()._skip(branch), branch)


def of_authors(variant, prefix=''):
    """Return a trunk's state dict in the names and shapes of SegFormer's authors."""
    channels, depths = VARIANTS[variant]
    shapes, before = {}, 3
    for index, (width, depth) in enumerate(zip(channels, depths)):
        kernel, reduction = (7, 3, 3, 3)[index], (8, 4, 2, 1)[index]
        stage = index + 1
        shapes[f'patch_embed{stage}.proj.weight'] = (width, before, kernel, kernel)
        for name in (f'patch_embed{stage}.proj.bias', f'norm{stage}.weight', f'norm{stage}.bias',
                     f'patch_embed{stage}.norm.weight', f'patch_embed{stage}.norm.bias'):
            shapes[name] = (width,)
        for number in range(depth):
            block = f'block{stage}.{number}.'
            pairs = {
                'attn.q': (width, width), 'attn.kv': (2 * width, width),
                'attn.proj': (width, width), 'mlp.fc1': (4 * width, width),
                'mlp.fc2': (width, 4 * width), 'mlp.dwconv.dwconv': (4 * width, 1, 3, 3),
                'norm1': (width,), 'norm2': (width,)}
            if reduction > 1:
                pairs |= {'attn.sr': (width, width, reduction, reduction), 'attn.norm': (width,)}
            for name, shape in pairs.items():
                shapes[f'{block}{name}.weight'] = shape
                shapes[f'{block}{name}.bias'] = shape[:1]
        before = width
    return {prefix + name: torch.randn(shape) for name, shape in shapes.items()}


def in_mmsegmentation(state):
    """Return the authors' state dict as mmsegmentation's converter writes it."""
    renamed = {}
    for name, value in state.items():
        first, *rest = name.split('.')
        stage = int(first[-1]) - 1
        if first.startswith('patch_embed'):
            rest = '.'.join(rest).replace('proj', 'projection')
            renamed[f'layers.{stage}.0.{rest}'] = value
        elif first.startswith('norm'):
            renamed[f'layers.{stage}.2.{rest[0]}'] = value
        else:
            number, part, kind = rest[0], '.'.join(rest[1:-1]), rest[-1]
            block = f'layers.{stage}.1.{number}'
            if part == 'attn.q':
                both = torch.cat([value, state[name.replace('attn.q', 'attn.kv')]])
                renamed[f'{block}.attn.attn.in_proj_{kind}'] = both
            elif part != 'attn.kv':
                theirs = {
                    'attn.proj': 'attn.attn.out_proj', 'mlp.fc1': 'ffn.layers.0',
                    'mlp.dwconv.dwconv': 'ffn.layers.1', 'mlp.fc2': 'ffn.layers.4'}
                if part in ('mlp.fc1', 'mlp.fc2') and kind == 'weight':
                    value = value[:, :, None, None]
                renamed[f'{block}.{theirs.get(part, part)}.{kind}'] = value
    return renamed


def in_transformers(state):
    """Return the authors' state dict under the names that transformers' files have."""
    parts = {
        'attn.q': 'attention.self.query', 'attn.sr': 'attention.self.sr',
        'attn.norm': 'attention.self.layer_norm', 'attn.proj': 'attention.output.dense',
        'mlp.fc1': 'mlp.dense1', 'mlp.fc2': 'mlp.dense2', 'norm1': 'layer_norm_1',
        'norm2': 'layer_norm_2'}
    renamed = {}
    for name, value in state.items():
        first, *rest = name.split('.')
        stage = int(first[-1]) - 1
        if first.startswith('patch_embed'):
            part = '.'.join(rest).replace('norm', 'layer_norm')
            renamed[f'patch_embeddings.{stage}.{part}'] = value
        elif first.startswith('norm'):
            renamed[f'layer_norm.{stage}.{rest[0]}'] = value
        else:
            number, part, kind = rest[0], '.'.join(rest[1:-1]), rest[-1]
            block = f'block.{stage}.{number}'
            if part == 'attn.kv':
                keys, values = value.chunk(2)
                renamed[f'{block}.attention.self.key.{kind}'] = keys
                renamed[f'{block}.attention.self.value.{kind}'] = values
            else:
                renamed[f'{block}.{parts.get(part, part)}.{kind}'] = value
    return {f'segformer.encoder.{name}': value for name, value in renamed.items()}


@pytest.mark.parametrize('variant', ['b0', 'b3'])
def test_trunks_under_the_names_of_three_libraries_are_the_same(variant):
    torch.manual_seed(0)
    state = of_authors(variant)
    for published in (
            {**state, 'head.weight': torch.zeros(1000, 256), 'head.bias': torch.zeros(1000)},
            in_mmsegmentation(state),
            {**in_transformers(state), 'classifier.bias': torch.zeros(1000)},
            {f'backbone.{name}': value for name, value in in_mmsegmentation(state).items()}):
        network = build_network('segformer', 5, variant=variant, pretrained=False)
        load_segformer(network, published, where='mit.pth')
        ours = network.backbone.state_dict()
        assert set(ours) == set(state)
        for name, value in state.items():
            assert torch.equal(ours[name], value), name


@pytest.mark.parametrize('head', ['daformer', 'segformer'])
def test_a_whole_network_is_loaded_and_in_a_run_of_adaptation_the_trained_one(head):
    source = build_network('segformer', 5, head=head, pretrained=False)
    trained = dict(source.state_dict())
    run = {f'model.{name}': value for name, value in trained.items()}
    run |= {f'ema_model.{name}': torch.zeros_like(value) for name, value in trained.items()}
    for state in (trained, run):
        network = build_network('segformer', 5, head=head, pretrained=False)
        load_segformer(network, state, where='daformer.pth')
        for name, value in trained.items():
            assert torch.equal(network.state_dict()[name], value), name
    other = 'segformer' if head == 'daformer' else 'daformer'
    network = build_network('segformer', 5, head=other, pretrained=False)
    with pytest.raises(InputError, match='another network.*Check variant, head'):
        load_segformer(network, trained, where='daformer.pth')


def test_the_names_of_daformers_head_are_the_published_ones():
    names = set(build_network('segformer', 19, pretrained=False).decode_head.state_dict())
    assert {
        'embed_layers.3.proj.weight', 'fuse_layer.aspp_modules.0.conv.weight',
        'fuse_layer.aspp_modules.3.depthwise_conv.bn.running_var',
        'fuse_layer.aspp_modules.1.pointwise_conv.conv.weight',
        'fuse_layer.bottleneck.conv.weight', 'conv_seg.bias'} <= names


@pytest.fixture(scope='module')
def hrda():
    """Return a small network of two resolutions."""
    torch.manual_seed(0)
    return build_network('hrda', 5, variant='b0', pretrained=False).eval()


def with_attention(network, value):
    """Return the network with the same attention everywhere: 0 context, 1 detail."""
    with torch.no_grad():
        network.scale_attention.conv_seg.weight.zero_()
        network.scale_attention.conv_seg.bias.fill_(40.0 if value else -40.0)
    return network


@torch.no_grad()
def test_without_attention_hrda_is_its_network_at_half_the_size(hrda):
    images = torch.rand(1, 3, 128, 64)
    small = nn.functional.interpolate(images, scale_factor=0.5, mode='bilinear')
    context = nn.functional.interpolate(hrda.network(small), scale_factor=2, mode='bilinear')
    torch.testing.assert_close(
        with_attention(hrda, 0)(images), context, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_with_full_attention_hrda_is_the_mean_of_overlapping_crops(hrda):
    images = torch.rand(1, 3, 64, 128)
    logits = with_attention(hrda, 1)(images)
    corner = hrda.network(images[:, :, :32, :64])
    # Rows 0 to 15 and columns 0 to 31 of the image lie in one crop only.
    torch.testing.assert_close(
        logits[:, :, :4, :8], corner[:, :, :4, :8], rtol=1e-4, atol=1e-5)
    middle = hrda.network(images[:, :, 16:48, :64])
    expected = (corner[:, :, 4:, :8] + middle[:, :, :4, :8]) / 2
    torch.testing.assert_close(logits[:, :, 4:8, :8], expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_in_training_one_random_crop_has_detail(hrda):
    images = torch.rand(2, 3, 128, 128)
    hrda.train()
    places = set()
    for seed in range(6):
        torch.manual_seed(seed)
        _, is_seen = hrda._detail(images)
        rows, columns = is_seen[0, 0].any(1), is_seen[0, 0].any(0)
        assert rows.sum() == columns.sum() == 16 and is_seen[0, 0].sum() == 256
        places.add((rows.tolist().index(True), columns.tolist().index(True)))
    with pytest.raises(InputError, match=r'crop_size: got \(96, 128\).*multiples of 64'):
        hrda(torch.rand(2, 3, 96, 128))
    hrda.eval()
    assert len(places) > 3


def test_a_timm_without_the_network_is_told_to_be_renewed(monkeypatch):
    ensure_torchvision_imports()
    import timm
    monkeypatch.setattr(timm, 'is_model', lambda name: 'dinov3' not in name)
    with pytest.raises(InputError, match='timm .* has no .vit_small_patch16_dinov3.*pip install'):
        build_network('dino', 5, variant='dinov3_small', pretrained=False)


def test_positions_of_dinov2_are_timms_at_the_size_of_its_training():
    ensure_torchvision_imports()
    import timm
    torch.manual_seed(0)
    trunk = build_network('dino', 5, pretrained=False).trunk.eval()
    nn.init.normal_(trunk.pos_embed)
    plain = timm.create_model(
        DINO_VARIANTS['dinov2_small'].partition('.')[0], num_classes=0, dynamic_img_size=True)
    plain.load_state_dict(trunk.state_dict())
    patches = torch.randn(2, 37, 37, 384)
    torch.testing.assert_close(trunk._pos_embed(patches), plain._pos_embed(patches))
    assert trunk._pos_embed(patches[:, :5, :9]).shape == (2, 46, 384)


def test_a_frozen_trunk_of_dino_is_not_trained(tmp_path):
    network = build_network('dino', 5, pretrained=False, frozen_trunk=True).train()
    network(torch.rand(2, 3, 32, 32)).sum().backward()
    assert not network.trunk.training and network.merge.training
    assert all(weight.grad is None for weight in network.trunk.parameters())
    assert network.classifier.weight.grad is not None
    path = tmp_path / 'dino.safetensors'
    state = {name: torch.rand_like(value) for name, value in network.trunk.state_dict().items()}
    safetensors.torch.save_file(state, path)
    again = build_network('dino', 5, weights=str(path))
    assert torch.equal(again.trunk.blocks[3].mlp.fc1.weight, state['blocks.3.mlp.fc1.weight'])
    with pytest.raises(InputError, match=r'dino.safetensors.*variant.*expected'):
        build_network('dino', 5, variant='dinov3_small', weights=str(path))


class Runs:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        """Return what a pickle would call."""
        return print, ('code was run',)


@pytest.mark.parametrize('content', [{'state_dict': {'a': Runs()}}, Runs()])
def test_a_file_that_would_run_code_is_refused(tmp_path, content, capsys):
    path = tmp_path / 'weights.pth'
    torch.save(content, path)
    with pytest.raises(InputError, match=(
            'weights.pth: not readable.*could run code.*safetensors.torch.save_file')) as error:
        read_state(path)
    assert '\x1b' not in str(error.value)
    assert 'code was run' not in capsys.readouterr().out


def test_a_file_without_tensors_names_what_was_expected(tmp_path):
    torch.save({'epoch': 3}, tmp_path / 'weights.pth')
    with pytest.raises(InputError, match='holds no state dict; expected tensors by name'):
        read_state(tmp_path / 'weights.pth')
