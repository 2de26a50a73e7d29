# What is there: nothing, then a capture node beside an output node, and a device that can do both.
start none porchlight cameras
ended none 10
configure /tmp/none.toml <<END
END
start norun porchlight run --config /tmp/none.toml
ended norun 30
start nopath porchlight run --camera /no/such/place
ended nopath 30
load vivid n_devs=1 node_types=0x101 num_inputs=1 input_types=0x0 num_outputs=1 output_types=0x1
loopback 10
start text porchlight cameras
ended text 10
start json porchlight cameras --json
ended json 10
