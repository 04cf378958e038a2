"""The workstation's half: labelled aerial images in, a compressed model bundle out. Python >= 3.10, torch."""

import os

# Waiting threads that spin starve the others as soon as a core is shared: three times slower, measured. torch's OpenMP
# reads this when it is first imported, so it is set here.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
