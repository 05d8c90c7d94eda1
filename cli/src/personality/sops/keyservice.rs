//! `sops keyservice`: this machine's keys for other processes.

use std::io;
use std::net::TcpListener;
use std::sync::{Mutex, PoisonError};

use selkie_keys::service::{Listener, describe};

use super::{Exit, Invocation, question};
use crate::keys::Clients;
use crate::serving::{Holder, Server, Socket, SocketMode};

impl Invocation {
    pub(super) fn keyservice(&self) -> Result<(), Exit> {
        let or = |name: &str, usual: &'static str| match self.own.text(name) {
            "" => usual.to_owned(),
            text => text.to_owned(),
        };
        let (network, address) = (or("network", "tcp"), or("address", "127.0.0.1:5000"));
        let failed = |cause: &dyn std::fmt::Display| {
            let message = format!("listen {network} {address}: {cause}");
            self.log
                .error(&format!("Error running keyservice: {message}"));
            Exit::Fatal(message)
        };
        let log = self.log.of("KEYSERVICE");
        let server = Server::new().map_err(|error| failed(&error))?;
        let mut socket = None;
        let listener = match &*network {
            "tcp" | "tcp4" | "tcp6" => {
                // Go takes no host for every address.
                let place = match address.strip_prefix(':') {
                    Some(port) => format!("[::]:{port}"),
                    None => address.clone(),
                };
                let listener = TcpListener::bind(&place).map_err(|error| failed(&bound(&error)))?;
                log.warn(&format!(
                    "Whoever can connect to tcp://{address} can use the keys of this machine; \
                     --network unix leaves that to the permissions of a socket"
                ));
                Listener::Tcp(listener)
            }
            "unix" => {
                let (made, listener) = Socket::bind(address.as_ref(), SocketMode::Umask)
                    .map_err(|error| failed(&bound(&error)))?;
                socket = Some(made);
                Listener::Unix(listener)
            }
            _ => return Err(failed(&format!("unknown network {network}"))),
        };
        log.info(&format!("Listening on {network}://{address}"));
        // An address comes from whoever connects here, not from a file of the user's own: no credentials for it.
        let clients = Clients::new(&self.environment, &self.environment.named_keys())?;
        let mut holder = Holder::new(&self.environment, &clients);
        holder.tell = Box::new(move |warning| log.warn(warning));
        if self.own.switch("prompt") {
            let one = Mutex::new(());
            holder.ask = Some(Box::new(move |operation, key| {
                let _one = one.lock().unwrap_or_else(PoisonError::into_inner);
                let question = format!(
                    "\nReceived {} request using {}. Respond to request? (y/n): ",
                    operation.name(),
                    describe(key)
                );
                match question::ask(&question) {
                    Ok(true) => Ok(()),
                    Ok(false) => Err("Request rejected by user".to_owned()),
                    Err(error) => Err(error.to_string()),
                }
            }));
        }
        let ended = server.run(listener, holder);
        let ended = ended.map_err(|error| failed(&error))?;
        log.info(&format!("Caught signal {ended}: shutting down."));
        drop(socket);
        Ok(())
    }
}

/// Why an address cannot be listened on, in Go's words where scripts look for them.
fn bound(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "bind: address already in use".to_owned(),
        io::ErrorKind::PermissionDenied => "bind: permission denied".to_owned(),
        _ => error.to_string(),
    }
}
