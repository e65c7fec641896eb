# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Every parameter of every node: name, default, range, description, read-only or not."""

from bkd_core.adaptation import CollectorConfig, QualityConfig, SELECTIONS, START_ON, TrialSettings
from bkd_core.inference.runtimes import RUNTIMES
from bkd_ros.setting import Setting

IMAGE_TRANSPORTS = ('raw', 'compressed')

SEGMENTATION = {
    'autostart': Setting(
        default=True,
        description='Configure and activate by itself; false waits for a lifecycle manager.'),
    'model': Setting(
        default='default', is_live=True, is_required=True,
        description="Model directory, or 'default' for the student that comes along, or a folder "
                    'of versions. Changed while the node runs, the new model is loaded beside '
                    'the old one and takes its place when it is warm.'),
    'versions': Setting(
        default='',
        description='Folder of versions to run; if it holds none yet, it is begun with model. '
                    'Empty: model itself.'),
    'follow_versions': Setting(
        default=True, is_live=True,
        description='Load the version in use of a folder of versions when it changes, within a '
                    'second, beside the one that labels.'),
    'trial_frames': Setting(
        default=TrialSettings.frames, minimum=0, maximum=100000, is_live=True,
        description='So many answers of each camera by a newer version are compared with as many '
                    'by the version before; if they are worse, the node goes back by itself and '
                    'the version is marked. 0: no trial.'),
    'trial_max_entropy_gain': Setting(
        default=TrialSettings.max_entropy_gain, minimum=0.0, maximum=10.0, is_live=True,
        description='Worse is a larger gain of the mean entropy, nats.'),
    'trial_max_confidence_drop': Setting(
        default=TrialSettings.max_confidence_drop, minimum=0.0, maximum=1.0, is_live=True,
        description='Worse is a larger drop of the mean confidence.'),
    'trial_max_label_change': Setting(
        default=TrialSettings.max_label_change, minimum=0.0, maximum=1.0, is_live=True,
        description='Worse is a larger share of pixels that would have to change their class to '
                    "get from the classes' shares before to those after."),
    'runtime': Setting(
        default='auto', choices=RUNTIMES,
        description='What runs the network; auto takes the fastest that is installed, by a trial '
                    'at the first start.'),
    'device': Setting(
        default='auto', choices=('auto', 'cpu', 'cuda'), description='Where the network runs.'),
    'num_threads': Setting(
        default=0, minimum=0, maximum=256,
        description='Processor threads of one inference, and of OpenCV; 0 leaves the choice to '
                    'the libraries.'),
    'max_batch': Setting(
        default=1, minimum=1, maximum=64,
        description='Most frames, of different cameras, that go through the network at once. A '
                    'processor gains nothing from more than 1, and the first frame waits for '
                    'the last; with a GPU, try the number of cameras. Halved by itself while '
                    'memory does not suffice.'),
    'input_height': Setting(
        default=0, minimum=0, maximum=4096,
        description="Short side of what the network sees, pixels; 0 is the model's own."),
    'image_topics': Setting(
        default=['image'], is_required=True,
        description="The cameras' image topics. Of one camera the outputs are ~/labels and so "
                    'on, of several ~/NAME/labels, NAME being what tells their topics apart.'),
    'image_transport': Setting(
        default='raw', choices=IMAGE_TRANSPORTS,
        description="raw subscribes to each topic (Image), compressed to its '/compressed' "
                    "(CompressedImage); a topic that ends in '/compressed' is always taken so."),
    'output_size': Setting(
        default='frame', choices=('frame', 'network'),
        description="Size of the outputs: the frame's, or what the network sees, which is less "
                    'work; camera_info is scaled accordingly.'),
    'region_of_interest': Setting(
        default=[0.0, 0.0, 1.0, 1.0],
        description='Left, top, right and bottom of the part that is labelled, as shares of '
                    'width and height; the rest gets 255.'),
    'max_rate': Setting(
        default=0.0, minimum=0.0, maximum=1000.0, is_live=True,
        description='Most frames per second of each camera; 0 is no limit.'),
    'confidence_threshold': Setting(
        default=0.0, minimum=0.0, maximum=1.0, is_live=True,
        description='Pixels whose label is less probable get 255.'),
    'overlay_opacity': Setting(
        default=0.5, minimum=0.0, maximum=1.0, is_live=True,
        description='Opacity of the colours on ~/overlay.'),
    'no_frame_warning_s': Setting(
        default=5.0, minimum=0.0, maximum=3600.0, is_live=True,
        description='Warn, and be STALE in /diagnostics, when no frame came for so many seconds; '
                    '0 never warns.'),
}

