"""Compares `porchlight detect` with decoders that share no code with it: those of goldens.py (OpenCV, NumPy, the Python
build of ONNX Runtime), and, where its recorded answers are given, OpenCV's own FaceDetectorYN.

Every picture is compared twice: as a PNG written from OpenCV's pixels, so that both sides see the same ones, and, for
JPEGs, as it is, which adds the difference between two JPEG decoders: up to 4 grey levels, .2 on average, where colour is
stored at half size (each rounds differently when it doubles it), .01 elsewhere. The first has to be within the bars. The
second has none, it is only told: a face 12 pixels wide falls below IoU .99 when an edge moves by .06 pixels, and of two
candidates with nearly the same score another one may win.

FaceDetectorYN cuts boxes to whole pixels before it suppresses overlapping ones; we do not. A face that one side has and the
other suppressed for that reason alone (the overlap with a better face is beyond the limit in one way of counting and
within it in the other) is counted as such and is no miss.

usage: oracle_detect.py BINARY PICTURES MODELS [--reference JSON --root DIR]
exit status: 0 within the bars, 1 beyond one of them, 2 nothing to compare
"""

import argparse
import glob
import json
import os
import subprocess
import sys
import tempfile

import cv2
import numpy as np

from goldens import Faces, Objects

OBJECTS, FACES = "ssdlite-mobilenet-v2", "yunet"
BOX_PX, SCORE = 0.1, 1e-3  # objects, same pixels
IOU, LANDMARK_PX = 0.99, 0.5  # faces
NMS = 0.3  # the face model's limit of overlap
# A detection this near to the threshold may be there on one side only.
EDGE = 2e-3


def ours(binary, models, paths, *flags):
    """What porchlight sees, by path."""
    env = dict(os.environ, PORCHLIGHT_MODELS=models)
    done = subprocess.run([binary, "detect", *flags, *paths], env=env, stdout=subprocess.PIPE, check=False)
    if done.returncode not in (0, 4):
        sys.exit(f"oracle: {binary} ended with {done.returncode}")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {line["path"]: line["detections"] for line in lines}


def iou(a, b):
    wide = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    high = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    both = max(wide, 0) * max(high, 0)
    return both / (a[2] * a[3] + b[2] * b[3] - both)


def pairs(theirs, mine):
    """Greedy one-to-one matching of equal labels, best overlap first; then what is left on either side."""
    every = sorted(
        ((iou(a["box"], b["box"]), i, j) for i, a in enumerate(theirs) for j, b in enumerate(mine) if a["label"] == b["label"]),
        reverse=True,
    )
    left, right, matched = set(range(len(theirs))), set(range(len(mine))), []
    for overlap, i, j in every:
        if overlap > 0.5 and i in left and j in right:
            left.discard(i)
            right.discard(j)
            matched.append((theirs[i], mine[j]))
    return matched, [theirs[i] for i in sorted(left)], [mine[j] for j in sorted(right)]


def corners(box):
    return np.array([box[0], box[1], box[0] + box[2], box[1] + box[3]])


def whole_pixels(box):
    return [int(v) for v in box]


def by_whole_pixels(alone, others):
    """Whether a better face of the other side suppresses this one in one way of counting overlap, but not in the other."""
    return any(
        other["score"] >= alone["score"]
        and (iou(alone["box"], other["box"]) > NMS) != (iou(whole_pixels(alone["box"]), whole_pixels(other["box"])) > NMS)
        for other in others
    )


class Tally:
    """Largest differences of one comparison, and what was beyond the bars."""

    def __init__(self, title, threshold, bars, whole=False):
        self.title, self.threshold, self.bars, self.whole = title, threshold, bars, whole
        self.pictures = self.count = self.edge = self.cut = 0
        self.box = self.score = self.landmark = 0.0
        self.iou = 1.0
        self.misses = []

    def add(self, name, theirs, mine):
        self.pictures += 1
        matched, missing, extra = pairs(theirs, mine)
        for side, alone, others in (("only theirs", missing, mine), ("only ours", extra, theirs)):
            for d in alone:
                if d["score"] - self.threshold < EDGE:
                    self.edge += 1
                elif self.whole and by_whole_pixels(d, others):
                    self.cut += 1
                else:
                    self.misses.append(f"{name}: {side}: {d['label']} {d['score']:.4f} {np.round(d['box'], 1).tolist()}")
        for a, b in matched:
            self.count += 1
            box = np.abs(corners(a["box"]) - corners(b["box"])).max()
            score, overlap = abs(a["score"] - b["score"]), iou(a["box"], b["box"])
            landmark = 0.0
            if "landmarks" in a:
                landmark = np.abs(np.array(a["landmarks"]) - np.array(b["landmarks"])).max()
            self.box, self.score = max(self.box, box), max(self.score, score)
            self.iou, self.landmark = min(self.iou, overlap), max(self.landmark, landmark)
            bars = self.bars
            if (
                box > bars.get("box", np.inf)
                or score > bars.get("score", np.inf)
                or overlap < bars.get("iou", 0)
                or landmark > bars.get("landmark", np.inf)
            ):
                self.misses.append(
                    f"{name}: {a['label']} {a['score']:.4f}: score differs by {score:.4f}, box by {box:.3f} px"
                    f" (IoU {overlap:.4f}), landmarks by {landmark:.3f} px"
                )

    def report(self):
        print(
            f"{self.title}: {self.pictures} pictures, {self.count} pairs, {self.edge} alone at the threshold,"
            f" {self.cut} by whole-pixel suppression; largest"
            f" difference: box {self.box:.4f} px, score {self.score:.5f}, IoU {self.iou:.5f}, landmarks {self.landmark:.4f} px;"
            f" {len(self.misses)} beyond the bars"
        )
        for miss in self.misses:
            print("  " + miss)
        return not self.misses


