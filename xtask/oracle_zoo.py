"""`porchlight detect` with the models of the zoo against the decoders of zoo.py, on every picture of a folder.

    python xtask/oracle_zoo.py PORCHLIGHT WEIGHTS PICTURES [NAME...]

WEIGHTS has the files that the cards name; `models pull --from` takes them into a copy of models/. Every detection of the one side must have
one of the other: same class, IoU of at least .98, score within .01. Whatever scores within .01 of the threshold may be on one side alone, and so
may a box whose overlap with a better one of its class lies within .02 of the limit. Prints a row for each model; exits 1 beyond a bar.
The reference of the YuNets shrinks with another kernel than the cards say: these see every picture at its own size.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import cv2

from zoo import DETECTORS, NewYuNet, ROOT, card

SCORE, IOU, NEAR = 0.01, 0.98, 0.02


def overlap(a, b):
    w = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    h = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    inter = max(w, 0) * max(h, 0)
    return inter / (a[2] * a[3] + b[2] * b[3] - inter) if inter else 0.0


def explained(one, own, least, limit):
    """Whether a detection without a partner lies on the edge of the threshold or of the suppression."""
    if one["score"] < least + SCORE:
        return True
    rivals = [overlap(one["box"], o["box"]) for o in own if o is not one and o["label"] == one["label"]]
    return any(abs(r - limit) < NEAR for r in rivals)


def main():
    program, weights, folder = sys.argv[1:4]
    pictures = sorted(p for p in pathlib.Path(folder).iterdir() if p.suffix in {".jpg", ".jpeg", ".png"})
    failed = False
    with tempfile.TemporaryDirectory() as temporary:
        models = pathlib.Path(temporary) / "models"
        shutil.copytree(pathlib.Path(ROOT) / "models", models)
        environment = {**os.environ, "PORCHLIGHT_MODELS": str(models)}
        print("| model | pictures | pairs | largest box difference, px | largest score difference | on one side alone, explained | beyond |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for name in sys.argv[4:] or DETECTORS:
            given = card(name)
            out = given["output"]
            least, limit = out["score"], out["nms_iou"]
            subprocess.run([program, "models", "pull", name, "--from", weights], env=environment, check=True, capture_output=True)
            reference = DETECTORS[name](os.path.join(weights, given["file"]))
            command = [program, "detect", "--model", name, *map(str, pictures)]
            if isinstance(reference, NewYuNet):
                reference.long_side = None
                command += ["--long-side", "native"]
            lines = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.splitlines()
            count, box, score, edge, beyond = 0, 0.0, 0.0, 0, []
            for path, line in zip(pictures, lines, strict=True):
                ours = json.loads(line)["detections"]
                theirs = [{"label": d["class"], "box": list(d["box"]), "score": float(d["score"])} for d in reference(cv2.imread(str(path)), least, limit)]
                left = list(theirs)
                alone = []
                for one in ours:
                    same = [o for o in left if o["label"] == one["label"]]
                    best = max(same, key=lambda o: overlap(one["box"], o["box"]), default=None)
                    if best is None or overlap(one["box"], best["box"]) < IOU or abs(best["score"] - one["score"]) > SCORE:
                        alone.append((one, ours))
                        continue
                    left.remove(best)
                    count += 1
                    box = max(box, *(abs(a - b) for a, b in zip(one["box"], best["box"])))
                    score = max(score, abs(one["score"] - best["score"]))
                alone += [(one, theirs) for one in left]
                for one, own in alone:
                    if explained(one, own, least, limit):
                        edge += 1
                    else:
                        beyond.append(f"{path.name}: {one}")
            failed |= bool(beyond) or count == 0
            print(f"| `{name}` | {len(pictures)} | {count} | {box:.3f} | {score:.5f} | {edge} | {len(beyond)} |", flush=True)
            for line in beyond[:5]:
                print(f"{name}: {line}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
