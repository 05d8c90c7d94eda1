//! Transcripts against a real API server with the real controller of Sealed Secrets behind its
//! service proxy (testbed.md 2).

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use compat::bed::{Cache, Tool, new_folder};
use compat::cluster::Cluster;
use compat::counts;
use compat::server::{Server, free_port, http_client};
use compat::transcript;
use compat::wait::eventually;

use crate::read;
use crate::stage::{KEY, Stage};

const NAMESPACE: &str = "kube-system";

#[tokio::test]
async fn the_transcripts_with_a_cluster_are_ours_too() -> Result<()> {
    let transcripts = read("kubeseal-online")?;
    if transcripts.is_empty() {
        return Ok(());
    }
    let cluster = Cluster::shared().await?;
    let mut stage = Stage::set()?;
    let authority = authority(&cluster)?;
    let _controller = start_controller(&cluster, &stage, &authority).await?;
    let account = stage.prop("sa-token");
    fs::write(&account, TOKEN)?;
    fs::write(stage.prop("sa-ca.crt"), &authority)?;
    fs::write(stage.prop("sa-namespace"), "web")?;
    let server = cluster.admin().url().to_owned();
    let (_, port) = server.rsplit_once(':').context("the server has a port")?;
    stage.environment = vec![
        (
            "KUBECONFIG".to_owned(),
            cluster.admin().path().display().to_string(),
        ),
        ("SERVER".to_owned(), server.clone()),
        ("PORT".to_owned(), port.to_owned()),
        ("TOKEN".to_owned(), TOKEN.to_owned()),
        ("PROXY".to_owned(), connect_proxy()?),
    ];
    // One after the other: the controller answers two questions about values in a second.
    tokio::task::spawn_blocking(move || {
        transcript::play_all(&transcripts, Some(1), |one| stage.both(one))?;
        counts::verified(&format!(
            "kubeseal, transcripts with a cluster: {} of {0} pass",
            transcripts.len()
        ));
        Ok(())
    })
    .await?
}

/// The token of the bed's administrator.
const TOKEN: &str = "admin";

/// The certificates that vouch for the API server.
fn authority(cluster: &Cluster) -> Result<String> {
    let text = fs::read_to_string(cluster.admin().path())?;
    let file: serde_json::Value = serde_json::from_str(&text)?;
    let data = file["clusters"][0]["cluster"]["certificate-authority-data"]
        .as_str()
        .context("the kubeconfig has an authority")?;
    Ok(String::from_utf8(BASE64_STANDARD.decode(data)?)?)
}

