# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Image bytes to RGB: values worked out by hand, and every way in which bytes can be wrong."""

from __future__ import annotations

import struct

from bkd_core.errors import InputError
from bkd_core.image_encodings import decode_compressed, decode_image, ENCODINGS
import cv2
from hypothesis import given, settings, strategies as st
import numpy as np
import pytest

# Bytes of a pixel in the first plane, and all planes in multiples of that, from
# sensor_msgs/image_encodings.hpp and the formats' definitions (fourcc.org).
SIZES = {
    'rgb8': (3, 1), 'bgr8': (3, 1), 'rgba8': (4, 1), 'bgra8': (4, 1), 'mono8': (1, 1),
    'mono16': (2, 1), '8UC1': (1, 1), '8UC3': (3, 1), '8UC4': (4, 1), '16UC1': (2, 1),
    'bayer_rggb8': (1, 1), 'bayer_bggr8': (1, 1), 'bayer_gbrg8': (1, 1), 'bayer_grbg8': (1, 1),
    'uyvy': (2, 1), 'yuv422': (2, 1), 'yuyv': (2, 1), 'yuv422_yuy2': (2, 1),
    'nv21': (1, 1.5), 'nv24': (1, 3)}
# Pure red in BT.601 with luma 16..235 (ITU-R BT.601, table of colour bars): Y 81, Cb 90, Cr 240.
Y, CB, CR = 81, 90, 240


def decode(values, encoding, height, width, step=None, **options):
    pixel_bytes, _ = SIZES[encoding]
    return decode_image(
        bytes(values), height=height, width=width, step=step or width * pixel_bytes,
        encoding=encoding, **options)


def test_every_encoding_has_its_test():
    assert set(ENCODINGS) == set(SIZES)


@pytest.mark.parametrize(('encoding', 'values'), [
    ('rgb8', [1, 2, 3, 4, 5, 6]),
    ('bgr8', [3, 2, 1, 6, 5, 4]),
    ('8UC3', [3, 2, 1, 6, 5, 4]),
    ('rgba8', [1, 2, 3, 99, 4, 5, 6, 99]),
    ('bgra8', [3, 2, 1, 99, 6, 5, 4, 99]),
    ('8UC4', [3, 2, 1, 99, 6, 5, 4, 99]),
])
def test_channels_come_out_as_red_green_blue(encoding, values):
    assert decode(values, encoding, 1, 2).tolist() == [[[1, 2, 3], [4, 5, 6]]]


@pytest.mark.parametrize('encoding', ['mono8', '8UC1'])
def test_grey_is_repeated_in_three_channels(encoding):
    assert decode([7, 200], encoding, 2, 1).tolist() == [[[7] * 3], [[200] * 3]]


@pytest.mark.parametrize('encoding', ['mono16', '16UC1'])
@pytest.mark.parametrize('is_bigendian', [False, True])
def test_16_bits_are_scaled_not_cut(encoding, is_bigendian):
    # v * 255 / 65535 = v / 257: 0, 1, 127.502 -> 128, 255; cutting to the low byte gives 255, 1.
    values = struct.pack('>4H' if is_bigendian else '<4H', 0, 257, 32768, 65535)
    image = decode(values, encoding, 1, 4, is_bigendian=is_bigendian)
    assert image[0, :, 0].tolist() == [0, 1, 128, 255]
    assert (image == image[..., :1]).all()


@pytest.mark.parametrize('name', ['rggb', 'bggr', 'gbrg', 'grbg'])
@pytest.mark.parametrize('channel', [0, 1, 2])
def test_a_mosaic_of_one_colour_comes_back_as_that_colour(name, channel):
    letters = np.array(list(name)).reshape(2, 2)
    mosaic = np.tile((letters == 'rgb'[channel]) * np.uint8(200), (4, 4))
    image = decode(mosaic.tobytes(), f'bayer_{name}8', 8, 8)
    assert (image[2:-2, 2:-2] == np.eye(3, dtype=np.uint8)[channel] * 200).all()


@pytest.mark.parametrize(('encoding', 'values'), [
    ('uyvy', [CB, Y, CR, Y] * 2),
    ('yuv422', [CB, Y, CR, Y] * 2),
    ('yuyv', [Y, CB, Y, CR] * 2),
    ('yuv422_yuy2', [Y, CB, Y, CR] * 2),
    ('nv21', [Y] * 4 + [CR, CB]),
    ('nv24', [Y] * 4 + [CB, CR] * 4),
])
def test_red_in_yuv_is_red(encoding, values):
    image = decode(values, encoding, 2, 2).astype(int)
    assert np.abs(image - [255, 0, 0]).max() <= 2


