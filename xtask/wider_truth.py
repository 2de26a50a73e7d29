"""The truth of `eval wider` out of WIDER FACE's own ground truth (MATLAB files, version 5), as JSON on stdout.

    python xtask/wider_truth.py GROUND_TRUTH > truth.json     needs scipy (xtask/requirements.txt)
    python xtask/wider_truth.py --check

GROUND_TRUTH has wider_face_val.mat, whose face_bbx_list holds the boxes of every picture by event, and wider_easy_val.mat,
wider_medium_val.mat and wider_hard_val.mat, whose gt_list holds, in the same order, which of them count (from 1). The pictures are
EVENT/FILE.jpg below the folder given to `eval wider --images`. --check makes such files with scipy and reads them again.
"""

import json
import pathlib
import sys
import tempfile

import numpy as np
import scipy.io

SUBSETS = ("easy", "medium", "hard")


def load(folder: pathlib.Path, name: str, key: str) -> np.ndarray:
    path = folder / name
    try:
        return scipy.io.loadmat(path)[key][:, 0]
    except (OSError, KeyError, ValueError, IndexError, NotImplementedError) as e:
        sys.exit(f"wider-truth: {path}: wanted WIDER FACE's ground truth with {key}: {e}")


def truth(folder: pathlib.Path) -> list[dict]:
    events, files, boxes = (load(folder, "wider_face_val.mat", key) for key in ("event_list", "file_list", "face_bbx_list"))
    counts = {subset: load(folder, f"wider_{subset}_val.mat", "gt_list") for subset in SUBSETS}
    out = []
    for e, event in enumerate(events):
        for f, file in enumerate(files[e][:, 0]):
            faces = [{"bbox": [float(v) for v in row], "subsets": []} for row in boxes[e][f, 0]]
            for subset, lists in counts.items():
                for index in np.asarray(lists[e][f, 0]).ravel():
                    if not 1 <= index <= len(faces):
                        sys.exit(f"wider-truth: wider_{subset}_val.mat: {event[0]}/{file[0]}: face {index} of {len(faces)}")
                    faces[int(index) - 1]["subsets"].append(subset)
            out.append({"file_name": f"{event[0]}/{file[0]}.jpg", "faces": faces})
    return out


def cells(values: list) -> np.ndarray:
    column = np.empty((len(values), 1), object)
    for i, value in enumerate(values):
        column[i, 0] = value
    return column


def check() -> None:
    events, files = ["0--Parade", "1--Handshaking"], [["0_Parade_a", "0_Parade_b"], ["1_Handshaking_c"]]
    boxes = [[[[1, 2, 30, 40], [5, 6, 7, 8]], [[9, 9, 9, 9]]], [[[0, 0, 10, 12.5]]]]
    counts = {"easy": [[[1], []], [[]]], "medium": [[[1], []], [[1]]], "hard": [[[1, 2], [1]], [[1]]]}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        scipy.io.savemat(
            folder / "wider_face_val.mat",
            {
                "event_list": cells(events),
                "file_list": cells([cells(names) for names in files]),
                "face_bbx_list": cells([cells([np.array(b, float) for b in pictures]) for pictures in boxes]),
            },
        )
        for subset, lists in counts.items():
            column = cells([cells([np.array(i, np.uint16).reshape(-1, 1) for i in pictures]) for pictures in lists])
            scipy.io.savemat(folder / f"wider_{subset}_val.mat", {"gt_list": column})
        found = truth(folder)
    flat = [(p["file_name"], [(f["bbox"], f["subsets"]) for f in p["faces"]]) for p in found]
    assert flat == [
        ("0--Parade/0_Parade_a.jpg", [([1.0, 2.0, 30.0, 40.0], ["easy", "medium", "hard"]), ([5.0, 6.0, 7.0, 8.0], ["hard"])]),
        ("0--Parade/0_Parade_b.jpg", [([9.0, 9.0, 9.0, 9.0], ["hard"])]),
        ("1--Handshaking/1_Handshaking_c.jpg", [([0.0, 0.0, 10.0, 12.5], ["medium", "hard"])]),
    ], flat
    print("wider-truth: three pictures written and read again", file=sys.stderr)


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        check()
    elif len(sys.argv) == 2:
        json.dump(truth(pathlib.Path(sys.argv[1])), sys.stdout)
    else:
        sys.exit(__doc__)
