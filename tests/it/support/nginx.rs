//! WebDAV as nginx has it: a folder, with an administrator only.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use super::apache::{self, DavLogin, USERS};
use super::server::{self, Server, free_ports, is_open};
use super::tools::Tool;

/// Ready after 0.1 s on an idle machine.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Debian's module for PROPFIND and OPTIONS.
const DAV_EXT: &str = "/usr/lib/nginx/modules/ngx_http_dav_ext_module.so";

/// A running server. Dropping it kills it and removes its data.
pub struct Nginx {
    server: Server,
    /// Where it listens, `127.0.0.1:PORT`.
    pub address: String,
}

impl Nginx {
    /// The server that the tests of this process share. Needs `Nginx` and `Setpriv`.
    pub fn shared() -> &'static Nginx {
        static SHARED: OnceLock<Nginx> = OnceLock::new();
        SHARED.get_or_init(|| server::start(Nginx::try_start))
    }

    fn try_start(data: &Path) -> Result<Nginx, String> {
        let [port] = free_ports();
        std::fs::create_dir(data.join("files")).expect("scratch can be written");
        let admin = USERS.lines().next().expect("the administrator is the first");
        std::fs::write(data.join("users"), admin).expect("scratch can be written");
        std::fs::write(data.join("nginx.conf"), config(data, port)).expect("as above");
        let server = Server::start(data, &Tool::Nginx.path(), |command| {
            command.arg("-p").arg(data).args(["-e", "stderr", "-c"]).arg(data.join("nginx.conf"));
        });
        let nginx = Nginx { server, address: format!("127.0.0.1:{port}") };
        nginx.server.wait_until("nginx", READY_WITHIN, || is_open(&nginx.address))?;
        Ok(nginx)
    }

    /// The URL of a folder that no other test has and nobody made yet.
    pub fn url(&self, test: &str) -> String {
        apache::url(&self.address, test)
    }

    /// The options of a bucket here, the administrator's credentials included.
    pub fn options(&self) -> BTreeMap<String, String> {
        apache::options(DavLogin::Admin)
    }

    /// Where its files lie.
    pub fn files(&self) -> PathBuf {
        self.server.data().join("files")
    }
}

/// One process, which the keeper can end.
fn config(data: &Path, port: u16) -> String {
    let data = data.display();
    format!(
        r#"load_module {DAV_EXT};
daemon off;
master_process off;
pid {data}/pid;
error_log stderr;
events {{}}
http {{
  access_log off;
  client_max_body_size 0;
  client_body_temp_path {data}/body;
  proxy_temp_path {data}/proxy;
  fastcgi_temp_path {data}/fastcgi;
  uwsgi_temp_path {data}/uwsgi;
  scgi_temp_path {data}/scgi;
  server {{
    listen 127.0.0.1:{port};
    root {data}/files;
    auth_basic evidence;
    auth_basic_user_file {data}/users;
    dav_methods PUT DELETE MKCOL COPY MOVE;
    dav_ext_methods PROPFIND OPTIONS;
    create_full_put_path on;
  }}
}}
"#
    )
}
