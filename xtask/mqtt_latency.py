"""From a line on the bridge's stdin to a subscriber: p50, p90, p99 in milliseconds. `cargo xtask mqtt-latency [EVENTS]`.

A real mosquitto on a Unix socket, the bridge of deploy/mqtt, and a subscriber in this process; the clock is this machine's
monotonic one, read before the line is written and after the message has come. Events come one at a time, 5 to 15 ms apart.
"""

import json
import os
import queue
import random
import subprocess
import sys
import tempfile
import time

import paho.mqtt.client as mqtt


def main() -> int:
    events = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    os.environ["PATH"] += ":/usr/sbin"
    with tempfile.TemporaryDirectory() as folder:
        sock = f"{folder}/broker"
        with open(f"{folder}/conf", "w", encoding="utf-8") as conf:
            conf.write(f"user root\nlistener 0 {sock}\nallow_anonymous true\n")
        broker = subprocess.Popen(["mosquitto", "-c", f"{folder}/conf"], stderr=subprocess.DEVNULL)
        while not os.path.exists(sock):
            time.sleep(0.01)
        came: "queue.Queue[tuple[float, int]]" = queue.Queue()
        subscribed: "queue.Queue[None]" = queue.Queue()
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, transport="unix")
        client.on_message = lambda _, __, m: came.put((time.monotonic(), json.loads(m.payload)["seq"]))
        client.on_subscribe = lambda *_: subscribed.put(None)
        client.connect(sock)
        client.loop_start()
        client.subscribe("porchlight/bench/event", qos=1)
        subscribed.get(timeout=10)
        bridge = subprocess.Popen(
            [sys.executable, "deploy/mqtt/porchlight-mqtt", "--unix", sock, "--node", "bench"], stdin=subprocess.PIPE
        )
        assert bridge.stdin is not None
        took = []
        for seq in range(events):
            body = {"track": seq + 1, "label": "person", "score": 0.5, "box": [0, 0, 1, 1]}
            kind = "track.appeared"
            if seq % 2:
                kind, body = "track.left", {**body, "track": seq, "dwell_ms": 1, "reason": "lost"}
            event = {"v": 1, "boot": "0" * 16, "seq": seq, "type": kind, "ts": "1970-01-01T00:00:00.000Z", "camera": "a"}
            line = json.dumps({**event, **body}).encode() + b"\n"
            began = time.monotonic()
            bridge.stdin.write(line)
            bridge.stdin.flush()
            at, got = came.get(timeout=30)
            assert got == seq, (got, seq)
            if seq >= 20:  # the first ones wait for the connection
                took.append((at - began) * 1000)
            time.sleep(random.uniform(0.005, 0.015))
        bridge.stdin.close()
        bridge.wait()
        client.loop_stop()
        broker.terminate()
        broker.wait()
    took.sort()
    p50, p90, p99 = (took[int(len(took) * p)] for p in (0.5, 0.9, 0.99))
    print(f"{len(took)} events: p50 {p50:.2f} ms, p90 {p90:.2f} ms, p99 {p99:.2f} ms, most {took[-1]:.2f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
