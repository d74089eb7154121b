"""Run a command and measure it: `python child.py COMMAND...` prints the fields of a `Run` as JSON.

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
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    facts = {"seconds": seconds, "cpu_seconds": used.ru_utime + used.ru_stime}
    print(json.dumps({**facts, "peak_bytes": used.ru_maxrss * unit, "output": done.stdout}))
