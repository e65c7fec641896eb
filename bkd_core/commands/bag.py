# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""`bkd bag info | frames | extract`."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
import sys
from typing import Annotated, Union

from bkd_core.adaptation.collector import CollectorConfig
from bkd_core.adaptation.frame_quality import QualityConfig
from bkd_core.commands.options import refuse_options
from bkd_core.errors import InputError
from rich.console import Console
from rich.table import Table
import tyro

Recordings = Annotated[tuple[Path, ...], tyro.conf.Positional]


@dataclass(frozen=True, kw_only=True)
class Info:
    """
    Tell what is in recordings: topics, types, rates, duration, compression.

    For example:

        bkd bag info drive
        bkd bag info old.bag new.mcap
    """

    recordings: Recordings
    """rosbag2 folders, .mcap, .db3 or .bag files."""

    def run(self) -> None:
        """Tell."""
        from bkd_core.datasets.recording_info import read_info
        for path in _given(self.recordings):
            info = read_info(path)
            began = datetime.fromtimestamp(info.start_ns / 1e9, timezone.utc)
            print(f'{path}: {info.kind}, compression {info.compression}, '
                  f'{info.num_bytes / 1e6:.1f} MB, {info.duration_s:.1f} s from '
                  f'{began:%Y-%m-%d %H:%M:%S} UTC')
            table = Table()
            for column in ('topic', 'type', 'messages', 'Hz', 'images'):
                table.add_column(
                    column, justify='right' if column in ('messages', 'Hz') else 'left')
            for topic in info.topics:
                table.add_row(
                    topic.name, topic.message_type, str(topic.num_messages),
                    f'{topic.rate:.1f}', topic.images)
            Console().print(table)


@dataclass(frozen=True, kw_only=True)
class FrameOptions:
    """Which frames of recordings are meant."""

    recordings: Recordings
    """rosbag2 folders, .mcap, .db3 or .bag files."""
    topic: tuple[str, ...] = ()
    """Image topics; needed if a recording holds several."""
    start: float = 0.0
    """Seconds after a recording's first message."""
    end: float | None = None
    """Seconds after its first message at which to stop; default its end."""
    stride: int = 1
    """Every n-th frame of each topic."""

    def wanted(self):
        """Return the same as a `FrameRange`."""
        from bkd_core.datasets.recording_frames import FrameRange, topics_of
        return FrameRange(
            topics=topics_of(self.topic), start_s=self.start, end_s=self.end,
            stride=self.stride)


@dataclass(frozen=True, kw_only=True)
class Frames(FrameOptions):
    """
    List frames: number, time of recording, stamp, topic and coordinate frame, tab-separated.

    For example:

        bkd bag frames drive --topic /front/image_raw /rear/image_raw
        bkd bag frames drive --start 60 --end 90 --stride 10
    """

    def run(self) -> None:
        """List."""
        from bkd_core.datasets.recording_frames import open_frames
        wanted = self.wanted()
        for path in _given(self.recordings):
            with open_frames(path, wanted) as frames:
                for message in frames:
                    try:
                        stamp_ns, frame_id = message.header()
                    except InputError as error:
                        stamp_ns, frame_id = 'damaged', str(error)
                    print(message.number, message.time_ns, stamp_ns, message.topic, frame_id,
                          sep='\t')


@dataclass(frozen=True, kw_only=True)
class Extract(FrameOptions):
    """
    Put the frames of recordings that are worth having into a frame store.

    Frames that are blurred, badly exposed or like one in the store are left out. When the store
    is full, a frame gives way to a better one. The same command goes on with a store that is
    there. The data set 'frame_store' reads it for training.

    For example:

        bkd bag extract drive --output store
        bkd bag extract monday.mcap tuesday.mcap --output store --max-megabytes 500 --stride 5
        bkd bag extract drive --output store --blur-classes pedestrian car
    """

    output: Path
    """Folder of the store."""
    pose_topic: str = ''
    """Topic of PoseStamped; a pose within half a second of a frame is kept with it."""
    max_megabytes: float = CollectorConfig.max_megabytes
    """What the store may take on the disk, in units of 10^6 bytes."""
    format: str = CollectorConfig.image_format  # noqa: A003
    """jpeg (quality 95) or png (without loss)."""
    selection: str = CollectorConfig.selection
    """Which frame gives way: stratified_k_center, stratified_reservoir, k_center, keep_latest."""
    blur_classes: tuple[str, ...] = ()
    """Classes whose pixels are made unrecognisable before anything is stored."""
    blur_threshold: float = CollectorConfig.blur_threshold
    """Probability of those classes from which on a pixel is hidden; lower hides more."""
    quality: QualityConfig = field(default_factory=QualityConfig)
    model: str = 'default'
    """The student that compares frames and finds classes: a model directory, or 'default'."""
    seed: int = 0
    """Of what the selection draws."""

    def run(self) -> None:
        """Extract."""
        from bkd_core.adaptation.collector import Collector
        from bkd_core.adaptation.extract import extract_frames
        from bkd_core.inference import Segmenter
        config = CollectorConfig(
            max_megabytes=self.max_megabytes, image_format=self.format,
            selection=self.selection, blur_classes=self.blur_classes,
            blur_threshold=self.blur_threshold, quality=self.quality, seed=self.seed)
        wanted, recordings = self.wanted(), _given(self.recordings)
        segmenter = Segmenter.load(self.model) if config.needs_network else None
        with Collector(self.output, config=config, segmenter=segmenter) as collector:
            for warning in collector.warnings():
                print('bkd: warning:', warning, file=sys.stderr)
            extracted = extract_frames(
                recordings, collector, wanted=wanted, pose_topic=self.pose_topic)
        collected = extracted.collected
        left_out = [f'{count} {reason}' for reason, count in collected.left_out.items()]
        if extracted.damaged:
            left_out.append(f'{len(extracted.damaged)} damaged ({extracted.damaged[0]})')
        print(f'{extracted.num_frames} frames: {collected.num_stored} stored, '
              f'{collected.num_removed} gave way to others; left out: '
              f'{", ".join(left_out) or "none"}')
        if self.pose_topic:
            print(f'{extracted.num_with_pose} of {extracted.num_frames} frames have a pose '
                  'near them')
        print(f'{self.output}: {collected.num_frames} frames, '
              f'{collected.num_bytes / 1e6:.1f} of {self.max_megabytes:g} MB')
        if not collected.num_frames:
            raise InputError(f'{self.output}: no frame was stored')


@dataclass(frozen=True, kw_only=True)
class Bag:
    """
    Look into recordings (rosbag1, rosbag2 sqlite3, MCAP) and take frames out of them.

    For example:

        bkd bag info --help
        bkd bag frames --help
        bkd bag extract --help
    """

    what: tyro.conf.OmitArgPrefixes[
        tyro.conf.OmitSubcommandPrefixes[Union[Info, Frames, Extract]]]

    def run(self, overrides: list[str]) -> None:
        """
        Run the command.

        :param overrides: Must be empty.
        """
        refuse_options(self.what, overrides, 'bag ')
        self.what.run()


def _given(recordings: tuple[Path, ...]) -> tuple[Path, ...]:
    if not recordings:
        raise InputError('got no recording; expected the path of at least one')
    return recordings
