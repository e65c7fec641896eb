# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Teachers that were trained elsewhere: torch.export and ONNX programs with their YAML file."""

from __future__ import annotations

from dataclasses import replace
import zipfile

from bkd_core.errors import InputError
from bkd_core.labels import get_label_space
from bkd_core.method_config import BilateralDistillationConfig
from bkd_core.models import load_teacher
from bkd_core.stage_networks import load_teachers
from bkd_core.training import Trainer
import pytest
from tiny_training import PaintedFrames, register_tiny_network, tiny_config, TinyNetwork
import torch
from torch import nn
import yaml

STREET = get_label_space('street9')
AUTO = torch.export.Dim.AUTO
FREE = {0: AUTO, 2: AUTO, 3: AUTO}
YAML = {
    'label_space': 'cityscapes19', 'input_height': 64, 'size_multiple': 4,
    'mean': [123.675, 116.28, 103.53], 'std': [58.395, 57.12, 57.375]}
KINDS = ('pt2', 'onnx')


class Named(nn.Module):
    """Gives its logits and something else."""

    def __init__(self, network) -> None:
        super().__init__()
        self.network = network

    def forward(self, images):
        """Return two named outputs."""
        logits = self.network(images)
        return {'out': logits, 'auxiliary': logits[:, :2]}


class Halved(nn.Module):
    """Takes and gives float16."""

    def __init__(self) -> None:
        super().__init__()
        self.network = giant()

    def forward(self, images):
        """Return logits in float16."""
        return self.network(images.float()).half()


def giant(num_classes=19):
    """Return a network of fixed random weights with Cityscapes' classes."""
    torch.manual_seed(11)
    return TinyNetwork(num_classes).eval()


def write_program(path, network, *, shape=(2, 3, 32, 32), free=FREE):
    """Export by the suffix."""
    images = torch.rand(shape, dtype=torch.half if isinstance(network, Halved) else None)
    if path.suffix == '.pt2':
        torch.export.save(
            torch.export.export(network, (images,), dynamic_shapes=(free,)), path)
        return
    with torch.no_grad():
        torch.onnx.export(
            network, (images,), path, dynamo=False, opset_version=17, input_names=['pixels'],
            output_names=['out', 'auxiliary'] if isinstance(network, Named) else ['out'],
            dynamic_axes={'pixels': {axis: f'axis{axis}' for axis in free}})


@pytest.fixture(scope='module')
def programs(tmp_path_factory):
    """Return a folder with the same network as both kinds of program."""
    folder = tmp_path_factory.mktemp('programs')
    for kind in KINDS:
        write_program(folder / f'giant.{kind}', giant())
    return folder


def describe(folder, file, **changes):
    """Write a YAML file beside a program; a change to None takes a key out."""
    values = {**YAML, 'program': str(file), **changes}
    path = folder / 'teacher.yaml'
    path.write_text(yaml.safe_dump({k: v for k, v in values.items() if v is not None}))
    return path


def load(path, **changes):
    options = {
        'label_space': STREET, 'input_height': 64, 'device': torch.device('cpu'),
        'crop_size': (32, 32), **changes}
    return load_teacher(path, **options)


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('shape', [(1, 3, 32, 32), (3, 3, 64, 32)])
def test_an_exported_teacher_answers_like_its_network(programs, tmp_path, kind, shape):
    teacher = load(describe(tmp_path, programs / f'giant.{kind}')).eval().requires_grad_(False)
    images = torch.rand(shape)
    mean, std = (torch.tensor(YAML[key]).view(3, 1, 1) / 255 for key in ('mean', 'std'))
    with torch.no_grad():
        expected = giant()((images - mean) / std)
        torch.testing.assert_close(teacher(images), expected, atol=1e-4, rtol=1e-4)
    assert len(teacher.class_groups) == 9


@pytest.mark.parametrize('kind', KINDS)
def test_a_program_of_one_size_and_one_image_serves_any_batch_of_crops(tmp_path, kind):
    write_program(tmp_path / f'fixed.{kind}', giant(), shape=(1, 3, 64, 96), free={})
    teacher = load(describe(tmp_path, f'fixed.{kind}', input_height=None))
    assert teacher.fixed_size == (64, 96)
    images = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        logits = teacher(images)
        assert logits.shape == (3, 19, 16, 24)
        torch.testing.assert_close(logits[2:], teacher(images[2:]))


