//! A real S3 server: SeaweedFS on free ports of the loopback address, gone when the tests are.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use serde_json::json;

use super::server::{self, Certificates, Server, free_ports, is_open};
use super::signed::{elements, request, send_s3, set};
use super::tools::Tool;

/// The bucket that every test uses, beneath a prefix of its own.
const BUCKET: &str = "evidence";
/// The bucket with versions and Object Lock, which nothing can be removed from.
const LOCKED_BUCKET: &str = "locked";
/// Nobody, the administrator neither, removes a version of the locked bucket for a day.
const RETENTION: &str = "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled>\
    <Rule><DefaultRetention><Mode>COMPLIANCE</Mode><Days>1</Days></DefaultRetention></Rule>\
    </ObjectLockConfiguration>";
/// First PUT after 3.6 s on an idle machine; the tests share two cores.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Identities and what they may: `dock` may put and nothing else, as DESIGN §7 wants it.
fn identities() -> String {
    let [admin, dock] = [Login::Admin, Login::Dock].map(|login| {
        let [id, secret] = login.pair();
        json!([{ "accessKey": id, "secretKey": secret }])
    });
    // AWS calls the last one s3:ListMultipartUploadParts; SeaweedFS does not know that name.
    let put_only = json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Action": ["s3:PutObject", "s3:AbortMultipartUpload", "s3:ListParts"],
            "Resource": [
                format!("arn:aws:s3:::{BUCKET}/*"),
                format!("arn:aws:s3:::{LOCKED_BUCKET}/*"),
            ],
        }],
    });
    let actions = ["Admin", "Read", "List", "Tagging", "Write"];
    let identities = json!({
        "identities": [
            { "name": "admin", "credentials": admin, "actions": actions },
            { "name": "dock", "credentials": dock, "policyNames": ["dock-put-only"] },
        ],
        "policies": [{ "name": "dock-put-only", "content": put_only.to_string() }],
    });
    identities.to_string()
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Login {
    /// May do everything.
    Admin,
    /// May put, nothing else.
    Dock,
}

impl Login {
    /// Key id and secret.
    pub fn pair(self) -> [&'static str; 2] {
        match self {
            Login::Admin => ["AKADMIN0001", "adminsecret0001"],
            Login::Dock => ["AKDOCK00001", "docksecret00001"],
        }
    }

    /// The credentials as environment variables, as `dockseal` and `dockseal-authority` read them.
    pub fn env(self) -> [(&'static str, &'static str); 2] {
        let [id, secret] = self.pair();
        [("AWS_ACCESS_KEY_ID", id), ("AWS_SECRET_ACCESS_KEY", secret)]
    }

    /// The options of a bucket at this endpoint, for `Bucket::open`.
    pub fn options(self, endpoint: &str) -> BTreeMap<String, String> {
        let [id, secret] = self.pair();
        let options = [
            ("aws_endpoint", endpoint),
            ("aws_access_key_id", id),
            ("aws_secret_access_key", secret),
        ];
        options.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }
}

/// A running server. Dropping it kills it and removes its data.
pub struct Seaweed {
    server: Server,
    /// Where it listens, `127.0.0.1:PORT`; the upstream of a proxy.
    pub address: String,
    /// Where it listens for TLS, where `Openssl` is there to make certificates.
    tls: Option<(String, Certificates)>,
}

