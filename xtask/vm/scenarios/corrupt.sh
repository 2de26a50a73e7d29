# Broken JPEG among whole ones: counted, and the stream goes on.
loopback 11
head -c 9000 /samples/cat.jpg >/tmp/cut.jpg
{ head -c 3000 /samples/cat.jpg; head -c 6000 /dev/urandom; } >/tmp/noise.jpg
head -c 5000 /dev/zero >/tmp/zero.jpg
good=/samples/cat.jpg
guest feed /dev/video11 MJPG 451 300 20 $good /tmp/cut.jpg $good $good /tmp/noise.jpg $good /tmp/zero.jpg >/dev/null 2>&1 &
sleep 1
front /dev/video11
start run porchlight run --config /tmp/front.toml
seen run camera.online
seen run '"type":"stats"' 20 6
stop run
