# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
Adapt a model to the frames of a store, in rounds that stay out of the cameras' way.

    ros2 launch bkd_ros adapt.launch.py store:=frames model:=runs/student versions:=versions
    ros2 launch bkd_ros adapt.launch.py store:=frames versions:=versions start_on:=frames
    ros2 service call /adaptation_node/start std_srvs/srv/Trigger
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
# Arguments that are parameters of the node; empty leaves them to params_file.
PARAMETERS = ('store', 'model', 'versions', 'replay', 'start_on', 'device')
ARGUMENTS = [
    DeclareLaunchArgument('store', description='Folder of the frame store to learn from.'),
    DeclareLaunchArgument(
        'model', default_value='',
        description="Model directory, 'default' for the student that comes with the package, or "
                    'a folder of versions. Empty: as params_file says.'),
    DeclareLaunchArgument(
        'versions', default_value='',
        description='Folder of the versions that rounds make. Empty: as params_file says, or '
                    'model, if it is such a folder.'),
    DeclareLaunchArgument(
        'replay', default_value='',
        description="Folder with images and labels of the source, in the model's classes. Empty: "
                    'as params_file says, or the frames that travel with the model.'),
    DeclareLaunchArgument(
        'start_on', default_value='', choices=['', 'request', 'frames', 'shift'],
        description='What a round begins at beside ~/start: nothing else, enough new frames, or '
                    'those while a camera shows another scene. Empty: as params_file says.'),
    DeclareLaunchArgument(
        'device', default_value='', choices=['', 'auto', 'cpu', 'cuda'],
        description='Where rounds train. Empty: as params_file says.'),
    DeclareLaunchArgument(
        'params_file', default_value=str(CONFIG / 'adapt.yaml'),
        description='Parameters of adaptation_node.'),
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
    return [*environment, adaptation_node(argument)]


def adaptation_node(argument):
    """
    Return the node that adapts; the launch ends with it, or starts it again.

    :param argument: Name -> text of the launch arguments.
    """
    given = {name: argument[name] for name in PARAMETERS if argument[name]}
    given['use_sim_time'] = argument['use_sim_time'] == 'true'
    ending = {'respawn': True, 'respawn_delay': 2.0} if argument['respawn'] == 'true' else {
        'on_exit': Shutdown()}
    return Node(
        package='bkd_ros', executable='adaptation_node', name='adaptation_node',
        namespace=argument['namespace'], output='screen', emulate_tty=True,
        parameters=[argument['params_file'], given],
        ros_arguments=['--log-level', argument['log_level']], **ending)
