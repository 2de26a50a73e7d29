# What every scenario of the camera test bed may use. busybox sh.

export PORCHLIGHT_MODELS=/models ORT_DYLIB_PATH=/lib/libonnxruntime.so

mark() { guest mark "$@"; }

# Whole seconds since boot.
now() { cut -d. -f1 /proc/uptime; }

# load MODULE [OPTIONS...]: with what it depends on.
load() {
    local wanted=$1 m; shift
    for m in $(cat "/lib/mods/$wanted.needs"); do
        [ -d "/sys/module/$m" ] || insmod "/lib/mods/$m.ko"
    done
    insmod "/lib/mods/$wanted.ko" "$@"
}

# One emulated webcam, 640x480 and more, YUYV and more; controls that inject faults. More options may follow.
vivid() { load vivid n_devs="${CAMERAS:-1}" node_types=0x1,0x1,0x1,0x1 num_inputs=1,1,1,1 input_types=0x0,0x0,0x0,0x0 "$@"; }

# A device that shows what is written into it. loopback NUMBER...
loopback() {
    local list; list=$(echo "$@" | tr ' ' ,)
    load v4l2loopback devices=$# video_nr="$list" exclusive_caps=0,0,0,0 max_buffers=8
}

# start ID PROGRAM ARGS...: in the background; its outputs and how it ended go into the record.
start() {
    local id=$1; shift
    rm -f /tmp/$id.*
    mkfifo /tmp/$id.o /tmp/$id.e
    guest tag "$id" out /tmp/$id.out </tmp/$id.o >/dev/null 2>&1 &
    guest tag "$id" err /tmp/$id.err </tmp/$id.e >/dev/null 2>&1 &
    (
        "$@" >/tmp/$id.o 2>/tmp/$id.e &
        echo $! >/tmp/$id.pid
        wait $!
        echo $? >/tmp/$id.code
    ) &
    until [ -s /tmp/$id.pid ]; do usleep 10000; done
}

pid() { cat "/tmp/$1.pid"; }

# ended ID SECONDS: waits for its end and notes the exit code.
ended() {
    local until=$(($(now) + $2))
    while [ ! -s /tmp/$1.code ] && [ "$(now)" -lt $until ]; do usleep 100000; done
    if [ -s /tmp/$1.code ]; then usleep 200000; mark "exit $1 $(cat /tmp/$1.code)"
    else mark "exit $1 hung"; kill -9 "$(pid $1)"; fi
}

# stop ID: SIGTERM, then waits.
stop() { kill -TERM "$(pid $1)"; ended "$1" "${2:-30}"; }

# lines ID PATTERN: how many lines of its stdout match.
lines() { grep -c "$2" /tmp/$1.out 2>/dev/null; }

# seen ID PATTERN [SECONDS [TIMES]]: waits until its stdout holds a line like that, that many times.
seen() {
    local until=$(($(now) + ${3:-30}))
    while [ "$(now)" -lt $until ]; do
        [ "$(lines "$1" "$2")" -ge "${4:-1}" ] 2>/dev/null && return 0
        [ -s /tmp/$1.code ] && { mark "gone $1 before $2"; return 1; }
        usleep 50000
    done
    mark "missing $1 $2"
    return 1
}

# below ID eye|gatekeeper: the process below the warden.
below() {
    local p word
    for p in $(cat "/proc/$(pid "$1")/task/$(pid "$1")/children"); do
        word=$(tr '\0' ' ' <"/proc/$p/cmdline" | cut -d' ' -f2)
        [ "$2" = eye ] && [ "$word" = eye ] && echo "$p"
        [ "$2" = gatekeeper ] && [ "$word" != eye ] && echo "$p"
    done
}

# use ID TEXT: what each of its processes holds: descriptors, threads, resident kilobytes.
use() {
    local who p
    for who in warden eye gatekeeper; do
        if [ $who = warden ]; then p=$(pid "$1"); else p=$(below "$1" $who); fi
        mark "use $1 $2 $who fds=$(ls /proc/$p/fd | wc -l) threads=$(ls /proc/$p/task | wc -l) rss=$(awk '/VmRSS/{print $2}' /proc/$p/status)"
    done
}

# filters ID: what the kernel says of each thread of its eye and of its gatekeeper.
filters() {
    local who t
    for who in eye gatekeeper; do
        for t in /proc/$(below "$1" $who)/task/*; do
            mark "thread $1 $who $(awk '/^(Name|NoNewPrivs|Seccomp):/{sub(":", "", $1); printf "%s=%s ", tolower($1), $2}' "$t/status")"
        done
    done
}

# configure FILE [MODEL], then lines on stdin: with what all share. `quick` is a model that sees nothing, in 20 ms.
configure() {
    { cat; printf '[objects]\nmodel = "%s"\n[output]\nstats_every_s = 1\n' "${2:-quick}"; } >"$1"
}

# front [DEVICE]: /tmp/front.toml, with one small camera.
front() {
    configure /tmp/front.toml <<END
[[camera]]
name = "front"
source = "${1:-/dev/video0}"
size = [320, 180]
fps = 15
faces = false
END
}

# The plug of the emulated webcam(s).
unplug() { mark "unplug"; echo vivid.0 >/sys/bus/platform/drivers/vivid/unbind; }
plug() { mark "plug"; echo vivid.0 >/sys/bus/platform/drivers/vivid/bind; }

# Leaves the machine as the next scenario wants to find it.
clean_up() {
    for p in /tmp/*.pid; do [ -e "$p" ] && kill -9 "$(cat "$p")" 2>/dev/null; done
    killall guest 2>/dev/null
    usleep 200000
    umount /dev/gadget
    for m in uvcvideo gadgetfs dummy_hcd vivid v4l2loopback; do rmmod $m; done
    rm -rf /tmp/*
}
