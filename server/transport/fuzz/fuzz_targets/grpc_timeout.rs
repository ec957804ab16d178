//! No value makes the parser panic, and what it gives can be added to a moment.

#![no_main]

use std::time::Instant;

use libfuzzer_sys::fuzz_target;

#[path = "../../src/grpc_timeout.rs"]
mod grpc_timeout;

fuzz_target!(|value: &[u8]| {
    if let Some(timeout) = grpc_timeout::parse(value) {
        assert!(Instant::now().checked_add(timeout).is_some());
        assert!(value.iter().any(u8::is_ascii_digit));
    }
});
