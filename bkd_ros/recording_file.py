# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A rosbag2 in MCAP that appears under its name only when it is complete."""

from __future__ import annotations

from pathlib import Path
import shutil
import tempfile

from bkd_core import atomic
from bkd_core.errors import InputError
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import get_typestore, Stores

BAG_VERSION = 9
_FOREVER = QosTime(sec=2 ** 31 - 1, nsec=2 ** 32 - 1)


class RecordingFile:
    """
    Write serialised messages as they come.

    :param output: The folder to write.
    :raises InputError: If it exists already or cannot be written.
    """

    def __init__(self, output: str | Path) -> None:
        self.output = Path(output).expanduser().absolute()
        self.num_messages: dict[str, int] = {}
        if self.output.exists():
            raise InputError(f"output '{self.output}' exists already; it is not overwritten. "
                             'Choose another name or remove it')
        try:
            self.output.parent.mkdir(parents=True, exist_ok=True)
            self._temporary = Path(tempfile.mkdtemp(
                dir=self.output.parent, prefix=f'.{self.output.name}.'))
        except OSError as error:
            raise InputError(f"output '{self.output}': cannot be written: {error}") from error
        # The bag names its file after its folder, so the folder has its final name from the
        # start, one level down.
        self._writer = Writer(
            self._temporary / self.output.name, version=BAG_VERSION,
            storage_plugin=StoragePlugin.MCAP)
        self._writer.open()
        self._typestore = get_typestore(Stores.ROS2_JAZZY)
        self._connections = {}

    def add_topic(self, topic: str, message_type: str, qos: QoSProfile) -> None:
        """
        Make a topic known before its first message.

        :param topic: Full name.
        :param message_type: Such as 'sensor_msgs/msg/Image'.
        :param qos: What the publishers offer; `ros2 bag play` repeats it.
        :raises InputError: If the type is not one of ROS 2's common messages.
        """
        if message_type not in self._typestore.fielddefs:
            raise InputError(
                f'{topic}: type {message_type} cannot be recorded; only the message types that '
                "come with ROS 2 can. Record it with 'ros2 bag record'")
        self._connections[topic] = self._writer.add_connection(
            topic, message_type, typestore=self._typestore, offered_qos_profiles=[_offered(qos)])
        self.num_messages[topic] = 0

    def write(self, topic: str, stamp_ns: int, data: bytes) -> None:
        """
        Append a message.

        :param topic: A topic that was added.
        :param stamp_ns: When it was received, nanoseconds.
        :param data: The serialised message.
        :raises OSError: If the disk is full.
        """
        self._writer.write(self._connections[topic], stamp_ns, data)
        self.num_messages[topic] += 1

    def close(self) -> None:
        """
        Finish the file and move it to its name.

        :raises InputError: If nothing was recorded: then nothing is left behind.
        """
        try:
            if not sum(self.num_messages.values()):
                self._writer.abort()
                raise InputError(
                    f"nothing was received, so '{self.output}' is not written. Do the topics "
                    'exist, with publishers in this ROS domain?')
            self._writer.close()
            bag = self._temporary / self.output.name
            for path in (*bag.iterdir(), bag):
                atomic.sync_directory(path)
            bag.rename(self.output)
            atomic.sync_directory(self.output.parent)
        except OSError as error:
            raise InputError(f"output '{self.output}': {error}") from error
        finally:
            shutil.rmtree(self._temporary, ignore_errors=True)


def _offered(qos: QoSProfile) -> Qos:
    is_reliable = qos.reliability == ReliabilityPolicy.RELIABLE
    is_latched = qos.durability == DurabilityPolicy.TRANSIENT_LOCAL
    return Qos(
        history=QosHistory.KEEP_LAST, depth=max(qos.depth, 1),
        reliability=QosReliability.RELIABLE if is_reliable else QosReliability.BEST_EFFORT,
        durability=QosDurability.TRANSIENT_LOCAL if is_latched else QosDurability.VOLATILE,
        deadline=_FOREVER, lifespan=_FOREVER, liveliness=QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=_FOREVER, avoid_ros_namespace_conventions=False)
