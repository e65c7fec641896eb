# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
Kill a process that fills a frame store, again and again, and check what it left.

    python test/kill_frame_store.py FOLDER ROUNDS SEED

Each round forks a child that goes on with the same store and reports every frame as soon as
`add` has returned; it is killed (SIGKILL) at a random instant, counted in the time that a frame
takes, so that a busy machine hits the same places. Frames are of several sizes: a large one takes
more than the bound until others have given way to it, and a fifth of the kills wait for that.
Prints what was seen as JSON; an assertion that fails ends it with code 1.
"""

from __future__ import annotations

from collections import Counter, deque
import json
import os
from pathlib import Path
import random
import signal
import statistics
import sys
import time
import zlib

from bkd_core.adaptation import FrameMetadata, FrameStore
from bkd_core.datasets.frame_store import FRAMES
from bkd_core.datasets.image_files import read_image
import numpy as np

MAX_BYTES = 80_000  # five small frames and one of 36 kB are more
HEIGHTS = (16, 16, 20, 16, 16, 150)  # pixels, in turn


def picture(stamp_ns):
    """Return the pixels that belong to a stamp."""
    height = HEIGHTS[stamp_ns % len(HEIGHTS)]
    return np.random.default_rng(stamp_ns).integers(0, 256, (height, 64, 3), np.uint8)


def fill(folder, first, pipe):
    """Add frames for ever and write a line for each; the caller kills this process."""
    os.write(pipe, b'begun\n')
    with FrameStore(folder, max_bytes=MAX_BYTES, image_format='png') as store:
        for stamp_ns in range(first, first + 10**6):
            addition = store.add(picture(stamp_ns), FrameMetadata(stamp_ns=stamp_ns, topic='/c'))
            line = json.dumps([stamp_ns, addition.name, addition.removed])
            os.write(pipe, line.encode() + b'\n')


class Pace:
    """How long one step of the children takes, from the last ones that were seen."""

    def __init__(self):
        self.seconds = deque([0.01], maxlen=9)

    def read(self, pipe):
        """Return the next line and note how long it took."""
        start = time.monotonic()
        line = pipe.readline()
        self.seconds.append(time.monotonic() - start)
        return line


def wait_for_large(folder, first):
    """Return as soon as a large frame is complete, so that others are just giving way to it."""
    stamp_ns = first + -(first + 1) % len(HEIGHTS)
    record = f'{stamp_ns:019d}_c.json'
    latest = time.monotonic() + 60
    while not any(path.name >= record for path in folder.glob(f'{FRAMES}/[0-9]*.json')):
        assert time.monotonic() < latest, f'{record} was never written'


def killed_child(folder, first, chance, pace):
    """Return the complete lines that a child wrote until it was killed."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            fill(folder, first, writing)
        finally:
            os._exit(3)
    os.close(writing)
    with os.fdopen(reading, 'rb') as pipe:
        begun, lines = pipe.readline(), b''
        if chance.random() < 0.2:
            wait_for_large(folder, first)
        else:
            lines = b''.join(pace.read(pipe) for _ in range(chance.randrange(3)))
            time.sleep(chance.uniform(0, 1.5 * statistics.median(pace.seconds)))
        os.kill(child, signal.SIGKILL)
        lines += pipe.read()
    status = os.waitpid(child, 0)[1]
    assert begun == b'begun\n', begun
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, status
    return [json.loads(line) for line in lines.split(b'\n')[:-1]]


def read_num_bytes(folder):
    """Return what the complete frames that a kill left take on the disk, in blocks."""
    return sum(
        -(-file.stat().st_size // 4096) * 4096
        for record in folder.glob(f'{FRAMES}/[0-9]*.json')
        for file in (record, record.with_suffix('.png')) if file.exists())


def check(folder, expected):
    """
    Open the store after a kill and hold it to its promises.

    :param expected: Names of the frames that were reported and not removed again.
    :return: What the kill cut off, in a word, and the names that are there now.
    """
    names = {path.name for path in folder.glob(f'{FRAMES}/*')}
    is_over = read_num_bytes(folder) > MAX_BYTES
    with FrameStore(folder, max_bytes=MAX_BYTES, image_format='png') as store:
        present = {record.name for record in store}
        assert store.damaged == {}
        assert store.num_bytes <= MAX_BYTES
        for record in store:
            file = folder / FRAMES / record.file
            assert zlib.crc32(file.read_bytes()) == record.crc32
            assert (read_image(file) == picture(record.metadata.stamp_ns)).all()
    after = {path.name for path in (folder / FRAMES).iterdir()}
    assert after == {f'{name}{suffix}' for name in present for suffix in ('.png', '.json')}
    new, gone = present - expected, expected - present
    assert len(new) <= 1, 'more than the frame being written'
    # Old frames, several for a large one, go only once the new one is safe.
    assert not gone or new and max(gone) < min(present), f'lost {gone}, gained {new}'
    if is_over:
        return 'over the bound', present
    if names != after:
        return 'strays removed', present
    return 'one more than reported' if new else 'nothing', present


def main(folder, rounds, seed):
    """Kill and check."""
    chance = random.Random(seed)
    cut_off, present, first, pace = Counter(), set(), 1, Pace()
    num_reported = num_large = 0
    for _ in range(rounds):
        lines = killed_child(folder, first, chance, pace)
        for stamp_ns, name, removed in lines:
            assert name is not None
            num_large += len(removed) > 1
            present = (present | {name}) - set(removed)
            first = stamp_ns + 1
        num_reported += len(lines)
        what, present = check(folder, present)
        cut_off[what] += 1
        first += 1  # the next round's names are new
    print(json.dumps({
        'rounds': rounds, 'frames': num_reported, 'to which several gave way': num_large,
        'stored': len(present), 'cut off': cut_off}))


if __name__ == '__main__':
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
