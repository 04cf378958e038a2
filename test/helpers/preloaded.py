"""What a command of `processes` finds done. None of it starts a thread: a fork would lose it."""

import gc

import matplotlib.backends.backend_agg  # noqa: F401
import torch._dynamo  # noqa: F401  loaded with the first optimiser, and the next with the first export
import torch.onnx.utils  # noqa: F401

import offline.ablate  # noqa: F401
import offline.compress  # noqa: F401
import offline.evaluate  # noqa: F401
from offline.boards.latency_model import evaluate_published
from offline.render.models import library

evaluate_published()  # of constants alone, once in a process: a board's predicted time needs it
library()  # what is rendered is built once, too: golden inputs need it
gc.freeze()  # a collection in the forked process must not copy all this
