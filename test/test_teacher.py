# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A fixed teacher: sizes, colours, classes, and outputs that are not what they should be."""

from __future__ import annotations

from dataclasses import replace

from bkd_core.errors import InputError
from bkd_core.labels import get_label_space, LabelSpace
from bkd_core.models.teacher import class_groups, Teacher, TeacherSpec
import pytest
import torch

CITY, CAMVID, STREET = (
    get_label_space(name) for name in ('cityscapes19', 'camvid11', 'street9'))
SPEC = TeacherSpec(
    name='giant', label_space=STREET, input_height=128, mean=(0, 0, 0), std=(255, 255, 255))


def teacher_of(network, *, input_height=128, label_space=STREET, fixed_size=None, **changes):
    return Teacher(
        network, replace(SPEC, **changes), label_space=label_space, input_height=input_height,
        fixed_size=fixed_size)


def logits_of(images):
    """Return nine channels that are no probabilities."""
    return images.repeat(1, 3, 1, 1) * 5 - 1


IMAGES = torch.rand(2, 3, 32, 64, generator=torch.Generator().manual_seed(1))


def test_images_of_the_same_scale_are_only_normalised():
    teacher = teacher_of(lambda images: images.repeat(1, 3, 1, 1), mean=(51., 0., 102.),
                         std=(51., 102., 255.))
    torch.testing.assert_close(
        teacher(IMAGES)[:, :3],
        (IMAGES - torch.tensor([.2, 0, .4]).view(3, 1, 1))
        / torch.tensor([.2, .4, 1]).view(3, 1, 1))


def test_a_teacher_of_blue_green_red_gets_its_statistics_in_that_order():
    plain, swapped = (
        teacher_of(logits_of, channel_order=order, mean=(51., 0., 102.), std=(51., 102., 255.))
        for order in ('rgb', 'bgr'))
    torch.testing.assert_close(swapped(IMAGES)[:, :3], plain(IMAGES)[:, :3].flip(1))


@pytest.mark.parametrize(('height', 'multiple', 'size'), [
    (128, 1, (32, 64)), (64, 1, (64, 128)), (64, 32, (64, 128)), (100, 1, (41, 82)),
    (100, 32, (32, 96)), (256, 1, (16, 32)), (512, 32, (32, 32))])
def test_crops_are_brought_to_the_scale_that_the_teacher_knows(height, multiple, size):
    # The teacher's frames are 128 high, the student's `height`: the crop grows by the ratio.
    teacher = teacher_of(logits_of, input_height=height, size_multiple=multiple)
    assert teacher.network_size(32, 64) == size
    assert teacher(IMAGES).shape == (2, 9, *size)


def test_a_teacher_of_one_size_gets_every_crop_in_that_size():
    teacher = teacher_of(logits_of, fixed_size=(48, 40), input_height=64)
    assert teacher(IMAGES).shape[-2:] == (48, 40)


def test_resizing_keeps_a_plain_colour_and_does_not_alias():
    teacher = teacher_of(logits_of, input_height=512)
    stripes = torch.zeros(1, 3, 64, 64)
    stripes[..., ::4] = 1  # at a quarter of the size they must become their mean
    inner = teacher(stripes)[..., 2:-2]
    torch.testing.assert_close(inner, torch.full_like(inner, .25 * 5 - 1), atol=.05, rtol=0)


@pytest.mark.parametrize(('output', 'message'), [
    (torch.zeros(2, 21, 4, 4), r'shape \(2, 9, h, w\).*one channel a class.*\(2, 21, 4, 4\)'),
    (torch.zeros(1, 9, 4, 4), r'\(1, 9, 4, 4\)'),
    (torch.zeros(2, 4, 4), r'\(2, 4, 4\)'),
    (torch.zeros(2, 9, 0, 4), r'\(2, 9, 0, 4\)'),
    ({'out': torch.zeros(2, 9, 4, 4)}, 'dict'),
])
def test_an_output_of_a_wrong_shape_names_the_teacher(output, message):
    with pytest.raises(InputError, match=f"teacher 'giant'.*{message}"):
        teacher_of(lambda images: output)(IMAGES)