/// Starts the real controller with the key of the transcripts, and makes its Service.
async fn start_controller(cluster: &Cluster, stage: &Stage, authority: &str) -> Result<Server> {
    let certificate = fs::read(stage.prop("cert.pem"))?;
    let key = format!(
        "apiVersion: v1\nkind: Secret\ntype: kubernetes.io/tls\nmetadata:\n  name: key\n  labels: \
         {{sealedsecrets.bitnami.com/sealed-secrets-key: active}}\ndata:\n  tls.crt: {}\n  tls.key: {}\n",
        BASE64_STANDARD.encode(certificate),
        BASE64_STANDARD.encode(KEY)
    );
    cluster.apply(NAMESPACE, &key)?;
    let address = own_address()?;
    let port = free_port()?;
    let folder = new_folder("sealed-secrets-controller")?;
    for (name, text) in [
        ("token", TOKEN),
        ("ca.crt", authority),
        ("namespace", NAMESPACE),
    ] {
        fs::write(folder.join(name), text)?;
    }
    let server = cluster.admin().url();
    let (_, api_port) = server.rsplit_once(':').context("the server has a port")?;
    let program = Cache::open()?.tool(Tool::SealedSecretsController)?;
    // It reads its account from a fixed path, which only this process shall see.
    let script = format!(
        "mount -t tmpfs none /run && mkdir -p {ACCOUNT} && cp {folder}/* {ACCOUNT}/ && \
         exec {program} --listen-addr {listen} --listen-metrics-addr 127.0.0.1:0",
        folder = folder.display(),
        program = program.display(),
        listen = SocketAddr::new(address, port),
    );
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", &script])
        .env_clear()
        .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
        .env("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        .env("KUBERNETES_SERVICE_PORT", api_port)
        .env("POD_NAMESPACE", NAMESPACE);
    let controller = Server::start("sealed-secrets-controller", command, &folder.join("log"))?;
    let url = format!("http://{}/healthz", SocketAddr::new(address, port));
    let http = http_client()?;
    eventually(Duration::from_secs(60), || async {
        controller.check_alive()?;
        let answer = http.get(&url).send().await?;
        ensure!(
            answer.status().is_success(),
            "it answers {}",
            answer.status()
        );
        Ok(())
    })
    .await?;
    publish(cluster, address, port)?;
    Ok(controller)
}

/// The account's path; `/var/run` is a link to `/run`.
const ACCOUNT: &str = "/run/secrets/kubernetes.io/serviceaccount";

/// Makes the Services `sealed-secrets-controller` and `named` for an address of this machine. The API
/// server forwards only to the address of a pod that is ready.
fn publish(cluster: &Cluster, address: IpAddr, port: u16) -> Result<()> {
    for (name, port_name) in [("sealed-secrets-controller", ""), ("named", "http")] {
        let service = format!(
            "\
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  ports: [{{name: \"{port_name}\", port: 8080, targetPort: {port}}}]
---
apiVersion: v1
kind: Endpoints
metadata: {{name: {name}}}
subsets:
  - addresses: [{{ip: {address}, targetRef: {{kind: Pod, name: controller, namespace: {NAMESPACE}}}}}]
    ports: [{{name: \"{port_name}\", port: {port}}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: {name}
  labels: {{kubernetes.io/service-name: {name}}}
addressType: IPv4
endpoints:
  - addresses: [{address}]
    conditions: {{ready: true}}
    targetRef: {{kind: Pod, name: controller, namespace: {NAMESPACE}}}
ports: [{{name: \"{port_name}\", port: {port}, protocol: TCP}}]
"
        );
        cluster.apply(NAMESPACE, &service)?;
    }
    cluster.apply(
        NAMESPACE,
        "apiVersion: v1\nkind: Service\nmetadata: {name: nobody}\nspec:\n  ports: [{port: 8080}]\n",
    )?;
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: controller}\nspec:\n  containers: [{name: c, image: none}]\n";
    cluster.apply(NAMESPACE, pod)?;
    let ready = format!(
        r#"{{"status": {{"phase": "Running", "podIPs": [{{"ip": "{address}"}}], "podIP": "{address}"}}}}"#
    );
    cluster
        .kubectl()
        .args(["patch", "pod", "controller", "--subresource=status"])
        .args(["--namespace", NAMESPACE, "--patch", &ready])
        .ok()?;
    Ok(())
}

/// The address that this machine would send from; nothing is sent.
fn own_address() -> Result<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket
        .connect("198.51.100.1:9")
        .context("this test needs a network interface besides loopback")?;
    Ok(socket.local_addr()?.ip())
}

/// A proxy that only tunnels (`CONNECT`); returns its URL.
fn connect_proxy() -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            std::thread::spawn(move || tunnel(stream));
        }
    });
    Ok(url)
}

fn tunnel(mut client: TcpStream) -> Option<()> {
    let mut request = Vec::new();
    let mut part = [0; 1];
    while !request.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut part).ok()?;
        request.extend_from_slice(&part);
    }
    let request = String::from_utf8(request).ok()?;
    let target = request.strip_prefix("CONNECT ")?.split(' ').next()?;
    let mut server = TcpStream::connect(target).ok()?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").ok()?;
    let (mut from_client, mut to_server) = (client.try_clone().ok()?, server.try_clone().ok()?);
    std::thread::spawn(move || std::io::copy(&mut from_client, &mut to_server));
    std::io::copy(&mut server, &mut client).ok()?;
    Some(())
}

impl Stage {
    /// The path of a file that every transcript gets.
    fn prop(&self, name: &str) -> std::path::PathBuf {
        self.props().join(Path::new(name))
    }
}
