#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| edgeproxy_proxy::fuzzing::client_hello(bytes));
