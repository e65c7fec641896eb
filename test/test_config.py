# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Settings: files, their errors, and dotted options on top."""

from __future__ import annotations

from pathlib import Path

from bkd_core.config import (
    AugmentationConfig,
    MODEL_PRESETS,
    ModelConfig,
    OptimizerConfig,
    TrainingConfig,
)
from bkd_core.config_file import load_experiment, override, parse, references, to_yaml
from bkd_core.errors import InputError
from bkd_core.method_config import (
    BilateralDistillationConfig,
    METHOD_CONFIGS,
    MiningConfig,
    SelfTrainingConfig,
)
from bkd_core.methods import METHODS
from bkd_core.models import build_network, MODELS
import pytest
import torch
import yaml

EXPERIMENTS = sorted((Path(__file__).parents[1] / 'config' / 'experiments').glob('*.yaml'))


def write(tmp_path, text):
    """Return the path of a configuration file."""
    path = tmp_path / 'run.yaml'
    path.write_text(text, encoding='utf-8')
    return path


@pytest.mark.parametrize('path', EXPERIMENTS, ids=lambda path: path.stem)
def test_a_shipped_experiment_loads_and_survives_being_written(path):
    stages = load_experiment(path)
    for config in stages.values():
        assert config.model.network in MODELS
        assert parse(yaml.safe_load(to_yaml(config)), 'again') == config


def test_experiments_are_shipped():
    assert {path.stem for path in EXPERIMENTS} == {
        'streets', 'gazebo_to_camvid', 'gta5_to_cityscapes', 'synthia_to_cityscapes',
        'own_data'}


def test_every_method_has_settings_of_its_name_and_the_other_way_round():
    assert set(METHOD_CONFIGS) == set(METHODS)
    assert all(kind.name == name for name, kind in METHOD_CONFIGS.items())


def test_a_file_holds_only_what_differs(tmp_path):
    stages = load_experiment(write(tmp_path, 'steps: 7\nmodel: {input_height: 96}'))
    assert stages == {'model': TrainingConfig(steps=7, model=ModelConfig(input_height=96))}


def test_a_stage_adds_to_what_the_file_says_and_replaces_another_method(tmp_path):
    stages = load_experiment(write(tmp_path, """
        steps: 7
        source: {name: streets, options: {domain: source, num_frames: 3}}
        method: {name: self_training, ema_decay: 0.5}
        stages:
          first: {source: {options: {num_frames: 4}}}
          second: {method: {lambda_mixed: 2}, steps: 9}
          third: {method: {name: bilateral_distillation, teacher: 'stage:second'}}
          fourth: {source: {name: camvid}}
        """))
    assert stages['first'].source.options == {'domain': 'source', 'num_frames': 4}
    assert stages['second'].method == SelfTrainingConfig(ema_decay=0.5, lambda_mixed=2.0)
    assert (stages['first'].steps, stages['second'].steps) == (7, 9)
    assert stages['third'].method == BilateralDistillationConfig(teacher='stage:second')
    assert stages['fourth'].source.options == {}
    assert references(stages['third']) == ['second'] and references(stages['first']) == []


