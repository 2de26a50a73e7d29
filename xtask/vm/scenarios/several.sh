# Four cameras; one of them fails over and over, the others never notice.
CAMERAS=4 vivid
for n in 0 1 2 3; do
    printf '[[camera]]\nname = "c%s"\nsource = "/dev/video%s"\nformat = "yuyv"\nsize = [320, 180]\nfps = 10\nfaces = false\n' $n $n
done | configure /tmp/four.toml
start run porchlight run --config /tmp/four.toml
seen run camera.online 30 4
for n in 1 2 3 4 5 6; do
    guest ctl /dev/video2 "Inject Fatal Streaming Error" 0
    seen run '"camera":"c2","reason":"recovered"' 10 $n
    usleep 300000
done
stop run
