# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Packages: the same bytes each time, every change is found, and nothing leaves the folder."""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
import zipfile

from bkd_core import manifest, model_directory
from bkd_core.__main__ import main
from bkd_core.config import TrainingConfig
from bkd_core.config_file import to_yaml
from bkd_core.errors import InputError
from bkd_core.inference import Segmenter
from bkd_core.labels import get_label_space
from bkd_core.manifest import MANIFEST
from bkd_core.model_package import check_package, write_package
from fixtures_models import write_tiny_model
from hypothesis import given, HealthCheck, settings, strategies as st
import numpy as np
import pytest

FILES = {
    'MODEL_CARD.md', 'config.yaml', 'metrics.json', 'model.onnx', 'model.yaml', 'shift.json',
    'replay/replay.yaml'}
FRAME = np.kron(
    np.array(get_label_space('street9').colors, np.uint8).reshape(3, 3, 3),
    np.ones((64, 64, 1), np.uint8))


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Keep what is unpacked out of the user's cache."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))


@pytest.fixture
def model(tmp_path):
    """Return a finished model with the records of its run."""
    directory = write_tiny_model(tmp_path / 'model')
    (directory / 'config.yaml').write_text(to_yaml(TrainingConfig(data_licences='mine, CC0')))
    (directory / 'metrics.json').write_text(json.dumps({
        'scores': {'miou': 0.5}, 'seed': 3, 'commit': 'abc', 'version': '0.1.0'}))
    (directory / 'MODEL_CARD.md').write_text('# tiny\n\n## Data and licences\n\nmine, CC0\n')
    (directory / 'shift.json').write_text('{}')
    (directory / 'replay').mkdir()
    (directory / 'replay' / 'replay.yaml').write_text('num_frames: 0\n')
    (directory / 'pictures').mkdir()
    for name in ('log.jsonl', 'run.json', 'pictures/00000001.jpg', 'notes.txt', '.lock'):
        (directory / name).write_text('private')
    return directory


@pytest.fixture(params=['folder', 'zip'])
def package(request, model, tmp_path):
    """Return a package, as a folder and as a zip file."""
    path = tmp_path / ('out' if request.param == 'folder' else 'out.zip')
    write_package(model, path)
    return path


def edit(package, change):
    """Apply a change of files to a package, whatever its form; hashes stay as they are."""
    if package.is_dir():
        change(package)
        return
    folder = package.with_suffix('.edited')
    with zipfile.ZipFile(package) as archive:
        archive.extractall(folder)
    change(folder)
    with zipfile.ZipFile(package, 'w') as archive:
        for path in sorted(folder.rglob('*')):
            if path.is_file():
                archive.write(path, path.relative_to(folder))


def test_a_package_holds_the_model_and_nothing_else(package):
    written = check_package(package)
    assert set(written.files) == FILES
    assert written.about == {
        'name': 'tiny', 'network': 'lite_fpn', 'label_space': 'street9', 'miou': 0.5, 'seed': 3,
        'commit': 'abc', 'bkd_ros': '0.1.0', 'data_licences': 'mine, CC0'}
    assert written.is_reproducible


def test_a_package_is_taken_like_a_model_directory(package, model):
    expected = Segmenter.load(model, runtime='onnxruntime')(FRAME).labels
    segmenter = Segmenter.load(package, runtime='onnxruntime')
    assert np.array_equal(segmenter(FRAME).labels, expected)
    assert len(np.unique(expected)) == 9
    assert 'commit abc' in segmenter.version


