//! Whether the process should be sent traffic, and why not.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Shared by everything that listens and by `/readyz`. Ready when every expected listener is up and nothing drains.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    listeners: BTreeMap<&'static str, Listener>,
    draining: bool,
}

#[derive(Debug)]
enum Listener {
    Up(SocketAddr),
    Down(String),
}

/// The handle of one expected listener.
#[derive(Clone, Debug)]
pub struct Part {
    name: &'static str,
    readiness: Readiness,
}

impl Readiness {
    /// Announces a listener that has to be up before the process is ready.
    pub fn expect(&self, name: &'static str) -> Part {
        self.lock().listeners.insert(name, Listener::Down("not listening yet".to_owned()));
        Part { name, readiness: self.clone() }
    }

    /// From now on the process is not ready: load balancers send new viewers elsewhere.
    pub fn drain(&self) {
        self.lock().draining = true;
    }

    /// Why the process is not ready; empty when it is.
    pub fn reasons(&self) -> Vec<String> {
        let inner = self.lock();
        let down = inner.listeners.iter().filter_map(|(name, listener)| match listener {
            Listener::Up(_) => None,
            Listener::Down(reason) => Some(format!("{name}: {reason}")),
        });
        inner.draining.then(|| "draining".to_owned()).into_iter().chain(down).collect()
    }

    /// The listeners that are up, by name.
    pub fn listeners(&self) -> BTreeMap<&'static str, String> {
        let inner = self.lock();
        let up = inner.listeners.iter().filter_map(|(name, listener)| match listener {
            Listener::Up(address) => Some((*name, address.to_string())),
            Listener::Down(_) => None,
        });
        up.collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change is a single assignment: a panic elsewhere leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Part {
    /// The listener accepts connections at this address.
    pub fn up(&self, address: SocketAddr) {
        self.readiness.lock().listeners.insert(self.name, Listener::Up(address));
    }

    /// The listener does not accept connections.
    pub fn down(&self, reason: impl Into<String>) {
        self.readiness.lock().listeners.insert(self.name, Listener::Down(reason.into()));
    }
}
