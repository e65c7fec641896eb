# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
Collect the frames of a camera that are worth having, for adaptation.

    ros2 launch bkd_ros collect.launch.py store:=frames image:=/camera/image_raw
    ros2 launch bkd_ros collect.launch.py store:=frames cameras:=/front/image_raw,/rear/image_raw
    ros2 launch bkd_ros collect.launch.py store:=frames blur_classes:=pedestrian,car
"""

import os
from pathlib import Path

from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    OpaqueFunction,
    SetEnvironmentVariable,
    Shutdown,
)
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

CONFIG = Path(__file__).parent.parent / 'config'
# Fast DDS 2 reads the first name, Fast DDS 3 the second.
PROFILE_VARIABLES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')

TRUE_FALSE = ['true', 'false']
ARGUMENTS = [
    DeclareLaunchArgument(
        'store', description='Folder of the frame store; made if it is missing.'),
    DeclareLaunchArgument(
        'image', default_value='image',
        description="The camera's topic, without '/compressed'."),
    DeclareLaunchArgument(
        'cameras', default_value='',
        description='Several image topics, separated by commas, instead of image.'),
    DeclareLaunchArgument(
        'compressed', default_value='false', choices=TRUE_FALSE,
        description="Subscribe to the topic's '/compressed' (CompressedImage)."),
    DeclareLaunchArgument(
        'max_megabytes', default_value='',
        description='What the store may take on the disk, in units of 10^6 bytes. Empty: as '
                    'params_file says.'),
    DeclareLaunchArgument(
        'blur_classes', default_value='',
        description='Classes to make unrecognisable before anything is stored, separated by '
                    'commas, such as pedestrian,car. Empty: as params_file says.'),
    DeclareLaunchArgument(
        'pose_topic', default_value='',
        description='Topic of PoseStamped that is kept with the frames. Empty: as params_file '
                    'says.'),
    DeclareLaunchArgument(
        'params_file', default_value=str(CONFIG / 'collect.yaml'),
        description='Parameters of collector_node.'),
    DeclareLaunchArgument(
        'respawn', default_value='false', choices=TRUE_FALSE,
        description='Start the node again 2 s after it has died, instead of ending the launch.'),
    DeclareLaunchArgument(
        'namespace', default_value='', description='Namespace of the node and its topics.'),
    DeclareLaunchArgument(
        'log_level', default_value='info', choices=['debug', 'info', 'warn', 'error', 'fatal'],
        description='Least severe messages to show.'),
    DeclareLaunchArgument(
        'use_sim_time', default_value='false', choices=TRUE_FALSE,
        description='Take the time from /clock.'),
]


def generate_launch_description():
    """Return what `ros2 launch` runs."""
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=start)])


def start(context):
    """
    Return the actions for the arguments given.

    :param context: The launch context.
    """
    argument = {item.name: LaunchConfiguration(item.name).perform(context) for item in ARGUMENTS}
    # launch_ros would go on without a file that is not there.
    if not Path(argument['params_file']).is_file():
        raise ValueError(f"params_file: '{argument['params_file']}' is no file")
    profile = str(CONFIG / 'fastdds_shared_memory.xml')
    environment = [] if any(name in os.environ for name in PROFILE_VARIABLES) else [
        SetEnvironmentVariable(name, profile) for name in PROFILE_VARIABLES]
    return [*environment, collector_node(argument)]


def collector_node(argument):
    """
    Return the node that collects; the launch ends with it, or starts it again.

    :param argument: Name -> text of the launch arguments.
    """
    given = {
        'store': argument['store'],
        'use_sim_time': argument['use_sim_time'] == 'true'}
    if argument['pose_topic']:
        given['pose_topic'] = argument['pose_topic']
    if argument['max_megabytes']:
        given['max_megabytes'] = float(argument['max_megabytes'])
    for name, parameter in (('cameras', 'image_topics'), ('blur_classes', 'blur_classes')):
        words = [word.strip() for word in argument[name].split(',') if word.strip()]
        if words:
            given[parameter] = words
    if argument['compressed'] == 'true':
        given['image_transport'] = 'compressed'
    ending = {'respawn': True, 'respawn_delay': 2.0} if argument['respawn'] == 'true' else {
        'on_exit': Shutdown()}
    return Node(
        package='bkd_ros', executable='collector_node', name='collector_node',
        namespace=argument['namespace'], output='screen', emulate_tty=True,
        parameters=[argument['params_file'], given],
        remappings=[('image', argument['image'])],
        ros_arguments=['--log-level', argument['log_level']], **ending)
