# Cameras named by links below /dev/v4l: the link is followed to wherever it leads now, and made after the node, as udev does.
name() { mkdir -p /dev/v4l/by-id; ln -sf "../../$1" /dev/v4l/by-id/usb-Porch_Cam-video-index0; }
front /dev/v4l/by-id/usb-Porch_Cam-video-index0
start run porchlight run --config /tmp/front.toml
seen run camera.offline
vivid
sleep 1
mark plug
name video0
seen run camera.online 10
start list porchlight cameras
ended list 10
sleep 6
unplug
rm -r /dev/v4l
seen run camera.offline 10 2
loopback 0
mark plug
echo vivid.0 >/sys/bus/platform/drivers/vivid/bind
sleep 1
mark named
name video1
seen run camera.online 10 2
sleep 1
stop run
rm -r /dev/v4l
