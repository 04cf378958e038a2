"""Data-parallel training under `torchrun --nproc_per_node=N`, with PyTorch's own engine.

Process 0 runs the command; the others wait until it calls them to train with it (`call_others`), so that only process 0
reads and writes the run folder. Each process makes its share of a batch, gradients are averaged, batch norm sees the
whole batch: the same training as in one process, but for the order in which floats are summed.
In one process everything here does nothing.
"""

import functools
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm
from torch.nn.parallel import DistributedDataParallel

from ..errors import one_sentence

PATIENCE = timedelta(days=7)  # the others wait while process 0 prunes or evaluates; a death is noticed at once
CPU = torch.device("cpu")
_training = False  # all processes are in `parallel`: else process 0 is alone, and must not wait for the others


def world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def is_main() -> bool:
    return rank() == 0


def data_parallel(main: Callable[..., None]) -> Callable[..., None]:
    """Decorate a command that ends with `one_sentence`: under torchrun process 0 runs it, the others train with it.

    When a process fails it says why, and the others, which lose it, end too.
    """

    @functools.wraps(main)
    def run(*args, **kwargs):
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            main(*args, **kwargs)
            return
        code = 1
        try:
            _join()
            if is_main():
                main(*args, **kwargs)
                call_others(None)
            else:
                one_sentence(_serve)()
            code = 0
        except SystemExit as e:
            code = e.code if isinstance(e.code, int) else 1
        except (RuntimeError, dist.DistError) as e:
            if "onnection" in str(e):  # closed or reset by a process that ended
                print(f"process {rank()} ends, because it lost another one; --resume goes on", file=sys.stderr)
            else:
                traceback.print_exc()
        except Exception:
            traceback.print_exc()
        finally:
            _leave(code)

    return run


def _leave(code: int) -> None:
    """End this process without taking it apart: threads of gloo that are still at work make that hang or abort."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def call_others(function: Callable | None, **arguments) -> None:
    """Process 0: the others shall run `function(**arguments)` now, as the caller does next. None ends them."""
    if world_size() > 1:
        dist.broadcast_object_list([(function, arguments)], device=CPU)


def _join() -> None:
    """Join the group that torchrun's environment describes: gloo between CPUs, nccl between GPUs."""
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)


def _serve() -> None:
    """Processes 1 and up: run what process 0 calls for, until it calls for nothing."""
    for number in (signal.SIGINT, signal.SIGTERM):  # process 0 decides when to stop, all after the same step
        signal.signal(number, signal.SIG_IGN)
    while True:
        call: list = [None]
        dist.broadcast_object_list(call, device=CPU)
        function, arguments = call[0]
        if function is None:
            return
        function(**arguments)


def mean(x: Tensor) -> Tensor:
    """Mean over the processes; no gradient passes."""
    if _training:
        x = x.detach().clone()
        dist.all_reduce(x)
        x /= world_size()
    return x


def normaliser(weights: Tensor) -> Tensor:
    """What a sum over this process's part of the batch is divided by to count as a mean over the whole batch.

    The weights' sum over all processes, at least 1, shared out among them: gradients are averaged over processes.
    """
    total = weights.detach().sum()
    if not _training:
        return total.clamp(min=1.0)
    dist.all_reduce(total)
    return total.clamp(min=1.0) / world_size()


@contextmanager
def parallel(module: nn.Module) -> Iterator[nn.Module]:
    """`module`, data-parallel while the context lasts. Its parameters, buffers and state dict stay what they are."""
    global _training
    on_gpu = next(module.parameters()).is_cuda
    synchronised = nn.SyncBatchNorm if on_gpu else SyncBatchNorm2d  # torch's own refuses to run on a CPU
    _swap(module, nn.BatchNorm2d, synchronised)
    _training = True
    try:
        yield DistributedDataParallel(module)
    finally:
        _training = False
        _swap(module, synchronised, nn.BatchNorm2d)


def _swap(module: nn.Module, old: type[BatchNorm], new: type[BatchNorm]) -> None:
    """Put `new` batch norms with the same parameters and buffers in the place of `old` ones."""
    for name, child in module.named_children():
        if isinstance(child, BatchNorm) and type(child) is old:
            fresh = new(child.num_features, child.eps, child.momentum).train(child.training)
            fresh._parameters, fresh._buffers = child._parameters, child._buffers
            setattr(module, name, fresh)
        else:
            _swap(child, old, new)


class SyncBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over the batches of all processes, which must be of one size (Ioffe and Szegedy, arXiv 1502.03167)."""

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W)
        if not self.training:
            return super().forward(x)
        count = world_size() * x.numel() // x.shape[1]
        var, mean = torch.var_mean(x.float(), (0, 2, 3), correction=0)
        # Moments of all processes, (2, C), in double: their difference must not lose digits.
        moments = torch.stack([mean.double(), var.double() + mean.double().square()])
        moments = _AllReduce.apply(moments) / world_size()
        mean, var = moments[0].float(), (moments[1] - moments[0].square()).float()
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * (count / (count - 1)), self.momentum)
        scale = self.weight * (var + self.eps).rsqrt()
        y = x.float() * scale[:, None, None] + (self.bias - mean * scale)[:, None, None]
        return y.to(x.dtype)


class _AllReduce(torch.autograd.Function):
    """Sum over processes. What each process's loss owes to the sum is summed on the way back."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        x = x.clone()
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        gradient = gradient.clone()
        dist.all_reduce(gradient)
        return gradient
