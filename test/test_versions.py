# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Versions of a model: complete at every instant, one in use, a way back, a bounded size."""

from __future__ import annotations

from contextlib import contextmanager
import fcntl
import json
import os
from pathlib import Path
import shutil
import subprocess
import sys

from bkd_core import model_directory
from bkd_core.__main__ import main
from bkd_core.adaptation import versions as versions_module
from bkd_core.adaptation.version_files import short_hash
from bkd_core.adaptation.versions import ModelVersions
from bkd_core.errors import InputError
from bkd_core.inference import Segmenter
from fixtures_models import write_tiny_model
import numpy as np
import pytest

# Everything by which versions.py, atomic.py, shutil, tempfile and pathlib change a disk.
OS_CALLS = (
    'open', 'mkdir', 'replace', 'rename', 'fsync', 'unlink', 'remove', 'rmdir', 'chmod', 'close',
    'fdopen')


class PowerCut(BaseException):
    """Stands for a kill: nothing that follows it reaches the disk."""


@pytest.fixture
def candidates(tmp_path):
    """Return three different model directories."""
    return [
        write_tiny_model(tmp_path / f'model_{name}', name=name) for name in ('a', 'b', 'c')]


@pytest.fixture
def versions(tmp_path, candidates):
    """Return versions of which the first is in use."""
    result = ModelVersions(tmp_path / 'versions', wait_s=0.1)
    result.use(result.add(candidates[0], is_accepted=True, reason='the first').name)
    return result


def name_in_use(versions):
    """Return the name of the model that a reader gets, after checking all of its files."""
    directory = model_directory.resolve(versions.folder)
    spec = model_directory.read_spec(directory)
    for file in (model_directory.ONNX,):
        model_directory.verify(directory, spec, file)
    assert versions_module.read_record(directory)[1] == ''
    return spec.name


def states(versions):
    """Return what each version's state is."""
    return [version.state for version in versions.list()]


def cut_power_at(monkeypatch, number):
    """
    Let every change of the disk fail from a given one on, the clearing up after it, too.

    :param number: Of the first call that fails, from 0; None counts only.
    :return: The list of the calls that were made.
    """
    calls = []

    def wrap(name, original):
        def wrapped(*arguments, **keywords):
            if number is not None and len(calls) >= number:
                raise PowerCut(name)
            calls.append((name, arguments))
            return original(*arguments, **keywords)
        return wrapped
    for name in OS_CALLS:
        # A disk that is slow to answer shows nothing here, and this is done a hundred times.
        original = (lambda handle: None) if name == 'fsync' else getattr(os, name)
        monkeypatch.setattr(os, name, wrap(name, original))
    monkeypatch.setattr(shutil, 'copyfile', wrap('copyfile', shutil.copyfile))
    monkeypatch.setattr(Path, 'write_text', wrap('write_text', Path.write_text))
    return calls


