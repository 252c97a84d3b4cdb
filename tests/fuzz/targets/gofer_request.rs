//! Requests to a gofer: two bytes of operation, then the body. What decodes must encode to the same.
#![no_main]

use gofer_protocol::Request;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((op, body)) = bytes.split_first_chunk::<2>() else { return };
    let op = u16::from_le_bytes(*op);
    if let Ok(request) = Request::decode(op, body) {
        assert_eq!(request.encode(), body, "two ways to say {request:?}");
    }
});
