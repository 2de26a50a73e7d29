"""Composes samples/: a clip with known truth and a few stills, out of pictures that Python packages carry.

usage: samples.py PICTURES [--check]      PICTURES holds astronaut.png, chelsea.png, grace_hopper.jpg

The same bytes must come out on every machine, or `--check` would mean nothing. So everything here is integer arithmetic,
or Pillow's fixed-point resampling and JPEG encoder, which do not depend on the processor. No exp, no sin, no float sums:
NumPy picks their code by what the processor has, and the last bit differs.
"""

import argparse
import io
import json
import os
import sys

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

WIDTH, HEIGHT, FPS = 1280, 720, 15
SECONDS = 21
QUALITY = 60
LENS = 0.75  # radius of the blur, in pixels
NOISE = 2.0  # standard deviation of the sensor noise, in levels
SEED = 20260101
SILL = 640  # the top of the porch wall in front; people and the cat are behind it, which hides where photographs end
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# Outlines, in pixels of the photograph, drawn by hand over a GrabCut proposal. The astronaut's leaves out the helmet she
# holds: the object detector takes it for a ball, and the whole for a fire hydrant.
OUTLINES = {
    "astronaut": [
        (201, 23), (185, 38), (163, 51), (154, 64), (155, 98), (157, 104), (170, 116), (174, 128), (182, 132), (182, 152),
        (148, 160), (137, 170), (131, 180), (126, 196), (110, 206), (100, 216), (98, 249), (63, 252), (44, 282), (32, 331),
        (44, 333), (46, 345), (46, 365), (40, 380), (24, 384), (22, 400), (24, 440),
        (330, 440), (346, 400), (360, 352), (358, 312), (339, 261),
        (303, 233), (299, 219), (289, 203), (257, 174), (257, 160), (264, 149), (266, 137), (275, 134), (296, 107),
        (300, 92), (296, 58), (282, 36), (251, 19), (227, 16),
    ],
    "hopper": [
        (228, 25), (208, 43), (189, 55), (179, 66), (175, 85), (156, 102), (148, 108), (150, 140), (156, 170), (156, 220),
        (161, 228), (169, 256), (167, 280), (174, 288), (194, 298), (195, 323), (165, 344), (121, 360), (80, 368), (61, 378),
        (47, 387), (30, 405), (20, 440), (15, 500), (15, 599), (511, 599), (511, 427), (503, 426), (492, 393), (464, 377),
        (422, 366), (365, 342), (331, 314), (331, 296), (336, 288), (339, 269), (352, 268), (361, 262), (367, 227),
        (370, 223), (370, 208), (374, 201), (374, 188), (369, 183), (371, 134), (369, 103), (365, 89), (352, 87), (351, 78),
        (344, 65), (327, 51), (313, 44), (302, 43), (290, 32), (275, 25), (250, 22),
    ],
    "cat": [
        (60, 0), (34, 12), (14, 40), (4, 80), (0, 130), (0, 299), (292, 299), (304, 280), (316, 255), (324, 225), (336, 185),
        (352, 150), (362, 112), (358, 73), (373, 54), (377, 28), (394, 10), (398, 0),
    ],
}
FILES = {"astronaut": "astronaut.png", "hopper": "grace_hopper.jpg", "cat": "chelsea.png"}

# Who comes when. `path` holds (second, left edge of the sprite) and is straight in between; later visits are nearer to
# the camera. Both walkers of the last scene keep their speed while they pass each other.
VISITS = [
    {"name": "astronaut", "label": "person", "face": True, "height": 390, "path": [(2.0, -410), (3.8, 430), (7.6, 430), (9.2, 1290)]},
    {"name": "cat", "label": "cat", "face": False, "height": 250, "path": [(10.4, -340), (12.0, 480), (13.2, 480), (14.8, 1290)]},
    {"name": "astronaut", "label": "person", "face": True, "height": 370, "path": [(16.0, 1290), (20.0, -390)]},
    {"name": "hopper", "label": "person", "face": True, "height": 420, "path": [(16.0, -390), (20.0, 1290)]},
]
FLASHES = [(5.2, 6.2)]  # a lamp: the whole scene gains a quarter while somebody stands still
FLASH_GAIN = 256  # of 1024


def outline_mask(name, size):
    """The outline as 8-bit coverage: drawn four times as large, shrunk, and feathered inwards so that no rim shows."""
    big = Image.new("L", (size[0] * 4, size[1] * 4), 0)
    ImageDraw.Draw(big).polygon([(4 * x + 2, 4 * y + 2) for x, y in OUTLINES[name]], fill=255)
    soft = np.asarray(big.resize(size, Image.Resampling.BOX).filter(ImageFilter.BoxBlur(2)), np.int32)
    return Image.fromarray(np.clip(2 * soft - 255, 0, 255).astype(np.uint8))


