# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The files for the published data sets train on small folders of exactly their layouts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bkd_core.benchmarks.adaptation import load_protocol, plan_runs, run_adaptation
from bkd_core.benchmarks.adaptation.plan import BKD, TEACHERS
from bkd_core.benchmarks.adaptation.results import read_lines
from bkd_core.config import AugmentationConfig, ModelConfig
from bkd_core.config_file import load_experiment
from bkd_core.experiment import run_experiment
from fixtures_datasets import write_cityscapes, write_gta5, write_synthia
import pytest
from tiny_training import register_tiny_network
import yaml

CONFIG = Path(__file__).resolve().parents[1] / 'config'
NAMES = ('gta5_to_cityscapes', 'synthia_to_cityscapes')
STEPS = 2
# Networks of this size stand for those of the papers.
SMALL = {
    'deeplabv2_resnet101': {'network': 'tiny', 'options': {}},  # has one level only
    'segformer': {'network': 'segformer', 'options': {'variant': 'b0', 'pretrained': False}},
    'hrda': {'network': 'hrda', 'options': {'variant': 'b0', 'pretrained': False}},
    'lite_fpn': {'network': 'lite_fpn', 'options': {'pretrained': False}},
}


@pytest.fixture(scope='module', autouse=True)
def tiny_network():
    """Let the tiny network be known in this file."""
    with pytest.MonkeyPatch.context() as patch:
        register_tiny_network(patch)
        yield


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """Return a data root with the three data sets."""
    root = tmp_path_factory.mktemp('data')
    write_gta5(root / 'gta5')
    write_synthia(root / 'synthia')
    write_cityscapes(root / 'cityscapes')
    return root


def small_protocol(name, folder):
    """Return a shipped protocol with networks, crops and numbers of steps made small."""
    values = yaml.safe_load((CONFIG / 'protocols' / f'{name}.yaml').read_text(encoding='utf-8'))
    values |= {'device': 'cpu', 'num_workers': 0, 'checkpoint_steps': 2}
    for budget in values['budgets'].values():
        budget['model'] = {**SMALL[budget['model']['network']], 'input_height': 64}
        budget['augmentation']['crop_size'] = [64, 64]
        budget.get('runs', {}).pop('max_square', None)
        # Blocks of 64 pixels would hide such crops as a whole.
        methods = budget.setdefault('methods', {}).setdefault('masked_consistency', {})
        methods['masking'] = {'block_size': 16}
        for stage in ('source_only', 'oracle', 'teacher', 'student'):
            budget[stage] |= {'steps': STEPS}
    path = folder / f'{name}.yaml'
    path.write_text(yaml.safe_dump(values), encoding='utf-8')
    return load_protocol(path)


@pytest.mark.parametrize(('name', 'budget', 'methods'), [
    ('gta5_to_cityscapes', 'deeplabv2', (*TEACHERS, BKD)),
    ('gta5_to_cityscapes', 'hrda', ('masked_consistency',)),
    ('synthia_to_cityscapes', 'deeplabv2', (*TEACHERS, BKD)),
    ('synthia_to_cityscapes', 'daformer', ('masked_consistency', BKD))])
def test_every_method_of_a_protocol_trains_on_its_data(name, budget, methods, data, tmp_path):
    protocol = small_protocol(name, tmp_path)
    runs = plan_runs(protocol, budget, methods=methods, seeds=(0,))
    run_adaptation(
        protocol, budget, runs, output=tmp_path / 'runs', results=tmp_path, data_root=data)
    lines = read_lines(tmp_path / 'adaptation.jsonl')
    assert {(line['method'], line['teacher']) for line in lines} == {
        (run.method, run.teacher) for run in runs}
    for spec in (tmp_path / 'runs').rglob('model.yaml'):
        unit = yaml.safe_load(spec.read_text(encoding='utf-8'))['size_multiple']
        assert unit == (64 if budget == 'hrda' else 32)
    classes = 19 if name == 'gta5_to_cityscapes' else 16
    assert all(line['steps'] == STEPS and len(line['iou']) == classes for line in lines)


def with_small_blocks(method):
    """Return a method's settings with masks that suit small crops."""
    if not hasattr(method, 'masking'):
        return method
    return replace(method, masking=replace(method.masking, block_size=16))


@pytest.mark.parametrize('name', NAMES)
def test_an_experiment_trains_on_its_data(name, data, tmp_path):
    stages = load_experiment(CONFIG / 'experiments' / f'{name}.yaml')
    small = {
        stage: replace(
            config, steps=STEPS, num_workers=0, device='cpu',
            model=ModelConfig(**SMALL[config.model.network], input_height=64),
            augmentation=AugmentationConfig(crop_size=(64, 64)),
            method=with_small_blocks(config.method))
        for stage, config in stages.items()}
    scores = run_experiment(small, output=tmp_path, data_root=data)
    assert list(scores) == ['teacher', 'student']
    assert (tmp_path / 'student' / 'model.onnx').is_file()


@pytest.mark.parametrize('name', NAMES)
def test_the_papers_settings_are_in_the_files(name):
    protocol = load_protocol(name)
    deeplab, daformer = (
        plan_runs(protocol, budget, methods=('masked_consistency',))[0].config
        for budget in ('deeplabv2', 'daformer'))
    assert deeplab.model.network == 'deeplabv2_resnet101'
    multi_level, = plan_runs(protocol, 'deeplabv2', methods=('max_square',))
    assert multi_level.config.model.options == {'auxiliary': True}
    optimizer = deeplab.optimizer
    assert (optimizer.name, optimizer.learning_rate, optimizer.momentum) == ('sgd', 2.5e-4, 0.9)
    assert (optimizer.weight_decay, optimizer.head_multiplier, optimizer.power) == (5e-4, 10, 0.9)
    assert daformer.model.options == {'variant': 'b5'} and daformer.steps == 40000
    optimizer = daformer.optimizer
    assert (optimizer.name, optimizer.learning_rate) == ('adamw', 6e-5)
    assert (optimizer.head_multiplier, optimizer.warmup_steps) == (10, 1500)
    assert daformer.batch_size == 2 and daformer.augmentation.crop_size == (512, 512)
    masking = daformer.method.masking
    assert (masking.lambda_masked, masking.block_size, masking.ratio) == (1.0, 64, 0.7)
    assert daformer.rare_class_sampling.temperature == 0.01
    assert daformer.method.ema_decay == 0.999