impl Seaweed {
    /// The server that the tests of this process share. Needs `Weed` and `Setpriv`.
    pub fn shared() -> &'static Seaweed {
        static SHARED: OnceLock<Seaweed> = OnceLock::new();
        SHARED.get_or_init(Seaweed::start)
    }

    /// A server of one's own, for a test that kills it. Needs `Weed` and `Setpriv`.
    pub fn start() -> Seaweed {
        server::start(Seaweed::try_start)
    }

    fn try_start(data: &Path) -> Result<Seaweed, String> {
        let weed = Tool::Weed.path();
        let config = data.join("s3.json");
        std::fs::write(&config, identities()).expect("scratch can be written");
        let certificates = Tool::Openssl.find().map(|_| Certificates::new(data));
        let ports = free_ports();
        let [s3, s3_grpc, https, master, master_grpc, volume, volume_grpc, filer, filer_grpc] =
            ports;
        let server = Server::start(data, &weed, |command| {
            command.arg("server").arg(format!("-dir={}", data.display())).arg("-ip=127.0.0.1");
            command.args(["-ip.bind=127.0.0.1", "-filer", "-s3", "-s3.autoCreateBucket=false"]);
            command.arg(format!("-s3.config={}", config.display()));
            for (name, port) in [
                ("s3.port", s3),
                ("s3.port.grpc", s3_grpc),
                ("s3.port.iceberg", 0),
                ("s3.port.lance", 0),
                ("master.port", master),
                ("master.port.grpc", master_grpc),
                ("volume.port", volume),
                ("volume.port.grpc", volume_grpc),
                ("filer.port", filer),
                ("filer.port.grpc", filer_grpc),
                // A bucket takes 7 volumes at once; where none is left, a put answers 500.
                ("volume.max", 500),
                ("master.volumeSizeLimitMB", 64),
            ] {
                command.arg(format!("-{name}={port}"));
            }
            if let Some(certificates) = &certificates {
                command.arg(format!("-s3.port.https={https}"));
                command.arg(format!("-s3.cert.file={}", certificates.leaf.display()));
                command.arg(format!("-s3.key.file={}", certificates.key.display()));
            }
            // On by default, and traffic to its maker.
            command.arg("-master.telemetry=false");
        });
        let tls = certificates.map(|made| (format!("127.0.0.1:{https}"), made));
        let server = Seaweed { server, address: format!("127.0.0.1:{s3}"), tls };
        let shell = [format!("{master}.{master_grpc}"), format!("{filer}.{filer_grpc}")];
        server.wait_until_ready(&weed, shell)?;
        server.lock_bucket();
        Ok(server)
    }

    /// Ready means that a put succeeds, not that a port is open.
    fn wait_until_ready(&self, weed: &Path, [master, filer]: [String; 2]) -> Result<(), String> {
        let admin = self.client(Login::Admin);
        let mut created = false;
        self.server.wait_until("SeaweedFS to take a put", READY_WITHIN, || {
            if !is_open(&self.address) {
                return false;
            }
            created = created || create_bucket(weed, &master, &filer);
            let key = object_store::path::Path::from("ready");
            created && block_on(admin.put(&key, PutPayload::from_static(b"ready"))).is_ok()
        })
    }

    /// Makes the bucket with Object Lock, and the retention that each object of it gets.
    fn lock_bucket(&self) {
        let mut create = request("PUT", &self.admin_url(LOCKED_BUCKET, ""), "");
        set(&mut create, "x-amz-bucket-object-lock-enabled", "true");
        for request in
            [create, request("PUT", &self.admin_url(LOCKED_BUCKET, "?object-lock="), RETENTION)]
        {
            let (status, answer) = send_s3(request, Login::Admin.pair());
            assert_eq!(status, 200, "{answer}");
        }
    }

    fn admin_url(&self, bucket: &str, query: &str) -> String {
        format!("{}/{bucket}{query}", self.endpoint())
    }

    /// The URL for an S3 client: `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The URL of a place in the bucket that no other test has: `s3://evidence/NAME-NUMBER`.
    pub fn url(&self, test: &str) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        format!("s3://{BUCKET}/{test}-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
    }

    /// As [`Seaweed::url`], in the bucket with versions and Object Lock.
    pub fn locked_url(&self, test: &str) -> String {
        self.url(test).replace(BUCKET, LOCKED_BUCKET)
    }

    /// The URL for an S3 client over TLS, and the certificate to trust. Needs `Openssl`.
    pub fn tls(&self) -> (String, &Path) {
        let (address, certificates) = self.tls.as_ref().expect("openssl made certificates");
        (format!("https://{address}"), &certificates.ca)
    }

    /// Key and upload id of each unfinished upload beneath a URL.
    pub fn uploads(&self, url: &str) -> Vec<(String, String)> {
        let (bucket, prefix) = place(url);
        let query = format!("?uploads=&prefix={}", prefix.as_ref().replace('/', "%2F"));
        let (status, xml) =
            send_s3(request("GET", &self.admin_url(bucket, &query), ""), Login::Admin.pair());
        assert_eq!(status, 200, "{xml}");
        let texts = |name| elements(&xml, name).into_iter().map(str::to_owned);
        texts("Key").zip(texts("UploadId")).collect()
    }

    /// Gives all unfinished uploads beneath a URL up, as a lifecycle rule does behind our back.
    pub fn abort_uploads(&self, url: &str) {
        let (bucket, _) = place(url);
        for (key, id) in self.uploads(url) {
            let place = self.admin_url(bucket, &format!("/{key}?uploadId={id}"));
            let (status, answer) = send_s3(request("DELETE", &place, ""), Login::Admin.pair());
            assert_eq!(status, 204, "{answer}");
        }
    }

    /// The key of each version of each object beneath a URL, without its prefix, in order.
    pub fn versions(&self, url: &str) -> Vec<String> {
        let (bucket, prefix) = place(url);
        let query = format!("?prefix={}&versions=", prefix.as_ref().replace('/', "%2F"));
        let (status, xml) =
            send_s3(request("GET", &self.admin_url(bucket, &query), ""), Login::Admin.pair());
        assert_eq!(status, 200, "{xml}");
        let beneath = |key: &str| key.strip_prefix(prefix.as_ref()).map(str::to_owned);
        let keys = elements(&xml, "Key").into_iter().map(|key| beneath(key).expect("asked for"));
        let mut keys: Vec<_> = keys.map(|key| key.trim_start_matches('/').to_owned()).collect();
        keys.sort();
        keys
    }

    /// The options of a bucket at this server, credentials included, for `Bucket::open`.
    pub fn options(&self, login: Login) -> BTreeMap<String, String> {
        login.options(&self.endpoint())
    }

    /// A plain client of the bucket, for looking at what lies there without our own code.
    pub fn client(&self, login: Login) -> AmazonS3 {
        self.client_of(BUCKET, login)
    }

    fn client_of(&self, bucket: &str, login: Login) -> AmazonS3 {
        let [id, secret] = login.pair();
        AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region("us-east-1")
            .with_endpoint(self.endpoint())
            .with_allow_http(true)
            .with_access_key_id(id)
            .with_secret_access_key(secret)
            .with_retry(object_store::RetryConfig { max_retries: 0, ..Default::default() })
            .build()
            .expect("a complete configuration")
    }

    /// The keys of all objects beneath a URL of [`Seaweed::url`], without its prefix, in order.
    pub fn keys(&self, url: &str) -> Vec<String> {
        let (bucket, prefix) = place(url);
        let client = self.client_of(bucket, Login::Admin);
        let listed = block_on(client.list(Some(&prefix)).try_collect::<Vec<_>>());
        let listed = listed.expect("the administrator may list");
        let key = |path: object_store::path::Path| {
            let rest = path.as_ref().strip_prefix(prefix.as_ref()).expect("it was asked for");
            rest.trim_start_matches('/').to_owned()
        };
        let mut keys: Vec<_> = listed.into_iter().map(|object| key(object.location)).collect();
        keys.sort();
        keys
    }

    /// Removes everything beneath a URL, as an operator of the bucket can.
    pub fn remove_all(&self, url: &str) {
        let client = self.client(Login::Admin);
        for key in self.keys(url) {
            let path = object_store::path::Path::from(format!("{}/{key}", prefix(url)));
            block_on(client.delete(&path)).expect("the administrator may delete");
        }
    }

    /// Fetches the object of a key beneath a URL into a new file, in bounded memory.
    pub fn fetch(&self, url: &str, key: &str, to: &Path) {
        let client = self.client_of(place(url).0, Login::Admin);
        let path = object_store::path::Path::from(format!("{}/{key}", prefix(url)));
        let mut file = std::fs::File::create_new(to).expect("a new file");
        block_on(async {
            let object = client.get(&path).await.expect("the administrator may get");
            let mut blocks = object.into_stream();
            while let Some(block) = blocks.next().await {
                file.write_all(&block.expect("the line holds")).expect("written");
            }
        });
    }
}