@pytest.mark.parametrize('kind', KINDS)
def test_a_fixed_batch_that_does_not_divide_says_how_to_export(tmp_path, kind):
    write_program(tmp_path / f'three.{kind}', giant(), shape=(3, 3, 32, 32), free={})
    with pytest.raises(InputError, match='batches of 3 only; got 2 images. Export it with a free'):
        load(describe(tmp_path, f'three.{kind}'))


@pytest.mark.parametrize('kind', KINDS)
def test_one_of_several_outputs_is_chosen_by_name(tmp_path, kind):
    write_program(tmp_path / f'named.{kind}', Named(giant()))
    path = describe(tmp_path, f'named.{kind}', output_name='out')
    assert load(path)(torch.rand(1, 3, 32, 32)).shape[1] == 19
    for name in (None, 'outt'):
        path = describe(tmp_path, f'named.{kind}', output_name=name)
        with pytest.raises(InputError, match=r"output_name: got .*\['out', 'auxiliary'\]"):
            load(path)


@pytest.mark.parametrize('kind', KINDS)
def test_a_program_with_a_softmax_is_found_at_load_and_taken_on_request(tmp_path, kind):
    network = nn.Sequential(giant(), nn.Softmax(1))
    write_program(tmp_path / f'soft.{kind}', network)
    with pytest.raises(InputError, match="teacher.yaml: teacher 'teacher'.*probabilities, not"):
        load(describe(tmp_path, f'soft.{kind}'))
    teacher = load(describe(tmp_path, f'soft.{kind}', output='probabilities'))
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        logits = load(describe(tmp_path, f'soft.{kind}', output='probabilities'))(images)
        torch.testing.assert_close(teacher(images).exp().sum(1), torch.ones(2, 8, 8))
        torch.testing.assert_close(logits, logits.log_softmax(1), atol=1e-5, rtol=0)


@pytest.mark.parametrize('kind', KINDS)
def test_nan_weights_are_found_at_load(tmp_path, kind):
    network = giant()
    network.classifier.bias.data[3] = float('nan')
    write_program(tmp_path / f'nan.{kind}', network)
    with pytest.raises(InputError, match='NaN or infinite at 128 of 128 pixels'):
        load(describe(tmp_path, f'nan.{kind}'))


@pytest.mark.parametrize('kind', KINDS)
def test_a_program_of_another_number_of_classes_is_refused(tmp_path, kind):
    write_program(tmp_path / f'small.{kind}', giant(11))
    with pytest.raises(InputError, match=r"\(2, 19, h, w\).*'cityscapes19'; got \(2, 11, 8, 8\)"):
        load(describe(tmp_path, f'small.{kind}'))


class Shifted(nn.Module):
    """Holds a constant that is no weight, as networks with their own normalisation do."""

    def __init__(self) -> None:
        super().__init__()
        self.network = giant()
        self.register_buffer('shift', torch.arange(3.0).view(1, 3, 1, 1), persistent=False)

    def forward(self, images):
        """Return the logits of shifted images."""
        return self.network(images + self.shift) * torch.tensor(2.0)


