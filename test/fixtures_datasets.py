# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Tiny folders in the layouts in which street data sets are published."""

from __future__ import annotations

from pathlib import Path
import struct
import zlib

from bkd_core.labels import get_label_space
import cv2
import numpy as np

HEIGHT, WIDTH = 12, 16


def write(path: Path, array: np.ndarray) -> Path:
    """Write a picture file: (H, W) values or (H, W, 3) RGB, 8 or 16 bits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), array if array.ndim == 2 else array[..., ::-1])
    return path


def write_frame(path: Path, *, height: int = HEIGHT, width: int = WIDTH) -> Path:
    """Write a picture whose pixels tell their place."""
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    return write(path, np.dstack([rows, columns, np.full_like(rows, 200)]))


def with_corner(values, kind=np.uint8) -> np.ndarray:
    """Return (H, W) of the first value with the others in the first row."""
    labels = np.full((HEIGHT, WIDTH), values[0], kind)
    labels[0, :len(values)] = values
    return labels


def palette_png(ids: np.ndarray, colors: np.ndarray) -> bytes:
    """
    Return an 8-bit PNG with a palette, as the PNG specification lays it out.

    :param ids: (H, W) uint8.
    :param colors: (256, 3) uint8, RGB.
    """
    height, width = ids.shape
    rows = b''.join(b'\0' + row.tobytes() for row in ids.astype(np.uint8))

    def chunk(kind, data):
        checksum = zlib.crc32(kind + data)
        return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', checksum)

    header = struct.pack('>IIBBBBB', width, height, 8, 3, 0, 0, 0)
    return (
        b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'PLTE', colors.tobytes())
        + chunk(b'IDAT', zlib.compress(rows)) + chunk(b'IEND', b''))


def write_gta5(root: Path, ids=(7, 26, 34, 4)) -> Path:
    """Write three frames, whose label files have a palette that names other colours."""
    for name in ('00001', '00002', '24966'):
        write_frame(root / 'images' / f'{name}.png')
        path = root / 'labels' / f'{name}.png'
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(palette_png(with_corner(ids), np.full((256, 3), 99, np.uint8)))
    return root


def write_synthia(root: Path, ids=(3, 4, 21, 22, 0, 18)) -> Path:
    """Write two frames; the second channel of the labels numbers instances."""
    for name in ('0000000', '0009399'):
        write_frame(root / 'RGB' / f'{name}.png')
        classes = with_corner(ids, np.uint16)
        instances = np.full_like(classes, 777)
        write(root / 'GT' / 'LABELS' / f'{name}.png',
              np.dstack([classes, instances, np.zeros_like(classes)]))
    return root


def write_cityscapes(root: Path, ids=(7, 8, 33, 0, 9, 29)) -> Path:
    """Write two training frames of two cities, one of validation, and one of test."""
    for split, city, number in (
            ('train', 'aachen', 0), ('train', 'zurich', 3), ('val', 'lindau', 1),
            ('test', 'berlin', 2)):
        name = f'{city}_{number:06d}_000019'
        write_frame(root / 'leftImg8bit' / split / city / f'{name}_leftImg8bit.png')
        folder = root / 'gtFine' / split / city
        write(folder / f'{name}_gtFine_labelIds.png', with_corner(ids))
        write(folder / f'{name}_gtFine_color.png', np.zeros((HEIGHT, WIDTH, 3), np.uint8))
        write(folder / f'{name}_gtFine_instanceIds.png', with_corner((26001,), np.uint16))
        (folder / f'{name}_gtFine_polygons.json').write_text('{}')
    return root


def write_acdc(root: Path, ids=(0, 18, 255)) -> Path:
    """Write one frame of each condition and split, its view in clear weather, and labels."""
    for condition in ('fog', 'night', 'rain', 'snow'):
        for split in ('train', 'val', 'test'):
            name = f'{split}/GOPR0475/GOPR0475_frame_000041'
            write_frame(root / 'rgb_anon' / condition / f'{name}_rgb_anon.png')
            reference = name.replace(f'{split}/', f'{split}_ref/')
            write_frame(root / 'rgb_anon' / condition / f'{reference}_rgb_ref_anon.png')
            if split != 'test':
                folder = root / 'gt' / condition
                write(folder / f'{name}_gt_labelTrainIds.png', with_corner(ids))
                write(folder / f'{name}_gt_labelIds.png', with_corner((7,)))
                write(folder / f'{name}_gt_labelColor.png', with_corner((7,)))
    return root


def write_dark_zurich(root: Path, ids=(0, 18, 255)) -> Path:
    """Write a frame for each part of the set, and labels for that of validation."""
    for part, sequence in (
            ('train/night', 'GOPR0351'), ('train/twilight', 'GOPR0348'), ('train/day', 'GOPR0345'),
            ('val/night', 'GOPR0356'), ('test/night', 'GOPR0364')):
        write_frame(
            root / 'rgb_anon' / part / sequence / f'{sequence}_frame_000321_rgb_anon.png')
    write_frame(root / 'rgb_anon' / 'val_ref' / 'day' / 'GOPR0356_ref' /
                'GOPR0356_frame_000321_ref_rgb_anon.png')
    name = root / 'gt' / 'val' / 'night' / 'GOPR0356' / 'GOPR0356_frame_000321_gt_label'
    write(name.with_name(f'{name.name}TrainIds.png'), with_corner(ids))
    write(name.with_name(f'{name.name}Ids.png'), with_corner((7,)))
    return root


def write_bdd100k(root: Path, ids=(0, 18, 255)) -> Path:
    """Write one frame of each split."""
    for split in ('train', 'val', 'test'):
        write_frame(root / 'images' / '10k' / split / f'{split}0a0b-7c39d841.jpg')
        if split != 'test':
            masks = root / 'labels' / 'sem_seg' / 'masks' / split
            write(masks / f'{split}0a0b-7c39d841.png', with_corner(ids))
    return root


def write_kitti(root: Path, ids=(7, 33, 0, 255)) -> Path:
    """Write two frames with labels and one without."""
    for name in ('training/image_2/000000_10', 'training/image_2/000199_10',
                 'testing/image_2/000000_10'):
        write_frame(root / f'{name}.png')
        if name.startswith('training'):
            write(root / f'{name.replace("image_2", "semantic")}.png', with_corner(ids))
            instance = root / f'{name.replace("image_2", "instance")}.png'
            write(instance, with_corner((26 * 256,), np.uint16))
    return root


def write_mapillary_vistas(root: Path, ids=(13, 2, 24, 52, 0, 65)) -> Path:
    """Write one frame of each split, in the layout of version 2.0 with labels of 1.2."""
    for split in ('training', 'validation', 'testing'):
        write_frame(root / split / 'images' / f'{split}-_Bvg.jpg')
        if split != 'testing':
            for version in ('v1.2', 'v2.0'):
                path = root / split / version / 'labels' / f'{split}-_Bvg.png'
                path.parent.mkdir(parents=True, exist_ok=True)
                values = with_corner(ids if version == 'v1.2' else (123,))
                path.write_bytes(palette_png(values, np.full((256, 3), 99, np.uint8)))
    return root


def write_rugd(root: Path, colors=((108, 64, 20), (0, 102, 0), (114, 85, 47), (0, 0, 0))) -> Path:
    """Write a frame of a sequence of each split; the labels are colours."""
    for sequence in ('creek', 'park-8', 'trail', 'trail-15'):
        name = f'{sequence}/{sequence}_00001.png'
        write_frame(root / 'RUGD_frames-with-annotations' / name)
        labels = np.full((HEIGHT, WIDTH, 3), colors[0], np.uint8)
        labels[0, :len(colors)] = colors
        write(root / 'RUGD_annotations' / name, labels)
    (root / 'RUGD_annotations' / 'RUGD_annotation-colormap.txt').write_text('0 void 0 0 0')
    return root


def write_rellis3d(root: Path, ids=(1, 3, 34, 0, 29)) -> Path:
    """Write two sequences and the lists of splits; one frame has no labels."""
    lists = {'train': [], 'val': [], 'test': []}
    for sequence, number, split in (
            ('00000', 0, 'train'), ('00000', 1, 'val'), ('00004', 2, 'train'),
            ('00004', 3, None)):
        stem = f'frame{number:06d}-1581624652_750'
        image = f'{sequence}/pylon_camera_node/{stem}.jpg'
        label = f'{sequence}/pylon_camera_node_label_id/{stem}.png'
        write_frame(root / image)
        if split is not None:
            write(root / label, with_corner(ids))
            lists[split].append(f'{image} {label}')
    for split, lines in lists.items():
        (root / f'{split}.lst').write_text('\n'.join(lines) + '\n')
    return root

def corner(dataset, count, index=0):
    """Return the first labels of a frame."""
    return dataset.labels(index)[0, :count].tolist()


def class_ids(space, *names):
    """Return the classes of a space by name; 255 for None."""
    classes = get_label_space(space).classes
    return [255 if name is None else classes.index(name) for name in names]


def names_of(dataset):
    """Return the names of all frames."""
    return [dataset.name(index) for index in range(len(dataset))]


# Who writes it, the settings that open it, the names of its frames, and one of its images.
WRITERS = {
    'gta5': (write_gta5, {}, ['00001', '00002', '24966'], 'images/00001.png'),
    'synthia': (write_synthia, {}, ['0000000', '0009399'], 'RGB/0000000.png'),
    'cityscapes': (
        write_cityscapes, {'split': 'train'}, ['aachen_000000_000019', 'zurich_000003_000019'],
        'leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png'),
    'acdc': (
        write_acdc, {'split': 'train'}, [
            f'{condition}_GOPR0475_frame_000041'
            for condition in ('fog', 'night', 'rain', 'snow')],
        'rgb_anon/rain/train/GOPR0475/GOPR0475_frame_000041_rgb_anon.png'),
    'dark_zurich': (
        write_dark_zurich, {'split': 'val'}, ['GOPR0356_frame_000321'],
        'rgb_anon/val/night/GOPR0356/GOPR0356_frame_000321_rgb_anon.png'),
    'bdd100k': (
        write_bdd100k, {'split': 'val'}, ['val0a0b-7c39d841'],
        'images/10k/val/val0a0b-7c39d841.jpg'),
    'kitti': (
        write_kitti, {}, ['000000_10', '000199_10'], 'training/image_2/000199_10.png'),
    'mapillary_vistas': (
        write_mapillary_vistas, {'split': 'training'}, ['training-_Bvg'],
        'training/images/training-_Bvg.jpg'),
    'rugd': (
        write_rugd, {}, ['creek_00001', 'park-8_00001', 'trail_00001', 'trail-15_00001'],
        'RUGD_frames-with-annotations/creek/creek_00001.png'),
    'rellis3d': (
        write_rellis3d, {}, [f'frame{number:06d}-1581624652_750' for number in range(3)],
        '00000/pylon_camera_node/frame000000-1581624652_750.jpg'),
}
