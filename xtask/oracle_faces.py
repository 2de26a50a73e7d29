"""Face likeness against OpenCV's FaceRecognizerSF: same weights, same landmarks, OpenCV's own alignment and inference.

    python xtask/oracle_faces.py [PORCHLIGHT]     from the repository's top; needs opencv (xtask/requirements.txt)

Copies the embedder's card with OpenCV's cosines as the wanted ones, .001 of tolerance, and lets `models check` judge.
"""

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
    with tempfile.TemporaryDirectory() as folder:
        models = pathlib.Path(folder) / "models"
        shutil.copytree(CARD.parent, models / "sface")
        shutil.copytree(ROOT / "samples", pathlib.Path(folder) / "samples")
        (models / "sface/card.toml").write_text(text)
        environment = {**os.environ, "PORCHLIGHT_MODELS": str(models)}
        return subprocess.run([program, "models", "check", "sface"], env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
