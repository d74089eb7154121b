"""Run a command and measure it: `python child.py COMMAND...` prints seconds, peak_bytes and output as JSON.

A process's ru_maxrss starts at the peak of its parent, so this process, which loads nothing, runs between a
benchmark and the command that it measures.
"""

import json
import resource
import subprocess
import sys
import time

if __name__ == "__main__":
    start = time.perf_counter()
    done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, text=True)
    seconds = time.perf_counter() - start
    if done.returncode != 0:
        sys.exit(done.returncode)
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit
    print(json.dumps({"seconds": seconds, "peak_bytes": peak, "output": done.stdout}))
