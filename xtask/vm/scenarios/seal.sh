# The seal on a kernel with an old Landlock, while a camera runs: what it says, what the kernel says, a killed eye.
vivid
front
start run porchlight run --config /tmp/front.toml
seen run camera.online
filters run
eye=$(below run eye)
sleep 1
mark kill
kill -9 "$eye"
seen run '"type":"fault"' 30
seen run camera.online 10 2
filters run
sleep 1
mark stop
kill -STOP "$(below run eye)"
seen run '"reason":"hung"' 60
seen run camera.online 10 3
stop run
mkdir /tmp/models
ln -s /models/yunet /tmp/models/yunet
PORCHLIGHT_MODELS=/tmp/models
start check porchlight check --json
ended check 120
loopback 10
guest feed /dev/video10 YUYV 320 240 10 /samples/cat.yuyv >/dev/null 2>&1 &
sleep 1
front /dev/video10
PORCHLIGHT_MODELS=/models
start loop porchlight run --config /tmp/front.toml
seen loop camera.online
eye=$(below loop eye)
for fd in /proc/$eye/fd/*; do
    case $(readlink "$fd") in
        /dev/video*) mark "camera $(awk '/^flags:/{print $2}' "/proc/$eye/fdinfo/${fd##*/}")";;
    esac
done
stop loop