@pytest.mark.parametrize(('text', 'message'), [
    ('optimizer: {learning_rat: 1.0e-4}',
     r"run.yaml: optimizer: Unknown key 'learning_rat'.*Did you mean 'learning_rate'"),
    ('stepz: 3', r"run.yaml: Unknown key 'stepz'.*Did you mean 'steps'"),
    ('method: {name: bdk}', "run.yaml: Unknown method 'bdk'; choose one of .*source_only"),
    ('method: {ema_decay: 0.9}', "Unknown method 'None'"),
    ('method: {name: source_only, ema_decay: 0.9}', "method: Unknown key 'ema_decay'"),
    ('method: {name: bilateral_distillation, mining: {form: topk}}',
     "method.mining.form 'topk'.*Did you mean 'top_k'"),
    ('optimizer: {learning_rate: 1e-4}', r"learning_rate: got '1e-4'.*write 1.0e-4"),
    ('optimizer: {learning_rate: .nan}', 'learning_rate: got nan; expected above 0'),
    ('steps: true', 'run.yaml: steps: got True; expected int'),
    ('steps: 1.5', 'run.yaml: steps: got 1.5; expected int'),
    ('steps: 0', 'run.yaml: steps: got 0; expected at least 1'),
    ('seed: -1', 'run.yaml: seed: got -1; expected at least 0'),
    ('precision: float16', "precision 'float16'"),
    ('loss_stride: 3', 'loss_stride: got 3; expected 1, 2 or 4'),
    ('label_space: camvid', "Unknown label space 'camvid'.*Did you mean 'camvid11'"),
    ('augmentation: {crop_size: [100, 96]}', r'crop_size: got \(100, 96\).*multiples of 32'),
    ('augmentation: {crop_size: [96]}', r'crop_size: got \[96\]'),
    ('augmentation: {source_scale: [2, 1]}', 'source_scale.*low <= high'),
    ('model: 3', "model.: expected 'key: value' lines; got 3"),
    ('model: {init: 3}', 'model.init: got 3; expected str'),
    ('source: {options: [1]}', r'source.options: got \[1\]'),
    ('stages: []', 'stages: expected a mapping'),
    ('stages: {a: 3}', "stages.a: expected 'key: value' lines; got 3"),
    ('stages: {../a: {}}', 'it names a folder'),
    ('stages: {1: {}}', 'it names a folder'),
    ('stages: {a: {stepz: 3}}', r"stages.a: Unknown key 'stepz'"),
    ("stages: {a: {model: {init: 'stage:a'}}}", "'stage:a' is not an earlier stage"),
    ("stages: {a: {model: {init: 'stage:b'}}, b: {}}",
     r"stages.a: 'stage:b' is not an earlier stage; earlier are \[\]"),
    ('- 1', "expected 'key: value' lines; got list"),
    ('', "expected 'key: value' lines; got NoneType"),
    ('a: [', 'not readable as YAML'),
])
def test_a_wrong_file_is_named_with_the_setting_and_the_remedy(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(InputError, match=message) as error:
        load_experiment(path)
    assert str(error.value).startswith(str(path))


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(InputError, match='missing.yaml: no such configuration file'):
        load_experiment(tmp_path / 'missing.yaml')
    with pytest.raises(InputError, match='not readable as YAML'):
        load_experiment(tmp_path)


def test_a_file_in_another_encoding_is_named(tmp_path):
    path = tmp_path / 'run.yaml'
    path.write_bytes(b'source: {root: gr\xfcn}')
    with pytest.raises(InputError, match='run.yaml: not readable as YAML'):
        load_experiment(path)


@pytest.mark.parametrize(('kind', 'values', 'setting'), [
    (ModelConfig, {'input_height': 31}, 'model.input_height'),
    (AugmentationConfig, {'crop_size': (0, 32)}, 'augmentation.crop_size'),
    (AugmentationConfig, {'target_scale': (0.0, 1.0)}, 'augmentation.target_scale'),
    (AugmentationConfig, {'color_jitter': 1.1}, 'augmentation.color_jitter'),
    (AugmentationConfig, {'blur': -0.1}, 'augmentation.blur'),
    (OptimizerConfig, {'learning_rate': 0.0}, 'optimizer.learning_rate'),
    (OptimizerConfig, {'warmup_steps': -1}, 'optimizer.warmup_steps'),
    (OptimizerConfig, {'clip_norm': -1.0}, 'optimizer.clip_norm'),
    (SelfTrainingConfig, {'ema_decay': 1.0}, 'method.ema_decay'),
    (SelfTrainingConfig, {'confidence_threshold': 1.0}, 'method.confidence_threshold'),
    (SelfTrainingConfig, {'lambda_mixed': -1.0}, 'method.lambda_mixed'),
    (MiningConfig, {'ratio': 0.0}, 'method.mining.ratio'),
    (MiningConfig, {'min_pixels': 0}, 'method.mining.min_pixels'),
    (MiningConfig, {'gamma': -1.0}, 'method.mining.gamma'),
    (MiningConfig, {'share': 1.1}, 'method.mining.share'),
    (BilateralDistillationConfig, {'temperature': 0.0}, 'method.temperature'),
    (BilateralDistillationConfig, {'lambda_entropy': -0.1}, 'method.lambda_entropy'),
    (BilateralDistillationConfig, {'source_flow': False, 'lambda_target': 0.0},
     'method.source_flow'),
    (TrainingConfig, {'batch_size': 0}, 'batch_size'),
    (TrainingConfig, {'num_workers': -1}, 'num_workers'),
])
def test_a_value_out_of_its_range_is_named_by_its_full_path(kind, values, setting):
    with pytest.raises(InputError, match=f'^{setting}: got '):
        kind(**values)


@pytest.mark.parametrize(('options', 'read'), [
    (['--steps', '9'], lambda c: c.steps == 9),
    (['--steps=9', '--seed', '4'], lambda c: (c.steps, c.seed) == (9, 4)),
    (['--optimizer.learning-rate', '1e-4'], lambda c: c.optimizer.learning_rate == 1e-4),
    (['--optimizer.learning_rate', '2'], lambda c: c.optimizer.learning_rate == 2.0),
    (['--augmentation.crop-size', '64', '96'], lambda c: c.augmentation.crop_size == (64, 96)),
    (['--augmentation.flip', 'false'], lambda c: c.augmentation.flip is False),
    (['--source.root', '2024'], lambda c: c.source.root == '2024'),
    (['--model.options.width', '48'], lambda c: c.model.options == {'width': 48}),
    (['--model.options.num_stages', '5'], lambda c: c.model.options == {'num_stages': 5}),
    (['--model.init', 'runs/a'], lambda c: c.model.init == 'runs/a'),
    (['--model.init', 'null'], lambda c: c.model.init is None),
    (['--source.options.num-frames', '3'],
     lambda c: c.source.options == {'domain': 'source', 'num_frames': 3}),
    (['--source.name', 'camvid', '--source.options.split', 'val'],
     lambda c: c.source.options == {'split': 'val'}),
    (['--method.mining.form', 'top_k'],
     lambda c: (c.method.mining.form, c.method.temperature) == ('top_k', 2.0)),
    (['--method.name', 'source_only'], lambda c: c.method.name == 'source_only'),
])
def test_a_dotted_option_replaces_its_setting_only(options, read):
    base = parse({
        'source': {'options': {'domain': 'source', 'num_frames': 5}}, 'method': {
            'name': 'bilateral_distillation', 'teacher': 'x', 'temperature': 2.0},
    }, 'base')
    assert read(override(base, options, 'bkd train'))
    assert override(base, [], 'bkd train') == base


@pytest.mark.parametrize(('options', 'message'), [
    (['stray'], "unexpected argument 'stray'"),
    (['--steps'], "option '--steps' needs a value"),
    (['--steps', '--seed', '1'], "option '--steps' needs a value"),
    (['--steps', 'many'], "steps: got 'many'; expected int"),
    (['--steps', '1', '2'], r'steps: got \[1, 2\]; expected int'),
    (['--optimizer.learning-rat', '1'], "optimizer: Unknown key 'learning_rat'"),
    (['--source', 'streets', '--source.root', 'x'], 'contradicts'),
    (['--optimizer.learning-rate', '-1'], r'got -1.0; expected above 0'),
])
def test_a_wrong_option_is_named(options, message):
    with pytest.raises(InputError, match=f'bkd train: .*{message}'):
        override(TrainingConfig(), options, 'bkd train')


def test_a_teacher_may_be_one_or_several(tmp_path):
    method = 'method: {name: bilateral_distillation, teacher: %s}'
    one, two = (
        load_experiment(write(tmp_path, method % teacher))['model']
        for teacher in ('a.yaml', '[a.yaml, runs/b]'))
    assert one.method.teacher == 'a.yaml' and two.method.teacher == ('a.yaml', 'runs/b')
    assert parse(yaml.safe_load(to_yaml(two)), 'again') == two
    assert override(one, ['--method.teacher', 'c', 'd'], 'bkd').method.teacher == ('c', 'd')
    assert override(two, ['--method.teacher', 'c'], 'bkd').method.teacher == 'c'
    with pytest.raises(InputError, match='method.teacher: got 3'):
        load_experiment(write(tmp_path, method % '[a.yaml, 3]'))


def test_every_one_of_several_teachers_must_be_an_earlier_stage(tmp_path):
    config = TrainingConfig(method=BilateralDistillationConfig(teacher=('stage:a', 'b.yaml')))
    assert references(config) == ['a']
    with pytest.raises(InputError, match="'stage:b' is not an earlier stage"):
        load_experiment(write(tmp_path, """
            stages:
              a: {steps: 3}
              c: {method: {name: bilateral_distillation, teacher: ['stage:a', 'stage:b']}}
            """))


@pytest.mark.parametrize('name', MODEL_PRESETS)
def test_a_preset_is_a_network_that_can_be_built(name):
    model = parse({'model': {'preset': name}}, 'here').model
    assert (model.network, model.input_height) == (
        'lite_fpn', MODEL_PRESETS[name]['input_height'])
    assert model.options == MODEL_PRESETS[name]['options']
    network = build_network(model.network, 9, **model.options, pretrained=False)
    assert sum(map(torch.numel, network.parameters())) < 5e6


def test_the_fast_preset_is_smaller_than_the_accurate_one():
    sizes = [
        sum(map(torch.numel, build_network(
            'lite_fpn', 9, **MODEL_PRESETS[name]['options'], pretrained=False).parameters()))
        for name in ('fast', 'accurate')]
    assert sizes[0] < sizes[1] / 3


def test_what_stands_beside_a_preset_wins():
    model = parse(
        {'model': {'preset': 'fast', 'input_height': 352, 'options': {'width': 32}}}, 'x').model
    assert model.input_height == 352
    assert model.options == {**MODEL_PRESETS['fast']['options'], 'width': 32}


def test_a_preset_of_a_stage_or_of_the_command_line_replaces_the_network(tmp_path):
    file = tmp_path / 'a.yaml'
    file.write_text(
        'model: {preset: accurate}\nstages:\n  large: {}\n  small: {model: {preset: fast}}\n')
    large, small = (config.model for config in load_experiment(file).values())
    assert large == parse({'model': {'preset': 'accurate'}}, 'x').model
    assert small == parse({'model': {'preset': 'fast'}}, 'x').model
    config = parse({'model': {'network': 'lite_deeplab', 'options': {'variant': 'lite2'}}}, 'x')
    assert override(config, ['--model.preset', 'fast'], 'bkd train').model == small


def test_an_unknown_preset_is_named_with_the_known_ones():
    with pytest.raises(InputError, match=r"here: .*model.preset.*'fsat'.*fast"):
        parse({'model': {'preset': 'fsat'}}, 'here')
