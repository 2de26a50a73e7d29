"""What the default models must answer for samples/: `[golden]` fragments for their cards, as TOML on stdout.

A golden must not come from the code it judges. This script shares nothing with porchlight: it decodes with OpenCV, runs
the models in the Python build of ONNX Runtime and reads their outputs with the few lines below, written from the
descriptions of the models. Boxes are [x, y, w, h] in pixels of the picture.

usage: goldens.py [--objects FILE] [--faces FILE] [--embedder FILE] [--score F] [--long-side N|native]
"""

import argparse
import glob
import os
import sys

import cv2
import numpy as np
import onnxruntime

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PICTURES = ["samples/astronaut.jpg", "samples/people.jpg", "samples/cat.jpg", "samples/hopper.jpg"]

# The names of COCO's categories by id, which start at 1; the ids that COCO never used are empty.
COCO = (
    "|person|bicycle|car|motorcycle|airplane|bus|train|truck|boat|traffic light|fire hydrant||stop sign|parking meter|bench"
    "|bird|cat|dog|horse|sheep|cow|elephant|bear|zebra|giraffe||backpack|umbrella|||handbag|tie|suitcase|frisbee|skis"
    "|snowboard|sports ball|kite|baseball bat|baseball glove|skateboard|surfboard|tennis racket|bottle||wine glass|cup|fork"
    "|knife|spoon|bowl|banana|apple|sandwich|orange|broccoli|carrot|hot dog|pizza|donut|cake|chair|couch|potted plant|bed||"
    "dining table|||toilet||tv|laptop|mouse|remote|keyboard|cell phone|microwave|oven|toaster|sink|refrigerator||book|clock"
    "|vase|scissors|teddy bear|hair drier|toothbrush"
).split("|")


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def overlap(one, many):
    """Intersection over union of one [x, y, w, h] with each of many."""
    wide = np.minimum(one[0] + one[2], many[:, 0] + many[:, 2]) - np.maximum(one[0], many[:, 0])
    high = np.minimum(one[1] + one[3], many[:, 1] + many[:, 3]) - np.maximum(one[1], many[:, 1])
    both = np.maximum(wide, 0) * np.maximum(high, 0)
    return both / (one[2] * one[3] + many[:, 2] * many[:, 3] - both)


def suppress(found, limit):
    """Greedy suppression among detections of one class, best first."""
    found = sorted(found, key=lambda detection: -detection["score"])
    kept = []
    for detection in found:
        if not kept or overlap(detection["box"], np.array([k["box"] for k in kept])).max() <= limit:
            kept.append(detection)
    return kept


class Objects:
    """SSDLite-MobileNetV2, 300x300: RGB from -1 to 1, the picture stretched; boxes relative to 1917 anchors."""

    def __init__(self, path):
        self.session = session(path)
        shapes = []
        for level, cells in enumerate([19, 10, 5, 3, 2, 1]):
            size = 0.2 + 0.15 * level
            larger = 1.0 if level == 5 else size + 0.15
            if level == 0:
                kinds = [(0.1, 1.0), (0.2, 2.0), (0.2, 0.5)]
            else:
                kinds = [(size, ratio) for ratio in (1.0, 2.0, 0.5, 3.0, 1 / 3)] + [((size * larger) ** 0.5, 1.0)]
            centres = (np.arange(cells) + 0.5) / cells
            for cy in centres:
                for cx in centres:
                    shapes += [(cx, cy, s * r**0.5, s / r**0.5) for s, r in kinds]
        self.anchors = np.array(shapes)

    def __call__(self, picture, least):
        height, width = picture.shape[:2]
        small = cv2.cvtColor(cv2.resize(picture, (300, 300), interpolation=cv2.INTER_LINEAR), cv2.COLOR_BGR2RGB)
        tensor = (small.astype(np.float32) / 127.5 - 1).transpose(2, 0, 1)[None]
        offset, score = self.session.run(["box", "score"], {"input": np.ascontiguousarray(tensor)})
        ty, tx, th, tw = offset.reshape(-1, 4).astype(float).T
        ax, ay, aw, ah = self.anchors.T
        wide, high = np.exp(tw / 5) * aw * width, np.exp(th / 5) * ah * height
        left, top = (tx / 10 * aw + ax) * width - wide / 2, (ty / 10 * ah + ay) * height - high / 2
        boxes = np.stack([left, top, wide, high], 1)
        kept = []
        for category, name in enumerate(COCO):
            if name:
                at = np.flatnonzero(score[0, :, category] >= least)
                found = [{"class": name, "box": boxes[i], "score": float(score[0, i, category])} for i in at]
                kept += suppress(found, 0.6)
        return sorted(kept, key=lambda detection: -detection["score"])


