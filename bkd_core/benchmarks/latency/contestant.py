# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""One way from a frame to labels, in a process of its own that answers frame by frame."""

from __future__ import annotations

import json
from pathlib import Path
import sys
import time
from typing import Any, Callable

from bkd_core import model_directory
from bkd_core.inference.runtimes import load_runtime
from bkd_core.inference.segmenter import resize_frame
from bkd_core.inference.upsampling import labels_and_confidence, mean_certainty
from bkd_core.model_directory import ModelSpec
import cv2
import numpy as np

PLAIN = 'plain'
PEER = 'lraspp_mobilenet_v3_large'
PEER_TITLE = 'LR-ASPP MobileNetV3-Large'
# To which torchvision's own preprocessing for it resizes the short side of a frame.
PEER_HEIGHT = 520
PEER_AS_SHIPPED = f'{PEER_TITLE}, {PEER_HEIGHT}'

# A part of the way returns what the next one takes.
Parts = tuple[Callable[[np.ndarray], Any], Callable[[Any], Any], Callable[..., np.ndarray]]


def package_parts(runtime: str, directory: Path, spec: ModelSpec, threads: int) -> Parts:
    """
    Return this package's way: resize, a runtime, cells.

    :param runtime: One of `LOADERS`.
    :param directory: The model directory.
    :param spec: Its `model.yaml`.
    :param threads: Processor threads.
    """
    loaded = load_runtime(runtime, directory, spec, num_threads=threads, device='cpu')

    def finish(logits: np.ndarray, height: int, width: int) -> np.ndarray:
        mean_certainty(logits[0])
        return labels_and_confidence(logits[0], height, width, with_confidence=False)[0]

    return lambda frame: resize_frame(frame, spec)[None], loaded.logits, finish


def plain_parts(directory: Path, spec: ModelSpec, threads: int) -> Parts:
    """
    Return the way that a tutorial shows: NumPy, eager torch in float32, torch's argmax.

    :param directory: The model directory.
    :param spec: Its `model.yaml`.
    :param threads: Processor threads.
    """
    from bkd_core.models import load_network
    import torch
    torch.set_num_threads(threads)
    network = peer_network(spec) if spec.network == PEER else load_network(directory)
    network.eval()
    mean, std = np.float32(spec.mean), np.float32(spec.std)

    def prepare(frame: np.ndarray) -> torch.Tensor:
        image = (resize_frame(frame, spec).astype(np.float32) - mean) / std
        return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None]

    def run(images: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return network(images)

    def finish(logits: torch.Tensor, height: int, width: int) -> np.ndarray:
        logits = torch.nn.functional.interpolate(
            logits, (height, width), mode='bilinear', align_corners=False)
        return logits.argmax(dim=1)[0].numpy().astype(np.uint8)

    return prepare, run, finish


def peer_network(spec: ModelSpec):
    """
    Build LR-ASPP with MobileNetV3-Large (torchvision) with random weights, up to its logits.

    :param spec: Its number of classes counts.
    """
    from bkd_core.models.torchvision_guard import ensure_torchvision_imports
    ensure_torchvision_imports()
    import torch
    from torchvision.models.segmentation import lraspp_mobilenet_v3_large
    torch.manual_seed(0)
    network = lraspp_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=spec.label_space.num_classes)
    return torch.nn.Sequential(network.backbone, network.classifier).eval()


def answer(parts: Parts, frame: np.ndarray) -> tuple[np.ndarray, dict[str, float]]:
    """
    Label a frame and time the parts.

    :param parts: Of one way.
    :param frame: (H, W, 3) uint8.
    :return: (H, W) uint8 and milliseconds: pre, network, post, total, and cpu of the process.
    """
    prepare, run, finish = parts
    cpu, marks = time.process_time(), [time.perf_counter()]
    prepared = prepare(frame)
    marks.append(time.perf_counter())
    logits = run(prepared)
    marks.append(time.perf_counter())
    labels = finish(logits, *frame.shape[:2])
    marks.append(time.perf_counter())
    times = dict(zip(('pre', 'network', 'post'), 1e3 * np.diff(marks)))
    return labels, {
        **times, 'total': 1e3 * (marks[-1] - marks[0]), 'cpu': 1e3 * (time.process_time() - cpu)}


def main(runtime: str, directory: str, threads: str, frames: str) -> None:
    """
    Answer requests on standard input, one JSON line each, until it ends.

    :param runtime: `PLAIN` or one of `LOADERS`.
    :param directory: The model directory.
    :param threads: Processor threads.
    :param frames: Folder with HEIGHTxWIDTH.npy, (N, H, W, 3) uint8.
    """
    place = Path(directory)
    spec, number = model_directory.read_spec(place), int(threads)
    cv2.setNumThreads(number)
    start = time.perf_counter()
    parts = (
        plain_parts(place, spec, number) if runtime == PLAIN
        else package_parts(runtime, place, spec, number))
    load_s = time.perf_counter() - start
    for line in sys.stdin:
        request = json.loads(line)
        stored = np.load(Path(frames) / '{}x{}.npy'.format(*request['size']), mmap_mode='r')
        labels, times = answer(parts, np.array(stored[request['frame']]))
        if request.get('labels'):
            np.save(request['labels'], labels)
        print(json.dumps({**times, 'load_s': load_s, 'memory_mb': _memory_mb()}), flush=True)


def _memory_mb() -> float:
    lines = Path('/proc/self/status').read_text().splitlines()
    values = dict(line.split(':', 1) for line in lines if ':' in line)
    return int(values['VmRSS'].split()[0]) / 1024


if __name__ == '__main__':
    main(*sys.argv[1:])
