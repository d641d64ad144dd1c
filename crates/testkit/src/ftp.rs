use std::{
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// How long a server may take to answer.
const START_MAX: Duration = Duration::from_secs(20);

/// A vsftpd on a free port of this machine that lets anyone write below [`Ftp::folder`].
#[derive(Debug)]
pub struct Ftp {
    folder: TempDir,
    port: u16,
    child: Option<Child>,
    ca: Option<String>,
}

impl Ftp {
    /// Any user name that the server lets in.
    pub const USER: &'static str = "anonymous";
    /// Any password.
    pub const PASSWORD: &'static str = "films@example.org";

    /// A server without encryption.
    ///
    /// # Panics
    /// When vsftpd is not installed, or does not start.
    pub fn start() -> Self {
        Self::launch(false)
    }

    /// A server that lets nobody in without TLS; its certificate is [`Ftp::ca`]'s, for `localhost`.
    ///
    /// # Panics
    /// When vsftpd or openssl is not installed, or does not start.
    pub fn start_tls() -> Self {
        Self::launch(true)
    }

    fn launch(tls: bool) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir(folder.path().join("files")).expect("a folder for the files");
        let ca = tls.then(|| certificate(folder.path()));
        let mut server = Self { folder, port: free_port(), child: None, ca };
        server.restart();
        server
    }

    /// Where the files are.
    pub fn folder(&self) -> PathBuf {
        self.folder.path().join("files")
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// PEM of the authority that its certificate is from.
    ///
    /// # Panics
    /// When it speaks no TLS.
    pub fn ca(&self) -> &str {
        self.ca.as_deref().expect("a server that was started with TLS")
    }

    /// Kills it; connections break off.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again on the same port.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self) {
        self.stop();
        let config = self.folder.path().join("vsftpd.conf");
        std::fs::write(&config, self.config()).expect("a file");
        // vsftpd wants its file to belong to who starts it, and nobody else to write to it.
        std::fs::set_permissions(&config, PermissionsExt::from_mode(0o600)).expect("permissions");
        let started = Command::new("/usr/sbin/vsftpd")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.child = Some(started.expect("vsftpd is installed"));
        await_port(self.port, "vsftpd");
    }

    fn config(&self) -> String {
        let (port, files) = (self.port, self.folder());
        let tls = match self.ca {
            None => String::new(),
            Some(_) => format!(
                "ssl_enable=YES\nallow_anon_ssl=YES\nforce_anon_logins_ssl=YES\nforce_anon_data_ssl=YES\nrequire_ssl_reuse=NO\n\
                 rsa_cert_file={0}/cert.pem\nrsa_private_key_file={0}/key.pem\n",
                self.folder.path().display()
            ),
        };
        format!(
            "listen=YES\nlisten_address=127.0.0.1\nlisten_port={port}\nbackground=NO\nrun_as_launching_user=YES\nseccomp_sandbox=NO\n\
             anonymous_enable=YES\nlocal_enable=NO\nno_anon_password=NO\nanon_root={}\nwrite_enable=YES\nanon_upload_enable=YES\n\
             anon_mkdir_write_enable=YES\nanon_other_write_enable=YES\nanon_world_readable_only=NO\nanon_umask=022\n\
             pasv_address=127.0.0.1\nuse_localtime=NO\nxferlog_enable=NO\n{tls}",
            files.display()
        )
    }
}

impl Drop for Ftp {
    fn drop(&mut self) {
        self.stop();
    }
}

/// An authority and a certificate for `localhost` from it, in `folder`; the authority's PEM.
fn certificate(folder: &Path) -> String {
    let openssl = |args: &str| {
        let status = Command::new("openssl").args(args.split(' ')).current_dir(folder).stderr(Stdio::null()).status();
        assert!(status.expect("openssl is installed").success(), "openssl {args}");
    };
    std::fs::write(folder.join("ext"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n").expect("a file");
    openssl("req -x509 -newkey rsa:2048 -nodes -keyout ca-key.pem -out ca.pem -days 2 -subj /CN=test");
    openssl("req -newkey rsa:2048 -nodes -keyout key.pem -out request.pem -subj /CN=localhost");
    openssl(
        "x509 -req -in request.pem -CA ca.pem -CAkey ca-key.pem -CAcreateserial -out cert.pem -days 2 -extfile ext",
    );
    std::fs::read_to_string(folder.join("ca.pem")).expect("openssl wrote it")
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}

pub(crate) fn await_port(port: u16, what: &str) {
    let began = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(began.elapsed() < START_MAX, "{what} does not answer on port {port}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
