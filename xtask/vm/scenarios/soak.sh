# What happens to cameras in months, in minutes. Run `a` is one process to the end; run `b` loses its eye over and over.
MINUTES=$(cat /etc/minutes)
over=$(($(now) + MINUTES * 60))
CAMERAS=2 vivid
loopback 11
head -c 30000 /samples/astronaut.jpg >/tmp/cut.jpg
{ head -c 20000 /samples/astronaut.jpg; head -c 30000 /dev/urandom; } >/tmp/noise.jpg
# Somebody, nobody, and every now and then what is no picture: 512x512, the face large enough for the quick model.
face=/samples/astronaut.jpg
guest feed /dev/video11 MJPG 512 512 5 $(for n in 1 2 3 4 5 6 7 8; do echo $face; done) /tmp/cut.jpg $face /tmp/noise.jpg \
    $(for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do echo /samples/cat.jpg; done) >/dev/null 2>&1 &
feeder=$!
sleep 1

configure /tmp/first.toml <<END
[[camera]]
name = "front"
source = "/dev/video0"
format = "yuyv"
size = [320, 180]
fps = 5
faces = false
[[camera]]
name = "yard"
source = "/dev/video11"
fps = 5
faces = false
[[camera.zone]]
name = "all"
points = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]
END
configure /tmp/second.toml <<END
[[camera]]
name = "back"
source = "/dev/video1"
format = "yuyv"
size = [320, 180]
fps = 5
faces = false
END
# Each in a control group from its birth: pages are charged where they were first touched.
mkdir -p /tmp/cg && mount -t cgroup2 none /tmp/cg && echo +memory >/tmp/cg/cgroup.subtree_control
mkdir -p /tmp/cg/a /tmp/cg/b
echo $$ >/tmp/cg/a/cgroup.procs; start a porchlight run --config /tmp/first.toml
echo $$ >/tmp/cg/b/cgroup.procs; start b porchlight run --config /tmp/second.toml
echo $$ >/tmp/cg/cgroup.procs
seen a '"type":"camera.online".*"camera":"front"' 60 || over=0
seen b camera.online 60 || over=0

# Hundredths of a second since boot, whatever the clock says.
cs() { cut -d' ' -f1 /proc/uptime | tr -d .; }
# took WHAT ID PATTERN N PATIENCE: until its stdout holds a line like that so many times.
took() {
    local from; from=$(cs)
    if seen "$2" "$3" "$5" "$4"; then
        local d=$(($(cs) - from))
        mark "took $1: $((d / 100)).$((d / 10 % 10))"
    else mark "took $1: never"; fi
}
# took_stats WHAT ID: until two more lines of stats have come: the pipeline goes on.
took_stats() { took "$1" "$2" '"type":"stats"' $(($(lines "$2" '"type":"stats"') + 2)) 60; }
look() {
    use a round
    mark "use b round warden fds=$(ls /proc/$(pid b)/fd | wc -l) threads=$(ls /proc/$(pid b)/task | wc -l) rss=$(awk '/VmRSS/{print $2}' /proc/$(pid b)/status)"
}
left() { [ $(($(now) + $1)) -lt $over ]; }
on='"type":"camera.online".*"camera":"front"'
off='"type":"camera.offline".*"camera":"front"'

# Each fault once, then again until the time is over; the deaths of b's eye are few enough to be forgiven.
first=1
killed=0
while [ $first = 1 ] || left 45; do
    look
    # A storm of plugs.
    for n in 1 2 3; do
        mark unplug
        m=$(($(lines a "$off") + 1))
        echo vivid.0 >/sys/bus/platform/drivers/vivid/unbind
        took unplugged a "$off" $m 30
        m=$(($(lines a "$on") + 1))
        echo vivid.0 >/sys/bus/platform/drivers/vivid/bind
        took "plugged in again" a "$on" $m 30
    done
    look
    # The driver: an error of the stream, of single buffers.
    n=$(($(lines a "$on") + 1))
    guest ctl /dev/video0 "Inject Fatal Streaming Error" 0
    took "the driver fails" a "$on" $n 30
    guest ctl /dev/video0 "Inject V4L2_BUF_FLAG_ERROR" 0
    guest ctl /dev/video0 "Percentage of Dropped Buffers" 50
    sleep 2
    guest ctl /dev/video0 "Percentage of Dropped Buffers" 0
    # Silence.
    yard='"type":"camera.online".*"camera":"yard"'
    n=$(($(lines a "$yard") + 1))
    m=$(($(lines a '"camera":"yard","reason":"stalled"') + 1))
    kill -STOP $feeder
    seen a '"camera":"yard","reason":"stalled"' 30 $m
    kill -CONT $feeder
    took "a camera that falls silent" a "$yard" $n 30
    look
    # The clock: an hour ahead, two hours back, and right again.
    for to in 3600 -7200 3600; do
        date -s "@$(($(date +%s) + to))" >/dev/null
        took_stats "the clock set" a
        sleep 1
    done
    # Nobody reads.
    for p in $(pidof guest); do
        [ "$(tr '\0' ' ' </proc/$p/cmdline | cut -d' ' -f2-4)" = "tag a out" ] && reader=$p
    done
    kill -STOP $reader
    sleep 8
    kill -CONT $reader
    took_stats "nobody reads stdout" a
    look
    # Nobody computes.
    sh -c 'while :; do :; done' & h1=$!
    sh -c 'while :; do :; done' & h2=$!
    sleep 5
    kill $h1 $h2
    took_stats "two busy programs" a
    look
    if [ $first = 1 ] || left 110; then
        # The eye of b: killed, frozen. After a minute of life the count of deaths in a row begins anew.
        n=$(($(lines b camera.online) + 1))
        mark "did kill"
        kill -9 "$(below b eye)"
        took "the eye killed" b camera.online $n 60
        n=$((n + 1))
        # By turns: killed for want of memory, frozen.
        if [ "$killed" = 0 ]; then
            mark "did starve"
            # It alone, in a group that has no page left: of a group with others in it the kernel kills a second one while the first
            # still gives its memory back. The one that takes its place is born in the old group.
            mkdir -p /tmp/cg/starved
            below b eye >/tmp/cg/starved/cgroup.procs
            echo 0 >/tmp/cg/starved/memory.max
            until grep -q "oom_kill [1-9]" /tmp/cg/starved/memory.events || [ $(now) -gt $((over + 60)) ]; do usleep 100000; done
            mark "starved $(tr '\n' ' ' </tmp/cg/starved/memory.events)"
            took "the eye out of memory" b camera.online $n 60
        else
            mark "did freeze"
            kill -STOP "$(below b eye)"
            took "the eye frozen" b camera.online $n 60
        fi
        killed=$(( (killed + 1) % 2 ))
    fi
    # Memory: whoever wants a page has to wait, for there is more in use than there should be.
    echo $(($(cat /tmp/cg/a/memory.current) - 4194304)) >/tmp/cg/a/memory.high
    sleep 4
    took_stats "no room for more memory" a
    echo max >/tmp/cg/a/memory.high
    mark "squeezed $(tr '\n' ' ' </tmp/cg/a/memory.events)"
    first=0
done
while [ "$(now)" -lt $over ]; do look; sleep 5; done
look
stop b
stop a
