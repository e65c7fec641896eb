# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Frames of earlier domains: which stay, what is learnt from them, and what the gate asks."""

from __future__ import annotations

from collections import Counter
import copy
from dataclasses import replace

from bkd_core.adaptation.gate import decide, GateSettings, StudentScores
from bkd_core.adaptation.measure import kept_share
from bkd_core.adaptation.memory import balanced, MemoryFile, open_memory, write_memory
from bkd_core.adaptation.settings import RoundSettings
from bkd_core.errors import InputError
from bkd_core.inference.segmenter import Segmentation
from bkd_core.labels import get_label_space
from bkd_core.methods import build_method, Rehearsal
from bkd_core.models import Normalized
from bkd_core.training import Trainer
import cv2
import numpy as np
import pytest
from tiny_training import (
    METHOD_SETTINGS,
    PaintedFrames,
    register_tiny_network,
    tiny_config,
    tiny_teacher,
)
import torch

STREET = get_label_space('street9')


def files_of(**counts):
    """Return so many files of 100 bytes of each round."""
    return [
        MemoryFile(round_name=name, name=f'{name}_{index}.jpg', path=None, num_bytes=100)
        for name, count in counts.items() for index in range(count)]


def chosen(files, max_files, max_bytes=10 ** 9, seed=0):
    """Return how many files of each round stay."""
    kept = balanced(
        files, max_files=max_files, max_bytes=max_bytes, rng=np.random.default_rng(seed))
    return Counter(file.round_name for file in kept)


def test_each_round_keeps_an_equal_share_and_a_small_one_all_it_has():
    assert chosen(files_of(a=30, b=200), 30) == {'a': 15, 'b': 15}
    assert chosen(files_of(a=3, b=200, c=50), 31) == {'a': 3, 'b': 14, 'c': 14}
    assert chosen(files_of(a=2), 30) == {'a': 2}


def test_the_bound_in_bytes_counts_too_and_the_last_file_stays():
    assert chosen(files_of(a=30, b=30), 30, max_bytes=850) == {'a': 4, 'b': 4}
    assert sum(chosen(files_of(a=30), 30, max_bytes=1).values()) == 1


def test_more_rounds_than_places_give_way_by_lot():
    files = files_of(**{f'r{number:02d}': 1 for number in range(20)})
    seen = [chosen(files, 5, seed=seed) for seed in range(40)]
    assert all(len(rounds) == 5 for rounds in seen)
    assert len(set().union(*seen)) == 20


def save_frames(folder, count, seed):
    """Write JPEG files; return their paths."""
    folder.mkdir(parents=True)
    frames = PaintedFrames(count, seed=seed)
    for index in range(count):
        assert cv2.imwrite(str(folder / f'{index:03d}.jpg'), frames.image(index))
    return sorted(folder.iterdir())


def test_a_version_carries_frames_of_its_own_round_and_of_those_before(tmp_path):
    versions = [tmp_path / f'version{number}' for number in range(3)]
    for number, (before, version) in enumerate(zip(versions, versions[1:]), 1):
        version.mkdir()
        write_memory(
            version, before=before, round_name=f'{number:06d}', max_frames=16,
            max_bytes=10 ** 6, seed=0, frames={
                'adapting': save_frames(tmp_path / f'{number}' / 'adapting', 20, number),
                'held_back': save_frames(tmp_path / f'{number}' / 'held_back_000', 6, number)})
    assert open_memory(versions[0], label_space=STREET) is None
    first, second = (open_memory(version, label_space=STREET) for version in versions[1:])
    assert (len(first.adapting), len(first.held_back)) == (12, 4)
    rounds = [
        Counter(part.name(index)[:6] for index in range(len(part)))
        for part in (second.adapting, second.held_back)]
    assert rounds == [{'000001': 6, '000002': 6}, {'000001': 2, '000002': 2}]
    names = {first.adapting.name(index): index for index in range(12)}
    stayed = next(i for i in range(12) if second.adapting.name(i) in names)
    np.testing.assert_array_equal(
        second.adapting.image(stayed), first.adapting.image(names[second.adapting.name(stayed)]))
    assert not second.adapting.has_labels


def method_of(network):
    """Return a method around a network that sees images as they are."""
    return build_method(
        METHOD_SETTINGS['source_only'], network, teacher=None, augment=lambda images: images,
        loss_stride=1)


def wrapped():
    """Return a network of fixed weights that normalises, in evaluation mode."""
    return Normalized(tiny_teacher(), mean=(120, 120, 120), std=(60, 60, 60)).eval()


def test_the_loss_is_the_divergence_from_the_network_before():
    config = tiny_config(batch_size=4)
    student = wrapped()
    rehearsal = Rehearsal(
        PaintedFrames(5), copy.deepcopy(student), config, weight=2.0, max_bytes=10 ** 8)
    same = rehearsal.loss(method_of(student), step=0)
    with torch.no_grad():
        student.network.classifier.bias += torch.linspace(0, 3, 9)
    other = rehearsal.loss(method_of(student), step=0)
    # Crops of other scales and of soft labels at a quarter of the resolution: nearly the same.
    assert 0 <= same < 0.05 * other
    halved = Rehearsal(PaintedFrames(5), wrapped(), config, weight=1.0, max_bytes=10 ** 8)
    assert halved.loss(method_of(student), step=0).item() == pytest.approx(other.item() / 2)
    other.backward()
    gradient = student.network.classifier.bias.grad
    # The student says too much of the last class: less of it lowers the loss.
    assert gradient[8] > 0 > gradient[0] and abs(float(gradient.sum())) < 1e-4