@pytest.mark.parametrize('kind', KINDS)
def test_constants_in_a_program_are_kept(tmp_path, kind):
    write_program(tmp_path / f'shifted.{kind}', Shifted())
    path = describe(tmp_path, f'shifted.{kind}', mean=[0, 0, 0], std=[255, 255, 255])
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(load(path)(images), Shifted()(images), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('kind', KINDS)
def test_a_program_in_half_precision_gets_and_gives_its_own_type(tmp_path, kind):
    write_program(tmp_path / f'half.{kind}', Halved())
    with torch.no_grad():
        logits = load(describe(tmp_path, f'half.{kind}'))(torch.rand(2, 3, 32, 32))
    assert logits.dtype == torch.float32 and logits.shape == (2, 19, 8, 8)


def test_own_classes_and_a_mapping_are_read(programs, tmp_path):
    classes = [*STREET.classes, *(f'other {index}' for index in range(10))]
    path = describe(
        tmp_path, programs / 'giant.onnx', label_space={'name': 'mine', 'classes': classes},
        mapping={'other 3': 'sky'})
    groups = load(path).class_groups
    assert groups[STREET.classes.index('sky')] == (STREET.classes.index('sky'), 12)


@pytest.mark.parametrize(('changes', 'message'), [
    ({'mean': None}, 'mean: missing'),
    ({'label_space': None}, 'label_space: missing'),
    ({'input_height': None}, 'input_height: missing.*any size'),
    ({'input_heigth': 3}, "Did you mean 'input_height'"),
    ({'input_height': 0}, 'input_height: got 0'),
    ({'size_multiple': 'x'}, "size_multiple: got 'x'"),
    ({'mean': [.485, .456, .406]}, 'mean: .*units of 0 to 1'),
    ({'std': [.229, .224, .225]}, 'std: .*units of 0 to 1'),
    ({'std': [0, 1, 1]}, 'std: .*above 0'),
    ({'mean': [1, 2]}, 'three numbers'),
    ({'channel_order': 'grb'}, "channel_order: Unknown value 'grb'"),
    ({'output': 'softmax'}, "output: Unknown value 'softmax'"),
    ({'mapping': ['rider']}, 'mapping: got'),
    ({'mapping': {'ridr': 'pedestrian'}}, "Did you mean 'rider'"),
    ({'label_space': 'cityscape19'}, "Did you mean 'cityscapes19'"),
    ({'label_space': {'name': 'x'}}, 'label_space: got'),
    ({'label_space': {'classes': ['apple', 'pear']}}, 'no class in common'),
    ({'program': 'giant.onnx'}, 'no such file'),
    ({'program': 'giant.pth'}, 'expected a .pt2'),
])
def test_a_mistake_in_the_yaml_names_the_file_and_the_key(programs, tmp_path, changes, message):
    path = describe(tmp_path, programs / 'giant.onnx', **changes)
    with pytest.raises(InputError, match=f'teacher.yaml: .*{message}'):
        load(path)


def test_other_files_are_refused_with_their_name(tmp_path):
    with pytest.raises(InputError, match='none.yaml: no such file'):
        load(tmp_path / 'none.yaml')
    (tmp_path / 'list.yaml').write_text('[1, 2]')
    with pytest.raises(InputError, match='list.yaml: expected'):
        load(tmp_path / 'list.yaml')
    with pytest.raises(InputError, match='model.yaml: .*give its folder'):
        load(tmp_path / 'model.yaml')


@pytest.mark.parametrize('kind', KINDS)
def test_a_truncated_program_is_refused(programs, tmp_path, kind):
    data = (programs / f'giant.{kind}').read_bytes()
    (tmp_path / f'torn.{kind}').write_bytes(data[:len(data) // 2])
    with pytest.raises(InputError, match=rf'torn\.{kind}'):
        load(describe(tmp_path, f'torn.{kind}'))


def test_nothing_in_a_program_can_run_code_by_being_unpickled(programs, tmp_path):
    harm = tmp_path / 'harm'
    bomb = f'cbuiltins\nopen\n(V{harm}\nVw\ntR.'  # a pickle that calls open(harm, 'w')
    source = programs / 'giant.pt2'
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(tmp_path / 'evil.pt2', 'w') as new:
        for name in old.namelist():
            new.writestr(name, bomb if 'sample_inputs' in name else old.read(name))
    with pytest.raises(InputError, match='evil.pt2'):
        load(describe(tmp_path, 'evil.pt2'))
    assert not harm.exists()
    constant = b'{"config": {"x": {"path_name": "opaque_obj_0", "use_pickle": true}}}'
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(tmp_path / 'evil.pt2', 'w') as new:
        for name in old.namelist():
            new.writestr(
                name, constant if 'constants_config' in name else old.read(name))
    with pytest.raises(InputError, match="constant 'x' is no tensor"):
        load(describe(tmp_path, 'evil.pt2'))


def test_an_onnx_program_that_wants_bytes_is_refused(tmp_path):
    from fixtures_models import write_tiny_model
    directory = write_tiny_model(tmp_path / 'model')
    with pytest.raises(InputError, match=r'float images \(B, 3, H, W\).*uint8'):
        load(describe(tmp_path, directory / 'model.onnx'))


@pytest.mark.parametrize('precision', ['float32', 'bfloat16'])
def test_bilateral_distillation_trains_from_two_foreign_teachers(
        programs, tmp_path, monkeypatch, precision):
    register_tiny_network(monkeypatch)
    names = []
    for kind in KINDS:
        path = describe(tmp_path, programs / f'giant.{kind}', input_height=80)
        names.append(str(path.rename(tmp_path / f'{kind}.yaml')))
    config = replace(
        tiny_config(steps=2, precision=precision),
        method=BilateralDistillationConfig(teacher=tuple(names)))
    teachers = load_teachers(tuple(names), config, tmp_path)
    assert isinstance(teachers, nn.ModuleList) and len(teachers) == 2
    frames = PaintedFrames(3)
    trainer = Trainer(
        config, directory=tmp_path / 'run', source=frames, target=frames, teacher=teachers)
    losses = []
    trainer.run(on_step=lambda step, values: losses.append(values))
    assert len(losses) == 2 and all(values['target_soft'] > 0 for values in losses)
