# vivid's faults, one after another, under a running pipeline.
vivid
front
start run porchlight run --config /tmp/front.toml
seen run camera.online
again() { seen run camera.online 20 "$1"; sleep 1; }
inject() { mark "inject $1"; guest ctl /dev/video0 "$1" 0; }
sleep 1
for n in 1 2 3; do inject "Inject V4L2_BUF_FLAG_ERROR"; usleep 300000; done
guest ctl /dev/video0 "Percentage of Dropped Buffers" 50
sleep 3
guest ctl /dev/video0 "Percentage of Dropped Buffers" 0
inject "Inject Fatal Streaming Error"
again 2
for what in STREAMON REQBUFS; do
    inject "Inject VIDIOC_$what Error"
    inject "Inject Fatal Streaming Error"
    again $((++done + 2))
done
inject "Inject VIDIOC_QBUF Error"
again 5
guest ctl /dev/video0 "Wrap Sequence Number" 1
inject "Inject Fatal Streaming Error"
again 6
sleep 5
inject Disconnect
again 7
stop run
# The driver's own count against ours, frame by frame.
guest ctl /dev/video0 "Percentage of Dropped Buffers" 50
start count frames /dev/video0 40 format=yuyv size=320x180 fps=30
ended count 30
