# Timestamps that jump and sequence numbers that wrap: the stream's time goes on, and nothing is lost by it.
vivid
front
start run porchlight run --config /tmp/front.toml
seen run camera.online
for control in "Timestamp Source" "Wrap Sequence Number" "Wrap Timestamp"; do
    guest ctl /dev/video0 "$control" 1 && mark "set $control"
    guest ctl /dev/video0 "Inject Fatal Streaming Error" 0
    n=$((n + 1))
    seen run '"reason":"recovered"' 20 $n
    sleep 4
done
stop run
