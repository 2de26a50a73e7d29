"""What OpenCV takes for the cases of benches/prep.rs, one thread: colours, resizing, tensor; microseconds, medians of 15 turns.

The part is cut out first where OpenCV can (packed R G B); of other layouts it converts the whole frame.
"""

import time

import cv2
import numpy as np

cv2.setNumThreads(1)
WIDTH, HEIGHT = 1280, 720
random = np.random.default_rng(1)
rgb = random.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
yuyv = random.integers(0, 256, (HEIGHT, WIDTH, 2), dtype=np.uint8)
planes = random.integers(0, 256, (HEIGHT * 3 // 2, WIDTH), dtype=np.uint8)
CASES = [
    ("ssdlite-mobilenet-v2/crop300", (200, 6, 300, 300), (300, 300)),
    ("ssdlite-mobilenet-v2/crop480", (200, 6, 480, 480), (300, 300)),
    ("ssdlite-mobilenet-v2/crop700", (200, 6, 700, 700), (300, 300)),
    ("ssdlite-mobilenet-v2/whole", (0, 0, WIDTH, HEIGHT), (300, 300)),
    ("yunet/whole", (0, 0, WIDTH, HEIGHT), (640, 360)),
]
for name, (x, y, w, h), size in CASES:

    def tensor(frame):
        resized = cv2.resize(frame[y : y + h, x : x + w], size, interpolation=cv2.INTER_LINEAR)
        if name.startswith("yunet"):
            return cv2.dnn.blobFromImage(resized, 1.0, swapRB=True)
        return cv2.dnn.blobFromImage(resized, 1 / 127.5, mean=(127.5,) * 3)

    ways = {
        "rgb24": lambda: tensor(rgb),
        "i420": lambda: tensor(cv2.cvtColor(planes, cv2.COLOR_YUV2RGB_I420)),
        "nv12": lambda: tensor(cv2.cvtColor(planes, cv2.COLOR_YUV2RGB_NV12)),
        "yuyv": lambda: tensor(cv2.cvtColor(yuyv, cv2.COLOR_YUV2RGB_YUYV)),
    }
    taken = {layout: [] for layout in ways}
    for _ in range(15):
        for layout, way in ways.items():
            for turn in range(10):
                began = time.perf_counter()
                way()
                # The first two find cold caches.
                if turn > 1:
                    taken[layout].append((time.perf_counter() - began) * 1e6)
    for layout, each in taken.items():
        print(f"opencv prep/{name}/{layout:<6} {np.median(each):>8.0f} us")
