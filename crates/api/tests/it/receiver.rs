//! A webhook receiver on a port of its own, which answers as it is told and keeps what it got.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpListener, task::JoinHandle};

#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Received {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

type Rule = dyn Fn(usize) -> u16 + Send + Sync;

pub(crate) struct Receiver {
    pub(crate) addr: SocketAddr,
    got: Arc<Mutex<Vec<Received>>>,
    serving: JoinHandle<()>,
}

impl Receiver {
    /// Answers the n-th request (from 0) with the status that `rule` gives.
    pub(crate) async fn start(rule: impl Fn(usize) -> u16 + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), rule).await
    }

    pub(crate) async fn start_at(addr: SocketAddr, rule: impl Fn(usize) -> u16 + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(addr).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let got = Arc::new(Mutex::new(Vec::new()));
        let serving = tokio::spawn(serve(listener, got.clone(), Arc::new(rule)));
        Self { addr, got, serving }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.addr)
    }

    pub(crate) fn got(&self) -> Vec<Received> {
        self.got.lock().unwrap().clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: TcpListener, got: Arc<Mutex<Vec<Received>>>, rule: Arc<Rule>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (got, rule) = (got.clone(), rule.clone());
        let answer = service_fn(move |request| answer(request, got.clone(), rule.clone()));
        tokio::spawn(async move {
            let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    got: Arc<Mutex<Vec<Received>>>,
    rule: Arc<Rule>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let number = {
        let mut got = got.lock().unwrap();
        got.push(Received { headers: parts.headers, body });
        got.len() - 1
    };
    let response = Response::builder().status(rule(number)).header("connection", "close");
    Ok(response.body(Full::new(Bytes::from_static(b"ok"))).unwrap())
}
