# Nodes that are no cameras of ours: one that only shows, and cameras of the interface with several planes.
load vivid n_devs=1 node_types=0x100 num_outputs=1 output_types=0x1
front
start shows porchlight run --config /tmp/front.toml
ended shows 30
rmmod vivid
load vivid n_devs=1 node_types=0x1 num_inputs=1 input_types=0x0 multiplanar=2
start planes porchlight run --config /tmp/front.toml
ended planes 30
start list porchlight cameras
ended list 10
