# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Weights that others published, under the names that they gave them."""

from __future__ import annotations

import re
from typing import Sequence

from bkd_core.errors import InputError
from bkd_core.models.weights import differences
import torch
from torch import nn, Tensor

State = dict[str, Tensor]


# What networks of other programs make of a pixel (red, green, blue, 0 to 255): the order of its
# channels, the factor, and what is subtracted after it.
INPUTS = {
    'imagenet': None,  # as here
    # The Caffe weights that AdaptSegNet and those after it start from: blue first, minus a mean.
    'caffe': ((2, 1, 0), 1.0, (104.00698793, 116.66876762, 122.67891434)),
    'unit': ((0, 1, 2), 1 / 255, (0.0, 0.0, 0.0)),  # ProDA: 0 to 1
}


def adapt_input(
    network: nn.Module, weights_input: str, *, mean: Sequence[float], std: Sequence[float],
) -> None:
    """
    Let a ResNet that was trained on other pixels see ImageNet's normalised ones.

    Order, factor and mean go into the first convolution and the mean of the batch normalisation
    behind it, so inside the image nothing changes. At its border the padding is another grey.

    :param network: Its `conv1` and `bn1` are changed in place.
    :param weights_input: One of `INPUTS`.
    :param mean: Mean that images are normalised by, red, green, blue, 0 to 255.
    :param std: Standard deviation likewise.
    """
    if INPUTS[weights_input] is None:
        return
    order, factor, subtracted = INPUTS[weights_input]
    with torch.no_grad():
        theirs = network.conv1.weight
        mean, std, subtracted = (theirs.new_tensor(each) for each in (mean, std, subtracted))
        offset = factor * mean[list(order)] - subtracted  # their input where ours is 0
        shift = (theirs.sum((2, 3)) * offset).sum(1)
        ours = torch.empty_like(theirs)
        ours[:, list(order)] = theirs * (factor * std[list(order)]).view(1, 3, 1, 1)
        theirs.copy_(ours)
        network.bn1.running_mean.sub_(shift)


def load_deeplabv2(network: nn.Module, state: State, *, where: str) -> None:
    """
    Load a ResNet-101 or a whole DeepLabv2 into a `DeepLabV2ResNet101`.

    Known are torchvision's ResNet-101, the Caffe weights that AdaptSegNet starts from (below
    `Scale.`, their head for other classes is left out), and networks of AdaptSegNet and ProDA:
    `layer5` is the head on `layer4`, or the one on `layer3` where there is a `layer6`.

    :param network: Changed in place.
    :param state: Tensors by name.
    :param where: What messages call it.
    :raises InputError: If a weight is missing or has another shape; the message names the first.
    """
    if any(name.startswith('Scale.') for name in state):
        state = {
            name.removeprefix('Scale.'): value for name, value in state.items()
            if not name.startswith('Scale.layer5')}
    multi_level = any(name.startswith('layer6.') for name in state)
    heads = {'layer5': 'aux_classifier', 'layer6': 'classifier'} if multi_level else {
        'layer5': 'classifier'}
    if any(name.startswith('bn_pretrain.') for name in state) and network.features_norm is None:
        raise InputError(
            f"{where}: has a normalisation in front of the head (ProDA's bn_clr); set "
            'network_options.features_norm to true')
    heads['bn_pretrain'] = 'features_norm'
    renamed = {}
    for name, value in state.items():
        first, _, rest = name.partition('.')
        if first == 'fc':
            continue
        renamed[f'{heads[first]}.{rest}' if first in heads else f'backbone.{name}'] = value
    _load(network, renamed, where=where, trunk='backbone.', unused=_unused_deeplabv2(network))


def load_segformer(network: nn.Module, state: State, *, where: str) -> None:
    """
    Load a Mix Transformer or a whole SegFormer or DAFormer into a `SegFormer`.

    Known are the authors' trunks (`patch_embed1.proj.weight`), mmsegmentation's
    (`layers.0.0.projection.weight`), both also below `backbone.`, transformers'
    (`segformer.encoder.block.0.0.attention.self.query.weight`), and the heads of mmsegmentation's
    SegFormer and of DAFormer. Of a run of adaptation, which holds several
    networks, the trained one (`model.`) is taken.

    :param network: Changed in place.
    :param state: Tensors by name.
    :param where: What messages call it.
    :raises InputError: If a weight is missing or has another shape; the message names the first.
    """
    if any(name.startswith('model.') for name in state):
        state = {
            name.removeprefix('model.'): value for name, value in state.items()
            if name.startswith('model.')}
    if any(name.startswith('segformer.encoder.') for name in state):
        state = _from_transformers(state)
    renamed: State = {}
    for name, value in state.items():
        if name.startswith('decode_head.'):
            renamed[name] = value
            continue
        name = name.removeprefix('backbone.')
        if not name.startswith('head.'):  # ImageNet's classifier
            renamed.update(_mix_transformer_names(name, value))
    _load(network, renamed, where=where, trunk='backbone.', unused=())


