# Known pictures: byte for byte, and seen for what they are by the real models.
loopback 10 11
guest feed /dev/video10 YUYV 320 240 10 /samples/cat.yuyv >/dev/null 2>&1 &
guest feed /dev/video11 MJPG 451 300 10 /samples/cat.jpg >/dev/null 2>&1 &
sleep 1
start rawhash frames --hash yuyv 320x240 /samples/cat.yuyv
ended rawhash 10
start jpghash frames --hash mjpg 451x300 /samples/cat.jpg
ended jpghash 10
start raw frames /dev/video10 12
ended raw 20
start jpg frames /dev/video11 12
ended jpg 20
for which in 10,seeraw 11,seejpg; do
    configure /tmp/real.toml ssdlite-mobilenet-v2-int8 <<END
[[camera]]
name = "cat"
source = "/dev/video${which%,*}"
faces = false
END
    start "${which#*,}" porchlight run --config /tmp/real.toml
    seen "${which#*,}" track.appeared 60
    stop "${which#*,}" 60
done
