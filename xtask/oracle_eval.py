"""Made-up truths and results, and what the reference tools say of them: tests/eval/*.json.

Objects: pycocotools. Tracks: TrackEval. Faces: the authors' evaluation of WIDER FACE, which is no package, written again here
with NumPy. The cases hold what implementations differ in: equal scores, groups, empty pictures, more than a hundred
detections, areas on their limits, classes nobody has, swapped and broken tracks.

usage: oracle_eval.py [--check] [--coco TRUTH RESULTS REPORT]
  --check   compare with the committed files instead of writing them
  --coco    compare a report of `porchlight eval coco --json` with pycocotools on those files
exit status: 0 equal within 1e-6, 1 not
"""

import contextlib
import io
import json
import os
import sys

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from trackeval.metrics import CLEAR, HOTA, Identity

FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tests", "eval")
STATS = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"]


def coco_numbers(truth, results):
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO()
        known.dataset = truth
        known.createIndex()
        # An empty list is more than loadRes takes.
        seen = known.loadRes(results) if results else COCO()
        if not results:
            seen.dataset = {"images": truth["images"], "categories": truth["categories"], "annotations": []}
            seen.createIndex()
        judge = COCOeval(known, seen, "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return [float(v) for v in judge.stats]


def number(v):
    return round(float(v), 3)


def coco_case(rng, pictures, classes, crowd=0.0, ties=False, many=0, empty=0.0):
    truth = {
        "images": [{"id": 7 * i + 3, "file_name": f"{i}.jpg"} for i in range(pictures)],
        "categories": [{"id": 3 * k + 1, "name": f"class {k}"} for k in range(classes)],
        "annotations": [],
    }
    results = []
    for image in truth["images"]:
        if rng.random() < empty:
            continue
        for _ in range(rng.integers(0, 7)):
            w, h = (number(v) for v in rng.choice([8, 32, 40, 96, 200], 2) * rng.uniform(0.9, 1.1, 2))
            if rng.random() < 0.3:
                w, h = rng.choice([32.0, 96.0]), rng.choice([32.0, 96.0])
            box = [number(rng.uniform(0, 400)), number(rng.uniform(0, 300)), float(w), float(h)]
            category = int(3 * rng.integers(0, classes) + 1)
            truth["annotations"].append(
                {
                    "id": len(truth["annotations"]) + 1,
                    "image_id": image["id"],
                    "category_id": category,
                    "bbox": box,
                    "area": number(w * h * rng.choice([1.0, 0.6])),
                    "iscrowd": int(rng.random() < crowd),
                }
            )
            for _ in range(rng.integers(0, 4)):
                moved = [number(v + d) for v, d in zip(box, rng.normal(0, 0.08, 4) * [w, h, w, h])]
                moved[2:] = [max(v, 1.0) for v in moved[2:]]
                score = rng.choice([0.2, 0.5, 0.9]) if ties else number(rng.random())
                kind = category if rng.random() < 0.8 else int(3 * rng.integers(0, classes) + 1)
                results.append({"image_id": image["id"], "category_id": kind, "bbox": moved, "score": float(score)})
        for _ in range(many):
            box = [number(rng.uniform(0, 400)), number(rng.uniform(0, 300)), number(rng.uniform(5, 90)), number(rng.uniform(5, 90))]
            kind = int(3 * rng.integers(0, classes) + 1)
            results.append({"image_id": image["id"], "category_id": kind, "bbox": box, "score": number(rng.random())})
    return {"truth": truth, "results": results, "stats": coco_numbers(truth, results)}


def coco():
    rng = np.random.default_rng(20241101)
    cases = {
        "plain": coco_case(rng, 12, 4),
        "ties": coco_case(rng, 10, 3, ties=True),
        "crowds": coco_case(rng, 10, 2, crowd=0.4),
        "empty pictures": coco_case(rng, 12, 3, empty=0.5),
        "more than a hundred": coco_case(rng, 3, 1, many=140),
        "a class nobody has": coco_case(rng, 3, 9),
        "crowds and ties": coco_case(rng, 15, 2, crowd=0.3, ties=True),
        "nothing there": coco_case(rng, 2, 2, empty=1.0),
    }
    cases["nothing found"] = {**cases["plain"], "results": [], "stats": coco_numbers(cases["plain"]["truth"], [])}
    return cases


def plus_one(a, b):
    w = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0]) + 1
    h = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1]) + 1
    if w <= 0 or h <= 0:
        return 0.0
    return w * h / ((a[2] + 1) * (a[3] + 1) + (b[2] + 1) * (b[3] + 1) - w * h)


