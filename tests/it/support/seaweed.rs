//! A real S3 server: SeaweedFS on free ports of the loopback address, gone when the tests are.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use serde_json::json;

use super::tools::Tool;

/// The bucket that every test uses, beneath a prefix of its own.
const BUCKET: &str = "evidence";
/// First PUT after 3.6 s on an idle machine; the tests share two cores.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// A free port can be taken between our look and the server's. Then it is started again.
const START_ATTEMPTS_MAX: u32 = 3;

/// Runs the server, and ends it and removes its data when standard input ends: that happens however
/// the test process ends, SIGKILL included. Should the shell itself be killed, setpriv's signal
/// still ends the server. The server gets SIGKILL because its SIGTERM takes up to 21 s.
const KEEPER: &str = r#"
data=$1; shift
setpriv --pdeathsig KILL "$@" </dev/null >"$data/log" 2>&1 &
server=$!
cat >/dev/null
kill -KILL "$server"
wait "$server" 2>/dev/null
rm -rf "$data"
"#;

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
            "Resource": [format!("arn:aws:s3:::{BUCKET}/*")],
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
}

/// A running server. Dropping it kills it and removes its data.
pub struct Seaweed {
    keeper: Child,
    /// Where it listens, `127.0.0.1:PORT`; the upstream of a proxy.
    pub address: String,
}

impl Seaweed {
    /// The server that the tests of this process share. Needs `Weed` and `Setpriv`.
    pub fn shared() -> &'static Seaweed {
        static SHARED: OnceLock<Seaweed> = OnceLock::new();
        SHARED.get_or_init(Seaweed::start)
    }

    /// A server of one's own, for a test that kills it. Needs `Weed` and `Setpriv`.
    pub fn start() -> Seaweed {
        for attempt in 1.. {
            // The keeper removes it; `TempDir` would not, in a static.
            let data = super::scratch().keep();
            match Seaweed::try_start(&data) {
                Ok(server) => return server,
                Err(log) if attempt == START_ATTEMPTS_MAX => panic!("no server: {log}"),
                Err(_) => {}
            }
        }
        unreachable!("the last attempt panics")
    }

    fn try_start(data: &Path) -> Result<Seaweed, String> {
        let weed = Tool::Weed.path();
        let config = data.join("s3.json");
        std::fs::write(&config, identities()).expect("scratch can be written");
        let ports = free_ports();
        let [s3, s3_grpc, master, master_grpc, volume, volume_grpc, filer, filer_grpc] = ports;
        let mut command = Command::new("sh");
        command.args(["-c", KEEPER, "keeper"]).arg(data).arg(&weed).arg("server");
        command.arg(format!("-dir={}", data.display())).arg("-ip=127.0.0.1");
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
        // On by default, and traffic to its maker.
        command.arg("-master.telemetry=false");
        // A Ctrl-C at the terminal is for the tests; the keeper hears of their end by its input.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let keeper = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("sh");
        let server = Seaweed { keeper, address: format!("127.0.0.1:{s3}") };
        let shell = [format!("{master}.{master_grpc}"), format!("{filer}.{filer_grpc}")];
        server.wait_until_ready(&weed, shell, data)?;
        Ok(server)
    }

    /// Ready means that a put succeeds, not that a port is open.
    fn wait_until_ready(
        &self,
        weed: &Path,
        [master, filer]: [String; 2],
        data: &Path,
    ) -> Result<(), String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let admin = self.client(Login::Admin);
        let mut created = false;
        super::wait_for("SeaweedFS to take a put", READY_WITHIN, || {
            let log = std::fs::read_to_string(data.join("log")).unwrap_or_default();
            if log.contains("address already in use") {
                return Some(Err(log));
            }
            if !is_open(&self.address) {
                return None;
            }
            created = created || create_bucket(weed, &master, &filer);
            let key = object_store::path::Path::from("ready");
            let put = runtime.block_on(admin.put(&key, PutPayload::from_static(b"ready")));
            (created && put.is_ok()).then_some(Ok(()))
        })
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

    /// The options of a bucket at this server, credentials included, for `Bucket::open`.
    pub fn options(&self, login: Login) -> BTreeMap<String, String> {
        let [id, secret] = login.pair();
        let endpoint = self.endpoint();
        let options = [
            ("aws_endpoint", endpoint.as_str()),
            ("aws_access_key_id", id),
            ("aws_secret_access_key", secret),
        ];
        options.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    /// A plain client of the bucket, for looking at what lies there without our own code.
    pub fn client(&self, login: Login) -> AmazonS3 {
        let [id, secret] = login.pair();
        AmazonS3Builder::new()
            .with_bucket_name(BUCKET)
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
        let (client, prefix) = (self.client(Login::Admin), prefix(url));
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
        let client = self.client(Login::Admin);
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

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(future)
}

impl Drop for Seaweed {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        // Reaped, so that its data is gone when this returns.
        let _ = self.keeper.wait();
    }
}

/// The path of a bucket's URL: the prefix of its keys.
pub fn prefix(url: &str) -> object_store::path::Path {
    let path = url.strip_prefix("s3://evidence/").expect("a URL of Seaweed::url");
    object_store::path::Path::from(path)
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

fn is_open(address: &str) -> bool {
    std::net::TcpStream::connect(address).is_ok()
}

/// Ports that were free a moment ago; held together, so that they differ.
fn free_ports<const COUNT: usize>() -> [u16; COUNT] {
    let listeners = [(); COUNT].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    listeners.map(|listener| listener.local_addr().expect("bound").port())
}

#[test]
fn a_server_that_is_let_go_leaves_nothing_behind() {
    super::tools::needs!(Weed, Setpriv);
    let server = Seaweed::start();
    let address = server.address.clone();
    let data: PathBuf = {
        let arguments = std::fs::read(format!("/proc/{}/cmdline", server.keeper.id())).unwrap();
        let arguments = String::from_utf8(arguments).unwrap();
        arguments.split('\0').nth(4).unwrap().into()
    };
    assert!(data.join("s3.json").exists());
    drop(server);
    assert!(!is_open(&address));
    assert!(!data.exists());
}
