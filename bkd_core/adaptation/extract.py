# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""From recordings to a frame store."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Sequence

from bkd_core.adaptation.collector import Collected, Collector
from bkd_core.datasets.frame_record import camera_name, FrameMetadata
from bkd_core.datasets.recording_frames import FrameRange, open_frames, RecordedFrames
from bkd_core.datasets.recording_poses import RecordedPoses
from bkd_core.errors import InputError
from bkd_core.progress import Advance, progress_bar


@dataclass(frozen=True, kw_only=True)
class Extracted:
    """
    What came out of recordings.

    :param num_frames: Frames that were looked at.
    :param num_with_pose: Those of them near which a pose was recorded.
    :param damaged: What was wrong with those that could not be read.
    :param collected: What the collector did with the others.
    """

    num_frames: int
    num_with_pose: int
    damaged: tuple[str, ...]
    collected: Collected


def extract_frames(
    recordings: Sequence[Path], collector: Collector, *, wanted: FrameRange,
    pose_topic: str = '',
) -> Extracted:
    """
    Offer the frames of recordings to a collector; show a progress bar.

    A damaged frame is left out and named. A disk that is full ends it.

    :param recordings: Each a .bag, .mcap or .db3 file, or a rosbag2 folder.
    :param collector: Fills the store.
    :param wanted: Which frames of each.
    :param pose_topic: Topic of PoseStamped; the pose nearest to a frame, if it is within half a
        second, is kept with it. Empty for none.
    :raises InputError: If a recording cannot be read or lacks one of the topics, or the store
        cannot be written.
    """
    seen = _Seen()
    poses = {}
    for path in recordings:  # a mistake in the last one shows before the first is read
        with open_frames(path, wanted):
            poses[path] = RecordedPoses(path, pose_topic) if pose_topic else None
    for path in recordings:
        with open_frames(path, wanted) as frames:
            total = -(-frames.num_messages // wanted.stride)
            with progress_bar(str(path.name), total) as advance:
                _offer_all(frames, poses[path], collector, seen, advance)
    return Extracted(
        num_frames=seen.num_frames, num_with_pose=seen.num_with_pose,
        damaged=tuple(seen.damaged), collected=collector.summary())


@dataclass
class _Seen:
    num_frames: int = 0
    num_with_pose: int = 0
    damaged: list[str] = field(default_factory=list)


def _offer_all(
    frames: RecordedFrames, poses: RecordedPoses | None, collector: Collector, seen: _Seen,
    advance: Advance,
) -> None:
    for count, message in enumerate(frames, start=1):
        seen.num_frames += 1
        try:
            frame = message.frame()
            pose = poses.near(frame.stamp_ns) if poses else None
            metadata = FrameMetadata(
                stamp_ns=frame.stamp_ns, topic=frame.topic, camera=camera_name(frame.topic),
                frame_id=frame.frame_id, pose=pose)
        except InputError as error:
            seen.damaged.append(str(error))
        else:
            seen.num_with_pose += pose is not None
            collector.offer(frame.image, metadata)
        collected = collector.summary()
        if collected.fault:
            raise InputError(
                f'{collector.store.folder}: cannot be written: {collected.fault}. Make room or '
                'give another folder; the same command goes on with what is there')
        advance(count, f'{collected.num_frames} kept')
