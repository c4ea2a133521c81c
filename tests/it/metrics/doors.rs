//! The monitor's door among strangers: a taken port, garbage, and clients that take their time.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use super::{address, ask, get, let_listen};
use crate::support::random::Random;
use crate::support::site::{SOON, Site};
use crate::support::wait_for;

#[test]
fn a_port_that_another_program_has_stops_nothing() {
    let mut site = Site::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let_listen(&site.dock, &address);
    site.put("a.mp4", b"one");
    site.dock.start();
    site.wait_for_count("erased", 1);
    let said = format!("no monitor can ask at {address}: Address already in use");
    wait_for("a line in the log", SOON, || site.dock.log().contains(&said).then_some(()));
    let check = site.dock.finish(&["check"]).stdout;
    assert!(check.contains(&format!("warn  metrics {address}: no answer")), "{check}");
    assert!(check.contains("do: choose another port for `listen`"), "{check}");
    drop(taken);
    wait_for("the port to be had", SOON, || {
        let answer = ask(&address, b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").ok()?;
        (answer.status == 200).then_some(())
    });
    assert_eq!(site.dock.log().matches(&said).count(), 1, "once is enough");
    let check = site.dock.finish(&["check"]).stdout;
    assert!(check.contains(&format!("ok    metrics {address}: answered")), "{check}");
    assert_eq!(site.dock.stop(), 0);
    let check = site.dock.finish(&["check"]).stdout;
    assert!(check.contains(&format!("ok    metrics {address}: free for the daemon")), "{check}");
}

#[test]
fn the_door_knows_two_pages_and_one_way_to_ask() {
    let mut site = Site::new();
    let_listen(&site.dock, "127.0.0.1:0");
    site.dock.start();
    let address = address(&site.dock);
    for path in ["/", "/metrics/", "/metrics/../healthz", "/METRICS", "//metrics", "/%6detrics"] {
        assert_eq!(get(&address, path).status, 404, "{path}");
    }
    assert_eq!(get(&address, "/metrics?collect=all").status, 200);
    for method in ["POST", "PUT", "DELETE", "HEAD", "OPTIONS", "TRACE", "PATCH"] {
        let request = format!("{method} /metrics HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
        let answer = ask(&address, request.as_bytes()).unwrap();
        assert_eq!(answer.status, 405, "{method}");
        assert!(answer.head.contains("allow: GET"), "{}", answer.head);
    }
    assert_eq!(site.dock.stop(), 0);
}

#[test]
fn garbage_and_clients_that_take_their_time_harm_nobody() {
    let mut random = Random::new();
    let seed = random.seed();
    let mut site = Site::new();
    let_listen(&site.dock, "127.0.0.1:0");
    site.dock.start();
    let address = address(&site.dock);
    let big = format!("GET /metrics HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(100_000));
    let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(100));
    for request in [big, many, "GET\r\n\r\n".into(), "GET /metrics HTTP/9.9\r\n\r\n".into()] {
        // The door may close before all is sent: then nothing is read either.
        let status = ask(&address, request.as_bytes()).map_or(0, |answer| answer.status);
        assert!([0, 400, 431].contains(&status), "{status} for {:.40}", request);
    }
    for _ in 0..50 {
        let size = random.below(20_000) as usize;
        let status = ask(&address, &random.bytes(size)).map_or(0, |answer| answer.status);
        assert!([0, 400].contains(&status), "{status}, DOCKSEAL_TEST_SEED={seed}");
    }
    // More than there is room for, and none of them ever ends its request.
    let mut slow: Vec<TcpStream> = (0..20)
        .map(|_| {
            let mut stream = TcpStream::connect(&address).unwrap();
            stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: ").unwrap();
            stream.set_read_timeout(Some(SOON)).unwrap();
            stream
        })
        .collect();
    site.put("a.mp4", b"one");
    site.wait_for_count("erased", 1);
    let mut said = Vec::new();
    // A reset is an end as well.
    let _ = slow[0].read_to_end(&mut said);
    assert!(!said.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&said));
    assert_eq!(get(&address, "/metrics").status, 200, "nobody is kept out for good");
    drop(slow);
    assert!(site.dock.is_running());
    assert_eq!(site.dock.stop(), 0);
}
