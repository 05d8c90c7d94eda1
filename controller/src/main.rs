//! The controller process: hardening, arguments, environment, logs, signals.

use std::{env, io, path::Path, process::ExitCode, sync::Arc};

use clap::Parser;
use selkie_controller::{
    args::{Args, CalledAs, LogFormat, LogLevel, Options, Serve},
    support::context::Environment,
    wiring::{Surroundings, serve},
};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{Level, error, level_filters::LevelFilter};
use tracing_subscriber::{
    filter::Targets,
    fmt::writer::{BoxMakeWriter, MakeWriterExt},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "before there is a log"
)]
fn main() -> ExitCode {
    if let Err(error) = selkie_secret::harden_process() {
        eprintln!("error: {error}");
        return ExitCode::FAILURE;
    }
    let program = env::args_os().next().unwrap_or_default();
    let options = match Args::parse().resolve(CalledAs::of(Path::new(&program))) {
        Options::Version => {
            // The form that scripts of Sealed Secrets match (sealed-secrets.md 11).
            println!("controller version: v{}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        Options::Serve(options) => options,
    };
    log(&options);
    if rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_err()
    {
        error!("another TLS provider was installed before");
        return ExitCode::FAILURE;
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            error!(%error, "the async runtime cannot be started");
            return ExitCode::FAILURE;
        }
    };
    let served = runtime.block_on(async {
        // Handlers first: a signal during the start ends it cleanly, too.
        let handled = || {
            let (end, interrupt) = (SignalKind::terminate(), SignalKind::interrupt());
            let renew = signal(SignalKind::user_defined1())?;
            Ok::<_, io::Error>((signal(end)?, signal(interrupt)?, renew))
        };
        let (mut terminate, mut interrupt, mut renew) = match handled() {
            Ok(signals) => signals,
            Err(error) => {
                error!(%error, "signals cannot be handled");
                return ExitCode::FAILURE;
            }
        };
        let surroundings = surroundings();
        let renewals = surroundings.renewals.clone();
        tokio::spawn(async move {
            while renew.recv().await.is_some() {
                renewals.notify_one();
            }
        });
        let ended = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        match serve(*options, surroundings, ended).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                error!(%error, "the controller ends");
                ExitCode::FAILURE
            }
        }
    });
    // Key making and decryption may still hold a thread; the process does not wait for them.
    runtime.shutdown_background();
    served
}

fn surroundings() -> Surroundings {
    let variable = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    // Unique, so a restarted container may take its own Lease back at once.
    let pod_name = variable("POD_NAME");
    let identity = pod_name.unwrap_or_else(|| {
        let host = variable("HOSTNAME").unwrap_or_else(|| "selkie-controller".to_owned());
        // Replicas may share a host name (`hostname` of a pod template, a host network) and a process number.
        let started = jiff::Timestamp::now().as_nanosecond();
        format!("{host}_{}_{started:x}", std::process::id())
    });
    Surroundings {
        pod_namespace: variable("POD_NAMESPACE"),
        identity,
        kubeconfig: variable("KUBECONFIG").map(Into::into),
        renewals: Arc::default(),
        environment: Environment {
            aws_secretsmanager_endpoint: variable("AWS_SECRETSMANAGER_ENDPOINT")
                .or_else(|| variable("AWS_ENDPOINT_URL_SECRETS_MANAGER"))
                .or_else(|| variable("AWS_ENDPOINT_URL")),
        },
    }
}

/// Starts the log where upstream's goes: warnings and errors on standard error (sealed-secrets.md 11).
fn log(options: &Serve) {
    let level = match options.log_level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    // Libraries log at warn what they cannot parse, and kube's client logs the whole body then: a
    // Secret. Only our own lines go below error, whatever the level.
    let filter = Targets::new()
        .with_default(LevelFilter::ERROR)
        .with_target("kube_client::client", LevelFilter::OFF)
        .with_target("selkie", level);
    let warnings_apart = || io::stderr.with_max_level(Level::WARN).or_else(io::stdout);
    let writer = match options.log_info_stdout {
        true => BoxMakeWriter::new(warnings_apart()),
        false => BoxMakeWriter::new(io::stderr),
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let registry = tracing_subscriber::registry().with(filter);
    match options.log_format {
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).init(),
        LogFormat::Text => registry.with(lines.with_ansi(false)).init(),
    }
}