_PARTS = (
    ('0.projection', 'patch_embed{stage}.proj'),
    ('0.norm', 'patch_embed{stage}.norm'),
    ('2', 'norm{stage}'),
)
_BLOCK_PARTS = {
    'norm1': 'norm1', 'norm2': 'norm2', 'attn.sr': 'attn.sr', 'attn.norm': 'attn.norm',
    'attn.attn.out_proj': 'attn.proj', 'ffn.layers.0': 'mlp.fc1',
    'ffn.layers.1': 'mlp.dwconv.dwconv', 'ffn.layers.4': 'mlp.fc2',
}


def _mix_transformer_names(name: str, value: Tensor) -> State:
    """Return one of mmsegmentation's weights under the authors' names; others as they are."""
    found = re.fullmatch(r'layers\.(\d)\.(.+)', name)
    if not found:
        return {f'backbone.{name}': value}
    stage, rest = int(found[1]) + 1, found[2]
    part, _, kind = rest.rpartition('.')
    for theirs, ours in _PARTS:
        if part == theirs:
            return {f'backbone.{ours.format(stage=stage)}.{kind}': value}
    block = re.fullmatch(r'1\.(\d+)\.(.+)', rest)
    if block:
        prefix, rest = f'backbone.block{stage}.{block[1]}', block[2]
        if rest.startswith('attn.attn.in_proj_'):
            kind, third = rest.rpartition('_')[2], len(value) // 3
            return {
                f'{prefix}.attn.q.{kind}': value[:third],
                f'{prefix}.attn.kv.{kind}': value[third:]}
        part, _, kind = rest.rpartition('.')
        if part in _BLOCK_PARTS:
            ours = _BLOCK_PARTS[part]
            if ours in ('mlp.fc1', 'mlp.fc2') and kind == 'weight':
                value = value.flatten(1)  # there they are 1 x 1 convolutions
            return {f'{prefix}.{ours}.{kind}': value}
    return {f'backbone.{name}': value}


_TRANSFORMERS_PARTS = {
    'attention.self.query': 'attn.q', 'attention.self.sr': 'attn.sr',
    'attention.self.layer_norm': 'attn.norm', 'attention.output.dense': 'attn.proj',
    'layer_norm_1': 'norm1', 'layer_norm_2': 'norm2', 'mlp.dense1': 'mlp.fc1',
    'mlp.dwconv.dwconv': 'mlp.dwconv.dwconv', 'mlp.dense2': 'mlp.fc2',
}


def _from_transformers(state: State) -> State:
    """Return a trunk of transformers (names of its version 4) under the authors' names."""
    renamed: State = {}
    for name, value in state.items():
        found = re.fullmatch(r'segformer\.encoder\.(\w+)\.(\d)\.(.+)', name)
        if not found:  # a head
            if not name.startswith(('classifier.', 'decode_head.')):
                renamed[name] = value
            continue
        kind, stage, rest = found[1], int(found[2]) + 1, found[3]
        if kind == 'patch_embeddings':
            renamed[f'patch_embed{stage}.' + rest.replace('layer_norm', 'norm')] = value
        elif kind == 'layer_norm':
            renamed[f'norm{stage}.{rest}'] = value
        else:
            number, _, rest = rest.partition('.')
            part, _, end = rest.rpartition('.')
            block = f'block{stage}.{number}'
            if part == 'attention.self.key':
                second = state[name.replace('self.key', 'self.value')]
                renamed[f'{block}.attn.kv.{end}'] = torch.cat([value, second])
            elif part != 'attention.self.value':
                renamed[f'{block}.{_TRANSFORMERS_PARTS.get(part, part)}.{end}'] = value
    return renamed


def _unused_deeplabv2(network: nn.Module) -> tuple[str, ...]:
    """Return beginnings of names that a file may hold beyond the network."""
    unused = [] if network.aux_classifier is not None else ['aux_classifier.']
    for head in ('classifier', 'aux_classifier'):
        module = getattr(network, head)
        if hasattr(module, 'conv2d_list') and not hasattr(module, 'bottleneck'):
            unused += [
                f'{head}.conv2d_list.{index}.' for index in range(len(module.conv2d_list), 4)]
    return tuple(unused)


def _load(
    network: nn.Module, state: State, *, where: str, trunk: str, unused: tuple[str, ...],
) -> None:
    """Load a trunk alone or a whole network; anything between the two is an error."""
    expected = network.state_dict()
    counters = {name for name in expected if name.endswith('num_batches_tracked')}
    state = {name: value for name, value in state.items() if not name.startswith(unused or '\0')}
    if all(name.startswith(trunk) for name in state):
        expected = {name: value for name, value in expected.items() if name.startswith(trunk)}
    problems = differences(state, expected, optional=counters)
    if problems:
        raise InputError(
            f'{where}: these weights belong to another network: {problems[0]} (and '
            f'{len(problems) - 1} more differences). Check variant, head and number of classes')
    network.load_state_dict(state, strict=False)  # what is missing was found to be so above
