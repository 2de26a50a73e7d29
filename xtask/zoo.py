"""What the models of the zoo must answer for samples/: `[golden]` fragments for their cards, as TOML on stdout.

Nothing here is shared with porchlight: OpenCV resizes, NumPy decodes, the Python build of ONNX Runtime computes. Each class
is written from the description of its model by its authors; boxes are [x, y, w, h] in pixels of the picture.

usage: zoo.py WEIGHTS [NAME...]     WEIGHTS: a folder with the files that the cards name
"""

import os
import sys
import tomllib

import cv2
import numpy as np

from goldens import COCO, PICTURES, ROOT, Embedder, Faces, fragment, load, places, session, suppress

OBJECTS = [name for name in COCO if name]
# Sizes of the prior boxes of the small face detectors, by stride.
SMALL = {8: (10, 16, 24), 16: (32, 48), 32: (64, 96), 64: (128, 192, 256)}


def logistic(v):
    return 1 / (1 + np.exp(-v))


def batch(picture, scale=1.0, mean=(0, 0, 0), std=(1, 1, 1)):
    """Height, width, channels to the tensor of one picture."""
    values = (picture.astype(np.float32) * np.float32(scale) - np.array(mean, np.float32)) / np.array(std, np.float32)
    return np.ascontiguousarray(values.astype(np.float32).transpose(2, 0, 1)[None])


class Fitted:
    """A picture in its model's input, and the way back."""

    def __init__(self, picture, wide, high, fill=None, middle=False):
        height, width = picture.shape[:2]
        if fill is None:
            size, self.corner = (wide, high), (0, 0)
        else:
            ratio = min(wide / width, high / height)
            size = (int(width * ratio + 0.5), int(height * ratio + 0.5))
            self.corner = ((wide - size[0]) // 2, (high - size[1]) // 2) if middle else (0, 0)
        small = cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)
        self.pixels = np.full((high, wide, 3), fill or 0, np.uint8)
        left, top = self.corner
        self.pixels[top : top + size[1], left : left + size[0]] = small
        self.ratio = np.array([width / size[0], height / size[1]])

    def points(self, at):
        """[..., 2] of the input to [..., 2] of the picture."""
        return (np.asarray(at, float) - self.corner) * self.ratio

    def found(self, centres, sizes, scores, names, landmarks=None):
        out = []
        for i, score in enumerate(scores):
            start, end = self.points(centres[i] - sizes[i] / 2), self.points(centres[i] + sizes[i] / 2)
            one = {"class": names[i], "box": np.concatenate([start, end - start]), "score": float(score)}
            if landmarks is not None:
                one["landmarks"] = self.points(landmarks[i])
            out.append(one)
        return out


def by_class(found, limit):
    kept = []
    for name in dict.fromkeys(d["class"] for d in found):
        kept += suppress([d for d in found if d["class"] == name], limit)
    return sorted(kept, key=lambda d: -d["score"])


