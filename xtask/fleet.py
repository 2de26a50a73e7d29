"""Many boxes, one broker, one database: `cargo xtask fleet [--boxes N] [--seconds S]`.

A real mosquitto on a Unix socket, `deploy/fleet/porchlight-fleet` with SQLite behind it, and N boxes: each a client of its own
with its own topic and a queue that waits for the broker, as the bridge's does; the first ones are real bridges. A box says what
a porch says: a visit of some seconds every now and then, a line of stats a minute (compressed: the rate is given below). Meanwhile
the broker is killed and started again, the database's program is killed and started again, boxes are cut off in the middle and boot
anew, and some have wrong clocks. Then: is every line that a box gave to its broker in the database, once, in order; how long did it
take; is each box's clock judged right?
"""

import argparse
import datetime
import json
import os
import queue
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

import paho.mqtt.client as mqtt

BRIDGES = 4  # that are the real program; a Python each
# A box on a busy street: a visit every 20 s of six lines, and one line of stats every ten seconds: 0.4 lines a second.
VISIT_EVERY_S, STATS_EVERY_S = 20.0, 10.0
CAMERA = {"name": "door", "source": "/dev/video0", "width": 1280, "height": 720, "fps": 15.0, "format": "mjpg"}
SEAL = {"state": "full", "landlock_abi": 7, "seccomp": "enforced", "network": "denied", "files": "denied"}
HELLO = {"version": "0.1.0", "models": [], "config_sha256": "0" * 64, "seal": SEAL, "cameras": [CAMERA]}
COUNTS = dict.fromkeys(("captured", "displaced", "undecodable", "still", "inferred", "failed", "driver_gaps"), 150)
STATS = {
    "interval_ms": 10000, "cameras": [{"name": "door", "fps_in": 15.0, "fps_done": 15.0, **COUNTS}],
    "latency_ms": {"p50": 40.0, "p90": 60.0, "p99": 90.0}, "rss_bytes": 120000000, "cpu": 0.4, "temp_c": 51.5, "bytes_out": 4711,
}
WRONG_CLOCKS_MS = [3_600_000, -7_200_000, -45_000]  # of every tenth box, by turns


def utc(ms):
    when = datetime.datetime.fromtimestamp(ms / 1000, datetime.timezone.utc)
    return when.strftime("%Y-%m-%dT%H:%M:%S.") + f"{ms % 1000:03d}Z"


class Box:
    """Says lines at its own pace into `put`; keeps what it said and when."""

    def __init__(self, number, dice):
        self.name = f"box-{number:03d}"
        self.dice = dice
        self.ahead_ms = WRONG_CLOCKS_MS[number // 10 % 3] if number % 10 == 3 else 0
        self.said = {}
        self.boot_anew()

    def boot_anew(self):
        self.boot, self.seq, self.track = f"{self.dice.getrandbits(64):016x}", 0, 0
        self.plan = [(time.monotonic(), "hello", HELLO), (time.monotonic() + self.dice.uniform(0, VISIT_EVERY_S), "visit", {})]
        self.plan.append((time.monotonic() + self.dice.uniform(0, STATS_EVERY_S), "stats", STATS))

    def due(self, now):
        """Lines whose time has come."""
        lines = []
        while self.plan and min(self.plan)[0] <= now:
            entry = min(self.plan, key=lambda e: e[0])
            self.plan.remove(entry)
            at, kind, body = entry
            if kind == "visit":
                self.track += 1
                who, box = {"track": self.track, "label": "person"}, {"box": [0.1, 0.2, 0.3, 0.4]}
                stay = self.dice.uniform(2, 6)
                frame = {"age_ms": self.dice.randrange(40, 90)}
                self.plan += [(at, "track.appeared", {**who, "score": 0.8, **box, **frame}), (at, "zone.enter", {**who, "zone": "porch"})]
                for n in (1, 2):
                    moving = {**who, "score": 0.9, **box, "moving": True, **frame}
                    self.plan.append((at + stay * n / 3, "track.updated", moving))
                self.plan += [(at + stay, "zone.exit", {**who, "zone": "porch", "dwell_ms": int(stay * 1000)})]
                self.plan += [(at + stay, "track.left", {**who, **box, "dwell_ms": int(stay * 1000), "reason": "lost"})]
                self.plan.append((at + self.dice.expovariate(1 / VISIT_EVERY_S) + stay, "visit", {}))
                continue
            if kind == "stats":
                self.plan.append((at + STATS_EVERY_S, "stats", STATS))
            real = time.time_ns() // 1_000_000 - body.get("age_ms", 0)
            head = {"v": 1, "boot": self.boot, "seq": self.seq, "type": kind, "ts": utc(real + self.ahead_ms), "camera": None if kind in ("hello", "stats") else "door"}
            lines.append((self.boot, self.seq, json.dumps({**head, **body}, separators=(",", ":"))))
            self.seq += 1
        return lines


class Client:
    """A box's way to the broker: one queue, QoS 1, nothing thrown away."""

    def __init__(self, box, sock):
        self.topic, self.pending = f"porchlight/{box.name}/event", 0
        self.lock = threading.Lock()
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=box.name, clean_session=False, transport="unix")
        self.client.max_queued_messages_set(0)
        self.client.max_inflight_messages_set(20)
        self.client.reconnect_delay_set(1, 2)
        self.client.on_publish = lambda *_: self.done()
        self.client.connect_async(sock)
        self.client.loop_start()

    def done(self):
        with self.lock:
            self.pending -= 1

    def put(self, line):
        with self.lock:
            self.pending += 1
        self.client.publish(self.topic, line, qos=1)

    def close(self, until):
        while self.pending > 0 and time.monotonic() < until:
            time.sleep(0.02)
        # In this order: a loop that has nothing to wait for ends at once.
        self.client.disconnect()
        self.client.loop_stop()
        return self.pending