PLAYER = {
    'recording': Setting(
        default='', is_required=True,
        description='A rosbag2 folder (MCAP or sqlite3), an .mcap file or a rosbag1 .bag.'),
    'topic': Setting(
        default='', description='The recorded topic to play; empty plays the only image topic.'),
    'output_topic': Setting(
        default='', description='Where to publish; empty publishes under the recorded name.'),
    'image_transport': Setting(
        default='recorded', choices=('recorded', *IMAGE_TRANSPORTS),
        description='recorded publishes the messages as they are; raw decodes compressed ones; '
                    'compressed demands that they were recorded so. With output_topic, '
                    "compressed messages go to its '/compressed'."),
    'rate': Setting(
        default=1.0, minimum=0.01, maximum=100.0, description='Speed, in multiples of real time.'),
    'loop': Setting(default=False, description='Begin anew at the end, until stopped.'),
    'min_subscribers': Setting(
        default=1, minimum=0, maximum=100,
        description='Subscribers to wait for before the first frame.'),
    'subscriber_timeout_s': Setting(
        default=60.0, minimum=0.0, maximum=86400.0,
        description='How long to wait for them before giving up; 0 waits for ever.'),
    'start_delay_s': Setting(
        default=0.5, minimum=0.0, maximum=3600.0,
        description='Pause between the subscribers being there and the first frame.'),
}

RECORDER = {
    'topics': Setting(
        default=[''], is_required=True, description='The topics to record.'),
    'output': Setting(
        default='', is_required=True,
        description='Folder to write, a rosbag2 in MCAP; it must not exist yet.'),
    'max_frames': Setting(
        default=0, minimum=0, maximum=2 ** 31 - 1,
        description='End once every topic has so many messages; more are not kept. 0: no end.'),
    'idle_timeout_s': Setting(
        default=0.0, minimum=0.0, maximum=86400.0,
        description='End when, after the first message, none came for so long; 0: no end.'),
    'start_timeout_s': Setting(
        default=0.0, minimum=0.0, maximum=86400.0,
        description='Give up when the first message has not come after so long; 0: wait.'),
}

