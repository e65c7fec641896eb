# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
Record the camera's frames: the unlabelled target domain that adaptation learns from.

    ros2 launch bkd_ros record.launch.py topics:=/camera/image_raw/compressed output:=drive
"""

import os
from pathlib import Path

from ament_index_python.packages import get_package_prefix, PackageNotFoundError
from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    OpaqueFunction,
    SetEnvironmentVariable,
    Shutdown,
)
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

CONFIG = Path(__file__).parent.parent / 'config'
PROFILE_VARIABLES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')

ARGUMENTS = [
    DeclareLaunchArgument(
        'topics', description='The topics to record, separated by commas. Compressed image '
                              'topics take far less room.'),
    DeclareLaunchArgument(
        'output', description='Folder to write, a rosbag2 in MCAP; it must not exist yet.'),
    DeclareLaunchArgument(
        'recorder', default_value='auto', choices=['auto', 'rosbag2', 'bkd_ros'],
        description="What records: rosbag2's own recorder or the package's. auto takes rosbag2 "
                    'where it is installed.'),
    DeclareLaunchArgument(
        'max_frames', default_value='0',
        description="End once every topic has so many messages; 0: no end. The package's "
                    'recorder only.'),
    DeclareLaunchArgument(
        'namespace', default_value='', description='Namespace that relative topics lie in.'),
]


def generate_launch_description():
    """Return what `ros2 launch` runs."""
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=start)])


def start(context):
    """
    Return the recorder that the arguments ask for.

    :param context: The launch context.
    """
    argument = {item.name: LaunchConfiguration(item.name).perform(context) for item in ARGUMENTS}
    topics = [topic.strip() for topic in argument['topics'].split(',') if topic.strip()]
    if not topics:
        raise ValueError("topics: got nothing; expected names of topics, such as '/camera/image'")
    profile = str(CONFIG / 'fastdds_shared_memory.xml')
    environment = [] if any(name in os.environ for name in PROFILE_VARIABLES) else [
        SetEnvironmentVariable(name, profile) for name in PROFILE_VARIABLES]
    return [*environment, recorder(argument, topics)]


def recorder(argument, topics):
    """
    Return the recording process; the launch ends with it.

    :param argument: Name -> text of the launch arguments.
    :param topics: What to record.
    """
    is_limited = argument['max_frames'] != '0'
    if argument['recorder'] == 'rosbag2' and is_limited:
        raise ValueError('max_frames: only recorder:=bkd_ros knows it')
    if argument['recorder'] == 'rosbag2' or (
            argument['recorder'] == 'auto' and not is_limited and has_rosbag2()):
        space = '/' + argument['namespace'].strip('/')
        names = [
            topic if topic.startswith('/') else f'{space.rstrip("/")}/{topic}'
            for topic in topics]
        return ExecuteProcess(
            cmd=['ros2', 'bag', 'record', '--storage', 'mcap', '--output', argument['output'],
                 *names],
            output='screen', on_exit=Shutdown())
    return Node(
        package='bkd_ros', executable='recorder_node', name='recorder_node',
        namespace=argument['namespace'], output='screen', emulate_tty=True, on_exit=Shutdown(),
        parameters=[{
            'topics': topics, 'output': argument['output'],
            'max_frames': int(argument['max_frames'])}])


def has_rosbag2():
    """Return whether `ros2 bag record` can write MCAP here."""
    try:
        for package in ('ros2bag', 'rosbag2_storage_mcap'):
            get_package_prefix(package)
    except PackageNotFoundError:
        return False
    return True
