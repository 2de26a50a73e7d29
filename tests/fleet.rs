//! Many boxes, one broker, one database: `cargo xtask fleet`, small. A real mosquitto, the bridge, the collector of deploy/fleet, and a
//! broker and a collector that are started again in the middle.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::root;

#[test]
fn every_line_of_every_box_is_in_the_database_once_and_in_order() {
    let python = root().join(".tools/mqtt/bin/python");
    let script = "PATH=$PATH:/usr/sbin; command -v mosquitto";
    let broker = Command::new("sh").args(["-c", script]).stdout(Stdio::null()).status();
    if !python.exists() || !broker.is_ok_and(|s| s.success()) {
        eprintln!("skipped: wanted mosquitto and .tools/mqtt: `cargo xtask test` gets them");
        return;
    }
    let output = Command::new(python)
        .current_dir(root())
        .args(["xtask/fleet.py", "--boxes", "16", "--seconds", "12"])
        .output()
        .expect("starts");
    let said = String::from_utf8_lossy(&output.stderr);
    let result: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {said}"));
    assert!(output.status.success(), "{said} {result}");
    assert!(result["lines"].as_u64() > Some(40) && result["lines"] == result["stored"], "{result}");
    assert!(result["streams"].as_u64() > Some(16), "a box has booted anew: {result}");
}
