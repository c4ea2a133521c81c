//! The floor that our crates allow: seals a file and hashes it twice, on two threads, each its
//! half, without any order. Not a format: nobody could open the result. `bench/envelope` runs it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Instant;

use dockseal::envelope::FileKey;
use dockseal::envelope::stream::{CHUNK_SIZE, PayloadCipher, Position, SEALED_CHUNK_SIZE};
use rand_core::UnwrapErr;
use sha2::{Digest, Sha256};

const CHUNKS_PER_BLOCK: usize = 16;

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let (source, sealed) = (arguments.next(), arguments.next());
    let (Some(source), Some(sealed)) = (source, sealed) else {
        return Err(std::io::Error::other("usage: floor SOURCE SEALED"));
    };
    let source = File::open(source)?;
    let sealed = File::create(sealed)?;
    let chunk_count = source.metadata()?.len() / CHUNK_SIZE as u64;
    let file_key = FileKey::generate(&mut UnwrapErr(getrandom::SysRng));
    let cipher = PayloadCipher::new(&file_key, &[0; 16]);
    let started = Instant::now();
    std::thread::scope(|scope| {
        let half = chunk_count / 2;
        let (source, sealed, cipher) = (&source, &sealed, &cipher);
        let first = scope.spawn(move || work(source, sealed, cipher, 0, half));
        let second = scope.spawn(move || work(source, sealed, cipher, half, chunk_count));
        first.join().expect("no panic").and(second.join().expect("no panic"))
    })?;
    use std::io::Write;
    writeln!(std::io::stderr(), "{:.3} s", started.elapsed().as_secs_f64())
}

fn work(
    source: &File,
    sealed: &File,
    cipher: &PayloadCipher,
    from: u64,
    to: u64,
) -> std::io::Result<()> {
    let mut block = vec![0u8; CHUNKS_PER_BLOCK * SEALED_CHUNK_SIZE];
    let (mut plain, mut cipher_hash) = (Sha256::new(), Sha256::new());
    let mut index = from;
    while index < to {
        let count = CHUNKS_PER_BLOCK.min((to - index) as usize);
        let bytes = &mut block[..count * SEALED_CHUNK_SIZE];
        for (offset, chunk) in bytes.chunks_mut(SEALED_CHUNK_SIZE).enumerate() {
            let at = index + offset as u64;
            let (plaintext, tag) = chunk.split_at_mut(CHUNK_SIZE);
            source.read_exact_at(plaintext, at * CHUNK_SIZE as u64)?;
            plain.update(&*plaintext);
            tag.copy_from_slice(&cipher.seal_chunk(at, Position::Middle, plaintext));
        }
        cipher_hash.update(&*bytes);
        sealed.write_all_at(bytes, index * SEALED_CHUNK_SIZE as u64)?;
        index += count as u64;
    }
    // Or the compiler might see that nobody wants the digests.
    std::hint::black_box((plain.finalize(), cipher_hash.finalize()));
    Ok(())
}