def cells(high, wide, stride):
    """Column and row of each cell, row by row."""
    rows, columns = np.meshgrid(np.arange(-(-high // stride)), np.arange(-(-wide // stride)), indexing="ij")
    return np.stack([columns.ravel(), rows.ravel()], 1).astype(float)


class Grid:
    """YOLOX: BGR 0..255, 114 around; three strides, centre and logarithmic size, objectness times class."""

    def __init__(self, path, side, names):
        self.session, self.side, self.names = session(path), side, names

    def __call__(self, picture, least, limit):
        fit = Fitted(picture, self.side, self.side, 114)
        rows = self.session.run(["output"], {"images": batch(fit.pixels)})[0][0].astype(float)
        at = np.concatenate([cells(self.side, self.side, s) for s in (8, 16, 32)])
        step = np.concatenate([np.full((self.side // s) ** 2, s) for s in (8, 16, 32)])[:, None]
        score = rows[:, 4:5] * rows[:, 5:]
        i, c = np.nonzero(score >= least)
        found = fit.found(((rows[:, :2] + at) * step)[i], (np.exp(rows[:, 2:4]) * step)[i], score[i, c], [self.names[k] for k in c])
        return by_class(found, limit)


class Distances:
    """NanoDet-m: BGR, normalised, zeros on both sides; each side of a box is a distribution over eight distances."""

    def __init__(self, path):
        self.session = session(path)

    def __call__(self, picture, least, limit):
        fit = Fitted(picture, 320, 320, 0, middle=True)
        tensor = batch(fit.pixels, 1, (103.53, 116.28, 123.675), (57.375, 57.12, 58.395))
        found = []
        for stride in (8, 16, 32):
            names = [f"cls_pred_stride_{stride}", f"dis_pred_stride_{stride}"]
            score, raw = (o[0].astype(float) for o in self.session.run(names, {"input.1": tensor}))
            share = np.exp(raw.reshape(-1, 4, 8))
            side = (share * np.arange(8)).sum(2) / share.sum(2) * stride
            middle = (cells(320, 320, stride) + 0.5) * stride - 0.5
            i, c = np.nonzero(score >= least)
            start, end = (middle - side[:, :2])[i], (middle + side[:, 2:])[i]
            found += fit.found((start + end) / 2, end - start, score[i, c], [OBJECTS[k] for k in c])
        return by_class(found, limit)


class Planes:
    """FastestDet: BGR 0..1, stretched; one grid of 22 by 22."""

    def __init__(self, path):
        self.session = session(path)

    def __call__(self, picture, least, limit):
        fit = Fitted(picture, 352, 352)
        planes = self.session.run(["758"], {"input.1": batch(fit.pixels, 1 / 255)})[0][0].reshape(85, -1).astype(float)
        best = planes[5:].argmax(0)
        score = planes[0] ** 0.6 * planes[5:].max(0) ** 0.4
        centre = (np.tanh(planes[1:3].T) + cells(352, 352, 16)) / 22 * 352
        i = np.flatnonzero(score >= least)
        return by_class(fit.found(centre[i], logistic(planes[3:5].T)[i] * 352, score[i], [OBJECTS[k] for k in best[i]]), limit)


class Columns:
    """The layout 84x8400: RGB 0..1, 114 around."""

    def __init__(self, path):
        self.session = session(path)

    def __call__(self, picture, least, limit):
        fit = Fitted(picture, 640, 640, 114)
        rows = self.session.run(["output0"], {"images": batch(fit.pixels[:, :, ::-1], 1 / 255)})[0][0].T.astype(float)
        i, c = np.nonzero(rows[:, 4:] >= least)
        return by_class(fit.found(rows[i, :2], rows[i, 2:4], rows[i, 4 + c], [OBJECTS[k] for k in c]), limit)


def priors(high, wide, sizes):
    """Centre and side of each prior in pixels of the input."""
    centre = [np.repeat((cells(high, wide, s) + 0.5) * s, len(sides), 0) for s, sides in sizes.items()]
    side = [np.tile(np.array(sides, float), len(cells(high, wide, s))) for s, sides in sizes.items()]
    return np.concatenate(centre), np.repeat(np.concatenate(side)[:, None], 2, 1)


def one_face(fit, centre, size, score, least, limit, landmarks=None):
    i = np.flatnonzero(score >= least)
    points = None if landmarks is None else landmarks[i]
    return suppress(fit.found(centre[i], size[i], score[i], ["face"] * len(i), points), limit)


class UltraLight:
    """RGB less 127 over 128, stretched to 320x240; decoded by the graph, or raw with priors cut to the input."""

    def __init__(self, path, raw):
        self.session, self.raw = session(path), raw

    def __call__(self, picture, least, limit):
        fit = Fitted(picture, 320, 240)
        tensor = batch(fit.pixels[:, :, ::-1], 1, (127,) * 3, (128,) * 3)
        score, box = (o[0].astype(float) for o in self.session.run(["scores", "boxes"], {"input": tensor}))
        whole = np.array([320.0, 240.0])
        if self.raw:
            centre, side = (np.clip(v, 0, whole) for v in priors(240, 320, SMALL))
            centre, side = centre + box[:, :2] * 0.1 * side, side * np.exp(box[:, 2:] * 0.2)
        else:
            centre, side = (box[:, :2] + box[:, 2:]) / 2 * whole, (box[:, 2:] - box[:, :2]) * whole
        return one_face(fit, centre, side, score[:, 1], least, limit)


class OldYuNet:
    """BGR 0..255, zeros around, 320x320; boxes and landmarks in one tensor, a quality in another."""

    def __init__(self, path):
        self.session = session(path)

    def __call__(self, picture, least, limit):
        fit = Fitted(picture, 320, 320, 0)
        loc, conf, iou = (o[0].astype(float) for o in self.session.run(["loc", "conf", "iou"], {"input": batch(fit.pixels)}))
        centre, side = priors(320, 320, SMALL)
        score = np.sqrt(np.clip(conf[:, 1], 0, 1) * np.clip(iou[:, 0], 0, 1))
        points = centre[:, None] + loc[:, 4:].reshape(-1, 5, 2) * 0.1 * side[:, None]
        return one_face(fit, centre + loc[:, :2] * 0.1 * side, side * np.exp(loc[:, 2:4] * 0.2), score, least, limit, points)


class RetinaFace:
    """BGR less its mean, longer side brought to 640, zeros around up to a multiple of 32; outputs told apart by width."""

    def __init__(self, path):
        self.session = session(path)

    def __call__(self, picture, least, limit):
        height, width = picture.shape[:2]
        high, wide = (int(v * 640 / max(height, width) + 0.5) for v in (height, width))
        fit = Fitted(picture, -(-wide // 32) * 32, -(-high // 32) * 32, 0)
        fit.pixels[:] = 0
        fit.pixels[:high, :wide] = cv2.resize(picture, (wide, high), interpolation=cv2.INTER_LINEAR)
        fit.ratio = np.array([width / wide, height / high])
        out = {o.shape[-1]: o[0].astype(float) for o in self.session.run(None, {"input": batch(fit.pixels, 1, (104, 117, 123))})}
        centre, side = priors(*fit.pixels.shape[:2], {8: (16, 32), 16: (64, 128), 32: (256, 512)})
        points = centre[:, None] + out[10].reshape(-1, 5, 2) * 0.1 * side[:, None]
        return one_face(
            fit, centre + out[4][:, :2] * 0.1 * side, side * np.exp(out[4][:, 2:] * 0.2), out[2][:, 1], least, limit, points
        )


class Points:
    """SCRFD: RGB less 127.5 over 128, zeros around, 640x640; two equal points a cell."""

    def __init__(self, path):
        self.session = session(path)

    def __call__(self, picture, least, limit):
        fit = Fitted(picture, 640, 640, 0)
        tensor = batch(fit.pixels[:, :, ::-1], 1, (127.5,) * 3, (128,) * 3)
        out = [o[0].astype(float) for o in self.session.run([f"out{k}" for k in range(9)], {"images": tensor})]
        found = []
        for k, stride in enumerate((8, 16, 32)):
            point = np.repeat(cells(640, 640, stride) * stride, 2, 0)
            start, end = point - out[k + 3][:, :2] * stride, point + out[k + 3][:, 2:] * stride
            marks = point[:, None] + out[k + 6].reshape(-1, 5, 2) * stride
            found += one_face(fit, (start + end) / 2, end - start, out[k][:, 0], least, 1.0, marks)
        return suppress(found, limit)


class NewYuNet(Faces):
    """YuNet's other sizes: as the default one."""

    def __init__(self, path):
        super().__init__(path, 640)

    def __call__(self, picture, least, limit):
        return super().__call__(picture, least)


class OtherFace(Embedder):
    """MobileFaceNet: the same crop, RGB normalised as ImageNet is."""

    def __call__(self, picture, landmarks):
        z, w = landmarks[:, 0] + 1j * landmarks[:, 1], np.array(self.PLACES)
        away = z - z.mean()
        a = np.vdot(away, w - w.mean()) / np.vdot(away, away)
        b = w.mean() - a * z.mean()
        crop = cv2.warpAffine(picture, np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]]), (112, 112))
        tensor = batch(crop[:, :, ::-1], 1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        vector = self.session.run(["output0"], {"input0": tensor})[0][0].astype(float)
        return vector / np.linalg.norm(vector)


class Person:
    """Re-identification: BGR 0..255, the person stretched to 128x256, pixel after pixel."""

    def __init__(self, path):
        self.session = session(path)

    def __call__(self, picture, box):
        x, y, w, h = box
        crop = cv2.resize(picture[y : y + h, x : x + w], (128, 256), interpolation=cv2.INTER_LINEAR)
        vector = self.session.run(["Identity:0"], {"inputs:0": crop[None].astype(np.float32)})[0][0].astype(float)
        return vector / np.linalg.norm(vector)


DETECTORS = {
    "yolox-nano": lambda p: Grid(p, 416, OBJECTS),
    "light-person": lambda p: Grid(p, 192, ["person"]),
    "nanodet-m": Distances,
    "fastestdet": Planes,
    "yunet-s": NewYuNet,
    "yunet-n": NewYuNet,
    "yunet-2022": OldYuNet,
    "ultra-light-320": lambda p: UltraLight(p, False),
    "ultra-light-320-raw": lambda p: UltraLight(p, True),
    "retinaface-025": RetinaFace,
}
PERSONS = [("samples/people.jpg", [731, 204, 382, 430]), ("samples/people.jpg", [79, 128, 426, 511]), ("samples/astronaut.jpg", [10, 5, 400, 500])]


def card(name):
    with open(os.path.join(ROOT, "models", name, "card.toml"), "rb") as file:
        return tomllib.load(file)


def pairs(items, vector, keys):
    print("[golden]\n")
    made = [(picture, told, vector(load(picture), where)) for picture, told, where in items]
    for i, (a, told_a, va) in enumerate(made):
        for b, told_b, vb in made[i + 1 :]:
            print(f'[[golden.expect_cosine]]\na = "{a}"\nb = "{b}"\n{keys}_a = {told_a}\n{keys}_b = {told_b}')
            print(f"cosine = {float(va @ vb):.3f}\ntolerance = 0.01\n")


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    for name in sys.argv[2:] or [*DETECTORS, "mobilefacenet", "person-reid-0248"]:
        given = card(name)
        path = os.path.join(sys.argv[1], given["file"])
        print(f"# {name}")
        if name in DETECTORS:
            out = given["output"]
            for picture in PICTURES:
                fragment(picture, DETECTORS[name](path)(load(picture), out["score"], out["nms_iou"]))
        elif name == "mobilefacenet":
            faces = card("sface")["golden"]["expect_cosine"]
            marks = {p["a"]: p["landmarks_a"] for p in faces} | {p["b"]: p["landmarks_b"] for p in faces}
            items = [(p, places(np.array(m)), np.array(m)) for p, m in sorted(marks.items())]
            pairs(items, OtherFace(path), "landmarks")
        else:
            pairs([(p, box, box) for p, box in PERSONS], Person(path), "box")


if __name__ == "__main__":
    main()
