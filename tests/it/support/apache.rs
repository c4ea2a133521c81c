//! WebDAV as Apache has it: mod_dav on a folder, with an administrator and a user who may only put.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::server::{self, Server, free_ports, is_open};
use super::tools::Tool;

/// Ready after 0.2 s on an idle machine.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Where Debian has the modules.
const MODULES: &str = "/usr/lib/apache2/modules";

/// Who asks a WebDAV server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DavLogin {
    /// May do everything.
    Admin,
    /// May put, make folders and move; only Apache knows it.
    PutOnly,
}

impl DavLogin {
    /// User and password, for basic authentication.
    pub fn pair(self) -> [&'static str; 2] {
        match self {
            DavLogin::Admin => ["admin", "adminsecret"],
            DavLogin::PutOnly => ["dock", "docksecret"],
        }
    }
}

/// The file of users: `openssl passwd -apr1 -salt dockseal PASSWORD`.
pub(super) const USERS: &str =
    "admin:$apr1$dockseal$dwixYhYJ5qU.vCcMHjKh51\ndock:$apr1$dockseal$XTwKvqcbxntc925JhWupG/\n";

/// A running server. Dropping it kills it and removes its data.
pub struct Apache {
    server: Server,
    files: PathBuf,
    /// Where it listens, `127.0.0.1:PORT`.
    pub address: String,
}

impl Apache {
    /// The server that the tests of this process share. Needs `Apache` and `Setpriv`.
    pub fn shared() -> &'static Apache {
        static SHARED: OnceLock<Apache> = OnceLock::new();
        SHARED.get_or_init(Apache::start)
    }

    /// A server of one's own, for a test that fills its disk or kills it.
    pub fn start() -> Apache {
        server::start(|data| Apache::try_start(data, &data.join("files")))
    }

    /// As [`Apache::start`], with its files in a folder of the test's, such as a small tmpfs.
    pub fn start_in(files: &Path) -> Apache {
        server::start(|data| Apache::try_start(data, files))
    }

    fn try_start(data: &Path, files: &Path) -> Result<Apache, String> {
        let [port] = free_ports();
        std::fs::create_dir_all(files).expect("scratch can be written");
        std::fs::write(data.join("users"), USERS).expect("scratch can be written");
        std::fs::write(data.join("apache.conf"), config(data, files, port)).expect("as above");
        if Tool::Root.find().is_some() {
            // It gives the rights of root up, and must reach its files without them.
            let open = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(data, open).expect("ours");
            server::run(Command::new("chown").arg("www-data:www-data").args([data, files]));
        }
        // -X: one process, which the keeper can end.
        let server = Server::start(data, &Tool::Apache.path(), |command| {
            command.args(["-X", "-f"]).arg(data.join("apache.conf"));
        });
        let address = format!("127.0.0.1:{port}");
        let apache = Apache { server, files: files.to_owned(), address };
        apache.server.wait_until("Apache", READY_WITHIN, || is_open(&apache.address))?;
        Ok(apache)
    }

    /// The URL of a folder that no other test has and nobody made yet.
    pub fn url(&self, test: &str) -> String {
        url(&self.address, test)
    }

    /// The options of a bucket here, credentials included.
    pub fn options(&self, login: DavLogin) -> BTreeMap<String, String> {
        options(login)
    }

    /// Where its files lie.
    pub fn files(&self) -> &Path {
        &self.files
    }
}

pub(super) fn url(address: &str, test: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("http://{address}/{test}-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

pub(super) fn options(login: DavLogin) -> BTreeMap<String, String> {
    let [user, password] = login.pair();
    let options = [("webdav_user", user), ("webdav_password", password)];
    options.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

fn config(data: &Path, files: &Path, port: u16) -> String {
    let mut text = String::new();
    for module in
        ["mpm_event", "authn_core", "authn_file", "authz_core", "authz_user", "auth_basic", "dav"]
            .iter()
            .chain(&["dav_fs"])
    {
        text += &format!("LoadModule {module}_module {MODULES}/mod_{module}.so\n");
    }
    let (data, files) = (data.display(), files.display());
    text + &format!(
        r#"ServerName 127.0.0.1
Listen 127.0.0.1:{port}
ServerRoot "{data}"
PidFile "{data}/pid"
DefaultRuntimeDir "{data}"
ErrorLog /dev/stderr
User www-data
Group www-data
DocumentRoot "{files}"
DavLockDB "{data}/locks"
<Directory "{files}">
  Dav On
  AuthType Basic
  AuthName "evidence"
  AuthUserFile "{data}/users"
  <RequireAny>
    Require user admin
    <RequireAll>
      Require user dock
      Require method PUT MKCOL MOVE OPTIONS
    </RequireAll>
  </RequireAny>
</Directory>
"#
    )
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::super::signed::{request, send, set};
    use super::*;

    /// The status of one request.
    fn ask(method: &str, url: &str, login: DavLogin, headers: &[(&'static str, &str)]) -> u16 {
        let mut request = request(method, url, if method == "PUT" { "one" } else { "" });
        let pair = STANDARD.encode(login.pair().join(":"));
        set(&mut request, "authorization", &format!("Basic {pair}"));
        for (name, value) in headers {
            set(&mut request, name, value);
        }
        send(request).0
    }

    #[test]
    fn a_user_who_may_put_neither_reads_nor_removes_at_apache() {
        super::super::tools::needs!(Apache, Setpriv);
        let apache = Apache::shared();
        let url = apache.url("rights");
        assert_eq!(ask("MKCOL", &format!("{url}/"), DavLogin::PutOnly, &[]), 201);
        let (one, two) = (format!("{url}/one"), format!("{url}/two"));
        assert_eq!(ask("PUT", &one, DavLogin::PutOnly, &[]), 201);
        let create = [("if-none-match", "*")];
        assert_eq!(ask("PUT", &one, DavLogin::PutOnly, &create), 412);
        let to_two = [("destination", two.as_str()), ("overwrite", "F")];
        assert_eq!(ask("MOVE", &one, DavLogin::PutOnly, &to_two), 201);
        assert_eq!(ask("PUT", &one, DavLogin::PutOnly, &[]), 201);
        assert_eq!(ask("MOVE", &one, DavLogin::PutOnly, &to_two), 412);
        assert_eq!(ask("GET", &two, DavLogin::PutOnly, &[]), 401);
        assert_eq!(ask("DELETE", &two, DavLogin::PutOnly, &[]), 401);
        assert_eq!(ask("GET", &two, DavLogin::Admin, &[]), 200);
    }

    #[test]
    fn nginx_replaces_on_put_and_refuses_a_move_onto_something() {
        super::super::tools::needs!(Nginx, Setpriv);
        let nginx = super::super::nginx::Nginx::shared();
        let url = nginx.url("rights");
        let (one, two) = (format!("{url}/one"), format!("{url}/two"));
        assert_eq!(ask("PUT", &one, DavLogin::Admin, &[]), 201);
        // It does not know the condition.
        assert_eq!(ask("PUT", &one, DavLogin::Admin, &[("if-none-match", "*")]), 204);
        assert_eq!(ask("PUT", &two, DavLogin::Admin, &[]), 201);
        let to_two = [("destination", two.as_str()), ("overwrite", "F")];
        assert_eq!(ask("MOVE", &one, DavLogin::Admin, &to_two), 412);
        assert_eq!(ask("GET", &two, DavLogin::PutOnly, &[]), 401);
    }
}
