"""The stages of offline.compress, in order. Each takes the run and the folder in which the bundle is being built."""

from .deliver import bundle, evaluate, export, report
from .estimate import tell_estimate
from .models import SEEDS, fresh_teacher, student_options, teacher_options, train_student
from .shrink import lowrank, prune, quantise
from .teach import distil, pretrain, teacher

__all__ = [
    "SEEDS", "bundle", "distil", "evaluate", "export", "fresh_teacher", "lowrank", "pretrain", "prune", "quantise",
    "report", "student_options", "teacher", "teacher_options", "tell_estimate", "train_student",
]  # fmt: skip
