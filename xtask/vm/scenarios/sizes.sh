# YUYV at three sizes, rates set by S_PARM.
vivid
for size in 320,180,30 640,360,25 1280,720,10; do
    IFS=, read -r w h fps <<END
$size
END
    configure /tmp/$w.toml <<END
[[camera]]
name = "front"
source = "/dev/video0"
format = "yuyv"
size = [$w, $h]
fps = $fps
faces = false
END
    start "w$w" porchlight run --config /tmp/$w.toml
    seen "w$w" camera.online
    seen "w$w" '"type":"stats"' 20 4
    stop "w$w"
done
