"""A process that loads the libraries once and then forks a `quietdial` for each line that it reads.

Reads lists of arguments, one JSON list a line; writes ``began PID`` and ``ended PID CODE``, where
the code is the exit code or minus the signal. See kill_storm.py.
"""

from __future__ import annotations

import json
import os
import sys


def serve() -> None:
    """Answer lines until there are no more."""
    import torch.utils.tensorboard  # noqa: F401  # loaded for the children

    import quietdial.experiments.reproduce  # noqa: F401
    from quietdial.envs.pacing.vector_env import PacingVectorEnv
    from quietdial.experiments.cli import main

    PacingVectorEnv(1, "study-real-5").reset(seed=1)  # loads the compiled kernel
    for line in sys.stdin:
        arguments = json.loads(line)
        pid = os.fork()
        if pid == 0:
            nowhere = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1):
                os.dup2(nowhere, descriptor)
            code = 1
            try:
                code = main(arguments)
            finally:
                os._exit(code)
        sys.stdout.write(f"began {pid}\n")
        sys.stdout.flush()
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(f"ended {pid} {os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