class Sprite:
    """A cut-out, `height` pixels high: colours and coverage as integers."""

    def __init__(self, photos, name, height):
        photo = photos[name]
        xs, ys = zip(*OUTLINES[name])
        box = (min(xs), min(ys), max(xs) + 1, max(ys) + 1)
        size = ((box[2] - box[0]) * height // (box[3] - box[1]), height)
        shrunk = [image.crop(box).resize(size, Image.Resampling.BICUBIC) for image in (photo, outline_mask(name, photo.size))]
        # As soft as a cheap lens: a studio photograph would stand out of the scene, and cost more bytes.
        self.colour = np.asarray(shrunk[0].filter(ImageFilter.BoxBlur(LENS)), np.int32)
        self.cover = np.asarray(shrunk[1], np.int32)[:, :, None]
        self.width, self.height = size

    def paste(self, canvas, x, y):
        """Draws it with its top left corner at (x, y), clipped to the canvas."""
        x0, x1 = max(x, 0), min(x + self.width, WIDTH)
        y0, y1 = max(y, 0), min(y + self.height, SILL)
        if x0 < x1 and y0 < y1:
            part = (slice(y0 - y, y1 - y), slice(x0 - x, x1 - x))
            under = canvas[y0:y1, x0:x1]
            under += ((self.colour[part] - under) * self.cover[part] + 127) // 255


def background():
    """A wall of wide boards with a door, and a low wall in front. Plain, because each frame pays for its detail; edges lie
    on multiples of 16, where JPEG's blocks end."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    # Light falls from the top left: two straight ramps and one quadratic.
    shade = 1090 - x * 130 // WIDTH - y * 120 // HEIGHT - (x - 560) ** 2 // 6000
    boards = y % 96
    shade = shade - np.where(boards < 4, 70, 0)
    scene = shade[:, :, None] * np.array([150, 158, 154])
    flat = Image.fromarray((scene >> 10).clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(flat)
    draw.rectangle((928, 96, 1183, 720), fill=(196, 193, 184))  # door frame
    draw.rectangle((944, 112, 1167, 720), fill=(84, 104, 112))  # door
    for top, bottom in ((144, 335), (384, 607)):
        draw.rectangle((976, top, 1135, bottom), fill=(74, 92, 100))
    draw.ellipse((948, 350, 962, 364), fill=(168, 150, 96))  # door knob
    draw.rectangle((0, SILL, WIDTH, SILL + 15), fill=(176, 168, 154))  # the coping of the wall in front
    draw.rectangle((0, SILL + 16, WIDTH, HEIGHT), fill=(140, 132, 120))
    return np.asarray(flat, np.int32)


def noise(rng):
    """Roughly normal sensor noise, the same in the three channels, in 1/1024 levels: four random bytes added up."""
    bytes_ = np.frombuffer(rng.bytes(HEIGHT * WIDTH * 4), np.uint8).reshape(HEIGHT, WIDTH, 4).astype(np.int32)
    total = bytes_[:, :, 0] + bytes_[:, :, 1] + bytes_[:, :, 2] + bytes_[:, :, 3] - 510
    # One byte has a standard deviation of 73.9, four together 147.8.
    return (total * round(NOISE * 1024 * 10 / 1478))[:, :, None]


def frame_of(second):
    return round(second * FPS)


def along(path, frame):
    """The left edge at `frame`, or None while away; a bob while walking."""
    keys = [(frame_of(second), x) for second, x in path]
    for (f0, x0), (f1, x1) in zip(keys, keys[1:]):
        if f0 <= frame < f1:
            bob = 0 if x0 == x1 else (0, 1, 2, 3, 4, 3, 2, 1)[frame % 8]
            return x0 + (x1 - x0) * (frame - f0) // (f1 - f0), bob
    return None


def gain(frame):
    """Brightness in 1/1024: a slow swing of 3 %, and the flashes."""
    swing = frame % 240
    level = 1024 - 30 + (swing if swing < 120 else 240 - swing) // 2
    for start, end in FLASHES:
        if frame_of(start) <= frame < frame_of(end):
            level += FLASH_GAIN
    return level


def jpeg(image, quality):
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality, subsampling="4:2:0", optimize=True)
    return out.getvalue()


def expose(canvas, rng, level):
    return Image.fromarray(((canvas * level + noise(rng) + 512) >> 10).clip(0, 255).astype(np.uint8))


def visible(sprite, x, y):
    """The part of the sprite's box inside the picture and above the wall: x, y, w, h."""
    x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + sprite.width, WIDTH), min(y + sprite.height, SILL)
    return [x0, y0, max(x1 - x0, 0), max(y1 - y0, 0)]


def stamp_ms(frame):
    return round(frame * 1000 / FPS)


