# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The directory in which a network travels."""

from __future__ import annotations

from dataclasses import replace
import hashlib

from bkd_core import model_directory
from bkd_core.errors import InputError
from bkd_core.labels import get_label_space
from bkd_core.model_directory import ModelSpec
from hypothesis import given, HealthCheck, settings, strategies as st
import pytest
import yaml

SPEC = ModelSpec(
    name='test', network='lite_fpn', network_options={'width': 64},
    label_space=get_label_space('camvid11'), input_height=192)


@pytest.fixture
def directory(tmp_path):
    """Return a directory with weights of three bytes and their description."""
    (tmp_path / model_directory.WEIGHTS).write_bytes(b'abc')
    model_directory.write_spec(tmp_path, SPEC)
    return tmp_path


def change(directory, **values):
    """Rewrite keys of model.yaml; None removes one."""
    path = directory / model_directory.MODEL_YAML
    content = {**yaml.safe_load(path.read_text()), **values}
    content = {key: value for key, value in content.items() if value is not None}
    path.write_text(yaml.safe_dump(content))


def test_a_spec_is_read_as_it_was_written_with_the_hashes_of_its_files(directory):
    expected = {'model.safetensors': hashlib.sha256(b'abc').hexdigest()}
    assert model_directory.read_spec(directory) == replace(SPEC, files=expected)


def test_an_untouched_file_passes_and_a_truncated_one_is_named(directory):
    spec = model_directory.read_spec(directory)
    path = directory / model_directory.WEIGHTS
    assert model_directory.verify(directory, spec, model_directory.WEIGHTS) == path
    path.write_bytes(b'ab')
    with pytest.raises(InputError, match=r'model.safetensors: its SHA-256 differs.*2 bytes'):
        model_directory.verify(directory, spec, model_directory.WEIGHTS)
    path.unlink()
    with pytest.raises(InputError, match='model.safetensors is missing'):
        model_directory.verify(directory, spec, model_directory.WEIGHTS)


def test_a_model_is_found_by_its_directory(directory, tmp_path):
    assert model_directory.resolve(str(directory)) == directory
    with pytest.raises(InputError, match='no such directory'):
        model_directory.resolve(tmp_path / 'missing')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(InputError, match='holds no model.yaml'):
        model_directory.resolve(tmp_path / 'empty')


def test_default_is_the_model_that_comes_with_the_package(directory, monkeypatch):
    monkeypatch.setattr(model_directory, 'SHIPPED', directory.parent)
    monkeypatch.setattr(model_directory, 'DEFAULT_MODEL', directory.name)
    assert model_directory.resolve('default') == directory


@pytest.mark.parametrize(('values', 'message'), [
    ({'format_version': 2}, 'format_version 2; this bkd_ros reads 1'),
    ({'format_version': None}, "expected a mapping with 'format_version'"),
    ({'label_space': None}, 'expected the keys name, classes, colors'),
    ({'label_space': 'camvid11'}, 'expected the keys name, classes, colors'),
    ({'mean': [1, 2]}, 'mean and std need three values'),
    ({'std': [1, 0, 1]}, 'std above 0'),
    ({'mean': 'grey'}, 'could not convert'),
    ({'input_height': 16}, r'at least size_multiple \(32\); got 16'),
    ({'input_height': 'tall'}, 'not supported'),
    ({'input_height': None}, 'input_height'),
    ({'network_options': [1]}, 'network_options.*expected a mapping'),
    ({'files': 'none'}, 'files.*expected a mapping'),
    ({'surprise': 1}, 'surprise'),
])
def test_a_damaged_model_yaml_is_named_with_what_is_wrong(directory, values, message):
    change(directory, **values)
    with pytest.raises(InputError, match=message) as error:
        model_directory.read_spec(directory)
    assert str(directory / 'model.yaml') in str(error.value)


@pytest.mark.parametrize('content', [b'a: [', b'\xff\xfe\x00', b'', b'- 1'])
def test_a_model_yaml_that_is_no_mapping_is_named(directory, content):
    (directory / 'model.yaml').write_bytes(content)
    with pytest.raises(InputError, match='model.yaml: '):
        model_directory.read_spec(directory)


def test_a_missing_model_yaml_is_named(tmp_path):
    with pytest.raises(InputError, match='model.yaml is missing'):
        model_directory.read_spec(tmp_path)


@pytest.mark.parametrize(('height', 'width', 'expected'), [
    (192, 192, (192, 192)),
    (360, 480, (192, 256)),    # 480 * 192 / 360 = 256
    (480, 360, (256, 192)),
    (720, 1280, (192, 352)),   # 341.3 = 10.67 * 32, rounded to 11 * 32
    (1, 1, (192, 192)),
    (100, 1000, (192, 1920)),
])
def test_the_network_sees_the_frames_aspect_at_multiples_of_32(height, width, expected):
    assert model_directory.network_size(SPEC, height, width) == expected


def test_the_version_is_the_beginning_of_the_weights_hash_and_the_commit_that_trained_them(
        directory):
    spec = model_directory.read_spec(directory)
    digest = 'ba7816bf8f01'  # of 'abc', from FIPS 180-2
    assert model_directory.version(directory, spec) == digest
    metrics = directory / model_directory.METRICS
    metrics.write_text('{"commit": "0123abcd"}')
    assert model_directory.version(directory, spec) == f'{digest}, commit 0123abcd'
    for damaged in ('{"commit"', '[]', '{}'):
        metrics.write_text(damaged)
        assert model_directory.version(directory, spec) == digest


def test_the_version_of_a_directory_without_weights_is_that_of_its_onnx_file(directory):
    spec = replace(SPEC, files={model_directory.ONNX: 'fedcba9876543210'})
    assert model_directory.version(directory, spec) == 'fedcba987654'
    assert model_directory.version(directory, SPEC) == 'not known'


@given(share=st.floats(0, 1, exclude_max=True))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_model_yaml_that_is_cut_off_anywhere_is_refused_or_known_to_be_incomplete(
        directory, share):
    path = directory / model_directory.MODEL_YAML
    whole = path.read_text()
    path.write_text(whole[:int(share * len(whole))])
    try:
        spec = model_directory.read_spec(directory)
        model_directory.verify(directory, spec, model_directory.WEIGHTS)
    except InputError as error:
        assert str(directory) in str(error)
    else:
        assert replace(spec, files={}) == SPEC
    finally:
        path.write_text(whole)
