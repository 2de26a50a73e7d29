# A USB camera: the kernel's own uvcvideo against a camera in software behind an emulated host controller.
load dummy_hcd
load gadgetfs
load uvcvideo
mkdir -p /dev/gadget
mount -t gadgetfs gadget /dev/gadget
gadget=$(ls /dev/gadget | head -1)
mark "gadget $gadget"
camera() { guest uvc "$gadget" 451 300 10 /samples/cat.jpg >>/tmp/uvc.log 2>&1 & uvc=$!; }
front
sed -i 's/size = .*/size = [451, 300]/' /tmp/front.toml
camera
start jpghash frames --hash mjpg 451x300 /samples/cat.jpg
ended jpghash 10
start jpg frames /dev/video0 6 size=451x300
ended jpg 20
start run porchlight run --config /tmp/front.toml
seen run camera.online
start list porchlight cameras
ended list 10
sleep 2
for n in 1 2 3; do
    mark unplug
    kill -9 $uvc
    seen run camera.offline 10 $n
    sleep 1
    mark plug
    camera
    seen run camera.online 10 $((n + 1))
    sleep 1
done
stop run