class Bridge:
    """The same with the program of deploy/mqtt."""

    def __init__(self, box, sock):
        args = [sys.executable, "deploy/mqtt/porchlight-mqtt", "--unix", sock, "--node", box.name]
        self.child = subprocess.Popen(args, stdin=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL)
        self.lines = queue.Queue()
        threading.Thread(target=self.feed, daemon=True).start()

    def feed(self):
        while (line := self.lines.get()) is not None:
            self.child.stdin.write(line + "\n")
            self.child.stdin.flush()
        self.child.stdin.close()

    def put(self, line):
        self.lines.put(line)

    def close(self, until):
        self.lines.put(None)
        try:
            return self.child.wait(timeout=max(1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.child.kill()
            return 1


def broker(folder):
    process = subprocess.Popen(["mosquitto", "-c", f"{folder}/conf"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not os.path.exists(f"{folder}/broker"):
        time.sleep(0.01)
    return process


def collector(folder):
    args = [sys.executable, "deploy/fleet/porchlight-fleet", "--unix", f"{folder}/broker", "--database", f"{folder}/fleet.sqlite"]
    return subprocess.Popen(args, stderr=subprocess.PIPE, text=True)


def percentile(values, p):
    return sorted(values)[min(len(values) - 1, int(p * len(values)))]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--boxes", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60)
    args = parser.parse_args()
    os.environ["PATH"] += ":/usr/sbin"
    dice = random.Random(7)
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/conf", "w", encoding="utf-8") as conf:
            conf.write(f"user root\nlistener 0 {folder}/broker\nallow_anonymous true\nmax_queued_messages 0\n")
            conf.write(f"persistence true\npersistence_location {folder}/\nautosave_on_changes true\nautosave_interval 1\n")
        server = broker(folder)
        base = collector(folder)
        boxes = [Box(n, random.Random(dice.random())) for n in range(args.boxes)]
        ways = [Bridge(b, f"{folder}/broker") if n < BRIDGES else Client(b, f"{folder}/broker") for n, b in enumerate(boxes)]
        # The session must be there before anybody speaks: what a broker hands to nobody is gone.
        time.sleep(3)
        began = time.monotonic()
        end = began + args.seconds
        to_do = [(began + args.seconds * share, what) for share, what in ((0.3, "broker"), (0.5, "base"), (0.65, "boots"))]
        calm_until = began + args.seconds * 0.3
        said, words_of, again = {}, {}, 0
        while (now := time.monotonic()) < end:
            for box, way in zip(boxes, ways):
                for boot, seq, line in box.due(now):
                    said[(box.name, boot, seq)] = time.time_ns() // 1_000_000 if now < calm_until else None
                    words_of[(box.name, boot, seq)] = line
                    way.put(line)
            if to_do and now >= to_do[0][0]:
                what = to_do.pop(0)[1]
                if what == "broker":
                    # In order: mosquitto 2.0 writes its memory on the way out. A broker that is killed forgets a second.
                    server.terminate()
                    server.wait()
                    os.path.exists(f"{folder}/broker") and os.remove(f"{folder}/broker")
                    time.sleep(1)
                    server = broker(folder)
                elif what == "base":
                    # Not in order at all.
                    base.kill()
                    base.wait()
                    time.sleep(1)
                    base = collector(folder)
                else:
                    for number in dice.sample(range(BRIDGES, len(boxes)), max(1, len(boxes) // 10)):
                        # A client that does not know what arrived says it again.
                        mine = [line for (name, _, _), line in words_of.items() if name == boxes[number].name]
                        for line in mine[-3:]:
                            ways[number].put(line)
                            again += 1
                        boxes[number].boot_anew()
            time.sleep(0.01)
        until = time.monotonic() + 60
        stuck = sum(1 for way in ways if way.close(until))
        reader = sqlite3.connect(f"{folder}/fleet.sqlite")
        count = lambda: reader.execute("SELECT COUNT(*) FROM event").fetchone()[0]
        while count() < len(said) and time.monotonic() < until:
            time.sleep(0.1)
        base.send_signal(signal.SIGTERM)
        _, words = base.communicate(timeout=30)
        server.terminate()
        server.wait()

        came = {(b, o, s): ms for b, o, s, ms in reader.execute("SELECT box, boot, seq, came_ms FROM event")}
        lost = [key for key in said if key not in came]
        invented = [key for key in came if key not in said]
        waits = [came[key] - at for key, at in said.items() if at is not None and key in came]
        gaps = reader.execute("SELECT COUNT(*) FROM stream WHERE lines <> wanted").fetchone()[0]
        disorder = 0
        for box, boot in reader.execute("SELECT box, boot FROM stream").fetchall():
            order = "SELECT line FROM event WHERE box = ? AND boot = ? ORDER BY seq"
            seqs = [json.loads(line)["seq"] for (line,) in reader.execute(order, (box, boot))]
            disorder += seqs != list(range(len(seqs)))
        clocks = dict(reader.execute("SELECT box, ahead_ms FROM box WHERE ahead_ms IS NOT NULL"))
        errors = [abs(clocks[b.name] - b.ahead_ms) for b in boxes if b.name in clocks]
        reader.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        size = os.path.getsize(f"{folder}/fleet.sqlite")
        result = {
            "boxes": args.boxes, "seconds": args.seconds, "streams": reader.execute("SELECT COUNT(*) FROM stream").fetchone()[0],
            "lines": len(said), "stored": len(came), "lost": len(lost), "invented": len(invented), "gaps": gaps, "said_again": again,
            "disorder": disorder, "unfinished": stuck, "p50_ms": percentile(waits, 0.5), "p99_ms": percentile(waits, 0.99),
            "most_ms": max(waits), "wrong_clocks": sum(1 for b in boxes if b.ahead_ms), "clocks_judged": len(errors),
            "clock_error_ms": max(errors), "bytes_a_line": round(size / max(1, len(came))), "collector": words.strip(),
        }
        print(json.dumps(result))
        for box, boot, seq in sorted(lost)[:10]:
            print(f"fleet: lost: line {seq} of {boot} of {box}", file=sys.stderr)
        if " 0 had come before" in words or again == 0:
            print("fleet: nothing came twice, so nothing was shown about that", file=sys.stderr)
            return 1
        bad = {key: result[key] for key in ("lost", "invented", "gaps", "disorder", "unfinished") if result[key]}
        # Few events, a broker that was away: the fastest of them may have been slow.
        if result["clock_error_ms"] > 2000:
            bad["clock_error_ms"] = result["clock_error_ms"]
        if bad:
            print(f"fleet: not as it must be: {bad}", file=sys.stderr)
            return 1
        return 0


if __name__ == "__main__":
    sys.exit(main())
