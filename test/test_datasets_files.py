# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Data sets that read image files, on small files made here and on real data."""

from __future__ import annotations

import struct
import zlib

from bkd_core.datasets import build_dataset, DATASETS
from bkd_core.datasets.camvid import CamVid
from bkd_core.datasets.dataset import SegmentationDataset
from bkd_core.datasets.image_files import image_size, read_image, read_label_ids
from bkd_core.datasets.image_folder import ImageFolder
from bkd_core.errors import InputError
import cv2
import numpy as np
import pytest

HEIGHT, WIDTH = 12, 16


def write_png(path, array):
    """Write (H, W, 3) RGB or (H, W) ids."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = array if array.ndim == 2 else array[..., ::-1]
    assert cv2.imwrite(str(path), array)


def png_chunk(kind, data):
    """Return a PNG chunk as the PNG specification lays it out."""
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))


def indexed_png(ids, *, bits, kind):
    """Return a PNG of colour type 0 (grey) or 3 (palette) whose samples are the ids."""
    height, width = ids.shape
    rows = []
    for row in ids:
        digits = ''.join(format(int(value), f'0{bits}b') for value in row)
        digits += '0' * (-len(digits) % 8)
        packed = bytes(int(digits[i:i + 8], 2) for i in range(0, len(digits), 8))
        rows.append(b'\0' + packed)
    palette = png_chunk(b'PLTE', bytes(range(30, 30 + 3 * 16))) if kind == 3 else b''
    return (
        b'\x89PNG\r\n\x1a\n' + png_chunk(
            b'IHDR', struct.pack('>IIBBBBB', width, height, bits, kind, 0, 0, 0))
        + palette + png_chunk(b'IDAT', zlib.compress(b''.join(rows))) + png_chunk(b'IEND', b''))


@pytest.fixture
def rgb():
    """Return a picture with a different value in every place."""
    return np.arange(HEIGHT * WIDTH * 3, dtype=np.uint32).reshape(
        HEIGHT, WIDTH, 3).astype(np.uint8)


@pytest.fixture
def folder(tmp_path, rgb):
    """Return a data set of three images and labels in cityscapes19."""
    for name in ('b', 'a', 'c'):
        write_png(tmp_path / 'images' / f'{name}.png', rgb)
        labels = np.full((HEIGHT, WIDTH), ord(name) - ord('a'), np.uint8)
        labels[0, 0] = 255
        write_png(tmp_path / 'labels' / f'{name}.png', labels)
    return tmp_path


def open_folder(folder, **settings):
    """Open the folder as cityscapes19."""
    return ImageFolder(root=folder, label_space='cityscapes19', **settings)


def test_images_come_sorted_by_name_as_rgb_with_their_labels(folder, rgb):
    dataset = open_folder(folder)
    assert isinstance(dataset, SegmentationDataset)
    assert [dataset.name(index) for index in range(len(dataset))] == ['a', 'b', 'c']
    np.testing.assert_array_equal(dataset.image(1), rgb)
    assert dataset.image(1).flags.c_contiguous
    labels = dataset.labels(1)
    assert labels.dtype == np.uint8 and labels[0, 0] == 255
    assert (labels.reshape(-1)[1:] == 1).all()


def test_first_and_last_choose_a_range_that_includes_both(folder):
    dataset = open_folder(folder, first=1, last=2)
    assert [dataset.name(index) for index in range(len(dataset))] == ['b', 'c']
    with pytest.raises(InputError, match=r'first=1 and last=3.*<= 2'):
        open_folder(folder, first=1, last=3)


def test_ignore_values_become_255(folder):
    dataset = open_folder(folder, ignore_values=[2, 255])
    assert (dataset.labels(2) == 255).all()


def test_a_folder_without_labels_opens_if_none_are_asked_for(folder):
    dataset = open_folder(folder, labels=None)
    assert not dataset.has_labels
    with pytest.raises(InputError, match='without labels'):
        dataset.labels(0)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(InputError, match=r'images: does not exist'):
        open_folder(tmp_path)


def test_an_empty_folder_is_named(tmp_path):
    (tmp_path / 'images').mkdir()
    with pytest.raises(InputError, match=r'images: holds no file that ends in .*\.jpg'):
        open_folder(tmp_path)


def test_a_missing_label_file_is_named_with_its_image(folder):
    (folder / 'labels' / 'b.png').unlink()
    with pytest.raises(InputError, match=r'1 of 3 images have no label file \(images/b\.png\)'):
        open_folder(folder)


def test_two_images_of_one_name_are_refused(folder):
    (folder / 'images' / 'a.jpg').write_bytes((folder / 'images' / 'a.png').read_bytes())
    with pytest.raises(InputError, match='same name as a.jpg'):
        open_folder(folder)


def test_a_value_outside_the_label_space_names_the_file_and_the_value(folder):
    write_png(folder / 'labels' / 'a.png', np.full((HEIGHT, WIDTH), 33, np.uint8))
    expected = r"a\.png: holds the values 33 .*'cityscapes19'; expected 0 to 18"
    with pytest.raises(InputError, match=expected):
        open_folder(folder).labels(0)


def test_labels_of_another_size_than_the_image_name_both_sizes(folder):
    write_png(folder / 'labels' / 'a.png', np.zeros((HEIGHT, WIDTH - 1), np.uint8))
    with pytest.raises(InputError, match=r'a\.png: is 15x12 pixels.*a\.png is 16x12'):
        open_folder(folder).labels(0)


def test_a_colour_picture_is_not_taken_for_labels(folder, rgb):
    write_png(folder / 'labels' / 'a.png', rgb)
    with pytest.raises(InputError, match=r'a\.png: has 3 channels'):
        open_folder(folder).labels(0)


@pytest.mark.parametrize('suffix', ['.png', '.jpg'])
@pytest.mark.parametrize('share', [0.3, 0.9])
def test_a_truncated_image_names_the_file(tmp_path, suffix, share):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    _, data = cv2.imencode(suffix, noise)
    path = tmp_path / f'frame{suffix}'
    path.write_bytes(data.tobytes())
    assert read_image(path).shape == (64, 64, 3)
    path.write_bytes(data.tobytes()[:int(share * len(data))])
    with pytest.raises(InputError, match=rf'frame\{suffix}: is cut off'):
        read_image(path)


@pytest.mark.parametrize(('content', 'reason'), [
    (b'', 'is empty'), (b'no picture at all', 'is damaged or no picture')])
def test_a_file_that_is_no_picture_is_named(tmp_path, content, reason):
    path = tmp_path / 'frame.jpg'
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf'frame\.jpg: {reason}'):
        read_image(path)


@pytest.mark.parametrize('kind', [0, 3])
@pytest.mark.parametrize('bits', [1, 2, 4, 8])
def test_label_pngs_give_their_samples_whatever_their_bits_and_palette(tmp_path, bits, kind):
    ids = np.arange(40).reshape(5, 8) % min(2 ** bits, 16)
    path = tmp_path / 'labels.png'
    path.write_bytes(indexed_png(ids, bits=bits, kind=kind))
    np.testing.assert_array_equal(read_label_ids(path), ids)


def test_sixteen_bit_label_pngs_keep_large_values(tmp_path):
    path = tmp_path / 'labels.png'
    assert cv2.imwrite(str(path), np.full((4, 4), 1000, np.uint16))
    assert (read_label_ids(path) == 1000).all()


@pytest.mark.parametrize(('suffix', 'settings'), [
    ('.png', []), ('.bmp', []), ('.jpg', []), ('.jpg', [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]),
    ('.webp', [])])
def test_the_size_of_a_picture_is_that_of_what_is_read(tmp_path, suffix, settings):
    path = tmp_path / f'frame{suffix}'
    assert cv2.imwrite(str(path), np.zeros((30, 52, 3), np.uint8), settings)
    assert image_size(path) == read_image(path).shape[:2] == (30, 52)


def test_a_photo_that_lies_on_its_side_has_the_size_it_is_read_with(tmp_path):
    _, data = cv2.imencode('.jpg', np.zeros((30, 52, 3), np.uint8))
    # EXIF, little-endian, one entry: orientation (0x112) is 6, a quarter turn.
    tiff = b'II*\0' + struct.pack('<IHHHIHHI', 8, 1, 0x112, 3, 1, 6, 0, 0)
    exif = b'Exif\0\0' + tiff
    path = tmp_path / 'frame.jpg'
    path.write_bytes(
        data.tobytes()[:2] + b'\xff\xe1' + struct.pack('>H', len(exif) + 2) + exif
        + data.tobytes()[2:])
    assert image_size(path) == read_image(path).shape[:2] == (52, 30)


@pytest.mark.parametrize('content', [b'', b'\xff\xd8', b'\x89PNG\r\n\x1a\n', b'no picture'])
def test_the_size_of_what_is_no_picture_is_an_error(tmp_path, content):
    path = tmp_path / 'frame.jpg'
    path.write_bytes(content)
    with pytest.raises(InputError, match=r'frame\.jpg: is (empty|cut off|damaged)'):
        image_size(path)


@pytest.fixture
def camvid(tmp_path, rgb):
    """Return a folder `data` that holds `camvid` with two sequences in its train split."""
    root = tmp_path / 'data' / 'camvid'
    for name in ('0001TP_000030', '0006R0_f00930', '0016E5_00390'):
        write_png(root / 'images' / 'train' / f'{name}.png', rgb)
        labels = np.zeros((HEIGHT, WIDTH), np.uint8)
        labels[0, :4] = (8, 9, 10, 11)
        write_png(root / 'labels' / 'train' / f'{name}.png', labels)
    return root


def test_camvid_values_8_to_11_are_car_pedestrian_bicyclist_and_unlabelled(camvid):
    dataset = CamVid(root=camvid, split='train')
    labels = dataset.labels(0)
    names = [dataset.label_space.classes[value] for value in labels[0, :3]]
    assert names == ['car', 'pedestrian', 'bicyclist']
    assert labels[0, 3] == 255


def test_camvid_is_found_in_the_folder_above_it(camvid):
    assert len(CamVid(root=camvid.parent, split='train')) == 3


@pytest.mark.parametrize(('sequence', 'count'), [
    ('0001TP', 1), (['0006R0', '0016E5'], 2), (None, 3)])
def test_camvid_sequences_are_chosen_by_prefix(camvid, sequence, count):
    assert len(CamVid(root=camvid, split='train', sequence=sequence)) == count


def test_an_unknown_camvid_sequence_lists_those_there(camvid):
    with pytest.raises(InputError, match=r"'0099XX'.*'0001TP', '0006R0', '0016E5'"):
        CamVid(root=camvid, split='train', sequence='0099XX')


def test_camvid_without_labels_never_looks_at_the_labels_folder(camvid):
    for file in (camvid / 'labels' / 'train').iterdir():
        file.unlink()
    dataset = CamVid(root=camvid, split='train', has_labels=False)
    assert dataset.image(0).shape == (HEIGHT, WIDTH, 3)
    assert not dataset.has_labels


def test_an_unknown_camvid_split_is_corrected(camvid):
    with pytest.raises(InputError, match="'trian'.*Did you mean 'train'"):
        CamVid(root=camvid, split='trian')


def test_build_dataset_opens_each_by_its_name(camvid):
    assert set(DATASETS) >= {'camvid', 'frame_store', 'image_folder', 'recording', 'streets'}
    dataset = build_dataset('camvid', root=camvid, split='train')
    assert isinstance(dataset, CamVid)


@pytest.mark.parametrize(('name', 'settings', 'message'), [
    ('camvit', {}, "'camvit'.*Did you mean 'camvid'"),
    ('streets', {'domain': 'source', 'num_frame': 3}, "Did you mean 'num_frames'"),
    ('camvid', {'split': 'train'}, "'camvid' needs root"),
    ('streets', {'root': 'somewhere', 'domain': 'source', 'num_frames': 1}, 'reads no files')])
def test_build_dataset_explains_a_wrong_setting(name, settings, message):
    with pytest.raises(InputError, match=message):
        build_dataset(name, **settings)


def test_the_real_camvid_has_367_and_101_frames_with_labels_in_its_space(data_root):
    assert len(CamVid(root=data_root, split='train')) == 367
    dataset = CamVid(root=data_root, split='val')
    assert len(dataset) == 101
    for index in (0, 50, 100):
        assert dataset.image(index).shape == (360, 480, 3)
        assert set(np.unique(dataset.labels(index))) <= {*range(11), 255}


def test_the_real_rendered_streets_are_read_as_cityscapes(data_root):
    dataset = ImageFolder(
        root=data_root / 'gazebo_streets', label_space='cityscapes19', first=490, last=529)
    assert len(dataset) == 40 and dataset.name(0) == '0490'
    share = np.bincount(dataset.labels(0).ravel(), minlength=256) / dataset.labels(0).size
    assert share[0] > 0.05 and share[10] > 0.01  # road and sky
