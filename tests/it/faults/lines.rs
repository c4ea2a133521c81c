//! Lines that break, that are slow, and uploads that end behind our back.

use super::{LARGE, SMALL, Scene, words};
use crate::support::http_faults::HttpFaults;
use crate::support::proxy::{Fault, Proxy};
use crate::support::seaweed::Seaweed;
use crate::support::tools::needs;
use crate::support::wait_for;

#[test]
fn a_line_that_breaks_after_so_many_bytes_is_named_until_it_holds() {
    needs!(Weed, Setpriv);
    let proxy = Proxy::to(&Seaweed::shared().address);
    let mut scene = Scene::started("cut", &proxy.endpoint());
    let again = || {
        if proxy.fault() == Fault::None {
            proxy.set(Fault::CutAfter(1 << 20));
        }
    };
    again();
    scene.put(LARGE);
    scene.names_while(words::CUT, again);
    proxy.set(Fault::None);
    scene.arrives();
}

#[test]
fn a_line_that_swallows_everything_is_named_until_it_lets_go() {
    needs!(Weed, Setpriv);
    let proxy = Proxy::to(&Seaweed::shared().address);
    proxy.set(Fault::BlackHole);
    let mut scene = Scene::with("black-hole", &proxy.endpoint(), |bucket| {
        bucket.options.insert("stall_timeout".into(), "3s".into());
    });
    scene.site.dock.start();
    scene.put(LARGE);
    scene.names(words::STALLED);
    // What was swallowed is gone; it does not reach the server when nobody waits for it any more.
    proxy.cut_now();
    proxy.set(Fault::None);
    scene.arrives();
}

#[test]
fn a_server_that_is_down_is_named_until_it_is_back() {
    needs!(Weed, Setpriv);
    let proxy = Proxy::to(&Seaweed::shared().address);
    proxy.set(Fault::Refuse);
    let mut scene = Scene::started("down", &proxy.endpoint());
    scene.put(SMALL);
    scene.names(words::NO_SERVER);
    proxy.set(Fault::None);
    scene.arrives();
}

#[test]
fn a_line_of_a_kilobyte_a_second_is_slow_and_no_failure() {
    needs!(Weed, Setpriv);
    let proxy = HttpFaults::to(&Seaweed::shared().address);
    let mut scene = Scene::started("slow", &proxy.endpoint());
    proxy.slow(Some(1_000));
    scene.put(4_000);
    wait_for("the clip to be sent", super::SOON, || {
        let (problem, held) = scene.causes();
        assert!(problem.is_none() && held.is_empty(), "{problem:?}, {held:?}");
        let sent = scene.site.clips().first().is_some_and(|clip| clip["state"] == "erased");
        sent.then_some(())
    });
    proxy.heal();
    scene.arrives();
}

#[test]
fn an_upload_that_was_given_up_behind_our_back_begins_again() {
    needs!(Weed, Setpriv);
    let server = Seaweed::shared();
    let proxy = Proxy::to(&server.address);
    let mut scene = Scene::started("expired", &proxy.endpoint());
    proxy.set(Fault::Throttle(4 << 20));
    scene.put(LARGE);
    wait_for("an upload", super::SOON, || (!server.uploads(&scene.url).is_empty()).then_some(()));
    server.abort_uploads(&scene.url);
    proxy.set(Fault::None);
    scene.arrives();
}