@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')])
def test_logits_that_are_not_finite_are_counted_at_any_step(value):
    output = torch.randn(2, 9, 4, 4)
    teacher = teacher_of(lambda images: output)
    teacher(IMAGES)
    output[0, 3, 1, :3] = value
    output[0, 4, 1, 0] = value
    with pytest.raises(InputError, match='NaN or infinite at 3 of 32 pixels'):
        teacher(IMAGES)


def test_probabilities_in_place_of_logits_are_noticed():
    soft = torch.randn(2, 9, 4, 4).softmax(1)
    with pytest.raises(InputError, match="not logits. Write 'output: probabilities'"):
        teacher_of(lambda images: soft)(IMAGES)
    with pytest.raises(InputError, match='probabilities, not logits'):
        teacher_of(lambda images: soft.half())(IMAGES)


def test_logarithms_of_probabilities_are_logits():
    logs = torch.randn(2, 9, 4, 4).log_softmax(1)
    torch.testing.assert_close(teacher_of(lambda images: logs)(IMAGES), logs)


def test_the_logarithm_of_probabilities_is_taken_on_request():
    soft = torch.randn(2, 9, 4, 4).softmax(1)
    soft[:, :, 0, 0] = torch.eye(9)[2]
    logits = teacher_of(lambda images: soft, output='probabilities')(IMAGES)
    torch.testing.assert_close(logits.softmax(1), soft, atol=1e-6, rtol=1e-5)
    assert logits.isfinite().all()


def test_logits_declared_as_probabilities_are_refused():
    with pytest.raises(InputError, match="does not sum to 1.*Write 'output: logits'"):
        teacher_of(logits_of, output='probabilities')(IMAGES)


def test_classes_map_by_the_known_correspondences():
    assert class_groups(SPEC, STREET) is None
    groups = class_groups(replace(SPEC, label_space=CITY), STREET)
    names = {
        name: [CITY.classes[index] for index in group]
        for name, group in zip(STREET.classes, groups)}
    assert names == {
        'road': ['road'], 'sidewalk': ['sidewalk'], 'building': ['building', 'wall'],
        'pole': ['pole'], 'sign': ['traffic light', 'traffic sign'],
        'tree': ['vegetation', 'terrain'], 'sky': ['sky'], 'pedestrian': ['person'],
        'car': ['car', 'truck', 'bus']}


def test_a_mapping_adds_to_what_is_known_and_can_drop_a_class():
    spec = replace(SPEC, label_space=CITY, mapping={'rider': 'pedestrian', 'terrain': None})
    groups = dict(zip(STREET.classes, class_groups(spec, STREET)))
    assert groups['pedestrian'] == (CITY.classes.index('person'), CITY.classes.index('rider'))
    assert groups['tree'] == (CITY.classes.index('vegetation'),)


def test_classes_in_another_order_are_reordered():
    turned = LabelSpace(name='turned', classes=STREET.classes[::-1], colors=STREET.colors[::-1])
    assert class_groups(replace(SPEC, label_space=turned), STREET) == tuple(
        (index,) for index in range(8, -1, -1))


@pytest.mark.parametrize(('space', 'mapping', 'target', 'message'), [
    (STREET, {}, CAMVID, r"'street9'.*'camvid11', whose classes \['fence', 'bicyclist'\]"),
    (LabelSpace(name='fruit', classes=('apple',), colors=((0, 0, 0),)), {}, STREET,
     "teacher 'giant'.*no class in common"),
    (LabelSpace(name='fruit', classes=('apple',), colors=((0, 0, 0),)), {'apple': 'tree'}, STREET,
     "'road', 'sidewalk'"),
    (CITY, {'ridr': 'pedestrian'}, STREET, "mapping.*'ridr'.*Did you mean 'rider'"),
    (CITY, {'rider': 'person'}, STREET, "mapping, label space 'street9'.*'person'"),
    (CITY, {'sky': None}, STREET, r"\['sky'\]"),
])
def test_a_label_space_that_cannot_be_mapped_says_why(space, mapping, target, message):
    with pytest.raises(InputError, match=message):
        class_groups(replace(SPEC, label_space=space, mapping=mapping), target)