def wider_ap(pictures, subset):
    scores = np.concatenate([[f[4] for f in p["found"]] for p in pictures])
    low, high = scores.min(), scores.max()
    faces, curve = 0, np.zeros((1000, 2))
    for p in pictures:
        found = sorted(([*f[:4], (f[4] - low) / (high - low)] for f in p["found"]), key=lambda f: -f[4])
        ignored = [subset not in face["subsets"] for face in p["faces"]]
        faces += len(ignored) - sum(ignored)
        if not found or not p["faces"]:
            continue
        state, proposal, recalled = np.zeros(len(ignored)), np.ones(len(found)), np.zeros(len(found))
        for k, f in enumerate(found):
            overlaps = np.array([plus_one(f, face["bbox"]) for face in p["faces"]])
            best = overlaps.argmax()
            if overlaps[best] >= 0.5:
                if ignored[best]:
                    state[best], proposal[k] = -1, -1
                elif state[best] == 0:
                    state[best] = 1
            recalled[k] = (state == 1).sum()
        at = np.array([f[4] for f in found])
        for t in range(1000):
            above = np.flatnonzero(at >= 1 - (t + 1) / 1000)
            if len(above):
                curve[t] += ((proposal[: above[-1] + 1] == 1).sum(), recalled[above[-1]])
    with np.errstate(invalid="ignore"):
        precision, recall = np.nan_to_num(curve[:, 1] / curve[:, 0]), curve[:, 1] / faces
    recall, precision = np.concatenate([[0], recall, [1]]), np.concatenate([[0], precision, [0]])
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    step = np.flatnonzero(recall[1:] != recall[:-1])
    return float(((recall[step + 1] - recall[step]) * precision[step + 1]).sum())


def wider():
    rng = np.random.default_rng(7)
    pictures = []
    for i in range(20):
        faces, found = [], []
        for _ in range(rng.integers(0, 6)):
            side = float(rng.choice([12, 30, 80]))
            box = [number(rng.uniform(0, 500)), number(rng.uniform(0, 300)), side, number(side * 1.2)]
            kind = rng.integers(0, 4)
            faces.append({"bbox": box, "subsets": [["easy", "medium", "hard"], ["medium", "hard"], ["hard"], []][kind]})
            for _ in range(rng.integers(0, 3)):
                found.append([number(v + d) for v, d in zip(box, rng.normal(0, side * 0.12, 4))] + [number(rng.random())])
        for _ in range(rng.integers(0, 3)):
            found.append([number(v) for v in (*rng.uniform(0, 400, 2), *rng.uniform(10, 60, 2), rng.random() * 0.7)])
        # Equal scores keep another order in every sort.
        found = list({f[4]: f for f in found}.values())
        pictures.append({"file_name": f"{i}.jpg", "faces": faces, "found": found})
    return {"pictures": pictures, "ap": {s: wider_ap(pictures, s) for s in ("easy", "medium", "hard")}}