def test_running_statistics_keep_to_the_new_domain():
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Conv2d(4, 9, 1)).train()
    before = copy.deepcopy(network.state_dict())
    rehearsal = Rehearsal(PaintedFrames(5), wrapped(), tiny_config(), weight=1.0, max_bytes=0)
    rehearsal.loss(method_of(network), step=0).backward()
    for name, values in network.state_dict().items():
        assert torch.equal(values, before[name]), name
    assert network[1].training and network[0].weight.grad.abs().sum() > 0
    network(torch.rand(2, 3, 8, 8))
    assert not torch.equal(network[1].running_mean, before['1.running_mean'])


def test_earlier_domains_are_seen_by_the_statistics_in_use():
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Conv2d(4, 9, 1)).train()
    network[1].running_mean += 2.0
    rehearsal = Rehearsal(PaintedFrames(5), wrapped(), tiny_config(), weight=1.0, max_bytes=0)
    trained = rehearsal.loss(method_of(network), step=0)
    assert torch.equal(trained, rehearsal.loss(method_of(network.eval()), step=0))
    assert not network[1].training
    network[1].running_mean -= 4.0
    assert not torch.equal(trained, rehearsal.loss(method_of(network), step=0))


def test_what_is_rehearsed_follows_from_seed_and_step():
    def losses(seed):
        rehearsal = Rehearsal(
            PaintedFrames(5), wrapped(), tiny_config(seed=seed), weight=1.0, max_bytes=0)
        student = wrapped()
        with torch.no_grad():
            student.network.classifier.weight *= 2
        return [rehearsal.loss(method_of(student), step=step).item() for step in (0, 1, 0)]
    first = losses(0)
    assert first[0] == first[2] != first[1]
    assert first == losses(0) != losses(1)


def test_a_training_that_rehearses_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    register_tiny_network(monkeypatch)

    def trainer(name):
        config = tiny_config(steps=8, checkpoint_steps=2)
        return Trainer(
            config, directory=tmp_path / name, source=PaintedFrames(6), rehearsal=Rehearsal(
                PaintedFrames(5, seed=3), wrapped(), config, weight=1.0, max_bytes=10 ** 8))
    whole = trainer('whole').run()
    trainer('stopped').run(until=4)
    parts = trainer('stopped').run()
    for one, other in zip(whole.state_dict().values(), parts.state_dict().values()):
        assert torch.equal(one, other)
    assert 'memory' in (tmp_path / 'whole' / 'log.jsonl').read_text()


def answers(labels, confidence):
    """Return a segmenter that says the same about every frame."""
    def segment(frame, with_confidence=True):
        return Segmentation(
            labels=np.array(labels, np.uint8), confidence=np.array(confidence, np.uint8),
            mean_entropy=0.0, mean_confidence=0.0, mean_logits=np.zeros(4, np.float32))
    return segment


def test_only_what_the_student_before_was_sure_of_must_keep_its_label():
    before = answers([[0, 1], [2, 3]], [[255, 230], [229, 240]])  # 229 of 255 is below 0.9
    after = answers([[0, 7], [7, 3]], np.zeros((2, 2)))
    frames = PaintedFrames(2)
    assert kept_share(after, before=before, memory=frames) == pytest.approx(2 / 3)
    assert kept_share(before, before=before, memory=frames) == 1
    unsure = answers([[0, 1], [2, 3]], np.zeros((2, 2)))
    assert np.isnan(kept_share(after, before=unsure, memory=frames))


SCORES = StudentScores(
    replay_miou=0.5, agreement=0.8, consistency=0.8, flicker=0.2, mean_entropy=0.5,
    class_shares=(0.5, 0.5), num_frames=8, memory_kept=1.0)
BETTER = replace(SCORES, agreement=0.9)


@pytest.mark.parametrize(('kept', 'is_accepted'), [
    (1.0, True), (0.91, True), (0.89, False), (0.0, False), (float('nan'), False)])
def test_a_student_that_changes_its_mind_about_earlier_domains_is_refused(kept, is_accepted):
    decision = decide(
        SCORES, replace(BETTER, memory_kept=kept), GateSettings(), class_names=('a', 'b'))
    assert decision.is_accepted == is_accepted
    assert decision.criteria[-1].name == 'memory_drop'


def test_without_a_memory_nothing_is_asked_about_it():
    decision = decide(
        replace(SCORES, memory_kept=None), replace(BETTER, memory_kept=None), GateSettings(),
        class_names=('a', 'b'))
    assert decision.is_accepted and len(decision.criteria) == 8
    assert 'memory_drop' not in {item.name for item in decision.criteria}


def test_a_memory_of_a_few_frames_is_refused():
    assert RoundSettings().memory_frames == 0
    assert RoundSettings(memory_frames=8).memory_frames == 8
    with pytest.raises(InputError, match='memory_frames: got 7; expected 0, for none, or'):
        RoundSettings(memory_frames=7)
    with pytest.raises(InputError, match='lambda_memory: got -1; expected at least 0'):
        RoundSettings(lambda_memory=-1)
