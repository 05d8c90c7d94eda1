//! `selkie keyservice`: this machine's keys for other processes.

use std::fs::DirBuilder;
use std::net::{TcpListener, ToSocketAddrs as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use selkie_keys::service::{Listener, ServiceAddress, describe};
use serde_json::json;

use crate::environment::Environment;
use crate::failure::{Failure, Kind};
use crate::keys::Clients;
use crate::services::KeyServices;
use crate::serving::{Holder, Server, Socket, SocketMode};
use crate::terminal;
use crate::ui::Ui;

/// Let other processes use the keys of this machine, without giving them the keys
///
/// sops and selkie ask such a service where --keyservice or SOPS_KEYSERVICE names it: the data keys of
/// their files are wrapped and unwrapped here, with the identities, agents and credentials that this
/// process finds, and nothing else of the files comes here. Inside a container, or on another machine
/// behind `ssh -R`, files open without a private key there.
///
/// Whoever can connect can use every key. The socket is therefore its owner's alone, and --prompt asks
/// on the terminal before each use. The protocol has no encryption and no passwords: over TCP it is for
/// this machine's own programs. Other key services are not asked from here.
///
/// What a client asks to have decrypted is opened with the key that it names, and with no other: of an
/// OpenPGP message only the outer layer is decrypted.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES, verbatim_doc_comment)]
pub(crate) struct KeyService {
    /// Where to listen: unix:///PATH or tcp://HOST:PORT [default: selkie/keyservice.sock below
    /// XDG_RUNTIME_DIR]
    #[arg(short, long, value_name = "ADDRESS")]
    listen: Option<ServiceAddress>,
    /// Ask on the terminal before each use of a key
    #[arg(short, long)]
    prompt: bool,
    /// Listen on TCP addresses that other machines reach, in clear and for everybody there
    #[arg(long)]
    insecure_network: bool,
}

const EXAMPLES: &str = "\
Examples:
  Serve this user's keys on a socket, and use them from another shell:
    selkie keyservice
    SOPS_KEYSERVICE=unix://$XDG_RUNTIME_DIR/selkie/keyservice.sock selkie decrypt secret.yaml
  Lend them to a remote machine, and say yes to each use:
    selkie keyservice --prompt
    ssh -R /run/user/1000/keys.sock:$XDG_RUNTIME_DIR/selkie/keyservice.sock host
    SOPS_KEYSERVICE=unix://$XDG_RUNTIME_DIR/keys.sock sops decrypt secret.yaml
  There 1000 is the remote user's id: a folder that others write to, as /tmp, is no place for a socket.
";

impl KeyService {
    pub(crate) fn run(&self, ui: &Ui, environment: Environment) -> ExitCode {
        match self.serve(ui, environment) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => ExitCode::from(ui.fail(None, &failure)),
        }
    }

    fn serve(&self, ui: &Ui, mut environment: Environment) -> Result<(), Failure> {
        environment.key_services = KeyServices::default();
        if self.prompt && !terminal::is_there() {
            let message = "--prompt has no terminal to ask on";
            return Err(Failure::new(Kind::Conflict, message)
                .hint("start it in a terminal, or leave --prompt out"));
        }
        let clients = Clients::new(&environment, &environment.named_keys())?;
        let address = match &self.listen {
            Some(address) => address.clone(),
            None => ServiceAddress::Unix(usual_socket(&environment)?),
        };
        let failed = |cause: &dyn std::fmt::Display| {
            Failure::new(Kind::Other, format!("{address} cannot be served: {cause}"))
        };
        let server = Server::new().map_err(|error| failed(&error))?;
        let (listener, socket) = match &address {
            ServiceAddress::Unix(path) => {
                let (socket, listener) = Socket::bind(path, SocketMode::Owner)
                    .map_err(|error| not_bound(&address, path, &error))?;
                (Listener::Unix(listener), Some(socket))
            }
            ServiceAddress::Tcp { host, port } => {
                let listener = self.tcp(ui, &address, host, *port)?;
                (Listener::Tcp(listener), None)
            }
        };
        let mut holder = Holder::new(&environment, &clients);
        let (to_warn, to_tell) = (ui.clone(), ui.clone());
        holder.tell = Box::new(move |warning| to_warn.warn(None, warning));
        holder.done = Some(Box::new(move |operation, key, success| {
            let (action, key) = (operation.name(), describe(key));
            match success {
                true => to_tell.note(&format!("{action} with the {key}: done")),
                false => to_tell.note(&format!("{action} with the {key}: failed")),
            }
        }));
        if self.prompt {
            let prompt = Arc::clone(clients.prompt());
            holder.ask = Some(Box::new(move |operation, key| {
                let question = format!(
                    "A client wants to {} with the {}. Allow it?",
                    operation.name(),
                    describe(key)
                );
                match prompt.confirm(&question, "allow", Some("refuse")) {
                    Some(true) => Ok(()),
                    Some(false) => Err("the user of the key service refused".to_owned()),
                    None => Err("nobody is there to allow it".to_owned()),
                }
            }));
        }
        if ui.is_json() {
            let address = address.to_string();
            ui.object(&json!({"action": "serving", "address": address}));
        } else {
            ui.note(&format!(
                "serving the keys of this machine; SOPS_KEYSERVICE={address} uses them"
            ));
        }
        server
            .run(listener, holder)
            .map_err(|error| failed(&error))?;
        drop(socket);
        Ok(())
    }

    fn tcp(
        &self,
        ui: &Ui,
        address: &ServiceAddress,
        host: &str,
        port: u16,
    ) -> Result<TcpListener, Failure> {
        let failed = |cause: &dyn std::fmt::Display| {
            Failure::new(Kind::Other, format!("{address} cannot be served: {cause}"))
        };
        let places = (host, port).to_socket_addrs();
        let places: Vec<_> = places.map_err(|error| failed(&error))?.collect();
        if !self.insecure_network && !places.iter().all(|place| place.ip().is_loopback()) {
            let message = format!(
                "{address} is reached from other machines, and the protocol has neither \
                 encryption nor passwords"
            );
            return Err(Failure::new(Kind::Conflict, message).hint(
                "listen on a Unix socket and forward it with `ssh -R`, or give --insecure-network",
            ));
        }
        ui.warn(
            None,
            &format!(
                "whoever can connect to {address} can use the keys; a Unix socket asks for the \
                 right user"
            ),
        );
        TcpListener::bind(&*places).map_err(|error| failed(&error))
    }
}

fn usual_socket(environment: &Environment) -> Result<PathBuf, Failure> {
    let Some(folder) = &environment.runtime_folder else {
        let message = "XDG_RUNTIME_DIR is not set, so there is no folder for the socket";
        return Err(Failure::new(Kind::Other, message)
            .hint("say where: selkie keyservice --listen unix:///PATH"));
    };
    let folder = folder.join("selkie");
    let made = DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder);
    made.map_err(|error| {
        let message = format!("{} cannot be made: {error}", folder.display());
        Failure::new(Kind::Other, message)
    })?;
    Ok(folder.join("keyservice.sock"))
}

fn not_bound(address: &ServiceAddress, path: &Path, error: &std::io::Error) -> Failure {
    let failure = Failure::new(Kind::Other, format!("{address} cannot be served: {error}"));
    match error.kind() {
        std::io::ErrorKind::AddrInUse => failure.hint(format!(
            "a key service may be running there already; else remove {}",
            path.display()
        )),
        _ => failure,
    }
}
