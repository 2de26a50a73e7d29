"""Face likeness against OpenCV's FaceRecognizerSF: same weights, same landmarks, OpenCV's own alignment and inference.

    python xtask/oracle_faces.py [PORCHLIGHT [PAIRS.tsv]]     from the repository's top; needs opencv (xtask/requirements.txt)

Copies the embedder's card with OpenCV's cosines as the wanted ones, .001 of tolerance, and lets `models check` judge. With a list of
pairs (columns a and b, paths from its folder) every pair is compared: `porchlight detect` gives the landmarks, OpenCV aligns and
embeds with them, its cosines go into a copy of the list, and `eval faces --json` says how far its own are off at most.
"""

import csv
import json

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import tomllib

import cv2
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
CARD = ROOT / "models/sface/card.toml"


BAR = 0.001


def all_pairs(program: str, model: cv2.FaceRecognizerSF, pairs: pathlib.Path) -> int:
    with pairs.open(newline="") as file:
        # All of them: those of one photograph too.
        rows = [(r["a"], r["b"], r["label"]) for r in csv.DictReader(file, delimiter="\t")]
    pictures = sorted({name for a, b, _ in rows for name in (a, b)})
    command = [program, "detect", "--model", "yunet", *(str(pairs.parent / p) for p in pictures)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    features = {}
    for name, line in zip(pictures, map(json.loads, lines), strict=True):
        # The face that `eval faces` takes.
        face = max(line["detections"], key=lambda d: d["box"][2] * d["box"][3] * d["score"])
        row = np.zeros((1, 15), np.float32)
        row[0, 4:14] = np.array(face["landmarks"], np.float32).ravel()
        features[name] = model.feature(model.alignCrop(cv2.imread(str(pairs.parent / name)), row)).copy()
    with tempfile.TemporaryDirectory() as folder:
        theirs = pathlib.Path(folder) / "theirs.tsv"
        with theirs.open("w") as out:
            print("a\tb\tlabel\tref_cosine", file=out)
            for a, b, label in rows:
                cosine = model.match(features[a], features[b], 0)
                print(pairs.parent.resolve() / a, pairs.parent.resolve() / b, label, f"{cosine:.7f}", sep="\t", file=out)
        report = json.loads(subprocess.run([program, "eval", "faces", "--json", str(theirs)], capture_output=True, text=True, check=True).stdout)
    off, count = report["greatest_difference"], report["pairs"]
    print(f"{count} of {len(rows)} pairs of {len(pictures)} pictures: greatest difference to OpenCV's cosine {off:.6f}, wanted at most {BAR}")
    return 0 if count == len(rows) and off <= BAR else 1


def main() -> int:
    program = sys.argv[1] if len(sys.argv) > 1 else str(ROOT / "target/debug/porchlight")
    text = CARD.read_text()
    card = tomllib.loads(text)
    model = cv2.FaceRecognizerSF.create(str(CARD.parent / card["file"]), "")

    def feature(picture: str, landmarks: list) -> np.ndarray:
        row = np.zeros((1, 15), np.float32)
        row[0, 4:14] = np.array(landmarks, np.float32).ravel()
        return model.feature(model.alignCrop(cv2.imread(str(ROOT / picture)), row)).copy()

    for pair in card["golden"]["expect_cosine"]:
        sides = feature(pair["a"], pair["landmarks_a"]), feature(pair["b"], pair["landmarks_b"])
        cosine = float(model.match(*sides, 0))
        print(f"{pair['a']} {pair['b']}: OpenCV {cosine:.5f}")
        old = f"cosine = {pair['cosine']}\ntolerance = {pair['tolerance']}"
        if old not in text:
            sys.exit(f"{CARD}: wanted {old!r}")
        text = text.replace(old, f"cosine = {cosine:.6f}\ntolerance = 0.001", 1)
    if len(sys.argv) > 2 and (missed := all_pairs(program, model, pathlib.Path(sys.argv[2]))):
        return missed
    with tempfile.TemporaryDirectory() as folder:
        models = pathlib.Path(folder) / "models"
        shutil.copytree(CARD.parent, models / "sface")
        shutil.copytree(ROOT / "samples", pathlib.Path(folder) / "samples")
        (models / "sface/card.toml").write_text(text)
        environment = {**os.environ, "PORCHLIGHT_MODELS": str(models)}
        return subprocess.run([program, "models", "check", "sface"], env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
