//! The payload of `channel:publish` and `channel:message`: name length u16, name, bytes.

use crate::head::BadFrame;
use crate::limits::CHANNEL_NAME_BYTES;

pub(crate) fn put(out: &mut Vec<u8>, channel: &str, data: &[u8]) {
    out.extend_from_slice(&(channel.len() as u16).to_le_bytes());
    out.extend_from_slice(channel.as_bytes());
    out.extend_from_slice(data);
}

pub(crate) fn read<'a>(
    kind: &'static str,
    payload: &'a [u8],
) -> Result<(&'a str, &'a [u8]), BadFrame> {
    let short = BadFrame::Payload { kind, why: "shorter than its channel's name" };
    let Some((len, rest)) = payload.split_first_chunk::<2>() else { return Err(short) };
    let Some((bytes, data)) = rest.split_at_checked(u16::from_le_bytes(*len).into()) else {
        return Err(short);
    };
    Ok((name(kind, bytes)?, data))
}

pub(crate) fn name<'a>(kind: &'static str, bytes: &'a [u8]) -> Result<&'a str, BadFrame> {
    if bytes.is_empty() || bytes.len() > CHANNEL_NAME_BYTES {
        return Err(BadFrame::Payload { kind, why: "a channel's name has 1 to 1024 bytes" });
    }
    simdutf8::basic::from_utf8(bytes)
        .map_err(|_| BadFrame::Payload { kind, why: "a channel's name is UTF-8" })
}
