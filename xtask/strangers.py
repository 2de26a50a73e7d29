"""Whom does a run name in clips where only strangers appear? Nobody, or this fails.

    python xtask/strangers.py PORCHLIGHT DATA [PERSONS]

DATA has `videos/`, `eval/face_pairs/PERSON/` (a folder of photographs for each person) and other pictures with faces in `images/`
and `eval/dlib_faces/`. A gallery of PERSONS (20) is enrolled from them: first the persons with folders, several photographs each,
then single faces cut out of the other pictures, the largest first. Enrolment itself sees to it that they are good enough and
nobody twice. The clips become concatenated JPEG with OpenCV and Pillow, and each is run with the gallery at its own frame rate; small ones
a second time at twice their size, for their faces are below what the gate lets pass, and a clip without faces proves nothing. How
many faces there were to be mistaken, and how like the likest was to anybody enrolled, is told as OpenCV sees it.

Who does appear in a clip (`ACTORS`) is not in that gallery, but in a second one of the same size, with which the clip is run again: it
must name those of whom the clip has a frontal view (True) and nobody else. A gallery that never names anybody would pass the first part
too. Alex Lacamoire is there in profile alone, his nose beyond his eyes, which the gate refuses as it should. The control also prints how
long after the first frame that OpenCV's own detector and recogniser find likely enough (`MATCH`, from the front) the name came.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import cv2
import numpy as np
from PIL import Image, ImageSequence

ROOT = pathlib.Path(__file__).resolve().parent.parent
ACTORS = {"short_hamilton_clip": {"lin_manuel_miranda": True, "alex_lacamoire": False}}
PHOTOS = {".jpg", ".jpeg", ".png"}
# Of one person; of eye distance in a cut-out, pixels; of likeness.
MOST_PHOTOS, LEAST_EYES, MATCH = 5, 28, 0.45


class Oracle:
    """OpenCV's detector and recogniser with the default weights."""

    def __init__(self) -> None:
        weights = [next((ROOT / "models" / name).glob("*.onnx")) for name in ("yunet", "sface")]
        self.detector = cv2.FaceDetectorYN.create(str(weights[0]), "", (320, 320), 0.7, 0.3, 5000)
        self.recognizer = cv2.FaceRecognizerSF.create(str(weights[1]), "")

    def faces(self, picture: np.ndarray) -> list[np.ndarray]:
        self.detector.setInputSize(picture.shape[1::-1])
        found = self.detector.detect(picture)[1]
        return [] if found is None else list(found)

    def feature(self, picture: np.ndarray, face: np.ndarray) -> np.ndarray:
        return self.recognizer.feature(self.recognizer.alignCrop(picture, face)).copy()

    def likeness(self, a: np.ndarray, b: np.ndarray) -> float:
        return self.recognizer.match(a, b, 0)

    @staticmethod
    def eyes(face: np.ndarray) -> float:
        return float(np.hypot(*(face[6:8] - face[4:6])))

    def frontal(self, face: np.ndarray) -> bool:
        """As far as the gate asks: eye distance and yaw."""
        return self.eyes(face) >= 24 and abs(face[8] - (face[4] + face[6]) / 2) <= 0.4 * self.eyes(face)


def frames(path: pathlib.Path):
    if path.suffix == ".gif":
        for frame in ImageSequence.Iterator(Image.open(path)):
            yield np.array(frame.convert("RGB"))[:, :, ::-1]
        return
    video = cv2.VideoCapture(str(path))
    while True:
        there, frame = video.read()
        if not there:
            return
        yield frame


def scaled(path: pathlib.Path, scale: int):
    for frame in frames(path):
        frame = np.ascontiguousarray(frame)
        yield frame if scale == 1 else cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)


def rate(path: pathlib.Path) -> float:
    if path.suffix == ".gif":
        return round(1000 / (Image.open(path).info.get("duration") or 40), 3)
    return round(cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FPS), 3)


def as_mjpeg(path: pathlib.Path, into: pathlib.Path, scale: int) -> tuple[pathlib.Path, int]:
    clip = into / f"{path.stem}.mjpeg"
    count = 0
    with clip.open("wb") as out:
        for frame in scaled(path, scale):
            out.write(cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes())
            count += 1
    return clip, count


def cut_outs(oracle: Oracle, pictures: list[pathlib.Path], into: pathlib.Path) -> list[tuple[str, pathlib.Path]]:
    """Faces large enough, alone on a cut-out, the largest first; whoever is the largest face of several pictures comes once."""
    found = []
    for path in pictures:
        picture = cv2.imread(str(path))
        for index, face in enumerate(oracle.faces(picture)):
            if oracle.frontal(face) and oracle.eyes(face) >= LEAST_EYES:
                found.append((oracle.eyes(face), path, index, face))
    found.sort(key=lambda f: (-f[0], f[1].name, f[2]))
    into.mkdir(exist_ok=True)
    out = []
    for _, path, index, face in found:
        picture = cv2.imread(str(path))
        x, y, w, h = face[:4]
        x0, y0, x1, y1 = (int(v) for v in (x - 0.35 * w, y - 0.35 * h, x + 1.35 * w, y + 1.35 * h))
        cut = picture[max(y0, 0) : y1, max(x0, 0) : x1]
        name = f"{path.stem}_{index}"
        cv2.imwrite(str(into / f"{name}.png"), cut)
        out.append((name, into / f"{name}.png"))
    return out