COLLECTOR = {
    'store': Setting(
        default='', is_required=True,
        description='Folder of the frame store; made if it is missing.'),
    'image_topics': Setting(
        default=['image'], is_required=True, description="The cameras' image topics."),
    'image_transport': Setting(
        default='raw', choices=IMAGE_TRANSPORTS,
        description="raw subscribes to each topic (Image), compressed to its '/compressed' "
                    "(CompressedImage); a topic that ends in '/compressed' is always taken so."),
    'pose_topic': Setting(
        default='',
        description='Topic of PoseStamped; a pose within half a second of a frame is kept with '
                    'it. Empty: none.'),
    'max_rate': Setting(
        default=1.0, minimum=0.0, maximum=1000.0, is_live=True,
        description='Most frames per second of each camera that are looked at; 0 is no limit.'),
    'max_megabytes': Setting(
        default=1000.0, minimum=0.1, maximum=1e9,
        description='What the store may take on the disk, in units of 10^6 bytes.'),
    'image_format': Setting(
        default='jpeg', choices=('jpeg', 'png'),
        description='jpeg has quality 95, png loses nothing and takes several times the room.'),
    'selection': Setting(
        default='stratified_k_center', choices=tuple(sorted(SELECTIONS)),
        description='Which frame gives way when the store is full.'),
    'blur_classes': Setting(
        default=[''],
        description="Classes of the model's label space, such as pedestrian and car, whose "
                    'pixels are made unrecognisable before anything is stored. Empty: none.'),
    'blur_threshold': Setting(
        default=CollectorConfig.blur_threshold, minimum=0.01, maximum=1.0,
        description='Probability of those classes, all together, from which on a pixel is '
                    'hidden; lower hides more.'),
    'min_sharpness': Setting(
        default=QualityConfig.min_sharpness, minimum=0.0, maximum=1.0,
        description="A frame that is less sharp, relative to the median of its topic's last 30, "
                    'is left out; 0 keeps all.'),
    'max_dark': Setting(
        default=QualityConfig.max_dark, minimum=0.0, maximum=1.0,
        description='A frame with a larger share of black pixels is left out; 1 keeps all.'),
    'max_bright': Setting(
        default=QualityConfig.max_bright, minimum=0.0, maximum=1.0,
        description='A frame with a larger share of white pixels is left out; 1 keeps all.'),
    'min_difference': Setting(
        default=QualityConfig.min_difference, minimum=0.0, maximum=1.0,
        description='A frame that differs less from a stored one of its topic, by thumbnails of '
                    'deviation 1, is left out; 0 keeps all.'),
    'model': Setting(
        default='default', is_required=True,
        description="The student that compares frames and finds classes: a model directory, or "
                    "'default' for the one that comes along."),
    'device': Setting(
        default='auto', choices=('auto', 'cpu', 'cuda'), description='Where the network runs.'),
    'num_threads': Setting(
        default=1, minimum=0, maximum=256,
        description='Processor threads of one inference; 0 leaves the choice to the runtime.'),
    'seed': Setting(
        default=0, minimum=0, maximum=2 ** 31 - 1, description='Of what the selection draws.'),
    'no_frame_warning_s': Setting(
        default=5.0, minimum=0.0, maximum=3600.0, is_live=True,
        description='Warn, and be STALE in /diagnostics, when no frame came for so many seconds; '
                    '0 never warns.'),
}

ADAPTATION = {
    'store': Setting(
        default='', is_required=True,
        description='Folder of the frame store that rounds learn from; a collector may fill it '
                    'meanwhile.'),
    'model': Setting(
        default='default', is_required=True,
        description="The model that adaptation begins with: a model directory, 'default' for the "
                    'student that comes along, or a folder of versions.'),
    'versions': Setting(
        default='',
        description='Folder of the versions that rounds make; made if it is missing. Empty: '
                    'model, if it is such a folder.'),
    'replay': Setting(
        default='',
        description="Folder with images and labels of the source, in the model's classes. Empty: "
                    'the frames that travel with the model.'),
    'start_on': Setting(
        default='request', choices=START_ON,
        description='What a round begins at, beside ~/start: nothing else; min_frames new frames '
                    'in the store; or those while a camera of segmentation_node shows another '
                    'scene, by its diagnostics.'),
    'min_frames': Setting(
        default=100, minimum=1, maximum=10 ** 6,
        description='Frames that have come into the store since the newest round began, without '
                    'which none begins by itself.'),
    'shift_seconds': Setting(
        default=30.0, minimum=0.0, maximum=86400.0,
        description="With start_on 'shift': how long a camera's scene must have changed."),
    'device': Setting(
        default='auto', choices=('auto', 'cpu', 'cuda'),
        description='Where rounds train. A GPU knows no priorities: choose cpu if the cameras '
                    'need all of it.'),
    'num_threads': Setting(
        default=1, minimum=0, maximum=256,
        description='Processor threads of a round; 0 leaves the choice to the libraries.'),
    'priority': Setting(
        default='idle', choices=('idle', 'low'),
        description='idle takes only what other processes leave of the processors, so a round '
                    'slows down, never the camera; low also gets on where they leave nothing.'),
    'memory_megabytes': Setting(
        default=0, minimum=0, maximum=10 ** 7,
        description='Memory that a round may have, in units of 10^6 bytes; 0 is no limit.'),
    'options': Setting(
        default=[''],
        description="Further options of 'bkd adapt', such as --teacher-steps=100. Empty: none."),
}
