"""porchlight against the script that one writes first: OpenCV decodes, SSDLite and YuNet look at the whole of every frame, SFace at every
face found, supervision's ByteTrack follows; all in the Python build of ONNX Runtime.

The two take turns on the same clip (samples/porch.mjpeg, several times over) on the same machine. The script runs as it is commonly
written (default session options) and with its spinning turned off, which is what its speed is usually lost to. porchlight runs sealed,
with a gallery of one person: with both detectors at the whole of every frame, as the script has it, and as it is.

Counted from when the models are loaded to the last frame: frames a second and processor time. Memory: the greatest resident size, of
porchlight's three processes together; what processes share (pages of libraries and of the program) is counted as the kernel does in Pss, in parts.

usage: peer.py BINARY MODELS CLIP [ROUNDS [REPEATS]]
       peer.py --script plain|tuned MODELS CLIP
"""

import glob
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time

PERSON = 1


def script(kind, models, clip):
    import cv2
    import numpy as np
    import onnxruntime
    import supervision

    def session(name):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if kind == "tuned":
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        (path,) = glob.glob(os.path.join(models, name, "*.onnx"))
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def anchors():
        rows = []
        for level, cells in enumerate([19, 10, 5, 3, 2, 1]):
            size, larger = 0.2 + 0.15 * level, 1.0 if level == 5 else 0.35 + 0.15 * level
            kinds = [(size, r) for r in (1.0, 2.0, 0.5, 3.0, 1 / 3)] + [((size * larger) ** 0.5, 1.0)]
            if level == 0:
                kinds = [(0.1, 1.0), (0.2, 2.0), (0.2, 0.5)]
            middle = (np.arange(cells) + 0.5) / cells
            rows += [(x, y, s * r**0.5, s / r**0.5) for y in middle for x in middle for s, r in kinds]
        return np.array(rows, np.float32)

    objects, faces, embedder, prior = session("ssdlite-mobilenet-v2"), session("yunet"), session("sface"), anchors()
    names = [output.name for output in faces.get_outputs()]

    def see_objects(picture, least):
        height, width = picture.shape[:2]
        blob = cv2.dnn.blobFromImage(picture, 1 / 127.5, (300, 300), (127.5, 127.5, 127.5), swapRB=True)
        offset, score = objects.run(["box", "score"], {"input": blob})
        offset, score = offset.reshape(-1, 4), score[0][:, 1:]
        kind = score.argmax(1)
        best = score[np.arange(len(kind)), kind]
        at = np.flatnonzero(best >= least)
        t, a = offset[at], prior[at]
        middle = (t[:, 1::-1] / 10 * a[:, 2:] + a[:, :2]) * (width, height)
        size = np.exp(t[:, :1:-1] / 5) * a[:, 2:] * (width, height)
        boxes = np.concatenate([middle - size / 2, middle + size / 2], 1)
        found = supervision.Detections(xyxy=boxes, confidence=best[at], class_id=kind[at] + 1)
        return found.with_nms(0.6)

    def see_faces(picture, least):
        scale = 640 / max(picture.shape[:2])
        small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        small = cv2.copyMakeBorder(small, 0, -small.shape[0] % 32, 0, -small.shape[1] % 32, cv2.BORDER_CONSTANT)
        blob = small.astype(np.float32).transpose(2, 0, 1)[None]
        out = dict(zip(names, faces.run(names, {"input": np.ascontiguousarray(blob)})))
        boxes, scores, points = [], [], []
        for stride in (8, 16, 32):
            score = np.sqrt(out[f"cls_{stride}"] * out[f"obj_{stride}"]).ravel()
            at = np.flatnonzero(score >= least)
            cell = np.stack([at % (small.shape[1] // stride), at // (small.shape[1] // stride)], 1)
            raw = out[f"bbox_{stride}"][0, at]
            size = np.exp(raw[:, 2:]) * stride
            boxes += list(np.concatenate([(cell + raw[:, :2]) * stride - size / 2, size], 1) / scale)
            points += list((out[f"kps_{stride}"][0, at].reshape(-1, 5, 2) + cell[:, None]) * stride / scale)
            scores += list(score[at])
        kept = cv2.dnn.NMSBoxes(boxes, scores, least, 0.3) if boxes else []
        return [points[i] for i in np.ravel(kept).astype(int)]

    places = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]])

    def embed(picture, landmarks):
        matrix, _ = cv2.estimateAffinePartial2D(landmarks, places, method=cv2.LMEDS)
        crop = cv2.warpAffine(picture, matrix, (112, 112))
        return embedder.run(None, {embedder.get_inputs()[0].name: cv2.dnn.blobFromImage(crop, swapRB=True)})[0]

    tracker = supervision.ByteTrack(frame_rate=15)
    video = cv2.VideoCapture(clip)
    seen, embedded, frames, began = {}, 0, 0, None
    while True:
        if frames == 1:
            # The first frame pays for lazy set-up; porchlight has warmed up before it says hello.
            began, cpu = time.perf_counter(), time.process_time()
        there, picture = video.read()
        if not there:
            break
        frames += 1
        found = see_objects(picture, 0.25)
        followed = tracker.update_with_detections(found)
        for track, kind in zip(followed.tracker_id, followed.class_id):
            seen.setdefault((int(track), int(kind)), []).append(frames)
        for landmarks in see_faces(picture, 0.7):
            embed(picture, landmarks)
            embedded += 1
    if frames < 2:
        sys.exit(f"peer: OpenCV read {frames} frames of {clip}")
    seconds = time.perf_counter() - began
    print(json.dumps({
        "frames": frames,
        "fps": (frames - 1) / seconds,
        "cpu_ms": (time.process_time() - cpu) * 1e3 / (frames - 1),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - shared_mb("self"),
        "visits": sum(1 for (_, kind), at in seen.items() if kind == PERSON and len(at) >= 5),
        "embedded": embedded,
    }))


