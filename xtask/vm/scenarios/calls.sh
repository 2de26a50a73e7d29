# Which system calls the sealed processes make while cameras feed them: started, unplugged, plugged in, failed, ended.
vivid
front
start run strace -f -qq -o /tmp/calls -e signal=none porchlight run --config /tmp/front.toml
seen run camera.online 60
unplug
seen run camera.offline 20
plug
seen run camera.online 30 2
sleep 6
guest ctl /dev/video0 "Inject Fatal Streaming Error" 0
seen run camera.online 30 3
kill -TERM "$(cat "/proc/$(pid run)/task/$(pid run)/children" | cut -d' ' -f1)"
ended run 60
guest calls /tmp/calls
