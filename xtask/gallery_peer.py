"""Exact search by faiss-cpu's flat index and by numpy, on the vectors of benches/gallery.rs, one thread each.

    python xtask/gallery_peer.py     needs numpy and faiss-cpu (xtask/requirements.txt)

Prints the median and the least time of a search in milliseconds, to be read beside `cargo bench --bench gallery` of the same
minute: `cargo xtask gallery` runs both.
"""

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"

import time

import faiss
import numpy as np

DIMENSIONS = 128


def vectors(count: int) -> np.ndarray:
    """The generator of benches/gallery.rs, all rows at once: wrapping 64-bit arithmetic."""
    state = np.arange(count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(1)
    out = np.empty((count, DIMENSIONS), np.float32)
    for column in range(DIMENSIONS):
        state = state * np.uint64(6364136223846793005) + np.uint64(1442695040888963407)
        out[:, column] = (state >> np.uint64(40)).astype(np.float32) / np.float32(1 << 23) - np.float32(1)
    return out / np.linalg.norm(out, axis=1, keepdims=True)


def timed(work) -> tuple[float, float]:
    times = []
    until = time.perf_counter() + 3
    while time.perf_counter() < until or len(times) < 10:
        began = time.perf_counter()
        work()
        times.append((time.perf_counter() - began) * 1e3)
    return float(np.median(times)), min(times)


def main() -> None:
    faiss.omp_set_num_threads(1)
    for count in (100, 10_000, 100_000):
        rows = vectors(count)
        index = faiss.IndexFlatIP(DIMENSIONS)
        index.add(rows)
        probe = rows[7:8].copy()
        assert index.search(probe, 1)[1][0, 0] == 7
        for name, work in (("faiss", lambda: index.search(probe, 1)), ("numpy", lambda: rows @ probe[0])):
            median, least = timed(work)
            print(f"{name}/{count}: median {median:.3f} ms, least {least:.3f} ms")


if __name__ == "__main__":
    main()