def family(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as children:
            return [pid] + [p for child in children.read().split() for p in family(int(child))]
    except OSError:
        return []


def cpu_seconds(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            user, system = stat.read().rpartition(")")[2].split()[11:13]
            return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    except OSError:
        return 0


def peak_mb(pid):
    try:
        with open(f"/proc/{pid}/status") as status:
            return next((int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM:")), 0)
    except OSError:
        return 0


def shared_mb(pid):
    """What others hold of its resident pages, by the kernel's count."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as rollup:
            sizes = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in rollup if line.startswith(("Rss:", "Pss:"))}
            return sizes["Rss"] - sizes["Pss"]
    except (OSError, KeyError):
        return 0


def ours(binary, models, clip, gallery, home, config):
    env = dict(os.environ, PORCHLIGHT_MODELS=models, HOME=home)
    command = [binary, "run", "--fps", "15", "--gallery", gallery, "--source", clip] + (["--config", config] if config else [])
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    child = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
    peak, shared, done = [0], [], threading.Event()

    def watch():
        while not done.wait(0.05):
            peak[0] = max(peak[0], sum(peak_mb(p) for p in family(child.pid)))
            # Once, in the middle: the kernel walks all pages for it.
            if hello and not shared and time.perf_counter() > hello + 0.5:
                shared.append(sum(shared_mb(p) for p in family(child.pid)))

    hello = bye = totals = None

    watcher = threading.Thread(target=watch)
    watcher.start()
    visits = 0
    for line in child.stdout:
        now, event = time.perf_counter(), json.loads(line)
        if event["type"] == "hello":
            # Of the script, too, what loading the models takes is not counted.
            hello, loaded = now, sum(cpu_seconds(p) for p in family(child.pid))
        elif event["type"] == "bye":
            bye, totals = now, event["totals"]
        elif event["type"] == "track.appeared" and event["label"] == "person":
            visits += 1
    done.set()
    watcher.join()
    if child.wait() or not (hello and bye):
        sys.exit(f"peer: {binary} ended with {child.returncode}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    frames = totals["cameras"][0]["captured"]
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime - loaded
    return {
        "frames": frames,
        "fps": frames / (bye - hello),
        "cpu_ms": cpu * 1e3 / frames,
        "peak_mb": peak[0] - sum(shared),
        "visits": visits,
        "inferred": totals["cameras"][0]["inferred"],
    }


def theirs(kind, models, clip):
    done = subprocess.run([sys.executable, __file__, "--script", kind, models, clip], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"peer: the script ended with {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def main(binary, models, clip, rounds="3", repeats="3"):
    with tempfile.TemporaryDirectory() as folder:
        long, config, gallery = (os.path.join(folder, name) for name in ("clip.mjpeg", "every.toml", "faces.gallery"))
        with open(clip, "rb") as source, open(long, "wb") as out:
            out.write(source.read() * int(repeats))
        with open(config, "w") as out:
            out.write('[run]\nattention = "every-frame"\n')
        photo = os.path.join(os.path.dirname(clip), "hopper.jpg")
        enrol = [binary, "faces", "enroll", "Grace", photo, "--gallery", gallery, "--consent", "a picture of the public domain"]
        env = dict(os.environ, PORCHLIGHT_MODELS=models, HOME=folder)
        subprocess.run(enrol, env=env, stdout=subprocess.DEVNULL, check=True)
        sides = {
            "script, as commonly written": lambda: theirs("plain", models, long),
            "script, spinning off": lambda: theirs("tuned", models, long),
            "porchlight, every frame": lambda: ours(binary, models, long, gallery, folder, config),
            "porchlight, as it is": lambda: ours(binary, models, long, gallery, folder, None),
        }
        results = {name: [] for name in sides}
        for turn in range(int(rounds)):
            for name, run in sides.items():
                print(f"peer: round {turn + 1} of {rounds}: {name}", file=sys.stderr)
                results[name].append(run())

    def median(name, key):
        return statistics.median(result[key] for result in results[name])

    def ratio(a, b, key):
        """Of each round, then the median: what else the machine did in a round hit both."""
        each = [x[key] / y[key] for x, y in zip(results[a], results[b])]
        return f"{statistics.median(each):.2f} ({min(each):.2f}..{max(each):.2f})"

    print(f"{results['porchlight, as it is'][0]['frames']} frames of 1280x720, {rounds} rounds in turns, medians")
    print("| | frames/s | CPU ms/frame | peak memory | visits of persons |\n| --- | --- | --- | --- | --- |")
    for name in sides:
        print(f"| {name} | {median(name, 'fps'):.1f} | {median(name, 'cpu_ms'):.1f} | {median(name, 'peak_mb'):.0f} MB | {median(name, 'visits'):.0f} |")
    print("\n| ratio | frames/s | CPU | memory |\n| --- | --- | --- | --- |")
    for a in list(sides)[2:]:
        for b in list(sides)[:2]:
            print(f"| {a} / {b} | " + " | ".join(ratio(a, b, key) for key in ("fps", "cpu_ms", "peak_mb")) + " |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--script"] and len(sys.argv) == 5:
        script(*sys.argv[2:])
    elif 4 <= len(sys.argv) <= 6:
        main(*sys.argv[1:])
    else:
        sys.exit(__doc__)
