# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""
Kill a process that fills a frame store, again and again, and check what it left.

    python test/kill_frame_store.py FOLDER ROUNDS SEED

Each round forks a child that goes on with the same store and reports every frame as soon as
`add` has returned; it is killed (SIGKILL) at a random instant, counted in the time that a frame
takes, so that a busy machine hits the same places. Prints what was seen as JSON; an
assertion that fails ends it with code 1.
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

MAX_BYTES = 150_000  # eight frames and room for one


def picture(stamp_ns):
    """Return the pixels that belong to a stamp."""
    return np.random.default_rng(stamp_ns).integers(0, 256, (48, 64, 3), np.uint8)


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
        begun = pipe.readline()
        lines = b''.join(pace.read(pipe) for _ in range(chance.randrange(3)))
        time.sleep(chance.uniform(0, 1.5 * statistics.median(pace.seconds)))
        os.kill(child, signal.SIGKILL)
        lines += pipe.read()
    status = os.waitpid(child, 0)[1]
    assert begun == b'begun\n', begun
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, status
    return [json.loads(line) for line in lines.split(b'\n')[:-1]]


def check(folder, expected):
    """
    Open the store after a kill and hold it to its promises.

    :param expected: Names of the frames that were reported and not removed again.
    :return: What the kill cut off, in a word, and the names that are there now.
    """
    is_made = (folder / FRAMES).is_dir()  # the first child may not have come so far
    names = {path.name for path in (folder / FRAMES).iterdir()} if is_made else set()
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
    # An old frame goes only once the new one is safe.
    assert len(gone) <= len(new), f'lost {gone}, gained {new}'
    if names != after:
        return 'strays removed', present
    return 'one more than reported' if new else 'nothing', present


def main(folder, rounds, seed):
    """Kill and check."""
    chance = random.Random(seed)
    cut_off, present, first, num_reported, pace = Counter(), set(), 1, 0, Pace()
    for _ in range(rounds):
        lines = killed_child(folder, first, chance, pace)
        for stamp_ns, name, removed in lines:
            assert name is not None
            present = (present | {name}) - set(removed)
            first = stamp_ns + 1
        num_reported += len(lines)
        what, present = check(folder, present)
        cut_off[what] += 1
        first += 1  # the next round's names are new
    print(json.dumps({
        'rounds': rounds, 'frames': num_reported, 'stored': len(present), 'cut off': cut_off}))


if __name__ == '__main__':
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
