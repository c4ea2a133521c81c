//! Azure Blob Storage as Microsoft's own emulator has it: Azurite, blobs only.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use object_store::azure::{AzureAccessKey, AzureAuthorizer, AzureCredential};
use sha2::Sha256;

use super::server::{self, Server, free_ports, is_open};
use super::signed::{request, send};
use super::tools::Tool;

/// The container that the tests use.
const CONTAINER: &str = "evidence";
/// The emulator's account, which is the same everywhere and published.
pub const ACCOUNT: &str = "devstoreaccount1";
/// The published key of [`ACCOUNT`].
pub const ACCOUNT_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
/// First answer after 2 to 4 s on an idle machine.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// With what a client asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AzureLogin {
    /// The account's key: all rights.
    AccountKey,
    /// A SAS of the container with `sp=cw`: put, and nothing else.
    PutOnly,
}

/// A running emulator. Dropping it kills it and removes its data.
pub struct Azurite {
    server: Server,
    /// Where it listens, `127.0.0.1:PORT`.
    pub address: String,
}

impl Azurite {
    /// The emulator that the tests of this process share. Needs `Azurite` and `Setpriv`.
    pub fn shared() -> &'static Azurite {
        static SHARED: OnceLock<Azurite> = OnceLock::new();
        SHARED.get_or_init(|| server::start(Azurite::try_start))
    }

    fn try_start(data: &Path) -> Result<Azurite, String> {
        let [port] = free_ports();
        let server = Server::start(data, &Tool::Azurite.path(), |command| {
            command.args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string()]);
            // Telemetry is on by default, and traffic to its maker.
            command.args(["--disableTelemetry", "--silent", "--skipApiVersionCheck"]);
            command.arg("--inMemoryPersistence");
        });
        let azurite = Azurite { server, address: format!("127.0.0.1:{port}") };
        azurite.server.wait_until("Azurite", READY_WITHIN, || {
            is_open(&azurite.address) && azurite.create_container()
        })?;
        Ok(azurite)
    }

    fn create_container(&self) -> bool {
        let url = format!("{}/{CONTAINER}?restype=container", self.endpoint());
        let mut create = request("PUT", &url, "");
        super::signed::set(&mut create, "content-length", "0");
        let key = AzureAccessKey::try_new(ACCOUNT_KEY).expect("base64");
        let credential = AzureCredential::AccessKey(key);
        let authorizer = AzureAuthorizer::new(&credential, ACCOUNT);
        authorizer.try_authorize(&mut create).expect("it can be signed");
        [201, 409].contains(&send(create).0)
    }

    /// The URL of the account, `http://127.0.0.1:PORT/devstoreaccount1`.
    pub fn endpoint(&self) -> String {
        format!("http://{}/{ACCOUNT}", self.address)
    }

    /// The URL of a place in the container that no other test has: `az://evidence/NAME-NUMBER`.
    pub fn url(&self, test: &str) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        format!("az://{CONTAINER}/{test}-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
    }

    /// The options of a bucket here, credentials included, for `Bucket::open`.
    pub fn options(&self, login: AzureLogin) -> BTreeMap<String, String> {
        let (name, secret) = match login {
            AzureLogin::AccountKey => ("azure_storage_account_key", ACCOUNT_KEY.to_owned()),
            AzureLogin::PutOnly => ("azure_storage_sas_key", container_sas("cw")),
        };
        let options = [
            ("azure_storage_account_name", ACCOUNT.to_owned()),
            ("azure_endpoint", self.endpoint()),
            (name, secret),
        ];
        options.map(|(name, value)| (name.to_owned(), value)).into()
    }
}

/// A service SAS of the container with these permissions, for the rest of this century: the query
/// of a URL ("Create a service SAS", version 2020-12-06).
pub fn container_sas(permissions: &str) -> String {
    let (version, expiry) = ("2020-12-06", "2099-01-01T00:00:00Z");
    let resource = format!("/blob/{ACCOUNT}/{CONTAINER}");
    // Start, identifier, address, snapshot, scope of encryption and five headers stay empty.
    let text = format!(
        "{permissions}\n\n{expiry}\n{resource}\n\n\nhttps,http\n{version}\nc\n\n\n\n\n\n\n"
    );
    let key = STANDARD.decode(ACCOUNT_KEY).expect("base64");
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("HMAC takes any key");
    mac.update(text.as_bytes());
    let signature = STANDARD.encode(mac.finalize().into_bytes());
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in [
        ("sv", version),
        ("spr", "https,http"),
        ("se", expiry),
        ("sr", "c"),
        ("sp", permissions),
        ("sig", &signature),
    ] {
        query.append_pair(name, value);
    }
    query.finish()
}

#[test]
fn a_shared_access_signature_for_writing_does_not_read() {
    super::tools::needs!(Azurite, Setpriv);
    let azurite = Azurite::shared();
    let url = format!("{}/{CONTAINER}/sas?{}", azurite.endpoint(), container_sas("cw"));
    let mut put = request("PUT", &url, "one");
    super::signed::set(&mut put, "x-ms-blob-type", "BlockBlob");
    super::signed::set(&mut put, "x-ms-version", "2020-12-06");
    let (status, answer) = send(put);
    assert_eq!(status, 201, "{answer}");
    let (status, answer) = send(request("GET", &url, ""));
    assert_eq!(status, 403, "{answer}");
}