class Faces:
    """YuNet: BGR from 0 to 255, zeros added at the right and at the bottom up to multiples of 32, three strides."""

    def __init__(self, path, long_side):
        self.session = session(path)
        self.long_side = long_side

    def __call__(self, picture, least):
        height, width = picture.shape[:2]
        scale = self.long_side / max(height, width) if self.long_side else 1.0
        if scale != 1.0:
            size = (round(width * scale), round(height * scale))
            picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1.0 else cv2.INTER_LINEAR)
        high, wide = picture.shape[:2]
        picture = cv2.copyMakeBorder(picture, 0, -high % 32, 0, -wide % 32, cv2.BORDER_CONSTANT)
        columns = picture.shape[1]
        tensor = np.ascontiguousarray(picture.astype(np.float32).transpose(2, 0, 1)[None])
        names = [output.name for output in self.session.get_outputs()]
        out = dict(zip(names, self.session.run(names, {"input": tensor})))
        found = []
        for stride in (8, 16, 32):
            score = np.sqrt(out[f"cls_{stride}"].clip(0, 1) * out[f"obj_{stride}"].clip(0, 1)).ravel()
            for i in np.flatnonzero(score >= least):
                cell = np.array([i % (columns // stride), i // (columns // stride)])
                raw = out[f"bbox_{stride}"][0, i].astype(float)
                size = np.exp(raw[2:]) * stride
                corner = (cell + raw[:2]) * stride - size / 2
                points = (out[f"kps_{stride}"][0, i].reshape(5, 2) + cell) * stride
                box = np.concatenate([corner, size]) / scale
                found.append({"class": "face", "box": box, "score": float(score[i]), "landmarks": points / scale})
        return suppress(found, 0.3)


class Embedder:
    """SFace: RGB from 0 to 255, the five landmarks laid onto fixed places of a 112x112 crop."""

    PLACES = [38.2946 + 51.6963j, 73.5318 + 51.5014j, 56.0252 + 71.7366j, 41.5493 + 92.3655j, 70.7299 + 92.2041j]

    def __init__(self, path):
        self.session = session(path)

    def __call__(self, picture, landmarks):
        # With points as complex numbers, turning, scaling and shifting is w = a z + b, a plain least-squares fit.
        z, w = landmarks[:, 0] + 1j * landmarks[:, 1], np.array(self.PLACES)
        from_middle = z - z.mean()
        a = np.vdot(from_middle, w - w.mean()) / np.vdot(from_middle, from_middle)
        b = w.mean() - a * z.mean()
        matrix = np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])
        crop = cv2.cvtColor(cv2.warpAffine(picture, matrix, (112, 112), flags=cv2.INTER_LINEAR), cv2.COLOR_BGR2RGB)
        tensor = np.ascontiguousarray(crop.astype(np.float32).transpose(2, 0, 1)[None])
        vector = self.session.run(None, {"input": tensor})[0][0].astype(float)
        return vector / np.linalg.norm(vector)


def numbers(values):
    return "[" + ", ".join(f"{value:.1f}" for value in values) + "]"


def places(points):
    return "[" + ", ".join(map(numbers, points)) + "]"


def fragment(picture, detections):
    print(f'[golden]\nimage = "{picture}"\n')
    for detection in detections:
        print(f'[[golden.expect]]\nclass = "{detection["class"]}"\nbox = {numbers(detection["box"])}')
        # JPEG decoders differ in the last bit, and so do ways to average pixels: hence the room.
        print(f"score = {detection['score']:.3f}\nscore_tolerance = 0.03\nmin_iou = 0.9")
        if "landmarks" in detection:
            print(f"landmarks = {places(detection['landmarks'])}")
        print()


def weights(given, pattern, what):
    """The file that was given, or the only one under models/ of that kind."""
    if given:
        return given
    found = sorted(glob.glob(os.path.join(ROOT, "models", "**", pattern), recursive=True))
    if len(found) != 1:
        sys.exit(f"goldens: wanted one {pattern} under models/, found {len(found)}; name it with --{what} FILE")
    return found[0]


def load(path):
    picture = cv2.imread(os.path.join(ROOT, path), cv2.IMREAD_COLOR)
    if picture is None:
        sys.exit(f"goldens: {path} is missing or no picture; make it with: cargo xtask samples")
    return picture


def long_side(text):
    return None if text == "native" else int(text)


def main():
    parser = argparse.ArgumentParser(prog="cargo xtask goldens", description="Prints [golden] fragments for the model cards.")
    parser.add_argument("--objects", metavar="FILE", help="SSDLite weights; default: models/**/ssdlite*.onnx")
    parser.add_argument("--faces", metavar="FILE", help="YuNet weights; default: models/**/yunet*.onnx")
    parser.add_argument("--embedder", metavar="FILE", help="SFace weights; default: models/**/sface*.onnx")
    parser.add_argument("--score", type=float, default=0.5, help="least score of a detection (default 0.5)")
    parser.add_argument(
        "--long-side", type=long_side, default=640, metavar="N|native",
        help="the face detector sees pictures brought to this (default 640, as its card says)",
    )
    args = parser.parse_args()
    files = {
        "objects": weights(args.objects, "ssdlite*.onnx", "objects"),
        "faces": weights(args.faces, "yunet*.onnx", "faces"),
        "embedder": weights(args.embedder, "sface*.onnx", "embedder"),
    }
    missing = [path for path in files.values() if not os.path.isfile(path)]
    if missing:
        sys.exit(f"goldens: {missing[0]} is missing")
    objects, faces, embedder = Objects(files["objects"]), Faces(files["faces"], args.long_side), Embedder(files["embedder"])
    pictures = {path: load(path) for path in PICTURES}
    named = {kind: os.path.basename(path) for kind, path in files.items()}

    print(f"# {named['objects']}, score >= {args.score}")
    for path, picture in pictures.items():
        fragment(path, objects(picture, args.score))

    print(f"# {named['faces']}, score >= {args.score}, long side {args.long_side or 'native'}")
    embeddings = {}
    for path, picture in pictures.items():
        found = faces(picture, args.score)
        fragment(path, found)
        if found:
            largest = max(found, key=lambda face: face["box"][2] * face["box"][3])
            # As printed, so that a replay starts from the same numbers.
            largest = largest["landmarks"].round(1)
            embeddings[path] = (largest, embedder(picture, largest))

    print(f"# {named['embedder']}, the largest face of each picture\n[golden]\n")
    paths = list(embeddings)
    for i, a in enumerate(paths):
        for b in paths[i + 1 :]:
            cosine = float(embeddings[a][1] @ embeddings[b][1])
            print(f'[[golden.expect_cosine]]\na = "{a}"\nb = "{b}"')
            print(f"landmarks_a = {places(embeddings[a][0])}\nlandmarks_b = {places(embeddings[b][0])}")
            print(f"cosine = {cosine:.3f}\ntolerance = 0.01\n")


if __name__ == "__main__":
    main()
