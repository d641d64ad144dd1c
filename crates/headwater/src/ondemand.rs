//! The on-demand rooms of a process: catalogue, objects, manager, API, worker and origin, as its roles say.

use std::{error::Error, net::SocketAddr, path::PathBuf, sync::Arc};

use api::{Api, ApiSettings, mounted};
use base::Secret;
use edge::{BoxOrigin, Policy, Route};
use http::Method;
use store::{
    Objects,
    catalogue::{Catalogue, Options},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use transcode::Capabilities;
use url::Url;
use vod::{
    Manager, ManagerSettings,
    origin::Origin,
    upload::Uploads,
    worker::{Worker, WorkerSettings},
};

use crate::{
    Settings,
    roles::{Role, Roles},
};

type BoxError = Box<dyn Error + Send + Sync>;

/// The on-demand rooms, assembled and not yet at work.
pub struct OnDemand {
    roles: Roles,
    catalogue: Catalogue,
    manager: Manager,
    uploads: Uploads,
    api: Api,
    origin: Origin,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl OnDemand {
    /// Opens catalogue and objects; `None` when no role needs them.
    ///
    /// # Errors
    /// When the database or the object store cannot be used.
    pub async fn open(settings: &Settings) -> Result<Option<Self>, BoxError> {
        let roles = settings.server.roles.clone();
        if !roles.any(&[Role::Origin, Role::Api, Role::Manager]) {
            return Ok(None);
        }
        let data_dir = &settings.server.data_dir;
        std::fs::create_dir_all(data_dir).map_err(|error| format!("{}: {error}", data_dir.display()))?;
        let catalogue = Catalogue::open(&settings.store.database_url(data_dir), Options::default()).await?;
        let objects = Objects::open(&settings.store, data_dir)?;
        objects.check().await?;
        let manager = Manager::new(ManagerSettings {
            catalogue: catalogue.clone(),
            objects: objects.clone(),
            config: settings.vod.clone(),
        });
        let uploads = Uploads::new(catalogue.clone(), objects.clone(), Arc::new(manager.clone()), &settings.vod);
        let api = Api::new(ApiSettings {
            catalogue: catalogue.clone(),
            manager: manager.clone(),
            uploads: mounted(uploads.clone()),
            config: settings.api.clone(),
        });
        let origin = Origin::new(catalogue.clone(), objects);
        let (stop, tasks) = (CancellationToken::new(), Vec::new());
        Ok(Some(Self { roles, catalogue, manager, uploads, api, origin, stop, tasks }))
    }

    /// Its rows of the edge's route table.
    pub fn routes(&self, settings: &Settings) -> Vec<Route> {
        let mut routes = Vec::new();
        if self.roles.has(Role::Api) {
            let methods = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
            let policy = Policy {
                request_body_bytes_max: Some(settings.vod.upload_bytes_max),
                ..Policy::pass().methods(methods)
            };
            routes.push(Route::prefix("/api", BoxOrigin::from_service(self.api.service())).class("api").policy(policy));
        }
        if self.roles.has(Role::Origin) {
            let policy = Policy::cached(Origin::key_query()).cors();
            routes
                .push(Route::prefix("/vod", BoxOrigin::from_service(self.origin.clone())).class("vod").policy(policy));
        }
        routes
    }

    /// Starts what works in the background. `http` is where this process answers.
    ///
    /// # Errors
    /// When the worker cannot be made.
    pub fn start(
        &mut self,
        settings: &Settings,
        http: SocketAddr,
        capabilities: &Capabilities,
    ) -> Result<(), BoxError> {
        if self.roles.has(Role::Manager) {
            let (manager, uploads, stop) = (self.manager.clone(), self.uploads.clone(), self.stop.clone());
            self.tasks.push(tokio::spawn(async move { manager.run(Some(uploads), stop).await }));
        }
        if self.roles.has(Role::Api) {
            let (api, stop) = (self.api.clone(), self.stop.clone());
            self.tasks.push(tokio::spawn(async move { api.run(stop.cancelled_owned()).await }));
        }
        if self.roles.has(Role::Worker) {
            // The same protocol as from afar, over loopback. The token lives as long as the process.
            let (server, token) = if self.roles.has(Role::Api) {
                let token = Secret::new(api::new_token_secret());
                self.api.admit_worker(&token);
                (loopback(http)?, token)
            } else {
                (Url::parse(&settings.client.server)?, settings.client.token.clone())
            };
            let worker = Worker::new(worker_settings(settings, server, token, capabilities.clone()))?;
            let stop = self.stop.clone();
            self.tasks.push(tokio::spawn(async move {
                if let Err(error) = worker.run(stop.cancelled_owned()).await {
                    tracing::error!(error = &error as &dyn Error, "the worker of this process stopped");
                }
            }));
        }
        Ok(())
    }

    /// Tells everything to stop, and waits until it has: the worker finishes or gives back its steps.
    pub async fn stop(self) {
        self.stop.cancel();
        for task in self.tasks {
            let _ = task.await;
        }
        self.catalogue.close().await;
    }
}

/// What a worker needs; empty settings are filled in from the machine.
pub fn worker_settings(settings: &Settings, server: Url, token: Secret, capabilities: Capabilities) -> WorkerSettings {
    let config = settings.worker.clone();
    let name = if config.name.is_empty() { host_name() } else { config.name.clone() };
    let scratch: PathBuf = settings.server.data_dir.join(&config.scratch);
    WorkerSettings { server, token, name, caps: config.caps.clone(), scratch, capabilities, config }
}

fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let name: String = name.chars().filter(|&c| allowed(c)).collect();
    if name.is_empty() { "worker".to_owned() } else { name }
}

/// Where this process reaches itself.
fn loopback(http: SocketAddr) -> Result<Url, BoxError> {
    let mut address = http;
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    Ok(Url::parse(&format!("http://{address}"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_reaches_itself_on_loopback() {
        let check = |bound: &str, expected: &str| {
            assert_eq!(loopback(bound.parse().expect("an address")).expect("a URL").as_str(), expected);
        };
        check("0.0.0.0:8080", "http://127.0.0.1:8080/");
        check("[::]:8080", "http://[::1]:8080/");
        check("192.0.2.7:80", "http://192.0.2.7/");
    }
}
