# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
Label a camera topic, or a recording.

    ros2 launch bkd_ros segment.launch.py
    ros2 launch bkd_ros segment.launch.py image:=/camera/image_raw compressed:=true
    ros2 launch bkd_ros segment.launch.py recording:=drive.mcap model:=runs/adapted/student
    ros2 launch bkd_ros segment.launch.py collect:=true store:=frames
    ros2 launch bkd_ros segment.launch.py collect:=true store:=frames blur_classes:=pedestrian,car
    ros2 launch bkd_ros segment.launch.py model:=runs/adapted/student collect:=true store:=frames \
        adapt:=true versions:=versions
"""

import difflib
import os
from pathlib import Path

from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    OpaqueFunction,
    SetEnvironmentVariable,
    Shutdown,
)
from launch.logging import get_logger
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

CONFIG = Path(__file__).parent.parent / 'config'
# Fast DDS 2 reads the first name, Fast DDS 3 the second.
PROFILE_VARIABLES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')

TRUE_FALSE = ['true', 'false']
ARGUMENTS = [
    DeclareLaunchArgument(
        'model', default_value='',
        description="Model directory, or 'default' for the student that comes with the package. "
                    'Empty: as params_file says.'),
    DeclareLaunchArgument(
        'image', default_value='image',
        description="The camera's topic, without '/compressed'. With recording, the topic to "
                    'play it on.'),
    DeclareLaunchArgument(
        'cameras', default_value='',
        description='Several image topics, separated by commas, instead of image.'),
    DeclareLaunchArgument(
        'compressed', default_value='false', choices=TRUE_FALSE,
        description="Subscribe to the topic's '/compressed' (CompressedImage). With recording, "
                    'it must have been recorded so; a compressed recording also plays with '
                    'false.'),
    DeclareLaunchArgument(
        'params_file', default_value=str(CONFIG / 'segment.yaml'),
        description='Parameters of segmentation_node.'),
    DeclareLaunchArgument(
        'runtime', default_value='',
        choices=['', 'auto', 'onnxruntime', 'openvino', 'openvino_bf16', 'onnxruntime_int8',
                 'openvino_int8', 'tensorrt', 'tensorrt_half', 'torch', 'torch_half',
                 'torch_compile'],
        description='What runs the network. Empty: as params_file says.'),
    DeclareLaunchArgument(
        'device', default_value='', choices=['', 'auto', 'cpu', 'cuda'],
        description='Where the networks of all nodes run, and with adapt where rounds train. '
                    "Empty: as each node's file of parameters says."),
    DeclareLaunchArgument(
        'respawn', default_value='false', choices=TRUE_FALSE,
        description='Start the node again 2 s after it has died, instead of ending the launch.'),
    DeclareLaunchArgument(
        'recording', default_value='',
        description='Play this recording (rosbag2, MCAP or rosbag1) and end with it; empty: '
                    'wait for a camera.'),
    DeclareLaunchArgument(
        'recording_topic', default_value='',
        description='The topic of the recording. Empty: its only image topic.'),
    DeclareLaunchArgument(
        'collect', default_value='false', choices=TRUE_FALSE,
        description='Also collect the frames that are worth having, for adaptation.'),
    DeclareLaunchArgument(
        'store', default_value='',
        description='Folder of the frame store that collect fills and adapt learns from.'),
    DeclareLaunchArgument(
        'max_megabytes', default_value='',
        description='With collect: what the store may take on the disk, in units of 10^6 bytes. '
                    'Empty: as collect_params_file says.'),
    DeclareLaunchArgument(
        'blur_classes', default_value='',
        description='With collect: classes to make unrecognisable before anything is stored, '
                    'separated by commas, such as pedestrian,car. Empty: as collect_params_file '
                    'says.'),
    DeclareLaunchArgument(
        'pose_topic', default_value='',
        description='With collect: topic of PoseStamped that is kept with the frames. Empty: as '
                    'collect_params_file says.'),
    DeclareLaunchArgument(
        'collect_params_file', default_value=str(CONFIG / 'collect.yaml'),
        description='With collect: parameters of collector_node; the arguments here win.'),
    DeclareLaunchArgument(
        'adapt', default_value='false', choices=TRUE_FALSE,
        description='Also adapt model to the frames in store, in rounds; a student that passes '
                    'the gate takes over by itself. Needs model, store and versions.'),
    DeclareLaunchArgument(
        'versions', default_value='',
        description='Folder of the versions that adapt makes, begun with model; made if it is '
                    'missing. Without adapt: run the version in use.'),
    DeclareLaunchArgument(
        'replay', default_value='',
        description="With adapt: folder with images and labels of the source, in the model's "
                    'classes. Empty: the frames that travel with the model.'),
    DeclareLaunchArgument(
        'start_on', default_value='', choices=['', 'request', 'frames', 'shift'],
        description='With adapt: what a round begins at beside ~/start: nothing else, enough new '
                    'frames, or those while a camera shows another scene. Empty: as '
                    'adapt_params_file says, or frames if that is not given.'),
    DeclareLaunchArgument(
        'adapt_params_file', default_value='',
        description='With adapt: parameters of adaptation_node, the options of a round among '
                    "them; the arguments here win. Empty: the package's config/adapt.yaml."),
    DeclareLaunchArgument(
        'namespace', default_value='', description='Namespace of the nodes and their topics.'),
    DeclareLaunchArgument(
        'log_level', default_value='info', choices=['debug', 'info', 'warn', 'error', 'fatal'],
        description='Least severe messages to show.'),
    DeclareLaunchArgument(
        'use_sim_time', default_value='false', choices=TRUE_FALSE,
        description='Take the time from /clock.'),
    DeclareLaunchArgument(
        'fastdds_profile',
        default_value=next(
            (os.environ[name] for name in PROFILE_VARIABLES if name in os.environ),
            str(CONFIG / 'fastdds_shared_memory.xml')),
        description='XML profile for Fast DDS; ours keeps large images from getting lost on one '
                    'host. Empty: none.'),
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
    warn_of_misspelt(context.launch_configurations, argument)
    profile = argument['fastdds_profile']
    # launch_ros and Fast DDS would go on without a file that is not there.
    for name in ('params_file', 'collect_params_file', 'adapt_params_file', 'fastdds_profile'):
        may_be_empty = name in ('adapt_params_file', 'fastdds_profile') and not argument[name]
        if not may_be_empty and not Path(argument[name]).is_file():
            raise ValueError(f"{name}: '{argument[name]}' is no file")
    environment = [
        SetEnvironmentVariable(name, profile) for name in PROFILE_VARIABLES if profile]
    nodes = [segmentation_node(argument)]
    if is_true(argument['collect']):
        nodes.append(collector_node(argument))
    if is_true(argument['adapt']):
        nodes.append(adaptation_node(argument))
    if argument['recording']:
        nodes.append(player_node(argument))
    return environment + nodes


def warn_of_misspelt(given, known):
    """
    Name arguments that are nearly ours; launch ignores what it does not know.

    :param given: Names that were given, here or in a launch file around this one.
    :param known: Names of our arguments.
    """
    for name in given:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
        if near and name not in known:
            get_logger('segment.launch.py').warning(
                f"argument '{name}' is not known and ignored. Did you mean '{near[0]}'?")


def segmentation_node(argument):
    """
    Return the node that labels; the launch ends with it, or starts it again.

    :param argument: Name -> text of the launch arguments.
    """
    given = {
        name: argument[name] for name in ('model', 'runtime', 'device', 'versions')
        if argument[name]}
    given.update(camera_parameters(argument))
    ending = {'respawn': True, 'respawn_delay': 2.0} if is_true(argument['respawn']) else {
        'on_exit': Shutdown()}
    return ros_node(
        argument, 'segmentation_node', [argument['params_file'], given],
        remappings=[('image', argument['image'])], **ending)


def collector_node(argument):
    """
    Return the node that collects frames beside the one that labels; it may end by itself.

    :param argument: Name -> text of the launch arguments.
    """
    if not argument['store']:
        raise ValueError('store: got nothing; collect:=true needs the folder of a frame store')
    given = {'store': argument['store'], **camera_parameters(argument)}
    given.update({
        name: argument[name] for name in ('model', 'device', 'pose_topic') if argument[name]})
    if argument['max_megabytes']:
        given['max_megabytes'] = float(argument['max_megabytes'])
    blurred = words_of(argument['blur_classes'])
    if blurred:
        given['blur_classes'] = blurred
    return ros_node(
        argument, 'collector_node', [argument['collect_params_file'], given],
        remappings=[('image', argument['image'])])


def adaptation_node(argument):
    """
    Return the node that adapts beside the one that labels; it may end by itself.

    :param argument: Name -> text of the launch arguments.
    """
    # Both nodes may begin the folder of versions, so both must be told the same model.
    for name in ('model', 'store', 'versions'):
        if not argument[name]:
            raise ValueError(f'{name}: got nothing; adapt:=true needs it')
    file = argument['adapt_params_file']
    given = {} if file else {'start_on': 'frames'}  # the whole loop runs by itself
    given.update({
        name: argument[name]
        for name in ('model', 'store', 'versions', 'start_on', 'replay', 'device')
        if argument[name]})
    return ros_node(argument, 'adaptation_node', [file or str(CONFIG / 'adapt.yaml'), given])


def camera_parameters(argument):
    """
    Return the parameters of a node that say which topics are its cameras.

    :param argument: Name -> text of the launch arguments.
    """
    given = {}
    cameras = words_of(argument['cameras'])
    if cameras:
        given['image_topics'] = cameras
    if is_true(argument['compressed']):
        given['image_transport'] = 'compressed'
    return given


def player_node(argument):
    """
    Return the node that plays the recording; the launch ends with it.

    :param argument: Name -> text of the launch arguments.
    """
    settings = {
        'recording': argument['recording'],
        'topic': argument['recording_topic'],
        'output_topic': argument['image'],
        'image_transport': 'compressed' if is_true(argument['compressed']) else 'raw'}
    return ros_node(argument, 'player_node', [settings], on_exit=Shutdown())


def ros_node(argument, executable, parameters, **options):
    """
    Return a node of this package.

    :param argument: Name -> text of the launch arguments.
    :param executable: Its name, which is also the node's.
    :param parameters: Files and dictionaries; later ones win.
    """
    parameters.append({'use_sim_time': is_true(argument['use_sim_time'])})
    return Node(
        package='bkd_ros', executable=executable, name=executable,
        namespace=argument['namespace'], parameters=parameters, output='screen',
        emulate_tty=True,
        ros_arguments=['--log-level', argument['log_level']], **options)


def words_of(text):
    """
    Return what an argument lists, separated by commas.

    :param text: The argument.
    """
    return [word.strip() for word in text.split(',') if word.strip()]


def is_true(text):
    """
    Return whether an argument is 'true'.

    :param text: One of `TRUE_FALSE`.
    """
    return text == 'true'
