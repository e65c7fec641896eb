# Copyright 2026 bkd_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The processes that torchrun starts, which train one network together."""

from __future__ import annotations

from contextlib import contextmanager, ExitStack, redirect_stderr, redirect_stdout
from datetime import timedelta
import hashlib
import logging
import os
from typing import Iterator, Sequence
import warnings

from bkd_core.errors import InputError
import torch
from torch import distributed, Tensor

_VARIABLES = ('RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT')
# The others wait for the first while it measures a finished model, which may take hours.
_PATIENCE = timedelta(days=2)


class Processes:
    """
    The processes of one training, seen from one of them.

    What travels by these methods are a few numbers on the processor, by gloo; gradients travel by
    `DistributedDataParallel`.

    :param rank: Number of this process, from 0.
    :param size: Number of processes.
    :param group: Their group for numbers on the processor; None where there is one process.
    """

    def __init__(
        self, rank: int = 0, size: int = 1, group: distributed.ProcessGroup | None = None,
    ) -> None:
        self.rank = rank
        self.size = size
        self._group = group

    @property
    def is_first(self) -> bool:
        """Tell whether this is the process that writes files and speaks."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.size > 1:
            distributed.barrier(self._group)

    @contextmanager
    def first_before_others(self) -> Iterator[None]:
        """Let the first process run the block, then the others, which find what it wrote."""
        if not self.is_first:
            self.wait()
        yield
        if self.is_first:
            self.wait()

    def gather(self, numbers: Sequence[int]) -> list[list[int]]:
        """
        Return what every process gives, in their order.

        :param numbers: As many in each process.
        """
        if self.size == 1:
            return [list(numbers)]
        own = torch.tensor(numbers, dtype=torch.int64)
        found = [torch.empty_like(own) for _ in range(self.size)]
        distributed.all_gather(found, own, self._group)
        return [each.tolist() for each in found]

    def mean(self, values: Tensor) -> Tensor:
        """
        Return the mean over the processes.

        :param values: Any shape, floating, on any device; left as it is.
        :return: The same shape; on the processor if there are several processes.
        """
        if self.size == 1:
            return values
        total = values.detach().cpu().clone()
        distributed.all_reduce(total, group=self._group)
        return total / self.size

    @torch.no_grad()
    def average(self, tensors: Sequence[Tensor]) -> None:
        """
        Put the mean over the processes into tensors, in one exchange.

        :param tensors: Floating, on the device that the network is on.
        """
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        distributed.all_reduce(flat)
        flat /= self.size
        for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors])):
            tensor.copy_(part.view_as(tensor))


_present = Processes()


def present_processes() -> Processes:
    """Return the processes that train together now: those of `joined`, else this one alone."""
    return _present


@contextmanager
def joined() -> Iterator[Processes]:
    """
    Join the processes that torchrun started; without torchrun, stay alone.

    Inside, only the first process speaks. An error that a process raises ends it, and then
    torchrun ends the others; of those that say the same, such as that a setting is wrong, one
    speaks. Gradients travel by NCCL on CUDA, all else by gloo.

    :raises InputError: If another process has stopped, or the processes do not find each other.
    :raises SystemExit: With code 2, instead of an InputError that another process says.
    """
    global _present
    if not _is_launched() or int(os.environ['WORLD_SIZE']) == 1:
        yield _present
        return
    store = _start()
    rank, size = distributed.get_rank(), distributed.get_world_size()
    try:
        with ExitStack() as silence:
            _present = Processes(
                rank, size, distributed.new_group(backend='gloo', timeout=_PATIENCE))
            if rank > 0:
                _silence(silence)
            yield _present
    except InputError as error:
        _speak_once(store, str(error))
        raise
    except RuntimeError as error:
        if not _is_lost_connection(error):
            raise
        reason = (
            'another process of this training has stopped, so this one stops, too; what the '
            'other said, if anything, says why. The last checkpoint stays: the same command goes '
            'on from it')
        _speak_once(store, reason)
        raise InputError(reason) from error
    else:
        distributed.destroy_process_group()
    finally:
        _present = Processes()


def local_rank() -> int:
    """Return the number of this process among those on this machine."""
    return int(os.environ.get('LOCAL_RANK', '0'))


def _is_launched() -> bool:
    return all(name in os.environ for name in _VARIABLES)


def _start() -> distributed.Store:
    """Return the store in which the processes that were started together find each other."""
    if not distributed.is_available():
        raise InputError(
            'this torch was built without torch.distributed; train by one process, without '
            'torchrun')
    has_nccl = torch.cuda.is_available() and distributed.is_nccl_available()
    try:
        store, rank, size = next(distributed.rendezvous('env://', timeout=timedelta(minutes=5)))
        # torchrun's store outlives the processes: addresses of an earlier attempt are in it.
        attempt = os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')
        store = distributed.PrefixStore(f'attempt_{attempt}_of_{size}', store)
        distributed.init_process_group(
            'cpu:gloo,cuda:nccl' if has_nccl else 'gloo', rank=rank, world_size=size,
            store=distributed.PrefixStore('group', store))
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            'the processes do not find each other by '
            + ', '.join(f'{name}={os.environ[name]}' for name in _VARIABLES)
            + f' ({reason}). Start them by torchrun, on every machine with the same number of '
            'machines and the same rendezvous') from error
    return store


def _silence(stack: ExitStack) -> None:
    nowhere = stack.enter_context(open(os.devnull, 'w', encoding='utf-8'))
    stack.enter_context(redirect_stdout(nowhere))
    stack.enter_context(redirect_stderr(nowhere))
    stack.enter_context(warnings.catch_warnings())
    warnings.simplefilter('ignore')
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    stack.callback(logging.disable, level)


def _is_lost_connection(error: RuntimeError) -> bool:
    """Tell whether an error of a collective call means that a process is gone."""
    kinds = tuple(
        kind for name in ('DistBackendError', 'DistNetworkError')
        if (kind := getattr(distributed, name, None)) is not None)
    return isinstance(error, kinds) or '/gloo/' in str(error)


def _speak_once(store: distributed.Store, text: str) -> None:
    """Leave the program if another process says the same."""
    key = f'said/{hashlib.sha256(text.encode()).hexdigest()}'
    try:
        is_said = store.add(key, 1) > 1
    except RuntimeError:  # who kept the store is gone
        return
    if is_said:
        raise SystemExit(2)
