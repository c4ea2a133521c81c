//! Whom the dock talks to: names that nobody knows, and certificates of an authority of one's own.

use std::path::Path;

use super::{SMALL, Scene, file, words};
use crate::support::scratch;
use crate::support::seaweed::Seaweed;
use crate::support::tools::needs;

/// Runs a program with its own `/etc/hosts`, and with a name server that is not there.
pub(super) const PRIVATE_NAMES: &str =
    r#"mount --bind "$1" /etc/hosts && mount --bind "$2" /etc/resolv.conf && shift 2 && exec "$@""#;

#[test]
fn a_name_that_is_not_known_is_named_until_it_is() {
    needs!(Weed, Setpriv, Root, Unshare);
    let folder = scratch();
    let hosts = file(&folder, "hosts", "127.0.0.1 localhost\n");
    // Nobody listens there, so that asking fails at once.
    let resolver = "nameserver 127.0.0.9\noptions timeout:1 attempts:1\n";
    let resolver = file(&folder, "resolv.conf", resolver);
    let port = Seaweed::shared().address.rsplit_once(':').unwrap().1;
    let endpoint = format!("http://bucket.test:{port}");
    let mut scene = Scene::with("names", &endpoint, |bucket| {
        bucket.options.insert("allow_http".into(), "true".into());
    });
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (hosts_text, resolver) = (text(&hosts), text(&resolver));
    let wrapper = ["unshare", "--mount", "sh", "-c", PRIVATE_NAMES, "sh", &hosts_text, &resolver];
    scene.site.dock.start_with(&wrapper, |_| {});
    scene.put(SMALL);
    scene.names(words::NO_NAME);
    // Written into, not replaced: the mount is of this file.
    std::fs::write(&hosts, "127.0.0.1 localhost bucket.test\n").unwrap();
    scene.arrives();
}

#[test]
fn a_server_of_an_unknown_authority_is_named_until_that_is_trusted() {
    needs!(Weed, Setpriv, Openssl);
    let (endpoint, ca) = Seaweed::shared().tls();
    let mut scene = Scene::started("tls", &endpoint);
    scene.put(SMALL);
    scene.names(words::UNKNOWN_AUTHORITY);
    scene.site.dock.stop();
    let mut choices = scene.site.choices.clone();
    choices.buckets[0].options.insert("ca_file".into(), ca.to_str().unwrap().into());
    scene.site.dock.reconfigure(&choices);
    scene.site.dock.start();
    scene.arrives();
}
