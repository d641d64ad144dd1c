use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use crate::ftp::{await_port, free_port};

/// An OpenSSH server with SFTP on a free port of this machine; the user who runs the tests logs in with [`Ssh::private_key`].
#[derive(Debug)]
pub struct Ssh {
    folder: TempDir,
    port: u16,
    child: Option<Child>,
}

impl Ssh {
    /// A server with a new host key.
    ///
    /// # Panics
    /// When OpenSSH is not installed, or does not start.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir(folder.path().join("files")).expect("a folder for the files");
        for key in ["host", "user"] {
            let mut keygen = Command::new("ssh-keygen");
            keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(folder.path().join(key));
            assert!(keygen.status().expect("ssh-keygen is installed").success());
        }
        std::fs::copy(folder.path().join("user.pub"), folder.path().join("authorized")).expect("a file");
        let mut server = Self { folder, port: free_port(), child: None };
        server.restart();
        server
    }

    /// Where tests may put files.
    pub fn folder(&self) -> PathBuf {
        self.folder.path().join("files")
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Who may log in.
    ///
    /// # Panics
    /// When the system does not say who runs the tests.
    pub fn user(&self) -> String {
        let output = Command::new("id").arg("-un").output().expect("id is part of every system");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// The key to log in with.
    ///
    /// # Panics
    /// When the server's folder is gone.
    pub fn private_key(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("user")).expect("ssh-keygen wrote it")
    }

    /// `SHA256:...` of the host key.
    ///
    /// # Panics
    /// When ssh-keygen is not installed.
    pub fn fingerprint(&self) -> String {
        let output = Command::new("ssh-keygen").arg("-lf").arg(self.folder.path().join("host.pub")).output();
        let output = output.expect("ssh-keygen is installed");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.split(' ').nth(1).expect("size, fingerprint, comment").to_owned()
    }

    /// Kills it; connections break off.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // A session is a process of its own, which outlives the listener.
            let group = format!("-{}", child.id());
            let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again on the same port.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self) {
        use std::os::unix::process::CommandExt;
        self.stop();
        let folder = self.folder.path().display();
        let config = format!(
            "Port {}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\nPidFile none\nUsePAM no\n\
             StrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\nSubsystem sftp internal-sftp\n",
            self.port
        );
        let path = self.folder.path().join("sshd_config");
        std::fs::write(&path, config).expect("a file");
        // Run by root it wants a folder that the service's start makes otherwise; the error of anybody else does not matter.
        let _ = std::fs::create_dir_all("/run/sshd");
        let mut sshd = Command::new("/usr/sbin/sshd");
        sshd.arg("-D")
            .arg("-f")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        self.child = Some(sshd.spawn().expect("OpenSSH's server is installed"));
        await_port(self.port, "sshd");
    }
}

impl Drop for Ssh {
    fn drop(&mut self) {
        self.stop();
    }
}
