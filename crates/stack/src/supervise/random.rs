//! Random values from the kernel: passwords and port numbers.

use std::{fs::File, io::Read};

use crate::{
    StackError,
    error::{Context, cannot},
};

/// 192 bits as hexadecimal digits, which need no quoting in URLs, SQL and configuration files.
pub(crate) fn password() -> Result<String, StackError> {
    Ok(bytes::<24>()?.iter().map(|byte| format!("{byte:02x}")).collect())
}

pub(crate) fn number() -> Result<u16, StackError> {
    bytes().map(u16::from_ne_bytes)
}

fn bytes<const N: usize>() -> Result<[u8; N], StackError> {
    const SOURCE: &str = "/dev/urandom";
    let mut bytes = [0; N];
    File::open(SOURCE).and_then(|mut source| source.read_exact(&mut bytes)).context(|| cannot("read", SOURCE))?;
    Ok(bytes)
}
