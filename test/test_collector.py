# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""From frames to a store: what is kept, what is left out and why, what is hidden."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from bkd_core.adaptation import (
    Collector,
    CollectorConfig,
    FrameMetadata,
    FrameStore,
    QualityConfig,
)
from bkd_core.adaptation.privacy import blur_regions, class_ids, mask_of
from bkd_core.datasets import build_dataset
from bkd_core.errors import InputError
from bkd_core.inference import Segmenter
from bkd_core.labels import get_label_space
from fixtures_models import write_tiny_model
import numpy as np
import pytest

SPACE = get_label_space('street9')
ANY = QualityConfig(min_sharpness=0, max_dark=1, max_bright=1, min_difference=0)


@pytest.fixture(scope='module')
def segmenter(tmp_path_factory):
    return Segmenter.load(write_tiny_model(tmp_path_factory.mktemp('model')))


def painted(seed=0, height=96, width=128):
    """Return a frame painted with the classes' colours, in blocks of 16 pixels."""
    blocks = np.random.default_rng(seed).integers(
        0, SPACE.num_classes, (height // 16, width // 16))
    return np.array(SPACE.colors, np.uint8)[np.kron(blocks, np.ones((16, 16), int))]


def at(second):
    return FrameMetadata(stamp_ns=second * 10**9, topic='/c')


def test_good_frames_are_stored_and_others_counted_by_reason(tmp_path, segmenter):
    with Collector(tmp_path, config=CollectorConfig(), segmenter=segmenter) as collector:
        assert collector.offer(painted(1), at(1)).name
        assert collector.offer(painted(1), at(2)).reason == 'near-duplicate'
        assert collector.offer(painted(1) // 30, at(3)).reason == 'too dark'
        assert collector.offer(painted(2), at(4)).name
        seen = collector.summary()
    assert (seen.num_stored, seen.num_removed, seen.num_frames, seen.fault) == (2, 0, 2, '')
    assert seen.left_out == {'near-duplicate': 1, 'too dark': 1}
    assert seen.num_bytes == collector.store.num_bytes > 0
    assert len(build_dataset('frame_store', root=tmp_path)) == 2


def test_a_restart_knows_the_near_duplicates_of_before(tmp_path, segmenter):
    for expected in ('', 'near-duplicate'):
        with Collector(tmp_path, config=CollectorConfig(), segmenter=segmenter) as collector:
            assert collector.offer(painted(1), at(2 if expected else 1)).reason == expected


def test_a_frame_that_gave_way_may_come_again(tmp_path):
    config = CollectorConfig(max_megabytes=.041, selection='keep_latest', image_format='png')
    with Collector(tmp_path, config=config) as collector:
        names = [collector.offer(painted(n), at(n)).name for n in range(1, 6)]
        assert names[0] not in [record.name for record in collector.store]
        assert collector.offer(painted(1), at(9)).name
        assert collector.offer(painted(5), at(10)).reason == 'near-duplicate'


def test_the_embedding_is_the_students_and_of_the_frame_as_it_was(tmp_path, segmenter):
    config = CollectorConfig(quality=ANY, blur_classes=('pedestrian',))
    for folder, settings in (('plain', CollectorConfig(quality=ANY)), ('hidden', config)):
        with Collector(tmp_path / folder, config=settings, segmenter=segmenter) as collector:
            collector.offer(painted(3), at(1))
    [plain], [hidden] = FrameStore(tmp_path / 'plain', max_bytes=10**6), FrameStore(
        tmp_path / 'hidden', max_bytes=10**6)
    assert plain.embedding.size == 12 * SPACE.num_classes
    assert (plain.embedding == hidden.embedding).all()
    assert (plain.thumbnail != hidden.thumbnail).any()  # not even the thumbnail shows them


@pytest.mark.parametrize('blurred', [(), ('pedestrian', 'car')])
def test_chosen_classes_are_hidden_before_anything_is_stored(blurred, tmp_path, segmenter):
    config = CollectorConfig(quality=ANY, blur_classes=blurred, image_format='png')
    frame = painted(4)
    ids = class_ids(blurred, SPACE)
    mask = mask_of(segmenter.logits(frame), ids, *frame.shape[:2], threshold=.3)
    labels = segmenter(frame).labels
    assert (mask == np.isin(labels, ids)).mean() > 0.9 and mask.any() == bool(blurred)
    with Collector(tmp_path, config=config, segmenter=segmenter) as collector:
        assert len(collector.warnings()) == len(blurred)  # the tiny model was never measured
        collector.offer(frame, at(1))
    stored = build_dataset('frame_store', root=tmp_path).image(0)
    assert (stored == blur_regions(frame, mask)).all()
    assert (stored != frame).any() == bool(blurred)


def test_a_full_disk_is_told_and_collecting_goes_on_when_there_is_room(
        tmp_path, segmenter, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with Collector(tmp_path, config=CollectorConfig(), segmenter=segmenter) as collector:
        with monkeypatch.context() as patch:
            patch.setattr(os, 'fsync', full)
            assert collector.offer(painted(1), at(1)).reason == 'not written'
        seen = collector.summary()
        assert seen.fault == f'No space left on device: {tmp_path} lies on a full disk'
        assert seen.num_frames == 0 and seen.left_out == {'not written': 1}
        assert collector.offer(painted(1), at(2)).name
        assert collector.summary().fault == ''


def test_a_frame_that_cannot_be_removed_is_told_and_collecting_goes_on_when_it_can(
        tmp_path, monkeypatch):
    config = CollectorConfig(max_megabytes=.041, selection='keep_latest', image_format='png')
    with Collector(tmp_path, config=config) as collector:
        for number in range(1, 4):
            assert collector.offer(painted(number), at(number)).name

        def refuse(path, **options):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(path))
        with monkeypatch.context() as patch:
            patch.setattr(Path, 'unlink', refuse)
            assert collector.offer(painted(4), at(4)).name  # it is stored, whatever stays
            assert collector.summary().num_frames == 4 and not collector.summary().num_removed
            for number in (5, 6):
                assert collector.offer(painted(number), at(number)).reason == 'not written'
            assert collector.summary().fault.startswith('Operation not permitted: /')
            assert collector.summary().num_frames == 4
        assert collector.offer(painted(7), at(7)).name
        seen = collector.summary()
        assert seen.fault == '' and seen.num_frames == 5 - seen.num_removed < 5
        assert collector.offer(painted(1), at(9)).name  # it gave way, and may come again
        assert collector.offer(painted(7), at(10)).reason == 'near-duplicate'


def test_what_needs_a_model_says_so(tmp_path):
    with pytest.raises(InputError, match=r"'stratified_k_center' and blur_classes \[\] need a"):
        Collector(tmp_path, config=CollectorConfig())
    with pytest.raises(InputError, match=r"blur_classes \['car'\] need a model"):
        Collector(tmp_path, config=CollectorConfig(
            selection='keep_latest', blur_classes=('car',)))
    with pytest.raises(InputError, match="Did you mean 'k_center'"):
        CollectorConfig(selection='kcenter')
    with pytest.raises(InputError, match='blur_threshold: got 0'):
        CollectorConfig(blur_threshold=0)
    assert list(tmp_path.iterdir()) == []
