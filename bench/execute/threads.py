"""Imported by the server of processes before numpy and torch: one thread for their libraries.

``torch.set_num_threads`` does not reach the linear algebra of numpy and scipy, whose last bits
depend on the number of threads too.
"""

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"
