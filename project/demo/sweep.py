"""Remove a directory once standard input ends, which is when the process that holds it does.

Run as a program, by path: ``python sweep.py DIRECTORY``.
"""

import shutil
import sys
import time
from pathlib import Path

_ATTEMPTS = 50
_PAUSE_SECONDS = 0.1


def main() -> None:
    directory = Path(sys.argv[1])
    sys.stdin.read()
    # A process that was killed along with the holder may still be writing.
    for _ in range(_ATTEMPTS):
        shutil.rmtree(directory, ignore_errors=True)
        if not directory.exists():
            return
        time.sleep(_PAUSE_SECONDS)


if __name__ == "__main__":
    main()
