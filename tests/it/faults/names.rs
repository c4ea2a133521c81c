//! Whom the dock talks to: names that nobody knows, and certificates of an authority of one's own.

use tempfile::TempDir;

use super::{SMALL, Scene, file, words};
use crate::support::scratch;
use crate::support::seaweed::Seaweed;
use crate::support::tools::needs;

/// Runs a program with its own `/etc/hosts`, and with a name server that is not there.
const PRIVATE_NAMES: &str =
    r#"mount --bind "$1" /etc/hosts && mount --bind "$2" /etc/resolv.conf && shift 2 && exec "$@""#;

/// Words before a program that then knows the names of `folder`'s file `hosts` alone, which has
/// none but localhost. `unshare`: how it gets mounts of its own.
pub(super) fn without_names(folder: &TempDir, unshare: &[&str]) -> Vec<String> {
    let hosts = file(folder, "hosts", "127.0.0.1 localhost\n");
    // Nobody listens there, so that asking fails at once.
    let resolver = "nameserver 127.0.0.9\noptions timeout:1 attempts:1\n";
    let resolver = file(folder, "resolv.conf", resolver);
    let paths = [hosts, resolver].map(|path| path.to_str().unwrap().to_owned());
    let words = [unshare, &["sh", "-c", PRIVATE_NAMES, "sh"]].concat();
    words.into_iter().map(str::to_owned).chain(paths).collect()
}

#[test]
fn a_name_that_is_not_known_is_named_until_it_is() {
    needs!(Weed, Setpriv, Root, Unshare);
    let folder = scratch();
    let wrapper = without_names(&folder, &["unshare", "--mount"]);
    let port = Seaweed::shared().address.rsplit_once(':').unwrap().1;
    let endpoint = format!("http://bucket.test:{port}");
    let mut scene = Scene::with("names", &endpoint, |bucket| {
        bucket.options.insert("allow_http".into(), "true".into());
    });
    let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
    scene.site.dock.start_with(&wrapper, |_| {});
    scene.put(SMALL);
    scene.names(words::NO_NAME);
    // Written into, not replaced: the mount is of this file.
    std::fs::write(folder.path().join("hosts"), "127.0.0.1 localhost bucket.test\n").unwrap();
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
