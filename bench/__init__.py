import service  # noqa: F401  one BLAS thread, as in a worker, before anything imports numpy
