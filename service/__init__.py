"""The HTTP service: Flask over a log of steps that every worker process replays."""

import os

# One BLAS thread a process: workers are the parallelism. It has to be said before numpy is imported.
for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
