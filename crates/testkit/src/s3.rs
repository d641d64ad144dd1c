use std::{net::SocketAddr, path::Path, sync::Arc, thread::JoinHandle};

use hyper::{Request, Response, body::Incoming, header::IF_NONE_MATCH};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use s3s::{auth::SimpleAuth, service::S3Service};
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Mutex, oneshot},
};

/// A real S3 server on a free port of this machine, over a temporary folder, with one bucket. It runs on a thread of its own, so
/// that it can be killed in the middle of a test ([`S3::stop`]) and come back ([`S3::restart`]) with everything it had stored.
///
/// ```
/// let mut s3 = testkit::S3::start();
/// let url = s3.url();
/// s3.stop();
/// s3.restart();
/// assert_eq!(s3.url(), url);
/// ```
#[derive(Debug)]
pub struct S3 {
    folder: TempDir,
    address: SocketAddr,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl S3 {
    /// The bucket that is there.
    pub const BUCKET: &'static str = "headwater";
    /// The access key id that it knows.
    pub const ACCESS_KEY_ID: &'static str = "test-key";
    /// Its secret.
    pub const SECRET: &'static str = "test-secret";

    /// A server with an empty bucket.
    ///
    /// # Panics
    /// When this machine has no temporary folder or no free port.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir(folder.path().join(Self::BUCKET)).expect("a bucket");
        let listener = listen(([127, 0, 0, 1], 0).into());
        let address = listener.local_addr().expect("a bound socket has an address");
        let running = Some(run(listener, folder.path()));
        Self { folder, address, running }
    }

    /// `http://127.0.0.1:PORT`, the same after a restart.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The folder of the bucket: one file an object.
    pub fn bucket_folder(&self) -> std::path::PathBuf {
        self.folder.path().join(Self::BUCKET)
    }

    /// Unfinished multipart uploads that the server keeps.
    ///
    /// # Panics
    /// When its folder is gone.
    pub fn unfinished_uploads(&self) -> usize {
        let entries = std::fs::read_dir(self.folder.path()).expect("the server's folder");
        let unfinished = |name: &str| name.starts_with(".upload-") || name.starts_with(".upload_id-");
        entries.flatten().filter(|entry| entry.file_name().to_str().is_some_and(unfinished)).count()
    }

    /// Kills the server: its connections break off, new ones are refused.
    ///
    /// # Panics
    /// When the server's thread panicked.
    pub fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            // An error: it has ended already.
            let _ = running.stop.send(());
            running.thread.join().expect("the server's thread ends");
        }
    }

    /// Starts it again on the same port with the same objects.
    ///
    /// # Panics
    /// When another process took the port.
    pub fn restart(&mut self) {
        self.stop();
        self.running = Some(run(listen(self.address), self.folder.path()));
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The port again after a restart, too: the standard library sets SO_REUSEADDR.
fn listen(address: SocketAddr) -> std::net::TcpListener {
    let listener = std::net::TcpListener::bind(address).expect("the port is free");
    listener.set_nonblocking(true).expect("a socket that can be polled");
    listener
}

fn run(listener: std::net::TcpListener, folder: &Path) -> Running {
    let files = s3s_fs::FileSystem::new(folder).expect("the server's folder");
    let mut builder = s3s::service::S3ServiceBuilder::new(files);
    builder.set_auth(SimpleAuth::from_single(S3::ACCESS_KEY_ID, S3::SECRET));
    let server = Server { service: builder.build(), conditional: Arc::new(Mutex::new(())) };
    let (stop, stopped) = oneshot::channel();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            tokio::select! {
                () = server.serve(listener) => {}
                _ = stopped => {}
            }
        });
        // Dropping the runtime cuts every connection off, as a killed process would.
        runtime.shutdown_background();
    });
    Running { stop, thread }
}

#[derive(Clone)]
struct Server {
    service: S3Service,
    /// The service looks for an object first and writes it later; S3 does both at once.
    conditional: Arc<Mutex<()>>,
}

impl Server {
    async fn serve(self, listener: std::net::TcpListener) {
        let listener = TcpListener::from_std(listener).expect("a listener in non-blocking mode");
        loop {
            // A connection that broke before it was accepted is its client's affair.
            if let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(self.clone().connection(socket));
            }
        }
    }

    async fn connection(self, socket: TcpStream) {
        let answer = hyper::service::service_fn(move |request| self.clone().answer(request));
        // Errors are the client's hanging up.
        let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), answer).await;
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response<s3s::Body>, s3s::HttpError> {
        let turn = match request.headers().contains_key(IF_NONE_MATCH) {
            true => Some(self.conditional.lock().await),
            false => None,
        };
        let answer = self.service.call(request.map(s3s::Body::from)).await;
        drop(turn);
        answer
    }
}
