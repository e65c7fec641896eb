# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Reading runs: their state, how far they are, side by side, and on the command line."""

from __future__ import annotations

import fcntl
import json
import shutil
import threading

from bkd_core import experiment
from bkd_core.__main__ import main
from bkd_core.config import TrainingConfig
from bkd_core.config_file import to_yaml
from bkd_core.errors import InputError
from bkd_core.runs import compare_runs, find_runs, LOCK, read_run, require_begun
from bkd_core.training.processes import Processes
from bkd_core.training.run_lock import only_run
import pytest
from tiny_training import PaintedFrames, register_tiny_network, tiny_config
import yaml

IOU = {'road': 0.75, 'car': None}


def write_run(directory, *, made=30, steps=40, is_finished=False, is_saved=True, **settings):
    """Write what a run leaves, without training."""
    directory.mkdir(parents=True)
    lines = [
        {'step': step, 'seconds': 0.5, 'source': 1.0 if step < made - 20 else 0.25, 'soft': 0.5}
        for step in range(made)]
    (directory / 'log.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in lines))
    (directory / 'resources.jsonl').write_text(
        '{"step": 9, "images_per_second": 3.0}\n{"step": 19, "images_per_second": 8.0}\n')
    values = {**yaml.safe_load(to_yaml(TrainingConfig(steps=steps))), **settings}
    (directory / 'run.json').write_text(json.dumps({
        'format_version': 1, 'settings': values, 'saved_step': 25, 'stopped': None,
        'starts': [{'time': '2026-05-01T12:00:00Z', 'commit': 'abc'}]}))
    if is_saved:
        (directory / 'checkpoint.pt').write_bytes(b'1')
    if is_finished:
        (directory / 'metrics.json').write_text(json.dumps(
            {'scores': {'miou': 0.75, 'iou': IOU}, 'steps': steps}))
    return directory


def test_a_run_tells_how_far_it_is_and_its_last_losses(tmp_path):
    run = read_run(write_run(tmp_path / 'a'))
    assert (run.state, run.made, run.steps, run.saved_step) == ('interrupted', 30, 40, 25)
    assert run.losses == {'source': 0.25, 'soft': 0.5}  # of the last 20 steps only
    assert (run.loss, run.score, run.method) == (0.75, None, 'source_only')
    assert run.resources['images_per_second'] == 8.0
    assert run.starts[0]['commit'] == 'abc'
    assert json.loads(json.dumps(run.to_dict()))['made'] == 30


def test_a_run_is_running_while_a_process_holds_its_lock(tmp_path):
    directory = write_run(tmp_path / 'a')
    with (directory / LOCK).open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert read_run(directory).state == 'running'
    assert read_run(directory).state == 'interrupted'  # it was killed: the file is still there
    (directory / 'metrics.json').write_text('{"scores": {"miou": 0.5, "iou": {}}}')
    assert read_run(directory).state == 'finished'


def test_asking_for_the_state_keeps_no_process_from_training(tmp_path):
    directory = write_run(tmp_path / 'a')
    with (directory / LOCK).open('w') as asked:
        fcntl.flock(asked, fcntl.LOCK_SH)  # as one who asks holds it for a moment
        threading.Timer(0.05, fcntl.flock, (asked, fcntl.LOCK_UN)).start()
        with only_run(directory, Processes()):
            assert read_run(directory).state == 'running'


def test_scores_of_the_middle_count_until_there_are_those_of_the_end(tmp_path):
    directory = write_run(tmp_path / 'a')
    (directory / 'validation.jsonl').write_text('{"step": 9, "miou": 0.25}\n')
    assert read_run(directory).score == 0.25
    (directory / 'metrics.json').write_text(json.dumps({'scores': {'miou': 0.5, 'iou': IOU}}))
    assert read_run(directory).score == 0.5


def test_a_run_of_before_there_were_records_is_read_from_its_log_and_configuration(tmp_path):
    directory = write_run(tmp_path / 'a', is_finished=True, is_saved=False)
    (directory / 'run.json').unlink()
    (directory / 'resources.jsonl').unlink()
    run = read_run(directory)
    assert (run.state, run.made, run.steps, run.method) == ('finished', 30, 40, '-')
    (directory / 'config.yaml').write_text(to_yaml(TrainingConfig(steps=40)))
    assert read_run(directory).method == 'source_only'
    assert run.resources == {} and run.starts == []


def test_a_run_without_a_line_yet_is_a_run(tmp_path):
    run = read_run(write_run(tmp_path / 'a', made=0, is_saved=False))
    assert (run.made, run.losses, run.loss, run.saved_step) == (0, {}, None, None)


@pytest.mark.parametrize(('name', 'text', 'message'), [
    ('run.json', '{"format', 'run.json: damaged'), ('run.json', '[1]', 'run.json: damaged'),
    ('run.json', '{"format_version": 2}', 'run.json: format_version 2; this bkd_ros reads 1'),
    ('metrics.json', '{', 'metrics.json: damaged'), ('metrics.json', '3', 'expected a mapping')])
def test_a_damaged_file_is_named(tmp_path, name, text, message):
    directory = write_run(tmp_path / 'a')
    (directory / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read_run(directory)


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(InputError, match=f'{tmp_path}: no run is here'):
        read_run(tmp_path)
    with pytest.raises(InputError, match='nowhere: no such folder'):
        find_runs(tmp_path / 'nowhere')


def test_runs_are_found_at_any_depth_but_not_inside_runs(tmp_path):
    for name in ('b', 'x/y/a', '.hidden/c'):
        write_run(tmp_path / name)
    write_run(tmp_path / 'b' / 'best')
    assert [run.directory.relative_to(tmp_path).as_posix() for run in find_runs(tmp_path)] == [
        'b', 'x/y/a']


def test_a_comparison_shows_only_settings_that_differ(tmp_path):
    runs = [
        read_run(write_run(tmp_path / 'a', seed=1, is_finished=True)),
        read_run(write_run(tmp_path / 'b', seed=2, optimizer={'learning_rate': 0.1}))]
    comparison = compare_runs(runs)
    assert comparison.settings['seed'] == [1, 2]
    assert comparison.settings['optimizer.learning_rate'] == [3e-4, 0.1]
    assert 'steps' not in comparison.settings
    assert comparison.results['miou'] == [0.75, None]
    assert comparison.results['loss.source'] == [0.25, 0.25]
    assert comparison.results['images_per_second'] == [8.0, 8.0]
    assert comparison.iou == {'road': [0.75, None], 'car': [None, None]}
    with pytest.raises(InputError, match='expected two or more runs; got 1'):
        compare_runs(runs[:1])


def test_there_must_be_something_to_go_on_with(tmp_path):
    with pytest.raises(InputError, match='--resume: nothing to go on with.*leave --resume out'):
        require_begun(tmp_path, ['teacher', 'student'])
    write_run(tmp_path / 'student', is_saved=False)
    with pytest.raises(InputError, match='student was begun, but stopped before its first check'):
        require_begun(tmp_path, ['teacher', 'student'])
    write_run(tmp_path / 'teacher', is_finished=True, is_saved=False)
    assert require_begun(tmp_path, ['teacher', 'student']) == ['teacher: finished']
    (tmp_path / 'student' / 'checkpoint.pt').write_bytes(b'1')
    assert require_begun(tmp_path, ['teacher', 'student']) == [
        'teacher: finished', 'student: goes on from step 25']


@pytest.fixture
def tiny_experiment(tmp_path, monkeypatch):
    """Return the file of an experiment of painted frames; outputs go below an empty folder."""
    register_tiny_network(monkeypatch)
    monkeypatch.setattr(
        experiment, 'open_dataset', lambda config, data_root: PaintedFrames(4))
    monkeypatch.chdir(tmp_path)
    file = tmp_path / 'tiny.yaml'
    file.write_text(to_yaml(tiny_config(steps=4, checkpoint_steps=2)))
    return str(file)


def test_resume_refuses_to_begin_and_goes_on_with_what_was_begun(
        tiny_experiment, tmp_path, capfd, monkeypatch):
    with pytest.raises(SystemExit) as stop:
        main(['train', tiny_experiment, '--output', 'out', '--resume'])
    assert stop.value.code == 2 and not (tmp_path / 'out').exists()
    assert '--resume: nothing to go on with in out' in capfd.readouterr().err

    with pytest.raises(SystemExit):
        main(['train', tiny_experiment, '--output', 'out', '--resume', '--stage', 'modle'])
    error = capfd.readouterr().err
    assert "stage 'modle': the configuration has ['model']" in error and '--resume' not in error

    class StopsAfterTwo(experiment.Trainer):
        def run(self, **arguments):
            super().run(**{**arguments, 'until': 2})
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(experiment, 'Trainer', StopsAfterTwo)
        main(['train', tiny_experiment, '--output', 'out'])
    run = read_run(tmp_path / 'out' / 'model')
    assert (run.state, run.made, run.saved_step) == ('interrupted', 2, 2)
    assert run.stopped['reason'] == 'KeyboardInterrupt'
    main(['train', tiny_experiment, '--output', 'out', '--resume'])
    assert 'model: goes on from step 2' in capfd.readouterr().out
    run = read_run(tmp_path / 'out' / 'model')
    assert (run.state, run.made, run.stopped) == ('finished', 4, None)
    main(['train', tiny_experiment, '--output', 'out', '--resume'])
    assert 'model: finished' in capfd.readouterr().out


def test_the_list_shows_every_run(tmp_path, capfd):
    write_run(tmp_path / 'a' / 'student', is_finished=True)
    write_run(tmp_path / 'b', made=12)
    main(['runs', 'list', str(tmp_path)])
    rows = [line for line in capfd.readouterr().out.splitlines() if line.startswith('│')]
    assert all(word in rows[0] for word in (
        'a/student', 'finished', '30/40', '0.75', '75.0', '8', 's ago'))
    assert all(word in rows[1] for word in ('b', 'interrupted', '12/40', '-'))
    main(['runs', 'list', str(tmp_path), '--json'])
    values = json.loads(capfd.readouterr().out)
    assert [value['state'] for value in values] == ['finished', 'interrupted']


@pytest.mark.parametrize(('name', 'text'), [
    ('run.json', '{"format_version": 1, "settings": {"method": "self_training"}}'),
    ('run.json', '{"format_version": 1, "settings": [1]}'),
    ('metrics.json', '{"scores": [0.4]}'),
    ('log.jsonl', '{"step": 0, "source": "low"}\n')])
def test_values_of_another_kind_are_damage_and_stop_no_list(tmp_path, name, text):
    damaged = write_run(tmp_path / 'a')
    write_run(tmp_path / 'b')
    (damaged / name).write_text(text)
    with pytest.raises(InputError, match='a: damaged: a file holds values of another kind'):
        read_run(damaged)
    assert [run.state for run in find_runs(tmp_path)] == ['damaged', 'interrupted']


def test_the_list_goes_on_past_a_damaged_run_and_says_what_is_wrong(tmp_path, capfd):
    damaged = write_run(tmp_path / 'a')
    write_run(tmp_path / 'b', made=12)
    (damaged / 'run.json').write_text('{"format')
    main(['runs', 'list', str(tmp_path)])
    out = capfd.readouterr().out
    rows = [line.split('│')[1:4] for line in out.splitlines() if line.startswith('│')]
    assert [[word.strip() for word in row] for row in rows] == [
        ['a', 'damaged', '-'], ['b', 'interrupted', '12/40']]
    assert f'{damaged}/run.json: damaged; expected what a run writes' in out.splitlines()[-1]
    main(['runs', 'list', str(tmp_path), '--json'])
    values = json.loads(capfd.readouterr().out)
    assert [value['state'] for value in values] == ['damaged', 'interrupted']
    assert 'run.json: damaged' in values[0]['damage'] and values[1]['damage'] == ''
    with pytest.raises(SystemExit):
        main(['runs', 'show', str(damaged)])
    assert 'run.json: damaged' in capfd.readouterr().err


def test_show_and_compare_print_tables_or_json(tmp_path, capfd):
    first, second = write_run(tmp_path / 'a', seed=1), write_run(tmp_path / 'b', is_finished=True)
    journal = json.loads((first / 'run.json').read_text())
    journal['stopped'] = {'step': 30, 'time': '2026-05-01T13:00:00Z', 'reason': 'disk [full]'}
    (first / 'run.json').write_text(json.dumps(journal))
    main(['runs', 'show', str(first)])
    text = capfd.readouterr().out
    assert 'goes on from step' in text and 'step 30: disk [full]' in text and 'abc' in text
    main(['runs', 'show', str(second), '--json'])
    assert json.loads(capfd.readouterr().out)['iou'] == IOU
    main(['runs', 'compare', str(first), str(second)])
    text = capfd.readouterr().out
    assert 'seed' in text and 'IoU % road' in text and 'learning_rate' not in text
    main(['runs', 'compare', str(first), str(second), '--json'])
    assert json.loads(capfd.readouterr().out)['settings'] == {'seed': [1, 0]}


@pytest.mark.parametrize(('words', 'message'), [
    (('list',), 'runs: no such folder'), (('list', '.'), 'holds no run'),
    (('show', '.'), 'no run is here'), (('compare', 'a'), 'expected two or more'),
    (('list', '.', '--jsno'), "unknown option '--jsno'. Did you mean '--json'")])
def test_mistakes_are_one_line(tmp_path, monkeypatch, capfd, words, message):
    monkeypatch.chdir(tmp_path)
    if 'a' in words:
        write_run(tmp_path / 'a')
    with pytest.raises(SystemExit) as stop:
        main(['runs', *words])
    assert stop.value.code == 2 and message in capfd.readouterr().err


def test_records_of_a_run_stay_out_of_versions_and_their_listing(tmp_path):
    from bkd_core.adaptation.versions import ModelVersions
    from fixtures_models import write_tiny_model
    model = write_tiny_model(tmp_path / 'model')
    shutil.copytree(write_run(tmp_path / 'a'), model, dirs_exist_ok=True)
    (model / 'pictures').mkdir()
    (model / 'pictures' / '00000003.jpg').write_bytes(b'a frame of the camera')
    version = ModelVersions(tmp_path / 'versions').add(model, is_accepted=True, reason='first')
    assert {path.name for path in version.directory.iterdir()} == {
        'model.yaml', 'model.onnx', 'log.jsonl', 'version.json'}
    assert version.state == 'accepted'
