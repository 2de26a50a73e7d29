# Not there at the start; then there, but in use by somebody else.
front
start run porchlight run --config /tmp/front.toml
seen run camera.offline
sleep 3
mark plug
vivid
seen run camera.online 10
sleep 1
stop run
start other frames /dev/video0 1000 format=yuyv size=320x180 wait=12
sleep 1
start second porchlight run --config /tmp/front.toml
seen second camera.offline
ended other 30
mark free
seen second camera.online 10
stop second