class Gallery:
    """A gallery file, and whose photographs are in it."""

    def __init__(self, program: str, path: pathlib.Path) -> None:
        self.program, self.path, self.photos = program, path, {}

    def enroll(self, name: str, photos: list[pathlib.Path]) -> None:
        """With those of the photographs that enrolment takes; it refuses all of them when one is not good enough, and says which."""
        while photos:
            command = [self.program, "faces", "enroll", name, *map(str, photos), "--gallery", str(self.path), "--consent", "a test"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                self.photos[name] = photos
                return
            left = [p for p in photos if f"{p}: " not in done.stderr]
            if len(left) == len(photos):
                return
            photos = left


def gallery_of(program: str, data: pathlib.Path, path: pathlib.Path, wanted: int, but: set[str], others: list) -> Gallery:
    gallery = Gallery(program, path)
    for folder in sorted(p for p in (data / "eval/face_pairs").iterdir() if p.is_dir() and p.name not in {"groups", *but}):
        gallery.enroll(folder.name, sorted(p for p in folder.iterdir() if p.suffix in PHOTOS)[:MOST_PHOTOS])
    for name, photo in others:
        if len(gallery.photos) >= wanted:
            break
        gallery.enroll(name, [photo])
    return gallery


def named(program: str, clip: pathlib.Path, fps: float, gallery: Gallery) -> tuple[list[dict], dict]:
    command = [program, "run", "--source", str(clip), "--fps", str(fps), "--gallery", str(gallery.path), "--deterministic"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    counts = {kind: sum(e["type"] == kind for e in events) for kind in ("track.appeared", "identity.unknown")}
    return [e for e in events if e["type"] == "identity.recognized"], counts


def features(oracle: Oracle, photos: list[pathlib.Path]) -> list[np.ndarray]:
    pictures = [cv2.imread(str(photo)) for photo in photos]
    return [oracle.feature(p, max(oracle.faces(p), key=oracle.eyes)) for p in pictures]


def first_sight(oracle: Oracle, video: pathlib.Path, photos: list[pathlib.Path]) -> float | None:
    """Seconds to the first frame in which OpenCV would know the person of the photographs."""
    known = features(oracle, photos)
    for index, frame in enumerate(scaled(video, 1)):
        for face in filter(oracle.frontal, oracle.faces(frame)):
            if max(oracle.likeness(oracle.feature(frame, face), k) for k in known) >= MATCH:
                return index / rate(video)
    return None


def likest(oracle: Oracle, video: pathlib.Path, scale: int, gallery: Gallery) -> tuple[int, float]:
    """Faces from the front in every third frame, and the greatest likeness of one to anybody enrolled."""
    known = [f for photos in gallery.photos.values() for f in features(oracle, photos)]
    count, most = 0, 0.0
    for index, frame in enumerate(scaled(video, scale)):
        for face in filter(oracle.frontal, oracle.faces(frame) if index % 3 == 0 else []):
            feature = oracle.feature(frame, face)
            count, most = count + 1, max(most, *(oracle.likeness(feature, k) for k in known))
    return count, most


def main() -> int:
    program, data = sys.argv[1], pathlib.Path(sys.argv[2])
    wanted = int(sys.argv[3]) if len(sys.argv) > 3 else 20
    failures, oracle, seen = [], Oracle(), 0
    actors = {name for cast in ACTORS.values() for name in cast}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        others = [*sorted((data / "images").glob("*.*")), *sorted((data / "eval/dlib_faces").glob("*.jpg"))]
        others = cut_outs(oracle, others, folder / "cut")
        strangers = gallery_of(program, data, folder / "strangers.gallery", wanted, actors, others)
        everybody = gallery_of(program, data, folder / "everybody.gallery", wanted, set(), others)
        for gallery in (strangers, everybody):
            print(f"{gallery.path.stem}: {len(gallery.photos)} persons, {sum(map(len, gallery.photos.values()))} photographs")
            if len(gallery.photos) < wanted:
                failures.append(f"only {len(gallery.photos)} persons could be enrolled, wanted {wanted}")
        for video in sorted((data / "videos").iterdir()):
            cast, fps = ACTORS.get(video.stem, {}), rate(video)
            for scale in (2, 1) if next(frames(video)).shape[1] < 640 else (1,):
                clip, count = as_mjpeg(video, folder, scale)
                found, counts = named(program, clip, fps, strangers)
                faces, most = likest(oracle, video, scale, strangers)
                seen += faces
                size = f"{count} frames at {fps}/s, size x{scale}"
                print(f"{video.stem}: {size}, {counts}, {faces} faces, the likest {most:.3f}, named: {len(found)}", flush=True)
                failures += [f"{video.stem}: {e['name']} ({e['similarity']}) at {e['ts']}" for e in found]
            if cast:
                found, _ = named(program, clip, fps, everybody)
                names, must = {e["name"] for e in found}, {name for name, frontal in cast.items() if frontal}
                if not must <= names or not names <= set(cast):
                    failures.append(f"{video.stem}: named {sorted(names)}, wanted {sorted(must)} and nobody who is not there")
                for e in found:
                    photos = [p for p in sorted((data / "eval/face_pairs" / e["name"]).iterdir()) if p.suffix in PHOTOS]
                    minutes, seconds = e["ts"][14:-1].split(":")
                    at, sight = 60 * int(minutes) + float(seconds), first_sight(oracle, video, photos)
                    print(f"{video.stem}: with {sorted(cast)} enrolled: {e['name']} ({e['similarity']}) at {at:.2f} s, recognisable from {sight} s")
            clip.unlink()
    if not seen:
        failures.append("no face in any clip could have been mistaken: this proves nothing")
    for failure in failures:
        print(f"strangers: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
