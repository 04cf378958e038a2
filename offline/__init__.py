"""The workstation's half: labelled aerial images in, a compressed model bundle out. Python >= 3.10, torch."""

import os
import sys

# Waiting threads that spin starve the others as soon as a core is shared: three times slower, measured. torch's OpenMP
# reads this when it is first imported, so it is set here.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

if sys.argv[:1] == ["-m"]:  # python -m offline.X, where main() is not reached yet: Ctrl-C is no fault to trace

    def _end(kind, error, trace):
        if issubclass(kind, KeyboardInterrupt):
            print("interrupted", file=sys.stderr)
        else:
            sys.__excepthook__(kind, error, trace)

    sys.excepthook = _end