@contextmanager
def recorded(number):
    """Count or cut within the block, and undo it afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        yield cut_power_at(patch, number)


def test_a_version_is_a_whole_model_and_the_pointer_names_it(versions, candidates):
    first = versions.list()[0]
    assert first.state == 'in use' and first.is_in_use and first.number == 1
    assert first.reason == 'the first' and first.parent is None
    for file in candidates[0].iterdir():
        assert (first.directory / file.name).read_bytes() == file.read_bytes()
    assert (versions.folder / 'in_use').read_text() == f'{first.name}\n'
    assert first.num_bytes == sum(file.stat().st_size for file in first.directory.iterdir())


def test_a_folder_of_versions_is_a_model_wherever_one_is_loaded(versions, candidates):
    second = versions.add(candidates[1], is_accepted=True, reason='better', parent='x')
    frame = np.zeros((64, 96, 3), np.uint8)
    assert Segmenter.load(versions.folder)(frame).labels.shape == (64, 96)
    assert name_in_use(versions) == 'a'  # no version is used because it is new
    versions.use(second.name)
    assert Segmenter.load(versions.folder).spec.name == 'b'
    assert versions.in_use().parent == 'x'


def test_a_refused_version_is_kept_and_never_used(versions, candidates):
    refused = versions.add(candidates[1], is_accepted=False, reason='it forgot the sky')
    with pytest.raises(InputError, match='is refused .it forgot the sky. and is never used'):
        versions.use('2')
    assert states(versions) == ['in use', 'refused'] and name_in_use(versions) == 'a'
    assert refused.directory.is_dir()


def test_rolling_back_goes_through_the_versions_that_were_used(versions, candidates):
    for candidate in candidates[1:]:
        versions.use(versions.add(candidate, is_accepted=True, reason='better').name)
    assert name_in_use(versions) == 'c'
    assert versions.rollback().number == 2 and name_in_use(versions) == 'b'
    assert states(versions) == ['accepted', 'in use', 'rolled back']
    assert versions.rollback().number == 1
    with pytest.raises(InputError, match='no whole version before'):
        versions.rollback()
    assert name_in_use(versions) == 'a'
    versions.use('3')
    assert versions.rollback().number == 1


def test_a_version_that_was_rolled_back_says_why_until_somebody_uses_it_again(
        versions, candidates):
    second = versions.use(versions.add(candidates[1], is_accepted=True, reason='better').name)
    assert versions.rollback(reason='It doubts.', only_from=second.name).number == 1
    marked = versions.find('2')
    assert (marked.state, marked.reason) == ('rolled back', 'It doubts.')
    assert ModelVersions(versions.folder).find('2').state == 'rolled back'
    third = versions.use(versions.add(candidates[2], is_accepted=True, reason='new').name)
    # Going back from the third passes over the second.
    assert versions.rollback().number == 1
    assert states(versions) == ['in use', 'rolled back', 'rolled back']
    assert versions.use('2').reason == 'better' and name_in_use(versions) == 'b'
    assert versions.find('2').state == 'in use'
    assert versions.find(third.name).reason == versions_module.BY_A_PERSON


def test_a_rollback_from_a_version_that_is_not_in_use_changes_nothing(versions, candidates):
    second = versions.use(versions.add(candidates[1], is_accepted=True, reason='better').name)
    versions.use('1')
    assert versions.rollback(reason='late', only_from=second.name).number == 1
    assert states(versions) == ['in use', 'accepted']


def test_the_reason_of_a_pruned_version_is_forgotten(versions, candidates):
    for candidate in candidates[1:]:
        versions.use(versions.add(candidate, is_accepted=True, reason='better').name)
        versions.rollback(reason='worse')
    second = versions.find('2').name
    assert versions.prune(0) == [second]  # the newest one that was rolled back stays
    versions.use(versions.add(candidates[1], is_accepted=True, reason='again').name)
    versions.rollback(reason='worse')
    reasons = json.loads((versions.folder / 'rolled_back.json').read_text())
    assert set(reasons) == {version.name for version in versions.list()[1:]}


@pytest.mark.parametrize('file', ['rolled_back.json', 'not_used.json'])
@pytest.mark.parametrize('content', ['{', '[]', '{"000002-00000000": 3}'])
def test_damaged_reasons_are_named_with_the_way_out(content, file, versions, candidates):
    versions.add(candidates[1], is_accepted=True, reason='better')
    (versions.folder / file).write_text(content)
    with pytest.raises(InputError, match=f'{file}: damaged.*Delete it'):
        versions.use('2')


def test_a_version_is_used_only_in_place_of_the_one_that_it_was_compared_with(
        versions, candidates):
    first = versions.in_use().name
    second = versions.add(candidates[1], is_accepted=True, reason='better', parent=first)
    assert versions.use(second.name, only_from=first).state == 'in use'
    third = versions.add(candidates[2], is_accepted=True, reason='better', parent=second.name)
    versions.rollback()
    unused = versions.use(third.name, only_from=second.name)
    assert (unused.state, unused.is_in_use) == ('not used', False)
    assert unused.reason == (
        f'The version in use changed during the round: it was {second.name}, with which this one '
        f'was compared, and is {first} now.')
    assert states(ModelVersions(versions.folder)) == ['in use', 'rolled back', 'not used']
    # A person may use it all the same, and go back to it later.
    assert versions.use('3').reason == 'better' and name_in_use(versions) == 'c'
    versions.use('1')
    assert states(versions) == ['in use', 'rolled back', 'accepted']
    # Used already, it is no version that never was.
    assert versions.use(third.name, only_from=second.name).state == 'accepted'
    versions.use('3')
    assert versions.use(third.name, only_from=second.name).state == 'in use'


def test_of_versions_that_are_not_used_the_newest_stays(versions, candidates):
    first = versions.in_use().name
    for candidate in candidates[1:]:
        name = versions.add(candidate, is_accepted=True, reason='better', parent='x').name
        assert versions.use(name, only_from='x').state == 'not used'
    good = versions.use(versions.add(candidates[1], is_accepted=True, reason='good').name)
    assert [name[:6] for name in versions.prune(0)] == ['000002']
    assert [version.name for version in versions.list()] == [first, name, good.name]


def test_two_that_begin_at_once_begin_once(versions, candidates, tmp_path):
    folder = tmp_path / 'begun'
    script = (
        'import sys; from pathlib import Path\n'
        'from bkd_core.adaptation.versions import ModelVersions\n'
        'ModelVersions(sys.argv[1]).begin(Path(sys.argv[2]), reason="first")')
    command = [sys.executable, '-c', script, str(folder), str(candidates[0])]
    root = Path(__file__).resolve().parents[1]
    children = [subprocess.Popen(command, cwd=root) for _ in range(3)]
    assert [child.wait(60) for child in children] == [0, 0, 0]
    assert states(ModelVersions(folder)) == ['in use']


def test_a_folder_that_is_begun_is_only_read_and_one_that_cannot_be_made_is_named(
        versions, candidates):
    for path in versions.folder.glob('.*'):
        path.unlink()
    before = sorted(os.listdir(versions.folder))
    versions.begin(candidates[1], reason='first')
    assert sorted(os.listdir(versions.folder)) == before
    with pytest.raises(InputError, match='/dev/null/versions: cannot be a folder of model'):
        ModelVersions('/dev/null/versions').begin(candidates[0], reason='first')


def test_rolling_back_passes_over_a_damaged_version(versions, candidates):
    for candidate in candidates[1:]:
        versions.use(versions.add(candidate, is_accepted=True, reason='better').name)
    (versions.list()[1].directory / model_directory.ONNX).write_bytes(b'torn')
    assert versions.rollback().number == 1


@pytest.mark.parametrize(('harm', 'message'), [
    (lambda folder: (folder / 'model.onnx').write_bytes(b''), 'changed, missing or added: model'),
    (lambda folder: (folder / 'extra').touch(), 'changed, missing or added: extra'),
    (lambda folder: (folder / 'model.yaml').unlink(), 'model.yaml'),
    (lambda folder: (folder / 'version.json').unlink(), 'cannot be read'),
    (lambda folder: (folder / 'version.json').write_text('{'), 'cannot be read'),
    (lambda folder: (folder / 'version.json').write_text(
        (folder / 'version.json').read_text().replace('false', 'true')), 'folder.s name'),
])
def test_a_damaged_version_is_listed_as_such_and_never_used(
        versions, candidates, harm, message):
    directory = versions.add(candidates[1], is_accepted=False, reason='worse').directory
    harm(directory)
    assert states(versions) == ['in use', 'damaged']
    assert message.replace('.s', "'s") in versions.list()[1].reason
    with pytest.raises(InputError, match='is damaged'):
        versions.use('2')


def test_a_damaged_version_in_use_is_refused_by_the_loader_and_left_by_a_rollback(
        versions, candidates):
    versions.use(versions.add(candidates[1], is_accepted=True, reason='better').name)
    broken = versions.in_use().directory
    (broken / model_directory.ONNX).write_bytes(b'torn')
    with pytest.raises(InputError, match='truncated or was replaced'):
        Segmenter.load(versions.folder)
    assert versions.in_use().state == 'damaged' and versions.in_use().is_in_use
    assert versions.rollback().number == 1


@pytest.mark.parametrize('content', ['', '../model\n', 'main\n', '000001-5f0c2ab1\n\n'])
def test_a_damaged_pointer_is_named_with_the_way_out(versions, content):
    (versions.folder / 'in_use').write_text(content)
    with pytest.raises(InputError, match='in_use: damaged.*Delete it and choose'):
        model_directory.resolve(versions.folder)
    (versions.folder / 'in_use').unlink()
    assert versions.in_use() is None
    versions.use('1')
    assert name_in_use(versions) == 'a'


def test_no_incomplete_model_becomes_a_version(versions, candidates):
    (candidates[1] / model_directory.ONNX).write_bytes(b'torn')
    with pytest.raises(InputError, match='SHA-256 differs'):
        versions.add(candidates[1], is_accepted=True, reason='new')
    (candidates[2] / model_directory.ONNX).unlink()
    model_directory.write_spec(candidates[2], model_directory.read_spec(candidates[2]))
    with pytest.raises(InputError, match='names no files with weights'):
        versions.add(candidates[2], is_accepted=True, reason='new')
    assert len(versions.list()) == 1


def test_a_copy_that_differs_from_the_candidate_never_becomes_visible(
        versions, candidates, monkeypatch):
    copyfile = shutil.copyfile

    def tear(source, target):
        copyfile(source, target)
        if Path(target).name == model_directory.ONNX:
            os.truncate(target, 10)
    monkeypatch.setattr(shutil, 'copyfile', tear)
    with pytest.raises(InputError, match='differs from it'):
        versions.add(candidates[1], is_accepted=True, reason='new')
    assert len(versions.list()) == 1 and len(os.listdir(versions.folder)) == 3


def test_hidden_files_of_a_candidate_stay_behind(versions, candidates):
    (candidates[1] / '.lock').touch()
    (candidates[1] / 'replay').mkdir()
    (candidates[1] / 'replay' / 'frame.jpg').write_bytes(b'picture')
    version = versions.add(candidates[1], is_accepted=True, reason='new')
    assert (version.directory / 'replay' / 'frame.jpg').read_bytes() == b'picture'
    assert not (version.directory / '.lock').exists()


def test_a_report_is_of_the_version_and_may_be_deleted_but_not_taken_along(
        versions, candidates, tmp_path):
    for name in ('report.html', 'report.json'):
        (candidates[1] / name).write_text(name)
    (candidates[1] / 'memory').mkdir()
    (candidates[1] / 'memory' / 'report.html').write_text('of the same name elsewhere')
    version = versions.add(candidates[1], is_accepted=True, reason='new')
    assert (version.directory / 'report.html').read_text() == 'report.html'
    assert version.num_bytes == sum(
        path.stat().st_size for path in version.directory.rglob('*') if path.is_file())
    other = ModelVersions(tmp_path / 'other')
    other.begin(version.directory, reason='the first')
    copy = other.in_use()
    assert copy.state == 'in use' and not (copy.directory / 'report.html').exists()
    assert (copy.directory / 'report.json').is_file()
    assert (copy.directory / 'memory' / 'report.html').is_file()
    (version.directory / 'report.html').unlink()
    assert versions.find('2').state == 'accepted'
    (version.directory / 'memory' / 'report.html').unlink()
    assert versions.find('2').reason == 'changed, missing or added: memory/report.html'


def test_a_version_whose_record_names_its_report_is_whole_without_it(versions, candidates):
    version = versions.add(candidates[1], is_accepted=True, reason='new')
    record = json.loads((version.directory / 'version.json').read_text())
    record['files']['report.html'] = '0' * 64  # as versions were once written
    text = json.dumps(record)
    (version.directory / 'version.json').write_text(text)
    renamed = versions.folder / f'000002-{short_hash(text)}'
    version.directory.rename(renamed)
    assert versions.find('2').state == 'accepted'


ACTIONS = {
    'add': lambda versions, models: versions.add(models[2], is_accepted=True, reason='new'),
    'use': lambda versions, models: versions.use('2'),
    'rollback': lambda versions, models: versions.rollback(),
    'prune': lambda versions, models: versions.prune(0),
}


@pytest.mark.parametrize('action', ACTIONS)
def test_a_kill_at_any_instant_leaves_a_whole_model_in_use(action, tmp_path, candidates):
    start = ModelVersions(tmp_path / 'start')
    for candidate in (*candidates, candidates[0]):
        start.add(candidate, is_accepted=True, reason='whole')
    start.use('1')
    start.use('3')
    before, _ = seen_after(start.folder, candidates, action, None, tmp_path)
    with recorded(None) as calls:
        after, complete = seen_after(start.folder, candidates, action, None, tmp_path, act=True)
    outcomes = set()
    for number in range(len(calls) + 1):
        seen, names = seen_after(start.folder, candidates, action, number, tmp_path, act=True)
        assert seen in (before, after)
        outcomes.add((seen, names))
    assert (before, (1, 2, 3, 4)) in outcomes  # it was cut before anything had changed
    assert (after, complete) in outcomes  # and after everything had
    assert len(calls) > 5


def seen_after(start, candidates, action, number, tmp_path, *, act=False):
    """Cut an action at a call; return the model in use, and the whole versions then."""
    folder = tmp_path / 'work'
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(start, folder)
    versions = ModelVersions(folder, wait_s=0.1)
    if act and number is None:
        ACTIONS[action](versions, candidates)
    elif act:
        with recorded(number):
            try:
                ACTIONS[action](versions, candidates)
            except PowerCut:
                pass
    name = name_in_use(versions)
    found = versions.list()
    assert 'damaged' not in {version.state for version in found}
    versions.prune(10 ** 12)  # the next writer clears up
    assert not [entry for entry in os.listdir(folder) if versions_module._LEFT_OVER.match(entry)]
    return name, tuple(version.number for version in found)


def test_a_version_is_on_the_disk_before_it_gets_its_name_and_the_pointer_comes_last(
        versions, candidates, monkeypatch):
    (candidates[1] / 'replay').mkdir()
    (candidates[1] / 'replay' / 'frame.jpg').write_bytes(b'picture')
    log = []
    opened = {}
    original = {name: getattr(os, name) for name in ('open', 'fsync', 'rename', 'replace')}

    def open_(path, *arguments, **keywords):
        handle = original['open'](path, *arguments, **keywords)
        opened[handle] = Path(path).name
        return handle
    monkeypatch.setattr(os, 'open', open_)
    monkeypatch.setattr(os, 'fsync', lambda handle: (
        log.append(opened.get(handle, 'file')), original['fsync'](handle)))
    for name in ('rename', 'replace'):
        monkeypatch.setattr(os, name, lambda source, target, name=name: (
            log.append((name, Path(target).name)), original[name](source, target)))
    version = versions.add(candidates[1], is_accepted=True, reason='new')
    named = log.index(('rename', version.name))
    assert {'model.onnx', 'model.yaml', 'version.json', 'frame.jpg', 'replay'} <= set(log[:named])
    assert log[named + 1:] == ['versions']
    log.clear()
    versions.use('2')
    assert log[-2:] == [('replace', 'in_use'), 'versions'] and len(log) == 3


def test_only_one_process_writes_and_readers_never_wait(versions, candidates):
    script = (
        'import sys; from bkd_core.adaptation.versions import ModelVersions\n'
        'with ModelVersions(sys.argv[1])._writing():\n'
        '    print("locked", flush=True); sys.stdin.readline()')
    with subprocess.Popen(
            [sys.executable, '-c', script, str(versions.folder)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True,
            cwd=Path(__file__).resolve().parents[1]) as other:
        assert other.stdout.readline() == 'locked\n'
        with pytest.raises(InputError, match='another process has been writing here for 0.1 s'):
            versions.use('1')
        assert name_in_use(versions) == 'a' and states(versions) == ['in use']
        other.kill()
    versions.use('1')  # the lock of a killed process is free


def test_a_writer_waits_for_a_short_one(versions):
    with (versions.folder / '.lock').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        patient = ModelVersions(versions.folder, wait_s=30)
        original = versions_module.time.sleep
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(versions_module.time, 'sleep', lambda s: (
                fcntl.flock(lock, fcntl.LOCK_UN), original(0)))
            assert patient.use('1').number == 1


def test_pruning_spares_what_is_needed_and_takes_the_oldest_refused_first(versions, candidates):
    accepted = (True, False, True, False, True, False, True)  # 2 to 8
    for index, is_accepted in enumerate(accepted):
        versions.add(candidates[index % 3], is_accepted=is_accepted, reason='so')
    versions.use('4')
    versions.use('6')  # before it: 4; first: 1; newest refused: 7; newest: 8
    size = versions.list()[0].num_bytes
    total = sum(version.num_bytes for version in versions.list())

    def numbers(names):
        return [int(name[:6]) for name in names]
    assert versions.prune(total) == []
    assert numbers(versions.prune(total - 1)) == [3]
    (versions.find('2').directory / 'extra').touch()
    assert numbers(versions.prune(total - int(1.5 * size))) == [2]
    assert numbers(versions.prune(0)) == [5]
    assert [version.number for version in versions.list()] == [1, 4, 6, 7, 8]
    assert versions.rollback().number == 4


def test_numbers_go_on_after_pruning(versions, candidates):
    versions.add(candidates[1], is_accepted=True, reason='so')
    third = versions.add(candidates[2], is_accepted=True, reason='so')
    versions.use(third.name)
    versions.prune(0)
    assert versions.add(candidates[1], is_accepted=True, reason='so').number == 4


def test_versions_of_a_missing_folder_are_none(tmp_path):
    missing = ModelVersions(tmp_path / 'none')
    assert missing.list() == [] and missing.in_use() is None
    with pytest.raises(InputError, match='no such folder of model versions'):
        missing.use('1')


def test_the_command_lists_uses_rolls_back_and_prunes(versions, candidates, capsys):
    versions.add(candidates[1], is_accepted=True, reason='it is better')
    versions.add(candidates[2], is_accepted=False, reason='it forgot')
    folder = str(versions.folder)
    main(['versions', folder])
    text = capsys.readouterr().out
    assert 'refused: it forgot' in text and 'in use' in text and 'it is better' not in text
    main(['versions', folder, 'use', '2'])
    assert name_in_use(versions) == 'b'
    main(['versions', folder, 'rollback'])
    assert name_in_use(versions) == 'a'
    main(['versions', folder, 'prune', '--max-megabytes', '0'])
    assert capsys.readouterr().out.endswith(f'deleted: {second_name(text)}\n')
    with pytest.raises(SystemExit):
        main(['versions', folder, 'use'])
    assert "'use' needs a version" in capsys.readouterr().err


def second_name(table):
    """Return the name that stands in the second row of a printed table."""
    return next(word for word in table.split() if word.startswith('000002-'))
