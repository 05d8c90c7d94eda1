//! The certificate through a real API server, as kubeseal fetches it (sealed-secrets.md 10).

use std::net::{IpAddr, TcpListener, UdpSocket};

use anyhow::{Context as _, Result};
use compat::cluster::Cluster;
use compat::originals::kubeseal;

use crate::bed::{Place, SECRET, answer};

#[tokio::test]
async fn a_certificate_comes_through_the_api_server() -> Result<()> {
    let cluster = Cluster::shared().await?;
    let namespace = cluster.namespace().await?;
    let place = Place::new();
    place.write_certificates();
    let pem = place.read("cert.pem");

    // The API server refuses endpoints on loopback, so the controller's part is played on the
    // address of this machine.
    let address = own_address()?;
    let listener = TcpListener::bind((address, 0))?;
    let port = listener.local_addr()?.port();
    let requests = answer(listener, pem.clone(), 4);
    for (name, port_name) in [("unnamed", ""), ("named", "http")] {
        cluster.apply(
            &namespace,
            &service(&namespace, name, port_name, address, port),
        )?;
    }
    // The API server forwards only to the address of a pod.
    cluster.apply(&namespace, POD)?;
    let ready = format!(
        r#"{{"status": {{"phase": "Running", "podIPs": [{{"ip": "{address}"}}], "podIP": "{address}"}}}}"#
    );
    cluster
        .kubectl()
        .args([
            "patch",
            "pod",
            "controller",
            "--subresource=status",
            "--namespace",
            &namespace,
        ])
        .args(["--patch", &ready])
        .ok()?;

    let kubeconfig = cluster.admin().path().to_owned();
    let fetch = |arguments: &[&str]| {
        let program = place
            .selkie()
            .args(arguments)
            .env("KUBECONFIG", &kubeconfig);
        program.args(["--controller-namespace", &namespace]).run()
    };
    for name in ["unnamed", "named"] {
        let fetched = fetch(&["cert", "--controller-name", name])?;
        assert_eq!(fetched.text(), pem, "{}", fetched.stderr);
    }
    let theirs = kubeseal()?
        .args(["--fetch-cert", "--controller-name", "named"])
        .args(["--controller-namespace", &namespace, "--kubeconfig"])
        .arg(&kubeconfig)
        .env("HOME", place.folder())
        .ok()?;
    assert_eq!(theirs.text(), pem);
    // Without a namespace of its own the Secret gets that of the context.
    place.write("secret.yaml", SECRET.replace("  namespace: prod\n", ""));
    let sealed = fetch(&[
        "seal",
        "--controller-name",
        "unnamed",
        "--stdout",
        "secret.yaml",
    ])?;
    assert!(
        sealed.text().contains("  namespace: default\n"),
        "{}",
        sealed.stderr
    );
    let seen = requests
        .join()
        .map_err(|_| anyhow::anyhow!("the server failed"))?;
    assert!(
        seen.iter()
            .all(|line| line.starts_with("GET /v1/cert.pem ")),
        "{seen:?}"
    );

    let missing = fetch(&["cert", "--controller-name", "nobody"])?;
    assert_eq!(missing.code, Some(1));
    let expected = format!("cannot get sealed secret service {namespace}/nobody: ");
    assert!(missing.stderr.contains(&expected), "{}", missing.stderr);
    assert!(
        missing.stderr.contains("--controller-name"),
        "{}",
        missing.stderr
    );
    let silent = fetch(&["cert", "--controller-name", "named"])?;
    assert_eq!(silent.code, Some(1));
    assert!(
        silent.stderr.contains("cannot fetch certificate"),
        "{}",
        silent.stderr
    );
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

/// A Service without a selector, and its one endpoint in the two forms that API servers look at.
fn service(namespace: &str, name: &str, port_name: &str, address: IpAddr, port: u16) -> String {
    format!(
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
  - addresses: [{{ip: {address}, targetRef: {{kind: Pod, name: controller, namespace: {namespace}}}}}]
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
    targetRef: {{kind: Pod, name: controller, namespace: {namespace}}}
ports: [{{name: \"{port_name}\", port: {port}}}]
"
    )
}

const POD: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: controller}
spec:
  containers: [{name: controller, image: controller}]
";
