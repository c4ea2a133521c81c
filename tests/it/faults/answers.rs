//! Answers that are errors, and answers that only look like success.

use super::{LARGE, SMALL, Scene, file, words};
use crate::support::http_faults::{ALWAYS, Answer, HttpFaults, Which};
use crate::support::scratch;
use crate::support::seaweed::{Login, Seaweed};
use crate::support::tools::needs;

/// What a portal says to whoever has not paid for the line.
const PORTAL: &str = "<!DOCTYPE html><html><body><h1>Welcome to the guest network</h1></body>";

/// Puts of clips that go in one request.
fn small_puts() -> Which {
    Which::of("PUT").with("/clips/").without("uploadId=")
}

fn proxy() -> HttpFaults {
    HttpFaults::to(&Seaweed::shared().address)
}

/// For one answer after the other: while the server gives it, it is named; then the clip arrives.
fn each_is_named_and_passes(test: &str, which: &Which, size: usize, rows: &[(Answer, &str)]) {
    let proxy = proxy();
    let mut scene = Scene::started(test, &proxy.endpoint());
    for (answer, word) in rows {
        proxy.answer_next(ALWAYS, which.clone(), answer.clone());
        scene.put(size);
        scene.names(word);
        proxy.heal();
        scene.arrives();
    }
}

#[test]
fn bursts_of_errors_are_named_and_pass() {
    needs!(Weed, Setpriv);
    let rows = [
        (Answer::new(500).s3_error("InternalError"), words::SERVER_FAILED),
        (Answer::new(503).header("retry-after", "1").s3_error("SlowDown"), words::SLOW_DOWN),
        (Answer::new(429).s3_error("TooManyRequests"), words::TOO_MANY),
    ];
    each_is_named_and_passes("bursts", &small_puts(), SMALL, &rows);
}

#[test]
fn a_success_that_carries_an_error_is_none() {
    needs!(Weed, Setpriv);
    let rows = [
        (Answer::new(200).s3_error("InternalError"), words::ERROR_IN_SUCCESS),
        (Answer::new(200).body("text/html", PORTAL), words::WEB_PAGE),
    ];
    each_is_named_and_passes("false-success", &small_puts(), SMALL, &rows);
}

#[test]
fn an_upload_whose_completion_is_an_error_inside_of_a_success_is_not_complete() {
    needs!(Weed, Setpriv);
    let rows = [
        (Answer::new(200).s3_error("InternalError"), words::ERROR_IN_COMPLETION),
        (Answer::new(200).body("text/html", PORTAL), words::WEB_PAGE_IN_COMPLETION),
    ];
    each_is_named_and_passes("complete", &Which::of("POST").with("uploadId="), LARGE, &rows);
}

#[test]
fn a_redirect_to_another_host_is_not_followed() {
    needs!(Weed, Setpriv);
    let [proxy, elsewhere] = [(); 2].map(|()| proxy());
    let mut scene = Scene::started("redirect", &proxy.endpoint());
    for status in [302, 307] {
        let to = format!("{}/portal", elsewhere.endpoint());
        let answer = Answer::new(status).header("location", &to).body("text/html", PORTAL);
        proxy.answer_next(ALWAYS, small_puts(), answer);
        scene.put(SMALL);
        scene.names(words::MOVED);
        proxy.heal();
        scene.arrives();
    }
    assert_eq!(elsewhere.seen(), [], "a clip was sent to whom the redirect named");
}

#[test]
fn an_answer_that_was_lost_makes_no_second_object() {
    needs!(Weed, Setpriv);
    let proxy = proxy();
    let mut scene = Scene::started("lost-small", &proxy.endpoint());
    proxy.lose_answer_of(small_puts());
    scene.put(SMALL);
    scene.arrives();
    assert_eq!(proxy.left(), 0);
}

#[test]
fn a_completion_whose_answer_was_lost_makes_no_second_object() {
    needs!(Weed, Setpriv);
    let proxy = proxy();
    let mut scene = Scene::started("lost-complete", &proxy.endpoint());
    proxy.lose_answer_of(Which::of("POST").with("uploadId="));
    scene.put(LARGE);
    scene.arrives();
    assert_eq!(proxy.left(), 0);
}

#[test]
fn credentials_that_are_mended_in_their_file_need_no_restart() {
    needs!(Weed, Setpriv);
    let folder = scratch();
    let [id, secret] = Login::Dock.pair();
    let text =
        |secret: &str| format!("aws_access_key_id = {id}\naws_secret_access_key = {secret}\n");
    let path = file(&folder, "bucket-primary", &text("not-the-secret"));
    let endpoint = Seaweed::shared().endpoint();
    let mut scene = Scene::with("credentials", &endpoint, |bucket| {
        bucket.more = format!("credentials_file = {:?}", path.display().to_string());
    });
    scene.site.dock.start();
    scene.put(SMALL);
    scene.names(words::NOT_ALLOWED);
    std::fs::write(&path, text(secret)).unwrap();
    scene.arrives();
    assert!(!scene.site.dock.log().contains("not-the-secret"));
}
