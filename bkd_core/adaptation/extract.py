# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""From recordings to a frame store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Sequence

from bkd_core.adaptation.collector import Collected, Collector
from bkd_core.datasets.frame_record import camera_name, FrameMetadata
from bkd_core.datasets.recording_frames import FrameRange, open_frames
from bkd_core.errors import InputError
from bkd_core.progress import Advance, progress_bar


@dataclass(frozen=True, kw_only=True)
class Extracted:
    """
    What came out of recordings.

    :param num_frames: Frames that were looked at.
    :param damaged: What was wrong with those that could not be read.
    :param collected: What the collector did with the others.
    """

    num_frames: int
    damaged: tuple[str, ...]
    collected: Collected


def extract_frames(
    recordings: Sequence[Path], collector: Collector, *, wanted: FrameRange,
) -> Extracted:
    """
    Offer the frames of recordings to a collector; show a progress bar.

    A damaged frame is left out and named. A disk that is full ends it.

    :param recordings: Each a .bag, .mcap or .db3 file, or a rosbag2 folder.
    :param collector: Fills the store.
    :param wanted: Which frames of each.
    :raises InputError: If a recording cannot be read or has no such topic, or the store cannot
        be written.
    """
    num_frames, damaged = 0, []
    for path in recordings:  # a mistake in the last one shows before the first is read
        with open_frames(path, wanted):
            pass
    for path in recordings:
        with open_frames(path, wanted) as frames:
            total = -(-frames.num_messages // wanted.stride)
            with progress_bar(str(path.name), total) as advance:
                num_frames += _offer_all(frames, collector, damaged, advance)
    return Extracted(
        num_frames=num_frames, damaged=tuple(damaged), collected=collector.summary())


def _offer_all(
    frames: object, collector: Collector, damaged: list[str], advance: Advance,
) -> int:
    count = 0
    for count, message in enumerate(frames, start=1):
        try:
            frame = message.frame()
            metadata = FrameMetadata(
                stamp_ns=frame.stamp_ns, topic=frame.topic, camera=camera_name(frame.topic),
                frame_id=frame.frame_id)
        except InputError as error:
            damaged.append(str(error))
        else:
            collector.offer(frame.image, metadata)
        seen = collector.summary()
        if seen.fault:
            raise InputError(
                f'{collector.store.folder}: cannot be written: {seen.fault}. Make room or give '
                'another folder; the same command goes on with what is there')
        advance(count, f'{seen.num_frames} kept')
    return count