def test_nv24_keeps_the_colour_of_each_pixel():
    # Red beside grey: nv21 would have to share one colour between the two.
    image = decode([Y, 126, CB, CR, 128, 128], 'nv24', 1, 2).astype(int)
    assert np.abs(image - [[255, 0, 0], [128, 128, 128]]).max() <= 2


@pytest.mark.parametrize('encoding', SIZES)
def test_padding_at_the_end_of_rows_changes_nothing(encoding):
    pixel_bytes, size = SIZES[encoding]
    height, width, padding = 4, 6, 5
    rows = np.random.default_rng(0).integers(
        0, 256, (int(height * size), width * pixel_bytes), np.uint8)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    if encoding == 'nv24':  # its chroma row is one row of twice the length
        chroma = rows[height:].reshape(height, 2 * width)
        chroma = np.pad(chroma, ((0, 0), (0, 2 * padding)), constant_values=77)
        padded = np.concatenate([padded[:height].ravel(), chroma.ravel()])
    expected = decode(rows.tobytes(), encoding, height, width)
    image = decode(padded.tobytes(), encoding, height, width, width * pixel_bytes + padding)
    assert image.shape == (height, width, 3)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert (image == expected).all()


@pytest.mark.parametrize(('changes', 'reason'), [
    ({'encoding': 'rgb9'}, "Did you mean 'rgb8'"),
    ({'encoding': ''}, 'Unknown image encoding'),
    ({'encoding': '32FC1'}, 'Unknown image encoding'),
    ({'height': 0}, 'at least one row'),
    ({'width': 0}, 'at least one row and one column'),
    ({'step': 11}, 'step of 11 bytes; a row needs at least 12'),
    ({'step': 0}, 'step of 0'),
    ({'data': bytes(35)}, 'truncated: got 35 bytes, expected 36'),
    ({'data': b''}, 'truncated: got 0'),
    ({'data': bytes(37)}, 'longer than declared: got 37 bytes, expected 36'),
    ({'encoding': 'nv21', 'step': 4}, 'must be even'),
    ({'encoding': 'uyvy', 'width': 3}, 'width must be even'),
    ({'encoding': 'bayer_rggb8', 'width': 2, 'step': 12}, 'at least 3x3'),
    ({'height': 2 ** 32 - 1, 'width': 2 ** 31, 'step': 2 ** 32 - 1}, 'step of'),
])
def test_contradicting_fields_are_refused_with_the_reason(changes, reason):
    fields = {
        'data': bytes(36), 'height': 3, 'width': 4, 'step': 12, 'encoding': 'rgb8', **changes}
    with pytest.raises(InputError, match=reason):
        decode_image(fields.pop('data'), **fields)


@settings(max_examples=300, deadline=None)
@given(
    encoding=st.sampled_from(sorted(SIZES)), height=st.integers(0, 9), width=st.integers(0, 9),
    extra=st.integers(-3, 3), cut=st.sampled_from([-1, 0, 0, 0, 1]), is_bigendian=st.booleans())
def test_any_fields_give_an_image_of_that_size_or_a_reason(
        encoding, height, width, extra, cut, is_bigendian):
    pixel_bytes, size = SIZES[encoding]
    step = max(width * pixel_bytes + extra, 0)
    data = bytes(max(int(step * height * size) + cut, 0))
    try:
        image = decode_image(
            data, height=height, width=width, step=step, encoding=encoding,
            is_bigendian=is_bigendian)
    except InputError:
        return
    assert image.shape == (height, width, 3)
    assert extra >= 0
    assert cut == 0


@settings(max_examples=200, deadline=None)
@given(
    encoding=st.sampled_from(sorted(SIZES)), height=st.integers(1, 6), width=st.integers(1, 6),
    padding=st.integers(0, 3), is_bigendian=st.booleans(), seed=st.integers(0, 99))
