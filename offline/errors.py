"""Errors a user can act on, and how a command ends with one: a sentence on stderr, exit code 2."""

import functools
import os
import signal
import sys
import threading

from vit_perception.errors import PerceptionError
from vit_perception.images.files import show


class DataError(PerceptionError):
    """A data set is missing, malformed or unusable."""


class RecipeError(PerceptionError):
    """A recipe, target or option does not make sense."""


class ExportError(PerceptionError):
    """A graph breaks the bundle contract."""


def one_sentence(main=None, *, ended="run it again"):
    """Decorate a command's main(): what the user can mend becomes one sentence, not a traceback.

    ended: what the user can do after Ctrl-C. Exit codes: 2 for a PerceptionError or an operating-system error (disk
    full, no permission), 130 for Ctrl-C or SIGTERM.
    """
    if main is None:
        return functools.partial(one_sentence, ended=ended)

    @functools.wraps(main)
    def run(*args, **kwargs):
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            return main(*args, **kwargs)
        except PerceptionError as e:
            print(f"error: {show(e)}", file=sys.stderr)
            raise SystemExit(2) from None
        except OSError as e:
            where = f" ({show(os.fsdecode(e.filename))})" if isinstance(e.filename, str | bytes) else ""
            print(
                f"error: {e.strerror or e}{where}; nothing half-written is kept, mend it and run again",
                file=sys.stderr,
            )
            raise SystemExit(2) from None
        except KeyboardInterrupt:
            print(f"interrupted; {ended}", file=sys.stderr)
            raise SystemExit(130) from None

    return run
