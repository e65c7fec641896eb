# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""One way from a frame to labels, in a process of its own that answers frame by frame."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
import json
from pathlib import Path
import sys
import time
from typing import Any, Callable

from bkd_core import model_directory
from bkd_core.inference.compiled import COMPILED, WITHOUT
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



@dataclass(frozen=True, kw_only=True)
class Way:
    """
    From a frame to labels; a part returns what the next one takes.

    :param prepare: Frame to the network's input.
    :param run: Input to logits.
    :param finish: Logits, height and width of the frame to labels.
    :param finish_by_numpy: The same without Numba.
    """

    prepare: Callable[[np.ndarray], Any]
    run: Callable[[Any], Any]
    finish: Callable[[Any, int, int], np.ndarray]
    finish_by_numpy: Callable[[Any, int, int], np.ndarray]


def package_way(runtime: str, directory: Path, spec: ModelSpec, threads: int) -> Way:
    """
    Return this package's way: resize, a runtime, cells.

    :param runtime: One of `LOADERS`.
    :param directory: The model directory.
    :param spec: Its `model.yaml`.
    :param threads: Processor threads.
    """
    loaded = load_runtime(runtime, directory, spec, num_threads=threads, device='cpu')

    def finish(logits: np.ndarray, height: int, width: int, compiled=COMPILED) -> np.ndarray:
        mean_certainty(logits[0], compiled=compiled)
        return labels_and_confidence(
            logits[0], height, width, with_confidence=False, compiled=compiled)[0]

    return Way(
        prepare=lambda frame: resize_frame(frame, spec)[None], run=loaded.logits, finish=finish,
        finish_by_numpy=partial(finish, compiled=WITHOUT))


def plain_way(directory: Path, spec: ModelSpec, threads: int) -> Way:
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

    return Way(prepare=prepare, run=run, finish=finish, finish_by_numpy=finish)


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


def answer(way: Way, frame: np.ndarray) -> tuple[np.ndarray, dict[str, float]]:
    """
    Label a frame and time the parts.

    :param way: Which.
    :param frame: (H, W, 3) uint8.
    :return: (H, W) uint8 and milliseconds: pre, network, post, their total, cpu of the process
        in the meantime, and post_numpy, afterwards.
    """
    cpu, marks = time.process_time(), [time.perf_counter()]
    prepared = way.prepare(frame)
    marks.append(time.perf_counter())
    logits = way.run(prepared)
    marks.append(time.perf_counter())
    labels = way.finish(logits, *frame.shape[:2])
    marks.append(time.perf_counter())
    cpu = time.process_time() - cpu
    way.finish_by_numpy(logits, *frame.shape[:2])
    end = time.perf_counter()
    times = dict(zip(('pre', 'network', 'post'), 1e3 * np.diff(marks)))
    return labels, {
        **times, 'total': 1e3 * (marks[-1] - marks[0]), 'cpu': 1e3 * cpu,
        'post_numpy': 1e3 * (end - marks[-1])}


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
    way = (
        plain_way(place, spec, number) if runtime == PLAIN
        else package_way(runtime, place, spec, number))
    load_s = time.perf_counter() - start
    for line in sys.stdin:
        request = json.loads(line)
        stored = np.load(Path(frames) / '{}x{}.npy'.format(*request['size']), mmap_mode='r')
        labels, times = answer(way, np.array(stored[request['frame']]))
        if request.get('labels'):
            np.save(request['labels'], labels)
        print(json.dumps({**times, 'load_s': load_s, 'memory_mb': _memory_mb()}), flush=True)
        if runtime != PLAIN:
            COMPILED.start().join()  # the first labels don't wait for it


def _memory_mb() -> float:
    lines = Path('/proc/self/status').read_text().splitlines()
    values = dict(line.split(':', 1) for line in lines if ':' in line)
    return int(values['VmRSS'].split()[0]) / 1024


if __name__ == '__main__':
    main(*sys.argv[1:])
