# Whoever feeds the device stops, and begins again.
loopback 10
guest feed /dev/video10 YUYV 320 240 10 /samples/cat.yuyv >/dev/null 2>&1 &
feeder=$!
sleep 1
front /dev/video10
start run porchlight run --config /tmp/front.toml
seen run camera.online
sleep 2
kill -STOP $feeder; mark silent
seen run camera.offline 15
kill -CONT $feeder; mark again
seen run camera.online 15 2
sleep 1
stop run