def clip(photos):
    """The clip and what is true of it."""
    rng = np.random.default_rng(SEED)
    empty = background()
    sprites = [Sprite(photos, visit["name"], visit["height"]) for visit in VISITS]
    sightings = [[] for _ in VISITS]
    frames = []
    for frame in range(SECONDS * FPS):
        canvas = empty.copy()
        for visit, sprite, seen in zip(VISITS, sprites, sightings):
            place = along(visit["path"], frame)
            if place is None:
                continue
            # Six rows stay behind the wall when the walker is at the top of a step.
            x, y = place[0], SILL + 6 - sprite.height - place[1]
            sprite.paste(canvas, x, y)
            box = visible(sprite, x, y)
            seen.append((frame, box, 4 * box[2] >= sprite.width))
        frames.append(jpeg(expose(canvas, rng, gain(frame)), QUALITY))
    return b"".join(frames), truth(sightings)


def covered(index, sightings):
    """The time in which somebody nearer hides at least half of this visitor's box: [from, to], or nothing."""
    hidden = []
    for frame, (x, y, w, h), _ in sightings[index]:
        for nearer in sightings[index + 1 :]:
            for other, (x2, y2, w2, h2), _ in nearer:
                wide = min(x + w, x2 + w2) - max(x, x2)
                high = min(y + h, y2 + h2) - max(y, y2)
                if other == frame and wide > 0 and high > 0 and 2 * wide * high >= w * h:
                    hidden.append(frame)
    return [stamp_ms(hidden[0]), stamp_ms(hidden[-1])] if hidden else []


def truth(sightings):
    visits = []
    for index, (visit, seen) in enumerate(zip(VISITS, sightings)):
        inside = [frame for frame, _, there in seen if there]
        visits.append({
            "label": visit["label"], "name": visit["name"], "enter_ms": stamp_ms(inside[0]), "leave_ms": stamp_ms(inside[-1]),
            "face": visit["face"], "covered_ms": covered(index, sightings),
            "boxes": [[stamp_ms(frame), *box] for frame, box, _ in seen if frame % 3 == 0 and box[2] > 0],
        })
    flashes = [[stamp_ms(frame_of(start)), stamp_ms(frame_of(end))] for start, end in FLASHES]
    head = {"fps": FPS, "size": [WIDTH, HEIGHT], "frames": SECONDS * FPS, "flashes": flashes}
    # One box a line: a diff of this file should be readable.
    lines = ["{"] + [f" {json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()] + [' "visits": [']
    for i, visit in enumerate(visits):
        boxes = visit.pop("boxes")
        lines.append("  " + json.dumps(visit)[:-1] + ', "boxes": [')
        lines += [f"   {json.dumps(box)}{',' if k + 1 < len(boxes) else ''}" for k, box in enumerate(boxes)]
        lines.append("  ]}" + ("," if i + 1 < len(visits) else ""))
    return ("\n".join(lines + [" ]", "}"]) + "\n").encode()


def people(photos):
    """A still in the same scene: two persons beside each other."""
    canvas = background()
    for name, height, x in (("astronaut", 520, 90), ("hopper", 440, 730)):
        sprite = Sprite(photos, name, height)
        sprite.paste(canvas, x, SILL + 2 - sprite.height)
    return jpeg(expose(canvas, np.random.default_rng(SEED + 1), 1024), 85)


def compose(folder):
    """Every file of samples/ that is made here, by name."""
    photos = {name: Image.open(os.path.join(folder, file)).convert("RGB") for name, file in FILES.items()}
    with open(os.path.join(folder, FILES["hopper"]), "rb") as original:
        hopper = original.read()
    porch, porch_truth = clip(photos)
    return {
        "astronaut.jpg": jpeg(photos["astronaut"], 90),
        "cat.jpg": jpeg(photos["cat"], 90),
        "hopper.jpg": hopper,  # as the package has it
        "people.jpg": people(photos),
        "porch.mjpeg": porch,
        "porch.truth.json": porch_truth,
    }


def main():
    parser = argparse.ArgumentParser(prog="cargo xtask samples", description="Composes samples/ again.")
    parser.add_argument("pictures", help=argparse.SUPPRESS)
    parser.add_argument("--check", action="store_true", help="write nothing; say whether the committed files are those")
    args = parser.parse_args()
    differ = []
    for name, data in compose(args.pictures).items():
        path = os.path.join(ROOT, "samples", name)
        held = None
        if os.path.exists(path):
            with open(path, "rb") as file:
                held = file.read()
        state = "equal" if held == data else "missing" if held is None else "different"
        if state != "equal":
            differ.append(name)
            if not args.check:
                with open(path, "wb") as file:
                    file.write(data)
                state = "written"
        print(f"samples/{name}: {len(data)} bytes, {state}", file=sys.stderr)
    if args.check and differ:
        sys.exit(f"samples/ is not what xtask/samples.py makes ({', '.join(differ)}); make it again with: cargo xtask samples")


if __name__ == "__main__":
    main()
