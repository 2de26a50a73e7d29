"""Two outputs of `porchlight detect` on the same pictures: the same objects at the same places, within a tolerance.

    cross_compare.py WANTED FOUND

Two processors add the same numbers in another order, so scores differ in the last digits, and boxes by fractions of a pixel.
"""

import json
import sys

PIXELS, SCORE = 1.0, 0.01


def read(path):
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def main(wanted, found):
    wanted, found = read(wanted), read(found)
    if len(wanted) != len(found) or not wanted:
        sys.exit(f"error: {len(wanted)} lines wanted, {len(found)} found")
    count, box, score = 0, 0.0, 0.0
    for a, b in zip(wanted, found):
        rest = list(b["detections"])
        for one in a["detections"]:
            near = [o for o in rest if o["label"] == one["label"]]
            gap = lambda o: max(abs(x - y) for x, y in zip(o["box"], one["box"]))
            twin = min(near, key=gap, default=None)
            if twin is None or gap(twin) > PIXELS or abs(twin["score"] - one["score"]) > SCORE:
                sys.exit(f"error: no twin of {one}; the nearest is {twin}")
            rest.remove(twin)
            count, box, score = count + 1, max(box, gap(twin)), max(score, abs(twin["score"] - one["score"]))
        if rest:
            sys.exit(f"error: seen by one only: {rest}")
    if not count:
        sys.exit("error: nothing was seen at all")
    print(f"{count} objects, boxes within {box:.4f} pixels, scores within {score:.4f}")


main(*sys.argv[1:])
