# Rows with padding show the same picture as rows without.
vivid
guest ctl /dev/video0 "OSD Text Mode" 2
start tight frames /dev/video0 3 format=yuyv size=640x360
ended tight 20
start padded frames /dev/video0 3 format=yuyv size=640x360 stride=2048
ended padded 20
