//! Real WebDAV servers, Apache and nginx, on free ports of the loopback address.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::server::{self, Ending, Server, free_ports, is_open, run};
use super::tools::Tool;

/// Apache is ready after 0.2 s on an idle machine.
const READY_WITHIN: Duration = Duration::from_secs(60);

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
const USERS: &str =
    "admin:{SHA}YEeaGutIXxctgIFoLnsRcD0Vnrc=\ndock:{SHA}30z9ipUMkr9YieBNeD9mCwjbovw=\n";

/// Without `create_full_put_path`: folders are made by who puts. Several workers, as in the field.
/// Beneath `members` it knows the administrator, and nobody else.
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
    root DATA/root;
    dav_methods PUT DELETE MKCOL COPY MOVE;
    dav_ext_methods PROPFIND OPTIONS;
    location /members/ {
      auth_basic evidence;
      auth_basic_user_file DATA/members;
    }
  }
}
"#;

/// Where a small disk is mounted, in what a server serves.
const DISK: &str = "full";

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User {
    /// May do everything.
    Admin,
    /// May bring and nothing else.
    Dock,
}

impl User {
    /// Name and password, for basic authentication.
    pub fn pair(self) -> [&'static str; 2] {
        match self {
            User::Admin => ["admin", "adminsecret0001"],
            User::Dock => ["dock", "docksecret00001"],
        }
    }

    /// The options of a bucket.
    pub fn options(self) -> BTreeMap<String, String> {
        let [user, password] = self.pair();
        let options = [("webdav_user", user), ("webdav_password", password)];
        options.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }
}

/// A running server. Dropping it ends it and removes its data.
pub struct DavServer {
    server: Server,
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
        server::start(|data| {
            let [port] = free_ports();
            for folder in ["root", "root/members", "lock", "body"] {
                let folder = data.join(folder);
                std::fs::create_dir(&folder).expect("scratch");
                open_to_all(&folder);
            }
            open_to_all(data);
            std::fs::write(data.join("users"), USERS).expect("scratch");
            let admin = USERS.lines().next().expect("the administrator is the first");
            std::fs::write(data.join("members"), admin).expect("scratch");
            let text = data.to_str().expect("UTF-8");
            let config = config.replace("DATA", text).replace("PORT", &port.to_string());
            let path = data.join("server.conf");
            std::fs::write(&path, config).expect("scratch");
            let server = Server::start_to_end(Ending::Terminate, data, program, |command| {
                command.arg(flag).arg(&path).args(more);
            });
            let address = format!("127.0.0.1:{port}");
            server.wait_until("a WebDAV server", READY_WITHIN, || is_open(&address))?;
            Ok(DavServer { server, address })
        })
    }

    /// The folder that it serves.
    pub fn root(&self) -> PathBuf {
        self.server.data().join("root")
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
        let folder = self.root().join(DISK);
        std::fs::create_dir(&folder).expect("scratch");
        let options = format!("size={size_bytes},mode=777");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&folder));
        DISK
    }

    /// Gives that disk another size.
    pub fn resize_disk(&self, size_bytes: u64) {
        let options = format!("remount,size={size_bytes}");
        run(Command::new("mount").args(["-o", &options]).arg(self.root().join(DISK)));
    }
}

/// As root, the servers work as another user.
fn open_to_all(folder: &Path) {
    let all = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(folder, all).expect("our own folder");
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::super::signed::{request, send, set};
    use super::*;

    /// The status of one request.
    fn ask(method: &str, url: &str, user: User, headers: &[(&'static str, &str)]) -> u16 {
        let mut request = request(method, url, if method == "PUT" { "one" } else { "" });
        let pair = STANDARD.encode(user.pair().join(":"));
        set(&mut request, "authorization", &format!("Basic {pair}"));
        for (name, value) in headers {
            set(&mut request, name, value);
        }
        send(request).0
    }

    #[test]
    fn a_user_who_may_put_neither_reads_nor_removes_at_apache() {
        super::super::tools::needs!(Apache, Setpriv);
        let apache = DavServer::apache();
        let url = apache.url("rights");
        assert_eq!(ask("MKCOL", &format!("{url}/"), User::Dock, &[]), 201);
        let (one, two) = (format!("{url}/one"), format!("{url}/two"));
        assert_eq!(ask("PUT", &one, User::Dock, &[]), 201);
        let create = [("if-none-match", "*")];
        assert_eq!(ask("PUT", &one, User::Dock, &create), 412);
        let to_two = [("destination", two.as_str()), ("overwrite", "F")];
        assert_eq!(ask("MOVE", &one, User::Dock, &to_two), 201);
        assert_eq!(ask("PUT", &one, User::Dock, &[]), 201);
        assert_eq!(ask("MOVE", &one, User::Dock, &to_two), 412);
        assert_eq!(ask("GET", &two, User::Dock, &[]), 401);
        assert_eq!(ask("DELETE", &two, User::Dock, &[]), 401);
        assert_eq!(ask("GET", &two, User::Admin, &[]), 200);
    }

    #[test]
    fn nginx_replaces_on_put_and_refuses_a_move_onto_something() {
        super::super::tools::needs!(Nginx, Setpriv);
        let nginx = DavServer::nginx();
        let url = nginx.url("members");
        let (one, two) = (format!("{url}/one"), format!("{url}/two"));
        assert_eq!(ask("PUT", &one, User::Admin, &[]), 201);
        // It does not know the condition.
        assert_eq!(ask("PUT", &one, User::Admin, &[("if-none-match", "*")]), 204);
        assert_eq!(ask("PUT", &two, User::Admin, &[]), 201);
        let to_two = [("destination", two.as_str()), ("overwrite", "F")];
        assert_eq!(ask("MOVE", &one, User::Admin, &to_two), 412);
        assert_eq!(ask("GET", &two, User::Dock, &[]), 401);
    }
}