def test_no_byte_beside_the_data_is_read(encoding, height, width, padding, is_bigendian, seed):
    pixel_bytes, size = SIZES[encoding]
    step = width * pixel_bytes + padding
    data = np.random.default_rng(seed).integers(0, 256, int(step * height * size), np.uint8)

    def decoded(beside):
        # The data lie in the middle of a larger block of memory.
        block = np.full(len(data) + 64, beside, np.uint8)
        block[32:-32] = data
        try:
            return decode_image(
                block[32:-32], height=height, width=width, step=step, encoding=encoding,
                is_bigendian=is_bigendian).copy()
        except InputError as error:
            return str(error)
    np.testing.assert_array_equal(decoded(0), decoded(255))


def gradient():
    rows, columns = np.mgrid[:48, :64]
    return np.dstack([rows * 5, columns * 3, rows + columns]).astype(np.uint8)


def encoded(suffix):
    return cv2.imencode(suffix, gradient()[..., ::-1])[1].tobytes()


def test_a_compressed_png_comes_back_exactly():
    assert (decode_compressed(encoded('.png')) == gradient()).all()


def test_a_compressed_jpeg_comes_back_nearly():
    error = np.abs(decode_compressed(encoded('.jpg')).astype(int) - gradient())
    assert error.mean() < 4


def test_a_jpeg_padded_by_the_camera_is_read():
    assert decode_compressed(encoded('.jpg') + bytes(300)).shape == (48, 64, 3)


def test_a_compressed_grey_image_becomes_rgb():
    data = cv2.imencode('.png', np.full((2, 3), 9, np.uint8))[1].tobytes()
    assert decode_compressed(data).tolist() == [[[9] * 3] * 3] * 2


def test_an_orientation_tag_does_not_turn_the_frame():
    # TIFF: little-endian, one directory entry: 0x0112 Orientation, SHORT, count 1, value 6 (90°).
    tiff = b'II*\0' + struct.pack('<IHHHIHHI', 8, 1, 0x0112, 3, 1, 6, 0, 0)
    segment = b'Exif\0\0' + tiff
    jpeg = encoded('.jpg')
    tagged = jpeg[:2] + b'\xff\xe1' + struct.pack('>H', len(segment) + 2) + segment + jpeg[2:]
    upright = cv2.imdecode(np.frombuffer(tagged, np.uint8), cv2.IMREAD_COLOR)
    assert upright.shape[:2] == (64, 48)  # so the tag is a valid one
    assert decode_compressed(tagged).shape == (48, 64, 3)


@pytest.mark.parametrize('suffix', ['.jpg', '.png'])
@pytest.mark.parametrize('fraction', [0.1, 0.5, 0.98])
def test_a_truncated_file_is_refused(suffix, fraction):
    data = encoded(suffix)
    with pytest.raises(InputError, match='truncated'):
        decode_compressed(data[:int(len(data) * fraction)])


@pytest.mark.parametrize(('data', 'reason'), [
    (b'', 'got no data'),
    (b'this is no image', 'no image that OpenCV decodes'),
    (bytes(1000), 'begin with 00 00'),
    (b'\x89PNG\r\n\x1a\n' + b'IEND' * 10, 'compressed image'),
])
def test_what_is_no_image_is_refused(data, reason):
    with pytest.raises(InputError, match=reason):
        decode_compressed(data)


@settings(max_examples=200, deadline=None)
@given(
    suffix=st.sampled_from(['.jpg', '.png']), seed=st.integers(0, 9999),
    num_changes=st.integers(1, 20), cut=st.integers(0, 40))
def test_a_damaged_file_gives_an_image_or_a_reason(suffix, seed, num_changes, cut):
    random = np.random.default_rng(seed)
    data = np.frombuffer(encoded(suffix), np.uint8).copy()
    # Not the size in the header: a huge one is valid, and fills the memory.
    places = random.integers(32 if suffix == '.png' else 200, len(data), num_changes)
    data[places] = random.integers(0, 256, num_changes)
    try:
        image = decode_compressed(data[:len(data) - cut].tobytes())
    except InputError as error:
        assert 'compressed image' in str(error)
    else:
        assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=200), start=st.sampled_from(
    [b'', b'\xff\xd8\xff', b'\x89PNG\r\n\x1a\n', b'BM', b'RIFF', b'II*\0', b'P6\n']))
def test_arbitrary_bytes_are_refused_as_a_compressed_image(data, start):
    try:
        image = decode_compressed(start + data)
    except InputError as error:
        assert 'compressed image' in str(error)
    else:
        assert start in (b'BM', b'P6\n')  # formats so simple that chance may write them
        assert image.shape[2] == 3
