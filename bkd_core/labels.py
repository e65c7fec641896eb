# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Label spaces: which classes there are, their order and colours, and how spaces correspond."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Sequence

from bkd_core.errors import InputError, unknown_name
import numpy as np

IGNORE_INDEX = 255


@dataclass(frozen=True, kw_only=True)
class LabelSpace:
    """
    An ordered set of classes; a class's position is its train id.

    :param name: Name that configurations use.
    :param classes: Class names; at most 255, since 255 marks a pixel without a label.
    :param colors: One (red, green, blue) a class, each 0 to 255.
    """

    name: str
    classes: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]

    def __post_init__(self) -> None:
        """Check that names, colours and their number fit."""
        if not 1 <= len(self.classes) <= 255 or len(self.classes) != len(self.colors):
            raise InputError(
                f"label space '{self.name}': got {len(self.classes)} classes and "
                f'{len(self.colors)} colours; expected 1 to 255 classes and a colour for each')
        if len(set(self.classes)) != len(self.classes):
            raise InputError(f"label space '{self.name}': a class name occurs twice")
        for color in self.colors:
            if len(color) != 3 or not all(0 <= value <= 255 for value in color):
                raise InputError(
                    f"label space '{self.name}': got the colour {color}; expected three values "
                    'from 0 to 255')

    @property
    def num_classes(self) -> int:
        """Return the number of classes."""
        return len(self.classes)

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists and strings for YAML and JSON."""
        return {
            'name': self.name,
            'classes': list(self.classes),
            'colors': [list(color) for color in self.colors],
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> LabelSpace:
        """
        Build a label space from what `to_dict` returned.

        :param values: Keys name, classes, colors.
        :raises InputError: If a key is missing or the numbers disagree.
        """
        try:
            name = str(values['name'])
            classes = tuple(str(class_name) for class_name in values['classes'])
            colors = tuple(tuple(int(c) for c in color) for color in values['colors'])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f'label space: expected the keys name, classes, colors; got {values!r}'
            ) from error
        return cls(name=name, classes=classes, colors=colors)


# Cityscapes train ids (Cordts et al. 2016), names and colours as the data set's authors
# publish them with their evaluation scripts.
_CITYSCAPES = (
    ('road', (128, 64, 128)), ('sidewalk', (244, 35, 232)), ('building', (70, 70, 70)),
    ('wall', (102, 102, 156)), ('fence', (190, 153, 153)), ('pole', (153, 153, 153)),
    ('traffic light', (250, 170, 30)), ('traffic sign', (220, 220, 0)),
    ('vegetation', (107, 142, 35)), ('terrain', (152, 251, 152)), ('sky', (70, 130, 180)),
    ('person', (220, 20, 60)), ('rider', (255, 0, 0)), ('car', (0, 0, 142)),
    ('truck', (0, 0, 70)), ('bus', (0, 60, 100)), ('train', (0, 80, 100)),
    ('motorcycle', (0, 0, 230)), ('bicycle', (119, 11, 32)))

# The eleven classes of the SegNet preparation of CamVid (Brostow et al. 2009).
_CAMVID = (
    ('sky', (128, 128, 128)), ('building', (128, 0, 0)), ('pole', (192, 192, 128)),
    ('road', (128, 64, 128)), ('sidewalk', (60, 40, 222)), ('tree', (128, 128, 0)),
    ('sign', (192, 128, 128)), ('fence', (64, 64, 128)), ('car', (64, 0, 128)),
    ('pedestrian', (64, 64, 0)), ('bicyclist', (0, 128, 192)))

# Nine classes that Cityscapes-like sets and CamVid share, in Cityscapes' colours.
_STREET = (
    ('road', (128, 64, 128)), ('sidewalk', (244, 35, 232)), ('building', (70, 70, 70)),
    ('pole', (153, 153, 153)), ('sign', (220, 220, 0)), ('tree', (107, 142, 35)),
    ('sky', (70, 130, 180)), ('pedestrian', (220, 20, 60)), ('car', (0, 0, 142)))

# RUGD (Wigness et al. 2019), names and colours of its RUGD_annotation-colormap.txt from 1 on;
# 'container/generic-object' is called object, as in RELLIS-3D.
_RUGD = (
    ('dirt', (108, 64, 20)), ('sand', (255, 229, 204)), ('grass', (0, 102, 0)),
    ('tree', (0, 255, 0)), ('pole', (0, 153, 153)), ('water', (0, 128, 255)),
    ('sky', (0, 0, 255)), ('vehicle', (255, 255, 0)), ('object', (255, 0, 127)),
    ('asphalt', (64, 64, 64)), ('gravel', (255, 128, 0)), ('building', (255, 0, 0)),
    ('mulch', (153, 76, 0)), ('rock bed', (102, 102, 0)), ('log', (102, 0, 0)),
    ('bicycle', (0, 255, 128)), ('person', (204, 153, 255)), ('fence', (102, 0, 204)),
    ('bush', (255, 153, 204)), ('sign', (0, 102, 102)), ('rock', (153, 204, 255)),
    ('bridge', (102, 255, 255)), ('concrete', (101, 101, 11)), ('picnic table', (114, 85, 47)))

# RELLIS-3D (Jiang et al. 2021), whose ontology derives from RUGD's; colours of its label
# configuration, in the order of the ids.
_RELLIS = (
    ('dirt', (108, 64, 20)), ('grass', (0, 102, 0)), ('tree', (0, 255, 0)),
    ('pole', (0, 153, 153)), ('water', (0, 128, 255)), ('sky', (0, 0, 255)),
    ('vehicle', (255, 255, 0)), ('object', (255, 0, 127)), ('asphalt', (64, 64, 64)),
    ('building', (255, 0, 0)), ('log', (102, 0, 0)), ('person', (204, 153, 255)),
    ('fence', (102, 0, 204)), ('bush', (255, 153, 204)), ('concrete', (170, 170, 170)),
    ('barrier', (41, 121, 255)), ('puddle', (134, 255, 239)), ('mud', (99, 66, 34)),
    ('rubble', (110, 22, 138)))


def _space(name: str, table: Sequence) -> LabelSpace:
    return LabelSpace(
        name=name,
        classes=tuple(class_name for class_name, _ in table),
        colors=tuple(color for _, color in table))


# Subsets on which SYNTHIA -> Cityscapes is reported: 16 classes (without terrain, truck and
# train, which SYNTHIA lacks) and 13 (also without wall, fence and pole).
SYNTHIA_16 = tuple(
    name for name, _ in _CITYSCAPES if name not in ('terrain', 'truck', 'train'))
SYNTHIA_13 = tuple(name for name in SYNTHIA_16 if name not in ('wall', 'fence', 'pole'))

LABEL_SPACES = {
    space.name: space for space in (
        _space('cityscapes19', _CITYSCAPES),
        _space('cityscapes16', [row for row in _CITYSCAPES if row[0] in SYNTHIA_16]),
        _space('cityscapes13', [row for row in _CITYSCAPES if row[0] in SYNTHIA_13]),
        _space('camvid11', _CAMVID),
        _space('street9', _STREET),
        _space('rugd24', _RUGD),
        _space('rellis19', _RELLIS))
}

# Cityscapes' own label ids (0 to 33) to train ids; all others are ignored.
CITYSCAPES_RAW_TO_TRAIN = {
    7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11,
    25: 12, 26: 13, 27: 14, 28: 15, 31: 16, 32: 17, 33: 18}

_CITYSCAPES_TO_STREET = {
    'wall': 'building', 'traffic light': 'sign', 'traffic sign': 'sign', 'vegetation': 'tree',
    'terrain': 'tree', 'person': 'pedestrian', 'truck': 'car', 'bus': 'car'}

# Classes that correspond under different names; equal names correspond by themselves.
# A class that is neither here nor equally named has no counterpart and is ignored.
_CORRESPONDENCES = {
    (name, target): renamed for name in ('cityscapes19', 'cityscapes16', 'cityscapes13')
    for target, renamed in (
        ('street9', _CITYSCAPES_TO_STREET),
        ('camvid11', {
            **_CITYSCAPES_TO_STREET, 'rider': 'bicyclist', 'bicycle': 'bicyclist'}))
}


def get_label_space(name: str) -> LabelSpace:
    """
    Return a label space by its name.

    :param name: One of `LABEL_SPACES`.
    :raises InputError: If there is none of this name.
    """
    if name not in LABEL_SPACES:
        raise unknown_name('label space', name, LABEL_SPACES)
    return LABEL_SPACES[name]


def id_mapping(source: LabelSpace, target: LabelSpace) -> np.ndarray:
    """
    Return the table that turns labels of one space into labels of another.

    :param source: The space that the labels are in.
    :param target: The space that is wanted.
    :return: (256,) uint8; `table[labels]` maps an image; 255 where nothing corresponds.
    :raises InputError: If no class at all corresponds.
    """
    renamed = _CORRESPONDENCES.get((source.name, target.name), {})
    table = np.full(256, IGNORE_INDEX, np.uint8)
    for index, name in enumerate(source.classes):
        name = renamed.get(name, name)
        if name in target.classes:
            table[index] = target.classes.index(name)
    if (table == IGNORE_INDEX).all():
        raise InputError(
            f"label space '{source.name}' has no class in common with '{target.name}': "
            f'{list(source.classes)} against {list(target.classes)}')
    return table


def subset_ids(space: LabelSpace, names: tuple[str, ...]) -> list[int]:
    """
    Return the ids of some classes, such as the 16 that SYNTHIA shares with Cityscapes.

    :param space: The label space.
    :param names: Class names of it.
    :raises InputError: If a name is not a class of the space.
    """
    for name in names:
        if name not in space.classes:
            raise unknown_name(f"class of label space '{space.name}'", name, space.classes)
    return [space.classes.index(name) for name in names]
