"""Run the peer in its own environment: python peer_worker.py H [PICTURE.npy REPEATS]

With a threshold alone it reads [[input, output], ...] from standard input and writes the outputs (PNG).
With a uint8 picture it prints one line of JSON: the seconds of each run after a warm-up.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
from frr import FastReflectionRemoval
from PIL import Image


def main() -> None:
    method = FastReflectionRemoval(h=float(sys.argv[1]))
    if len(sys.argv) > 2:
        image = np.load(sys.argv[2]) / 255
        seconds = []
        for _ in range(int(sys.argv[3]) + 1):
            start = time.perf_counter()
            method.remove_reflection(image)
            seconds.append(time.perf_counter() - start)
        print(json.dumps(seconds[1:]))
        return
    for source, target in json.load(sys.stdin):
        result = method.remove_reflection(np.asarray(Image.open(source)) / 255)
        partial = Path(f"{target}.partial")
        Image.fromarray(np.rint(result * 255).astype(np.uint8)).save(partial, "PNG")
        partial.replace(target)


if __name__ == "__main__":
    main()
