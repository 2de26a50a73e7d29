# Unplugged and replugged, over and over.
vivid
front
start run porchlight run --config /tmp/front.toml
seen run camera.online
n=1
while [ $n -le "$CYCLES" ]; do
    unplug
    seen run camera.offline 10 $n || break
    plug
    n=$((n + 1))
    seen run camera.online 10 $n || break
    usleep 100000
    [ $n = 4 ] && use run early
done
sleep 2
use run late
stop run
