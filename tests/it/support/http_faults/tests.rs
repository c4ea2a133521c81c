//! The proxy before a server that repeats what it is told.

use super::*;

/// Answers each request with its target and body, framed in turn by length and by chunks.
fn echo_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for (number, client) in listener.incoming().enumerate() {
            let mut client = client.unwrap();
            let mut requests = BufReader::new(client.try_clone().unwrap());
            let Ok(Some(head)) = Head::read(&mut requests) else { continue };
            let mut body = format!("{} ", head.target()).into_bytes();
            copy(&mut requests, &mut body, head.request_size().unwrap(), &Ok).unwrap();
            let framed = if number % 2 == 0 {
                format!("content-length: {}\r\n\r\n", body.len()).into_bytes()
            } else {
                body =
                    [format!("{:x}\r\n", body.len()).as_bytes(), &body, b"\r\n0\r\n\r\n"].concat();
                b"transfer-encoding: chunked\r\n\r\n".to_vec()
            };
            let _ = client.write_all(&[b"HTTP/1.1 200 OK\r\n", &*framed, &body].concat());
        }
    });
    address
}

fn ask(stream: &mut TcpStream, target: &str, body: &str) -> io::Result<(u16, String)> {
    let size = body.len();
    let head = format!("PUT {target} HTTP/1.1\r\nhost: x\r\ncontent-length: {size}\r\n\r\n");
    stream.write_all(format!("{head}{body}").as_bytes())?;
    let mut answers = BufReader::new(stream);
    let head = Head::read(&mut answers)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let mut body = Vec::new();
    copy(&mut answers, &mut body, head.answer_size("PUT")?, &Ok)?;
    Ok((head.status()?, String::from_utf8(body).unwrap()))
}

fn connect_to(proxy: &HttpFaults) -> TcpStream {
    let stream = TcpStream::connect(proxy.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

#[test]
fn requests_of_one_connection_are_told_apart_whatever_their_answers_framing() {
    let proxy = HttpFaults::to(&echo_server());
    let mut stream = connect_to(&proxy);
    for (target, body) in [("/a", "one"), ("/b?c=d", ""), ("/e", "three"), ("/f", "four")] {
        let (status, answer) = ask(&mut stream, target, body).unwrap();
        assert_eq!(status, 200);
        assert!(answer.contains(&format!("{target} {body}")), "{answer}");
    }
    let seen =
        |target: &str| Seen { method: "PUT".into(), target: target.into(), status: Some(200) };
    assert_eq!(proxy.seen(), ["/a", "/b?c=d", "/e", "/f"].map(seen));
}

#[test]
fn an_answer_of_the_proxy_is_for_the_requests_it_was_made_for() {
    let proxy = HttpFaults::to(&echo_server());
    let busy = Answer::new(503).header("retry-after", "1").s3_error("SlowDown");
    proxy.answer_next(2, Which::of("PUT").with("/clips/").without("uploadId="), busy);
    proxy.answer_next(ALWAYS, Which::of("GET"), Answer::new(403));
    let mut stream = connect_to(&proxy);
    let mut told = |target| ask(&mut stream, target, "body").unwrap();
    assert_eq!(told("/log/1").0, 200);
    let (status, body) = told("/clips/1");
    assert!(status == 503 && body.contains("<Code>SlowDown</Code>"), "{body}");
    assert_eq!(told("/clips/1?uploadId=2").0, 200);
    assert_eq!(told("/clips/1").0, 503);
    assert_eq!(told("/clips/1").0, 200);
    assert!(proxy.left() > 2);
    proxy.heal();
    assert_eq!((proxy.left(), proxy.count(&Which::of("PUT"))), (0, 5));
}

#[test]
fn an_answer_that_is_lost_was_given() {
    let proxy = HttpFaults::to(&echo_server());
    proxy.lose_answer_of(Which::all().with("/b"));
    let mut stream = connect_to(&proxy);
    assert_eq!(ask(&mut stream, "/a", "").unwrap().0, 200);
    assert!(ask(&mut stream, "/b", "").is_err());
    assert_eq!(ask(&mut connect_to(&proxy), "/b", "").unwrap().0, 200);
    let statuses: Vec<_> = proxy.seen().into_iter().map(|seen| seen.status).collect();
    assert_eq!(statuses, [Some(200), None, Some(200)]);
}

#[test]
fn a_slow_server_is_slow_to_take_a_body_and_a_proxy_that_ends_hangs_up() {
    let proxy = HttpFaults::to(&echo_server());
    proxy.slow(Some(10_000));
    let mut stream = connect_to(&proxy);
    let started = Instant::now();
    assert_eq!(ask(&mut stream, "/", &"x".repeat(3_000)).unwrap().0, 200);
    let seconds = started.elapsed().as_secs_f64();
    assert!(seconds >= 0.29, "3 kB at 10 kB/s took {seconds} s");
    drop(proxy);
    assert!(ask(&mut stream, "/", "").is_err());
}
