"""Whom does a run name in clips where only strangers appear? Nobody, or this fails.

    python xtask/strangers.py PORCHLIGHT DATA [PERSONS]

DATA has `videos/`, `eval/face_pairs/PERSON/*.jpg` (a folder for each person) and other pictures with faces below `images/` and
`eval/dlib_faces/`. A gallery of PERSONS (20) is enrolled from them: first the persons with folders, then whoever is alone on a
picture and passes enrolment. The clips become concatenated JPEG with OpenCV and Pillow, and each is run with the gallery.
Persons who do appear in a clip (`ACTORS`) are left out for it, and enrolled in a second run of that clip, which must name them and
nobody else: a gallery that never names anybody would pass the first part too.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import cv2
import numpy as np
from PIL import Image, ImageSequence

ACTORS = {"short_hamilton_clip": {"lin_manuel_miranda", "alex_lacamoire"}}


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


def as_mjpeg(path: pathlib.Path, into: pathlib.Path) -> tuple[pathlib.Path, int]:
    clip = into / f"{path.stem}.mjpeg"
    count = 0
    with clip.open("wb") as out:
        for frame in frames(path):
            out.write(cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes())
            count += 1
    return clip, count


class Gallery:
    """A gallery file, and who is in it."""

    def __init__(self, program: str, path: pathlib.Path) -> None:
        self.program, self.path, self.names = program, path, set()

    def enroll(self, name: str, photos: list[pathlib.Path]) -> bool:
        command = [self.program, "faces", "enroll", name, *map(str, photos), "--gallery", str(self.path), "--consent", "a test"]
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode == 0:
            self.names.add(name)
        return done.returncode == 0


def gallery_of(program: str, data: pathlib.Path, path: pathlib.Path, wanted: int, but: set[str]) -> Gallery:
    gallery = Gallery(program, path)
    for folder in sorted(p for p in (data / "eval/face_pairs").iterdir() if p.is_dir() and p.name not in {"groups", *but}):
        gallery.enroll(folder.name, sorted(folder.glob("*.jpg"))[:3])
    others = [*sorted((data / "images").glob("*.*")), *sorted((data / "eval/dlib_faces").glob("*.jpg"))]
    for photo in others:
        if len(gallery.names) >= wanted:
            break
        gallery.enroll(photo.stem, [photo])
    return gallery


def named(program: str, clip: pathlib.Path, gallery: Gallery) -> tuple[list[dict], dict]:
    command = [program, "run", "--source", str(clip), "--gallery", str(gallery.path), "--deterministic"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    counts = {kind: sum(e["type"] == kind for e in events) for kind in ("track.appeared", "identity.unknown")}
    return [e for e in events if e["type"] == "identity.recognized"], counts


def main() -> int:
    program, data = sys.argv[1], pathlib.Path(sys.argv[2])
    wanted = int(sys.argv[3]) if len(sys.argv) > 3 else 20
    failures = []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for index, video in enumerate(sorted((data / "videos").iterdir())):
            actors = ACTORS.get(video.stem, set())
            clip, count = as_mjpeg(video, folder)
            gallery = gallery_of(program, data, folder / f"{index}.gallery", wanted, actors)
            if len(gallery.names) < wanted:
                failures.append(f"only {len(gallery.names)} persons could be enrolled, wanted {wanted}")
            found, counts = named(program, clip, gallery)
            print(f"{video.stem}: {count} frames, {len(gallery.names)} strangers enrolled, {counts}, named: {len(found)}")
            failures += [f"{video.stem}: {e['name']} ({e['similarity']}) at {e['ts']}" for e in found]
            if actors:
                gallery = gallery_of(program, data, folder / f"{index}.actors.gallery", wanted, set())
                found, _ = named(program, clip, gallery)
                names = {e["name"] for e in found}
                print(f"{video.stem}: with {', '.join(sorted(actors))} enrolled, named: {sorted(names)}")
                if not names or not names <= actors:
                    failures.append(f"{video.stem}: named {sorted(names)}, wanted some of {sorted(actors)} and nobody else")
            clip.unlink()
    for failure in failures:
        print(f"strangers: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