def labelled(found):
    out = []
    for d in found:
        row = {"label": d["class"], "score": d["score"], "box": d["box"]}
        if "landmarks" in d:
            row["landmarks"] = d["landmarks"]
        out.append(row)
    return out


def recorded(faces):
    """OpenCV's rows: x y w h, five landmarks, score. The right eye comes first: it is at the image's left."""
    return [
        {"label": "face", "score": f[14], "box": f[:4], "landmarks": np.array(f[4:14]).reshape(5, 2).tolist()} for f in faces
    ]


def main():
    parser = argparse.ArgumentParser(prog="oracle_detect.py", description="Compares `porchlight detect` with strangers.")
    parser.add_argument("binary", metavar="BINARY")
    parser.add_argument("pictures", metavar="PICTURES", help="a folder of JPEG and PNG files")
    parser.add_argument("models", metavar="MODELS", help="the folder with the model cards")
    parser.add_argument("--reference", metavar="JSON", help="recorded answers of OpenCV's FaceDetectorYN")
    parser.add_argument("--root", metavar="DIR", help="the folder that the paths in JSON are relative to")
    args = parser.parse_args()

    def weights(name):
        found = glob.glob(os.path.join(args.models, name, "*.onnx"))
        if len(found) != 1:
            sys.exit(f"oracle: wanted one .onnx in {os.path.join(args.models, name)}, found {len(found)}")
        return found[0]

    objects, faces = Objects(weights(OBJECTS)), Faces(weights(FACES), None)
    names = sorted(p for p in os.listdir(args.pictures) if p.lower().endswith((".jpg", ".jpeg", ".png")))
    if not names:
        print(f"oracle: no picture in {args.pictures}", file=sys.stderr)
        return 2
    good = True
    with tempfile.TemporaryDirectory() as folder:

        def copies(paths):
            """PNGs of OpenCV's pixels, EXIF orientation applied; `{copy: (path, pixels)}`."""
            made = {}
            for i, path in enumerate(paths):
                pixels = cv2.imread(path, cv2.IMREAD_COLOR)
                if pixels is None:
                    print(f"  {path}: OpenCV cannot read it: skipped")
                    continue
                copy = os.path.join(folder, f"{len(made) + i:05}-{os.path.basename(path)}.png")
                cv2.imwrite(copy, pixels)
                made[copy] = (path, pixels)
            return made

        made = copies([os.path.join(args.pictures, name) for name in names])
        sources = [path for path, _ in made.values()]
        for title, model, decoder, least, flags, bars in (
            ("objects", OBJECTS, objects, 0.5, (), {"box": BOX_PX, "score": SCORE}),
            ("faces", FACES, faces, 0.6, ("--long-side", "native"), {"box": BOX_PX, "score": SCORE, "iou": IOU, "landmark": LANDMARK_PX}),
        ):
            theirs = {copy: labelled(decoder(pixels, least)) for copy, (_, pixels) in made.items()}
            flags = ("--model", model, "--score", str(least), *flags)
            same = Tally(f"{title}, same pixels", least, bars)
            seen = ours(args.binary, args.models, list(made), *flags)
            for copy, (path, _) in made.items():
                same.add(os.path.basename(path), theirs[copy], seen.get(copy, []))
            good &= same.report()
            # Informative: the JPEG decoders' share.
            jpeg = Tally(f"{title}, each its own JPEG decoder (no bar)", least, {"iou": IOU, "landmark": LANDMARK_PX})
            seen = ours(args.binary, args.models, sources, *flags)
            for copy, (path, _) in made.items():
                if not path.lower().endswith(".png"):
                    jpeg.add(os.path.basename(path), theirs[copy], seen.get(path, []))
            jpeg.report()

        if args.reference:
            with open(args.reference, encoding="utf-8") as file:
                rows = json.load(file)["results"]["face_detection_yunet_2023mar.onnx"]
            paths = {os.path.join(args.root or "", name): recorded(row["faces"]) for name, row in rows.items()}
            flags = ("--model", FACES, "--score", "0.6", "--long-side", "native")
            bars = {"iou": IOU, "landmark": LANDMARK_PX}
            made = copies(paths)
            same = Tally("OpenCV FaceDetectorYN, same pixels", 0.6, bars, whole=True)
            seen = ours(args.binary, args.models, list(made), *flags)
            for copy, (path, _) in made.items():
                same.add(path, paths[path], seen.get(copy, []))
            good &= same.report()
            own = Tally("OpenCV FaceDetectorYN, each its own JPEG decoder (no bar)", 0.6, bars, whole=True)
            seen = ours(args.binary, args.models, list(paths), *flags)
            for path, theirs in paths.items():
                own.add(path, theirs, seen.get(path, []))
            own.report()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
