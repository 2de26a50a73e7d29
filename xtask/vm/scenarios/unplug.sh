# A real unplug, and a return under another node while a stranger has taken the old one.
vivid
front
start run porchlight run --config /tmp/front.toml
seen run camera.online
sleep 1
use run before
unplug
seen run camera.offline 10
sleep 2
plug
seen run camera.online 10 2
sleep 6
unplug
seen run camera.offline 10 2
loopback 0
ls /dev/video* | tr '\n' ' ' >/tmp/nodes; mark "nodes $(cat /tmp/nodes)"
plug
seen run camera.online 10 3
ls /dev/video* | tr '\n' ' ' >/tmp/nodes; mark "nodes $(cat /tmp/nodes)"
sleep 2
use run after
stop run