def mot_numbers(truth, tracked):
    """The rows of two MOTChallenge texts, as TrackEval wants them."""
    frames = sorted({r[0] for r in truth + tracked})
    index = lambda rows: {v: i for i, v in enumerate(dict.fromkeys(r[1] for r in rows))}
    known, tracks = index(truth), index(tracked)
    data = {"gt_ids": [], "tracker_ids": [], "similarity_scores": []}
    for frame in frames:
        a, b = ([r for r in rows if r[0] == frame] for rows in (truth, tracked))
        data["gt_ids"].append(np.array([known[r[1]] for r in a], int))
        data["tracker_ids"].append(np.array([tracks[r[1]] for r in b], int))
        over = np.zeros((len(a), len(b)))
        for i, r in enumerate(a):
            for j, s in enumerate(b):
                w = max(0, min(r[2] + r[4], s[2] + s[4]) - max(r[2], s[2]))
                h = max(0, min(r[3] + r[5], s[3] + s[5]) - max(r[3], s[3]))
                over[i, j] = w * h / (r[4] * r[5] + s[4] * s[5] - w * h)
        data["similarity_scores"].append(over)
    data |= {
        "num_timesteps": len(frames),
        "num_gt_ids": len(known),
        "num_tracker_ids": len(tracks),
        "num_gt_dets": len(truth),
        "num_tracker_dets": len(tracked),
    }
    quiet = {"PRINT_CONFIG": False}
    with contextlib.redirect_stdout(io.StringIO()):
        clear = CLEAR(quiet).eval_sequence(data)
        identity = Identity(quiet).eval_sequence(data)
        hota = HOTA().eval_sequence(data)
    mean = lambda k: float(np.mean(hota[k]))
    out = {"hota": mean("HOTA"), "deta": mean("DetA"), "assa": mean("AssA")}
    out |= {k.lower(): float(clear[k]) for k in ("MOTA", "MOTP", "IDSW", "MT", "PT", "ML", "Frag")}
    out |= {"tp": float(clear["CLR_TP"]), "fn": float(clear["CLR_FN"]), "fp": float(clear["CLR_FP"])}
    return out | {k.lower(): float(identity[k]) for k in ("IDF1", "IDP", "IDR")}


def mot_case(rng, length, persons, miss, swap, ghost):
    truth, tracked = [], []
    names = {p: p + 100 for p in range(persons)}
    for frame in range(1, length + 1):
        if rng.random() < swap and persons > 1:
            a, b = rng.choice(persons, 2, replace=False)
            names[a], names[b] = names[b], names[a]
        for p in range(persons):
            if not p * 2 <= frame <= length - p:
                continue
            box = [number(20 * p + 3 * frame), number(10 + 12 * p), 40.0, 80.0]
            truth.append([frame, p + 1, *box])
            if rng.random() < miss:
                if rng.random() < 0.3:
                    names[p] = max(names.values()) + 1
                continue
            moved = [number(v + d) for v, d in zip(box, rng.normal(0, 4, 4))]
            tracked.append([frame, int(names[p]), *moved])
        if rng.random() < ghost:
            tracked.append([frame, 900 + frame // 5, number(rng.uniform(0, 300)), 200.0, 40.0, 80.0])
    text = lambda rows: "".join(",".join(map(str, r)) + ",1,1,1\n" for r in rows)
    return {"truth": text(truth), "tracks": text(tracked), "measures": mot_numbers(truth, tracked)}


def mot():
    rng = np.random.default_rng(3)
    return {
        "good": mot_case(rng, 30, 3, 0.05, 0.0, 0.05),
        "swaps": mot_case(rng, 40, 4, 0.1, 0.2, 0.1),
        "broken": mot_case(rng, 40, 5, 0.5, 0.1, 0.4),
        "crowded": mot_case(rng, 25, 9, 0.15, 0.3, 0.2),
    }


def same(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return abs(a - b) <= 1e-6 if isinstance(a, float) else a == b


def main():
    if sys.argv[1:2] == ["--coco"]:
        truth, results, report = (json.load(open(path, encoding="utf-8")) for path in sys.argv[2:5])
        theirs = coco_numbers(truth, results)
        worst = max(abs(t - report["stats"][name]) for name, t in zip(STATS, theirs))
        for name, t in zip(STATS, theirs):
            print(f"{name:6} pycocotools {t:.6f} porchlight {report['stats'][name]:.6f}")
        print(f"largest difference {worst:.2e}")
        return worst > 1e-6
    wrong = False
    for name, made in (("coco", coco()), ("wider", wider()), ("mot", mot())):
        path = os.path.join(FOLDER, name + ".json")
        if "--check" in sys.argv:
            with open(path, encoding="utf-8") as file:
                equal = same(json.load(file), made)
            print(f"{name}: {'as committed' if equal else 'DIFFERS'}")
            wrong |= not equal
        else:
            with open(path, "w", encoding="utf-8") as file:
                json.dump(made, file, separators=(",", ":"))
                file.write("\n")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
