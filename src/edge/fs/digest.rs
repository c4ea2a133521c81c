//! What a file holds, as one number.

use std::io::{self, Read};

use sha2::{Digest, Sha256};

/// Bytes read at once.
const BLOCK_SIZE: usize = 1 << 20;

/// The SHA-256 (FIPS 180-4) of all that is left to read.
pub fn sha256(file: &mut impl Read) -> io::Result<[u8; 32]> {
    let mut hash = Sha256::new();
    let mut block = vec![0; BLOCK_SIZE];
    loop {
        match file.read(&mut block)? {
            0 => return Ok(hash.finalize().into()),
            size => hash.update(&block[..size]),
        }
    }
}