def test_the_same_model_gives_the_same_bytes_whenever_and_wherever(model, tmp_path):
    write_package(model, tmp_path / 'a.zip')
    copied = shutil.copytree(model, tmp_path / 'elsewhere')
    for path in copied.rglob('*'):
        os.utime(path, (10**9, 10**9))
        if path.is_file():
            path.chmod(0o600)
    write_package(copied, tmp_path / 'deep' / 'b.zip')
    assert (tmp_path / 'a.zip').read_bytes() == (tmp_path / 'deep' / 'b.zip').read_bytes()
    write_package(tmp_path / 'a.zip', tmp_path / 'c.zip')  # a package of a package
    assert (tmp_path / 'a.zip').read_bytes() == (tmp_path / 'c.zip').read_bytes()
    write_package(model, tmp_path / 'd')
    for name in FILES:
        assert zipfile.ZipFile(tmp_path / 'a.zip').read(name) == (
            tmp_path / 'd' / name).read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        'a.zip', 'c.zip', 'cache', 'd', 'deep', 'elsewhere', 'model']


@pytest.mark.parametrize('name', sorted(FILES))
def test_a_changed_file_is_named(package, name):
    edit(package, lambda folder: (folder / name).write_bytes(
        (folder / name).read_bytes() + b'\n'))
    for check in (check_package, model_directory.resolve):
        with pytest.raises(InputError, match=f"out.*'{name}' differs from manifest.json"):
            check(package)


@pytest.mark.parametrize('name', sorted(FILES))
def test_a_missing_file_is_named(package, name):
    edit(package, lambda folder: (folder / name).unlink())
    with pytest.raises(InputError, match=f"'{name}' is missing"):
        check_package(package)


def test_an_added_file_is_named(package):
    edit(package, lambda folder: (folder / 'model_int8.onnx').write_bytes(b'other'))
    for check in (check_package, model_directory.resolve):
        with pytest.raises(InputError, match="'model_int8.onnx' is not in its manifest.json"):
            check(package)


@pytest.mark.parametrize(('text', 'message'), [
    ('{', 'manifest.json is damaged'), ('[]', 'manifest.json is damaged'),
    ('{"format_version": 2}', 'format_version 2; this bkd_ros reads 1'),
    ('{"format_version": 1}', "expected 'about'"),
    ('{"format_version": 1, "about": {}, "files": {"a": 3}}', "expected 'about'"),
    ('{"format_version": 1, "about": {}, "files": {"../a": {"sha256": "", "bytes": 1}}}',
     r"names '\.\./a'"),
    ('{"format_version": 1, "about": {}, "files": {}}', 'is not in its manifest')])
def test_a_damaged_manifest_is_named(package, text, message):
    edit(package, lambda folder: (folder / MANIFEST).write_text(text))
    with pytest.raises(InputError, match=message):
        check_package(package)


def test_a_package_without_a_manifest_is_none(package, model):
    edit(package, lambda folder: (folder / MANIFEST).unlink())
    with pytest.raises(InputError, match='holds no manifest.json'):
        check_package(package)
    with pytest.raises(InputError, match='holds no manifest.json'):
        check_package(model)


def crafted(path, *entries):
    """Write a zip file of (name or ZipInfo, content) with a manifest that agrees with it."""
    import hashlib
    files = {
        getattr(name, 'filename', name): {
            'sha256': hashlib.sha256(content).hexdigest(), 'bytes': len(content)}
        for name, content in entries}
    with zipfile.ZipFile(path, 'w') as archive:
        for name, content in entries:
            archive.writestr(name, content)
        archive.writestr(MANIFEST, json.dumps(
            {'format_version': 1, 'about': {}, 'files': files}))
    return path


@pytest.mark.parametrize('name', [
    '../evil', '/evil', 'a/../../evil', 'a/./evil', 'a//evil', '..\\evil', 'C:evil', 'a\nb'])
def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path, name):
    path = crafted(tmp_path / 'evil.zip', (name, b'x'))
    before = set(tmp_path.parent.rglob('*'))
    (tmp_path / 'into').mkdir()
    for act in (check_package, model_directory.resolve, lambda path: manifest.unpack(
            path, tmp_path / 'into')):
        with pytest.raises(
                InputError, match='^[^(]*evil.zip: refused: .*take it from another source$'):
            act(path)
    assert list((tmp_path / 'into').iterdir()) == []
    new = {file for file in tmp_path.parent.rglob('*') if file.is_file()} - before
    assert {file.suffix for file in new} <= {'.lock'}


