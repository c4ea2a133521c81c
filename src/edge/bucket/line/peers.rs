//! The addresses that a bucket's bytes go to, and how many of our bytes the kernel still holds.
//!
//! Bytes that were handed to the kernel can take minutes to leave on a slow line, and nobody asks
//! for more meanwhile. Only its own account tells that from a line on which nothing moves.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::super::trouble::NameError;

/// More addresses than a bucket's name has at once; beyond it the oldest knowledge is dropped.
const ADDRESS_COUNT_MAX: usize = 256;

/// Where a bucket's bytes go; shared with the resolver that finds it out.
#[derive(Debug, Clone, Default)]
pub(super) struct Peers(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    addresses: BTreeSet<IpAddr>,
    ports: BTreeSet<u16>,
}

impl Peers {
    /// Notes where a URL leads, as far as it says so itself.
    pub(super) fn expect(&self, url: &url::Url) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.ports.extend(url.port_or_known_default());
        match url.host() {
            Some(url::Host::Ipv4(address)) => known.addresses.insert(address.into()),
            Some(url::Host::Ipv6(address)) => known.addresses.insert(address.into()),
            Some(url::Host::Domain(_)) | None => false,
        };
    }

    /// Bytes to these addresses that were sent and not acknowledged, or not sent yet. `None` where
    /// the kernel does not say.
    pub(super) fn unsent_bytes(&self) -> Option<u64> {
        let sockets = own_sockets()?;
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sum = 0;
        for table in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
            // A kernel without IPv6 has no second table.
            let Ok(text) = std::fs::read_to_string(table) else { continue };
            let rows = text.lines().skip(1).filter_map(Row::parse);
            let ours = rows.filter(|row| {
                known.addresses.contains(&row.address)
                    && known.ports.contains(&row.port)
                    && sockets.contains(&row.inode)
            });
            sum += ours.map(|row| row.unsent_bytes).sum::<u64>();
        }
        Some(sum)
    }
}

impl Resolve for Peers {
    fn resolve(&self, name: Name) -> Resolving {
        let peers = self.clone();
        Box::pin(async move {
            let name = name.as_str().to_owned();
            let found = tokio::net::lookup_host((name.as_str(), 0)).await;
            let found = found.map(|found| found.collect::<Vec<_>>());
            let found = found.map_err(|source| NameError { name, source })?;
            let mut known = peers.0.lock().unwrap_or_else(PoisonError::into_inner);
            if known.addresses.len() > ADDRESS_COUNT_MAX {
                known.addresses.clear();
            }
            known.addresses.extend(found.iter().map(|address| address.ip().to_canonical()));
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// The inodes of this process's sockets.
fn own_sockets() -> Option<BTreeSet<u64>> {
    let files = std::fs::read_dir(Path::new("/proc/self/fd")).ok()?;
    let targets = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    let inode = |target: std::path::PathBuf| {
        let text = target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
        text.parse().ok()
    };
    Some(targets.filter_map(inode).collect())
}

/// A line of the kernel's table of TCP connections (proc_net_tcp.rst of its documentation).
#[derive(Debug, PartialEq, Eq)]
struct Row {
    address: IpAddr,
    port: u16,
    unsent_bytes: u64,
    inode: u64,
}

impl Row {
    fn parse(line: &str) -> Option<Row> {
        let fields: Vec<_> = line.split_whitespace().collect();
        let (address, port) = fields.get(2)?.split_once(':')?;
        let (unsent, _) = fields.get(4)?.split_once(':')?;
        Some(Row {
            address: parse_address(address)?,
            port: u16::from_str_radix(port, 16).ok()?,
            unsent_bytes: u64::from_str_radix(unsent, 16).ok()?,
            inode: fields.get(9)?.parse().ok()?,
        })
    }
}

/// Groups of four bytes, each as a number of this machine's order.
fn parse_address(hex: &str) -> Option<IpAddr> {
    if ![8, 32].contains(&hex.len()) {
        return None;
    }
    let groups = hex.as_bytes().chunks(8).map(|group| {
        let number = u32::from_str_radix(std::str::from_utf8(group).ok()?, 16).ok()?;
        Some(number.to_ne_bytes())
    });
    let bytes = groups.collect::<Option<Vec<_>>>()?.concat();
    match bytes.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::{Duration, Instant};

    use super::*;

    /// Nobody reads at the other end: once its buffer is full, the rest stays with us, and is seen.
    #[test]
    fn bytes_that_did_not_leave_are_counted_and_only_those_of_the_bucket() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let mut client = TcpStream::connect(address).expect("connected");
        let (mut server, _) = listener.accept().expect("accepted");
        client.set_nonblocking(true).expect("set");
        let mut written = 0;
        while let Ok(size) = client.write(&[0; 65536]) {
            written += size;
        }
        let peers = Peers::default();
        assert_eq!(peers.unsent_bytes(), Some(0));
        let url = format!("http://{address}/");
        peers.expect(&url.parse().expect("a URL"));
        assert!(peers.unsent_bytes().expect("Linux says") > 0);
        server.read_exact(&mut vec![0; written]).expect("read");
        let begun = Instant::now();
        while peers.unsent_bytes() != Some(0) {
            assert!(begun.elapsed() < Duration::from_secs(10), "it stays");
            std::thread::yield_now();
        }
    }

    #[test]
    fn addresses_of_both_kinds_are_read() {
        let parsed = parse_address("0100007F").expect("IPv4");
        assert!(cfg!(target_endian = "big") || parsed == IpAddr::V4(Ipv4Addr::LOCALHOST));
        let mapped = parse_address("0000000000000000FFFF00000100007F").expect("IPv6");
        assert!(cfg!(target_endian = "big") || mapped == IpAddr::V4(Ipv4Addr::LOCALHOST));
        assert_eq!(parse_address("0100"), None);
        assert_eq!(Row::parse("  sl  local_address rem_address"), None);
    }
}