/// Runs a future on a runtime of its own.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(future)
}

/// The path of a bucket's URL: the prefix of its keys.
pub fn prefix(url: &str) -> object_store::path::Path {
    place(url).1
}

/// The bucket of a URL, and the prefix of its keys.
fn place(url: &str) -> (&str, object_store::path::Path) {
    let path = url.strip_prefix("s3://").and_then(|path| path.split_once('/'));
    let (bucket, prefix) = path.expect("a URL of Seaweed::url");
    (bucket, object_store::path::Path::from(prefix))
}

fn create_bucket(weed: &Path, master: &str, filer: &str) -> bool {
    let mut shell = Command::new("setpriv");
    shell.args(["--pdeathsig", "KILL"]).arg(weed).arg("shell");
    shell.arg(format!("-master=127.0.0.1:{master}")).arg(format!("-filer=127.0.0.1:{filer}"));
    shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut shell = shell.spawn().expect("weed shell starts");
    let mut input = shell.stdin.take().expect("piped");
    // Where the shell ended early, its exit tells.
    let _ = writeln!(input, "s3.bucket.create -name {BUCKET}");
    drop(input);
    let output = shell.wait_with_output().expect("weed shell ends");
    String::from_utf8_lossy(&output.stdout).contains("created bucket")
}

#[test]
fn a_server_that_is_let_go_leaves_nothing_behind() {
    super::tools::needs!(Weed, Setpriv);
    let server = Seaweed::start();
    let (address, data) = (server.address.clone(), server.server.data().to_owned());
    assert!(data.join("s3.json").exists());
    drop(server);
    assert!(!is_open(&address));
    assert!(!data.exists());
}

#[test]
fn the_locked_bucket_keeps_each_version() {
    super::tools::needs!(Weed, Setpriv);
    let server = Seaweed::shared();
    let url = server.locked_url("retention");
    let client = server.client_of(LOCKED_BUCKET, Login::Admin);
    let key = object_store::path::Path::from(format!("{}/a", prefix(&url)));
    for text in ["one", "two"] {
        block_on(client.put(&key, text.into())).unwrap();
    }
    assert_eq!(server.versions(&url), ["a", "a"]);
    let place = server.admin_url(LOCKED_BUCKET, &format!("?prefix={}&versions=", prefix(&url)));
    let (_, xml) = send_s3(request("GET", &place, ""), Login::Admin.pair());
    let version = elements(&xml, "VersionId")[0];
    let place = server.admin_url(LOCKED_BUCKET, &format!("/{key}?versionId={version}"));
    let (status, answer) = send_s3(request("DELETE", &place, ""), Login::Admin.pair());
    assert_eq!(status, 403, "{answer}");
}
