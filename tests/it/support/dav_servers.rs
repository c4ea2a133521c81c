//! Real WebDAV servers, Apache and nginx, on free ports of the loopback address.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::tools::Tool;

/// Apache is ready after 0.2 s on an idle machine.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// As the keeper of SeaweedFS: ends the server and removes its data when its input ends.
const KEEPER: &str = r#"
data=$1; shift
setpriv --pdeathsig TERM "$@" </dev/null >"$data/log" 2>&1 &
server=$!
cat >/dev/null
kill -TERM "$server"
wait "$server" 2>/dev/null
umount "$data/root/full" 2>/dev/null
rm -rf "$data"
"#;

/// Two users: `admin` may do everything, `dock` may bring and nothing else.
const APACHE: &str = r#"
ServerRoot DATA
ServerName 127.0.0.1
Listen 127.0.0.1:PORT
PidFile DATA/pid
ErrorLog DATA/error.log
User www-data
Group www-data
LoadModule mpm_event_module MODULES/mod_mpm_event.so
LoadModule authn_core_module MODULES/mod_authn_core.so
LoadModule authn_file_module MODULES/mod_authn_file.so
LoadModule auth_basic_module MODULES/mod_auth_basic.so
LoadModule authz_core_module MODULES/mod_authz_core.so
LoadModule authz_user_module MODULES/mod_authz_user.so
LoadModule dav_module MODULES/mod_dav.so
LoadModule dav_fs_module MODULES/mod_dav_fs.so
DavLockDB DATA/lock/db
DocumentRoot DATA/root
<Location />
  Dav On
  AuthType Basic
  AuthName evidence
  AuthUserFile DATA/users
  <RequireAny>
    Require user admin
    <RequireAll>
      Require user dock
      Require method PUT MKCOL MOVE OPTIONS
    </RequireAll>
  </RequireAny>
</Location>
EXTRA
"#;

/// SHA-1 of their passwords.
const APACHE_USERS: &str =
    "admin:{SHA}YEeaGutIXxctgIFoLnsRcD0Vnrc=\ndock:{SHA}30z9ipUMkr9YieBNeD9mCwjbovw=\n";

/// Without `create_full_put_path`: folders are made by who puts. Several workers, as in the field.
const NGINX: &str = r#"
load_module MODULES/ngx_http_dav_ext_module.so;
daemon off;
worker_processes 2;
pid DATA/pid;
error_log DATA/error.log;
events {}
http {
  access_log off;
  client_max_body_size 0;
  client_body_temp_path DATA/body;
  proxy_temp_path DATA/proxy;
  fastcgi_temp_path DATA/fastcgi;
  uwsgi_temp_path DATA/uwsgi;
  scgi_temp_path DATA/scgi;
  server {
    listen 127.0.0.1:PORT;
    location / {
      root DATA/root;
      dav_methods PUT DELETE MKCOL COPY MOVE;
      dav_ext_methods PROPFIND OPTIONS;
    }
  }
}
"#;

/// Who asks Apache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User {
    /// May do everything.
    Admin,
    /// May bring and nothing else.
    Dock,
}

impl User {
    /// The options of a bucket.
    pub fn options(self) -> BTreeMap<String, String> {
        let (user, password) = match self {
            User::Admin => ("admin", "adminsecret0001"),
            User::Dock => ("dock", "docksecret00001"),
        };
        let options = [("webdav_user", user), ("webdav_password", password)];
        options.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }
}

/// A running server. Dropping it ends it and removes its data.
pub struct DavServer {
    keeper: Child,
    data: PathBuf,
    /// Where it listens, `127.0.0.1:PORT`; the upstream of a proxy.
    pub address: String,
}

impl DavServer {
    /// Needs `Apache` and `Setpriv`.
    pub fn apache() -> DavServer {
        DavServer::apache_with("")
    }

    /// With more lines of configuration.
    pub fn apache_with(extra: &str) -> DavServer {
        let config = APACHE.replace("EXTRA", extra);
        let config = config.replace("MODULES", "/usr/lib/apache2/modules");
        DavServer::start(&Tool::Apache.path(), &config, "-f", &["-X"])
    }

    /// Needs `Nginx` and `Setpriv`.
    pub fn nginx() -> DavServer {
        let config = NGINX.replace("MODULES", "/usr/lib/nginx/modules");
        DavServer::start(&Tool::Nginx.path(), &config, "-c", &[])
    }

    fn start(program: &Path, config: &str, flag: &str, more: &[&str]) -> DavServer {
        let data = super::scratch().keep();
        let port = free_port();
        for folder in ["root", "lock", "body"] {
            let folder = data.join(folder);
            std::fs::create_dir(&folder).expect("scratch");
            open_to_all(&folder);
        }
        open_to_all(&data);
        std::fs::write(data.join("users"), APACHE_USERS).expect("scratch");
        let text = data.to_str().expect("UTF-8");
        let config = config.replace("DATA", text).replace("PORT", &port.to_string());
        let path = data.join("server.conf");
        std::fs::write(&path, config).expect("scratch");
        let mut command = Command::new("sh");
        command.args(["-c", KEEPER, "keeper"]).arg(&data).arg(program).arg(flag).arg(&path);
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let command = command.args(more).stdin(Stdio::piped()).stdout(Stdio::null());
        let keeper = command.spawn().expect("sh");
        let server = DavServer { keeper, data, address: format!("127.0.0.1:{port}") };
        super::wait_for("a WebDAV server", READY_WITHIN, || {
            std::net::TcpStream::connect(&server.address).ok()
        });
        server
    }

    /// The folder that it serves.
    pub fn root(&self) -> PathBuf {
        self.data.join("root")
    }

    /// A folder of one's own on the server, as the path of a URL.
    pub fn folder(&self, name: &str) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("{name}-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let folder = self.root().join(&name);
        std::fs::create_dir(&folder).expect("scratch");
        open_to_all(&folder);
        name
    }

    /// The URL of such a folder.
    pub fn url(&self, folder: &str) -> String {
        format!("http://{}/{folder}", self.address)
    }

    /// A disk of so many bytes, mounted into what it serves. Needs `Root`.
    pub fn small_disk(&self, size_bytes: u64) -> &'static str {
        let folder = self.root().join("full");
        std::fs::create_dir(&folder).expect("scratch");
        let options = format!("size={size_bytes},mode=777");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&folder);
        assert!(mount.status().expect("mount").success());
        "full"
    }
}

/// A port that is free, and that no other server of this process was given.
fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        if GIVEN.lock().expect("no thread panics with the lock").insert(port) {
            return port;
        }
    }
}

/// As root, the servers work as another user.
fn open_to_all(folder: &Path) {
    let all = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(folder, all).expect("our own folder");
}

impl Drop for DavServer {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        // Reaped, so that its data is gone when this returns.
        let _ = self.keeper.wait();
    }
}
