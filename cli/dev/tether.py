"""Become the program named in the arguments, tied to the supervisor: when that is killed, so is this.

Run as a program of its own, because setting this up between fork and exec is unsafe in a process with threads.
Linux only; elsewhere a supervisor killed with -9 leaves its children.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(supervisor_pid: int, argv: list[str]) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != supervisor_pid:
            sys.exit("the supervisor is gone")
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - an argument list from the Procfile
    except OSError as e:
        sys.exit(f"cannot run {argv[0]}: {e.strerror}")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