def test_a_link_and_a_name_that_comes_twice_are_refused(tmp_path):
    link = zipfile.ZipInfo('model.yaml')
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(InputError, match="'model.yaml' is no plain file"):
        check_package(crafted(tmp_path / 'a.zip', (link, b'/etc/passwd')))
    with pytest.warns(UserWarning, match='Duplicate'):
        path = crafted(tmp_path / 'b.zip', ('model.yaml', b'1'), ('model.yaml', b'2'))
    with pytest.raises(InputError, match="'model.yaml' is in it twice"):
        check_package(path)


@pytest.mark.parametrize('method', [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compression_whose_damage_is_another_error_is_refused(tmp_path, method):
    entry = zipfile.ZipInfo('model.yaml')
    entry.compress_type = method
    path = crafted(tmp_path / 'a.zip', (entry, b'name: tiny\n' * 99))
    content = bytearray(path.read_bytes())
    for place in range(30 + len('model.yaml') + 9, 30 + len('model.yaml') + 30):
        content[place] ^= 0x55
    path.write_bytes(content)
    with pytest.raises(InputError, match=(
            f"^[^(]*a.zip: refused: 'model.yaml' is compressed by method {method}; expected 0")):
        check_package(path)


def test_a_file_that_is_larger_than_announced_is_not_unpacked_to_its_end(tmp_path):
    path = tmp_path / 'bomb.zip'
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('model.yaml', bytes(64 << 20))
        archive.writestr(MANIFEST, json.dumps({'format_version': 1, 'about': {}, 'files': {
            'model.yaml': {'sha256': '0', 'bytes': 10}}}))
    (tmp_path / 'into').mkdir()
    with pytest.raises(InputError, match="'model.yaml' differs from manifest.json"):
        manifest.unpack(path, tmp_path / 'into')
    assert sum(file.stat().st_size for file in (tmp_path / 'into').iterdir()) < 2 << 20


def test_a_package_that_the_disk_has_no_room_for_is_refused_before_it_is_unpacked(
        model, tmp_path, monkeypatch):
    write_package(model, tmp_path / 'out.zip')
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(InputError, match='out.zip: takes .* MB; the disk of'):
        model_directory.resolve(tmp_path / 'out.zip')
    assert [path for path in (tmp_path / 'cache').rglob('[!.]*') if path.is_file()] == []


@given(data=st.data())
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
def test_a_zip_file_that_is_cut_off_or_spoilt_anywhere_is_refused_or_still_whole(
        model, tmp_path, data):
    path = tmp_path / 'out.zip'
    if not path.exists():
        write_package(model, path)
    whole = path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    spoilt = data.draw(st.sampled_from([
        whole[:place], whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1:]]))
    other = tmp_path / 'other.zip'
    other.write_bytes(spoilt)
    try:
        checked = check_package(other)
    except InputError as error:
        assert 'other.zip' in str(error)
    else:  # such as a byte of a time in the zip file's own list
        assert checked.files == check_package(path).files


def test_a_zip_file_whose_list_is_spoilt_at_any_byte_is_refused_or_still_whole(model, tmp_path):
    path, other = tmp_path / 'out.zip', tmp_path / 'other.zip'
    write_package(model, path)
    whole = path.read_bytes()
    refused = 0
    for place in range(whole.index(b'PK\x01\x02'), len(whole)):
        other.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1:])
        try:
            checked = check_package(other)
        except InputError as error:
            assert 'other.zip' in str(error)
            refused += 1
        else:
            assert checked.files == check_package(path).files
    assert refused > 100


