#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| porchlight_fuzz::gate(data));