def test_a_zip_file_stays_a_model_when_its_unpacked_copy_is_damaged(model, tmp_path):
    write_package(model, tmp_path / 'out.zip')
    kept = model_directory.resolve(tmp_path / 'out.zip')
    content = (kept / 'model.onnx').read_bytes()
    (kept / 'model.onnx').write_bytes(b'spoilt in the cache')
    assert model_directory.resolve(tmp_path / 'out.zip') == kept
    assert (kept / 'model.onnx').read_bytes() == content


@pytest.mark.parametrize('name', ['MODEL_CARD.md', 'metrics.json', 'config.yaml', 'model.onnx'])
def test_an_unfinished_model_is_not_packaged(model, tmp_path, name):
    (model / name).unlink()
    with pytest.raises(InputError, match=f'{name} is missing'):
        write_package(model, tmp_path / 'out.zip')
    assert not (tmp_path / 'out.zip').exists()


def test_a_model_whose_weights_are_not_its_own_is_not_packaged(model, tmp_path):
    (model / 'model.onnx').write_bytes(b'other')
    with pytest.raises(InputError, match='model.onnx: its SHA-256 differs'):
        write_package(model, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_numbers_that_do_not_name_the_commit_are_not_enough(model, tmp_path):
    (model / 'metrics.json').write_text('{"scores": {}, "seed": 0, "version": "1"}')
    with pytest.raises(InputError, match="metrics.json: does not name 'commit'"):
        write_package(model, tmp_path / 'out')


def test_licences_must_be_told_and_stand_in_the_card(model, tmp_path):
    (model / 'config.yaml').write_text(to_yaml(TrainingConfig()))
    (model / 'MODEL_CARD.md').write_text('# tiny\n\n## Measured\n\n1\n')
    with pytest.raises(InputError, match="--data-licences 'TEXT'"):
        write_package(model, tmp_path / 'out')
    write_package(model, tmp_path / 'out', data_licences='generated')
    card = (tmp_path / 'out' / 'MODEL_CARD.md').read_text()
    assert card == '# tiny\n\n## Measured\n\n1\n\n## Data and licences\n\ngenerated\n'
    assert (model / 'MODEL_CARD.md').read_text() == '# tiny\n\n## Measured\n\n1\n'


def test_what_is_there_is_not_overwritten(model, package):
    with pytest.raises(InputError, match='is there already; give another --output'):
        write_package(model, package)


def test_a_package_never_changes_but_becomes_a_version(model, tmp_path, capfd):
    from bkd_core.adaptation.versions import ModelVersions
    write_package(model, tmp_path / 'out')
    version = ModelVersions(tmp_path / 'versions').add(
        tmp_path / 'out', is_accepted=True, reason='first')
    assert version.state == 'accepted' and not (version.directory / MANIFEST).exists()
    with pytest.raises(SystemExit):
        main(['export', str(tmp_path / 'out')])
    assert 'a package never changes; give an --output' in capfd.readouterr().err


def test_the_command_writes_checks_and_refuses(model, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    metrics = json.loads((model / 'metrics.json').read_text())
    (model / 'metrics.json').write_text(json.dumps({**metrics, 'commit': 'abc-dirty'}))
    main(['package', str(model)])
    text = capfd.readouterr().out
    assert 'tiny.zip: tiny, 7 files' in text and "'abc-dirty'" in text
    main(['package', '--check', 'tiny.zip'])
    assert 'all as their hashes say' in capfd.readouterr().out
    content = bytearray((tmp_path / 'tiny.zip').read_bytes())
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entry = archive.getinfo('model.onnx')
    content[entry.header_offset + 30 + len('model.onnx') + 5] ^= 1
    (tmp_path / 'tiny.zip').write_bytes(content)
    for words, message in (
            (['--check', 'tiny.zip'], 'model.onnx'), (['--check', 'no.zip'], 'no such file'),
            ([], 'expected a model, or --check FILE'),
            ([str(model), '--check', 'tiny.zip'], 'expected a model, or --check FILE')):
        with pytest.raises(SystemExit) as stop:
            main(['package', *words])
        assert stop.value.code == 2 and message in capfd.readouterr().err
