//! The six steps.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use compat::bed::{Cache, Tool, new_folder};
use compat::cluster::Cluster;
use compat::controller::Controller;
use compat::moto::Moto;
use compat::openbao::{OpenBao, ROOT_TOKEN};
use compat::originals;
use compat::program::{Finished, Program};
use compat::selkie::selkie;
use compat::wait::eventually;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use serde_json::{Value, json};

use crate::show::Show;

/// Where the resources of the demo are.
const NAMESPACE: &str = "default";

/// How long something may take that happens by itself.
const LIMIT: Duration = Duration::from_secs(30);

const PASSWORD: &str = "correct horse";
const FIRST: &str = "first-from-vault";
const SECOND: &str = "second-from-vault";
const API_KEY: &str = "from-secrets-manager";

const SECRET: &str = "\
# The database of the shop
apiVersion: v1
kind: Secret
metadata:
  name: db        # used by the api
  labels: {app: shop}
stringData:
  # rotate every spring
  username: 'admin'
  password: \"correct horse\"
";

const STORES: &str = "\
apiVersion: external-secrets.io/v1
kind: SecretStore
metadata: {name: vault-backend}
spec:
  provider:
    vault:
      server: VAULT
      path: secret
      version: v2
      auth: {tokenSecretRef: {name: vault-token, key: token}}
---
apiVersion: external-secrets.io/v1
kind: SecretStore
metadata: {name: aws-backend}
spec:
  provider:
    aws:
      service: SecretsManager
      region: eu-west-1
      auth:
        secretRef:
          accessKeyIDSecretRef: {name: aws-keys, key: id}
          secretAccessKeySecretRef: {name: aws-keys, key: secret}
";

const EXTERNAL: &str = "\
apiVersion: external-secrets.io/v1beta1   # as many repositories have it
kind: ExternalSecret
metadata: {name: db-credentials}
spec:
  refreshInterval: 2s
  secretStoreRef: {name: vault-backend, kind: SecretStore}
  target: {name: db-credentials, creationPolicy: Owner}
  data:
    - secretKey: username
      remoteRef: {key: database/prod, property: username}
    - secretKey: password
      remoteRef: {key: database/prod, property: password}
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: payment}
spec:
  refreshInterval: 1h
  secretStoreRef: {name: aws-backend, kind: SecretStore}
  target: {name: payment}
  dataFrom:
    - extract: {key: shop/payment}
";

/// The servers, and a folder as a user would have it.
pub(crate) struct Demo {
    folder: PathBuf,
    cluster: Cluster,
    bao: OpenBao,
    moto: Moto,
    controller: Controller,
}

impl Demo {
    /// Starts the servers and the controller.
    pub(crate) async fn start(show: &mut Show) -> Result<Self> {
        show.step("The servers");
        let began = Instant::now();
        let (cluster, bao, moto) =
            tokio::try_join!(Cluster::start(), OpenBao::start(), Moto::start())?;
        let settings = Controller::with("kube-system").env("AWS_ENDPOINT_URL", moto.url());
        let controller = settings.start(&cluster).await?;
        let folder = new_folder("demo")?;
        show.say(format_args!(
            "  Kubernetes API    {}",
            cluster.admin().url()
        ));
        show.say(format_args!("  OpenBao (Vault)   {}", bao.url()));
        show.say(format_args!("  moto (AWS)        {}", moto.url()));
        show.say(format_args!("  selkie-controller {}", controller.url()));
        show.say(format_args!(
            "  ready in {:.1} s; logs are in {}",
            began.elapsed().as_secs_f32(),
            cluster.folder().display()
        ));
        Ok(Self {
            folder,
            cluster,
            bao,
            moto,
            controller,
        })
    }

    /// Runs the steps up to the first check that fails.
    pub(crate) async fn run(&mut self, show: &mut Show) -> Result<()> {
        self.encrypt(show)?;
        self.seal(show).await?;
        self.fetch(show).await?;
        self.change(show).await?;
        self.repair(show).await?;
        self.outage(show).await
    }

    /// Ends the controller as Kubernetes would, then the servers.
    pub(crate) fn end(&mut self, show: &mut Show) -> Result<()> {
        show.step("The end");
        let log = self.controller.log()?;
        let status = self.controller.terminate()?;
        show.check(
            "the controller ends with exit code 0 on SIGTERM",
            status.success(),
        )?;
        let shown = [PASSWORD, FIRST, SECOND, API_KEY]
            .iter()
            .any(|value| log.contains(value));
        show.check("no value is in the controller's log", !shown)
    }

    /// Prints how to go on by hand with what stays up.
    pub(crate) fn print_how_to_use(&self, show: &mut Show) -> Result<()> {
        let programs = compat::selkie::binary("selkie-cli", "selkie")?;
        let programs = programs.parent().context("a program lies in a folder")?;
        let tools = Cache::open()?.root().join("bin");
        let bao = self.bao.url();
        show.step("Still up, until `make demo-stop`");
        show.say(format_args!(
            "export KUBECONFIG={}",
            self.cluster.admin().path().display()
        ));
        show.say(format_args!(
            "export PATH={}:{}:$PATH",
            programs.display(),
            tools.display()
        ));
        show.say(format_args!("export BAO_ADDR={bao} BAO_TOKEN={ROOT_TOKEN}"));
        show.say("kubectl get secrets,sealedsecrets,externalsecrets");
        show.say(format_args!(
            "selkie cert --url {}",
            self.controller.certificate_url()
        ));
        show.say("bao kv put -mount=secret database/prod username=a password=b");
        show.say(format_args!(
            "AWS is {}, with any credentials",
            self.moto.url()
        ));
        let log = self.controller.server().log_path();
        show.say(format_args!("The controller's log is {}", log.display()));
        Ok(())
    }

    fn encrypt(&self, show: &mut Show) -> Result<()> {
        show.step("1/6  A Secret manifest, encrypted in place");
        self.git(&["init", "--quiet"])?;
        let made = show.run(
            "selkie keygen -o key.txt",
            self.selkie()?.args(["keygen", "-o", "key.txt"]),
        )?;
        let recipient = first_recipient(&made).context("keygen prints the recipient")?;
        self.write(
            ".sops.yaml",
            &format!(
                "creation_rules:\n  - encrypted_regex: ^(data|stringData)$\n    age: {recipient}\n"
            ),
        )?;
        self.write("secret.yaml", SECRET)?;
        show.file("secret.yaml", SECRET);
        self.git(&["add", "secret.yaml"])?;

        show.run(
            "selkie encrypt secret.yaml",
            self.selkie()?.args(["encrypt", "secret.yaml"]),
        )?;
        show.say("$ git diff");
        let diff = self.git(&["diff", "secret.yaml"])?;
        show.output(&diff);
        show.look(
            "only the values changed; comments, quotes and the order of keys are where they were",
        );
        let encrypted = self.read("secret.yaml")?;
        show.check(
            "two values and a comment are ciphertext, the sops block is added, the rest has its bytes",
            only_values_changed(SECRET, &encrypted),
        )?;
        show.check(
            "no value is left in the file",
            !encrypted.contains(PASSWORD) && !encrypted.contains("admin"),
        )?;

        let sops = originals::sops()?
            .folder(&self.folder)
            .env("SOPS_AGE_KEY_FILE", "key.txt");
        show.say("The original sops, 3.13.3:");
        let line = "SOPS_AGE_KEY_FILE=key.txt sops decrypt --output-type json secret.yaml";
        let opened = show
            .run(
                line,
                sops.args(["decrypt", "--output-type", "json", "secret.yaml"]),
            )?
            .json()?;
        show.check(
            "the original sops opens it",
            opened["stringData"] == json!({"username": "admin", "password": PASSWORD}),
        )?;

        let decrypt = self
            .selkie()?
            .env("SOPS_AGE_KEY_FILE", "key.txt")
            .args(["decrypt", "secret.yaml"]);
        let decrypted = show.run(
            "SOPS_AGE_KEY_FILE=key.txt selkie decrypt secret.yaml",
            decrypt,
        )?;
        show.check(
            "decrypted, it is the first file again, byte for byte",
            decrypted.stdout == SECRET.as_bytes(),
        )
    }

    async fn seal(&self, show: &mut Show) -> Result<()> {
        show.step("2/6  The same Secret, sealed for the cluster");
        let url = self.controller.certificate_url();
        let certificate = show.run_quietly(
            &format!("selkie cert --url {url} > cert.pem"),
            self.selkie()?.args(["cert", "--url", &url]),
        )?;
        self.write("cert.pem", &certificate.text())?;
        let decrypt = self
            .selkie()?
            .env("SOPS_AGE_KEY_FILE", "key.txt")
            .args(["decrypt", "secret.yaml"]);
        let plain = show.run_quietly(
            "SOPS_AGE_KEY_FILE=key.txt selkie decrypt secret.yaml > sealed.yaml",
            decrypt,
        )?;
        self.write("sealed.yaml", &plain.text())?;
        let line = format!("selkie seal --cert cert.pem --namespace {NAMESPACE} sealed.yaml");
        show.run(
            &line,
            self.selkie()?.args([
                "seal",
                "--cert",
                "cert.pem",
                "--namespace",
                NAMESPACE,
                "sealed.yaml",
            ]),
        )?;
        let sealed = self.read("sealed.yaml")?;
        show.file("sealed.yaml", &shortened(&sealed));
        show.look("it is a SealedSecret now; only the cluster has the key");
        show.check(
            "no value is left in the file",
            !sealed.contains(PASSWORD) && sealed.contains("kind: SealedSecret"),
        )?;

        self.kubectl(show, &["apply", "-f", "sealed.yaml"])?;
        let began = Instant::now();
        self.wait_for_value("db", "password", PASSWORD).await?;
        let took = began.elapsed();
        self.kubectl(show, &["get", "sealedsecret,secret", "db"])?;
        show.look("the SealedSecret is Synced, the Secret is there");
        show.check(
            &format!(
                "the controller made the Secret, within {:.1} s",
                took.as_secs_f32()
            ),
            took < Duration::from_secs(5),
        )?;
        let secret = self.secret("db").await?;
        let owner = secret
            .metadata
            .owner_references
            .as_deref()
            .unwrap_or_default()
            .first()
            .map(|owner| owner.kind.clone());
        show.check(
            "the Secret belongs to the SealedSecret",
            owner.as_deref() == Some("SealedSecret"),
        )?;
        let label = secret
            .metadata
            .labels
            .unwrap_or_default()
            .get("app")
            .cloned();
        show.check(
            "it has the labels of the manifest",
            label.as_deref() == Some("shop"),
        )
    }

    async fn fetch(&self, show: &mut Show) -> Result<()> {
        show.step("3/6  Secrets from OpenBao and AWS Secrets Manager");
        self.put_in_bao(show, FIRST)?;
        show.say("Secrets Manager gets shop/payment = {\"api-key\": ..., \"retries\": 3}");
        self.moto
            .create_secret(
                "shop/payment",
                &json!({"api-key": API_KEY, "retries": 3}).to_string(),
            )
            .await?;
        self.kubectl(
            show,
            &[
                "create",
                "secret",
                "generic",
                "vault-token",
                &format!("--from-literal=token={ROOT_TOKEN}"),
            ],
        )?;
        self.kubectl(
            show,
            &[
                "create",
                "secret",
                "generic",
                "aws-keys",
                "--from-literal=id=demo",
                "--from-literal=secret=demo",
            ],
        )?;
        self.write("stores.yaml", &STORES.replace("VAULT", &self.bao.url()))?;
        self.write("external.yaml", EXTERNAL)?;
        show.file("external.yaml", EXTERNAL);
        self.kubectl(show, &["apply", "-f", "stores.yaml", "-f", "external.yaml"])?;
        self.wait_for_value("db-credentials", "password", FIRST)
            .await?;
        self.wait_for_value("payment", "api-key", API_KEY).await?;
        self.wait_for_ready("db-credentials", "True").await?;
        self.wait_for_ready("payment", "True").await?;
        self.kubectl(show, &["get", "secretstores,externalsecrets"])?;
        self.kubectl(show, &["get", "secret", "db-credentials", "payment"])?;
        show.look("stores and ExternalSecrets are Ready, a v1beta1 manifest among them");
        show.check(
            "db-credentials has the values of OpenBao",
            value(&self.secret("db-credentials").await?, "username") == Some("app".to_owned()),
        )?;
        show.check(
            "payment has every field of the secret in Secrets Manager",
            value(&self.secret("payment").await?, "retries") == Some("3".to_owned()),
        )
    }

    async fn change(&self, show: &mut Show) -> Result<()> {
        show.step("4/6  A value changes in OpenBao");
        self.put_in_bao(show, SECOND)?;
        let began = Instant::now();
        self.wait_for_value("db-credentials", "password", SECOND)
            .await?;
        let seconds = began.elapsed().as_secs_f32();
        show.look("refreshInterval is 2s");
        show.check(
            &format!("the new value is in the cluster after {seconds:.1} s"),
            seconds < 6.0,
        )
    }

    async fn repair(&self, show: &mut Show) -> Result<()> {
        show.step("5/6  Secrets edited and deleted by hand");
        let patch = json!({"stringData": {"password": "edited by hand"}}).to_string();
        self.kubectl(
            show,
            &["patch", "secret", "db", "--type=merge", "-p", &patch],
        )?;
        let began = Instant::now();
        self.wait_for_value("db", "password", PASSWORD).await?;
        let seconds = began.elapsed().as_secs_f32();
        show.check(
            &format!("the edited Secret of the SealedSecret is back after {seconds:.2} s"),
            seconds < 5.0,
        )?;

        let before = self.secret("payment").await?.metadata.uid;
        self.kubectl(show, &["delete", "secret", "payment"])?;
        let began = Instant::now();
        self.wait_for_value("payment", "api-key", API_KEY).await?;
        let seconds = began.elapsed().as_secs_f32();
        let again = self.secret("payment").await?.metadata.uid;
        show.look("the refreshInterval of payment is 1h: nobody waited for it");
        show.check(
            &format!("the deleted Secret of the ExternalSecret is back after {seconds:.2} s"),
            seconds < 5.0 && before != again,
        )
    }

    async fn outage(&mut self, show: &mut Show) -> Result<()> {
        show.step("6/6  OpenBao goes away");
        let before = self
            .secret("db-credentials")
            .await?
            .metadata
            .resource_version;
        show.say("$ kill OPENBAO");
        self.bao.stop()?;
        let message = self.wait_for_ready("db-credentials", "False").await?;
        self.kubectl(show, &["get", "externalsecret", "db-credentials"])?;
        show.say(format_args!("  {message}"));
        show.look("the condition says which store, and what happened");
        show.check(
            "the status is Ready=False and names the cause",
            message.contains(&self.bao.url()),
        )?;
        let after = self.secret("db-credentials").await?;
        let same = after.metadata.resource_version == before
            && value(&after, "password") == Some(SECOND.to_owned());
        show.check("the Secret is untouched", same)?;
        show.say("$ bao server ...    # and comes back");
        self.bao.start_again().await?;
        let began = Instant::now();
        self.wait_for_ready("db-credentials", "True").await?;
        let seconds = began.elapsed().as_secs_f32();
        show.check(
            &format!("Ready again by itself, {seconds:.1} s after OpenBao"),
            seconds < 20.0,
        )
    }

    fn put_in_bao(&self, show: &Show, password: &str) -> Result<Finished> {
        let bao = Program::new(Cache::open()?.tool(Tool::Bao)?)
            .env("BAO_ADDR", self.bao.url())
            .env("BAO_TOKEN", ROOT_TOKEN);
        let arguments = [
            "kv",
            "put",
            "-mount=secret",
            "database/prod",
            "username=app",
            &format!("password={password}"),
        ];
        // The table that bao prints is about the version, which does not matter here.
        show.run_quietly(
            &format!("bao {}", arguments.join(" ")),
            bao.env("HOME", &self.folder).args(arguments),
        )
    }

    fn kubectl(&self, show: &Show, arguments: &[&str]) -> Result<Finished> {
        let line: Vec<String> = arguments.iter().map(|argument| quoted(argument)).collect();
        show.run(
            &format!("kubectl {}", line.join(" ")),
            self.cluster.kubectl().folder(&self.folder).args(arguments),
        )
    }

    /// Waits until a Secret has a value.
    async fn wait_for_value(&self, name: &str, key: &str, expected: &str) -> Result<()> {
        let secrets = Api::<Secret>::namespaced(self.cluster.client().await?, NAMESPACE);
        eventually(LIMIT, || async {
            let secret = secrets
                .get_opt(name)
                .await?
                .with_context(|| format!("there is no Secret {name}"))?;
            ensure!(
                value(&secret, key).as_deref() == Some(expected),
                "the Secret {name} does not have the expected {key}"
            );
            Ok(())
        })
        .await
        .with_context(|| self.explain(name))
    }

    /// Waits until the condition Ready of an ExternalSecret has a status, and returns its message.
    async fn wait_for_ready(&self, name: &str, status: &str) -> Result<String> {
        eventually(LIMIT, || async {
            let resource = self
                .cluster
                .kubectl()
                .args(["get", "externalsecret", name, "-n", NAMESPACE, "-o", "json"])
                .ok()?
                .json()?;
            let conditions = resource["status"]["conditions"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let ready = conditions
                .iter()
                .find(|condition| condition["type"] == "Ready")
                .unwrap_or(&Value::Null);
            ensure!(
                ready["status"] == status,
                "the ExternalSecret {name} is not Ready={status}: {ready}"
            );
            Ok(ready["message"].as_str().unwrap_or_default().to_owned())
        })
        .await
        .with_context(|| self.explain(name))
    }

    /// Where to look when something did not happen.
    fn explain(&self, name: &str) -> String {
        let resource = self.cluster.kubectl().args([
            "get",
            "sealedsecret,externalsecret",
            name,
            "-n",
            NAMESPACE,
            "-o",
            "jsonpath={.items[*].status.conditions}",
        ]);
        let status = resource
            .run()
            .map(|finished| finished.text())
            .unwrap_or_default();
        format!(
            "{name}: {status} (the controller's log is {})",
            self.controller.server().log_path().display()
        )
    }

    async fn secret(&self, name: &str) -> Result<Secret> {
        Ok(
            Api::<Secret>::namespaced(self.cluster.client().await?, NAMESPACE)
                .get(name)
                .await?,
        )
    }

    fn selkie(&self) -> Result<Program> {
        Ok(selkie()?.folder(&self.folder).env("HOME", &self.folder))
    }

    fn git(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new("git");
        // The user's own settings (pagers, hooks, signing) have no part in this.
        command
            .current_dir(&self.folder)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .args(arguments);
        let output = command.output().context("git does not start")?;
        ensure!(
            output.status.success(),
            "git {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn write(&self, name: &str, content: &str) -> Result<()> {
        fs::write(self.folder.join(name), content).with_context(|| name.to_owned())
    }

    fn read(&self, name: &str) -> Result<String> {
        fs::read_to_string(self.folder.join(name)).with_context(|| name.to_owned())
    }
}

fn first_recipient(made: &Finished) -> Option<String> {
    let printed = format!("{} {}", made.text(), made.stderr);
    let word = printed
        .split_whitespace()
        .find(|word| word.starts_with("age1"))?;
    Some(
        word.trim_end_matches(|letter: char| !letter.is_ascii_alphanumeric())
            .to_owned(),
    )
}

/// Whether `encrypted` is `clear` with three lines of ciphertext, and a sops block at its end.
fn only_values_changed(clear: &str, encrypted: &str) -> bool {
    let Some((body, _)) = encrypted.split_once("\nsops:\n") else {
        return false;
    };
    let changed: Vec<&str> = clear
        .lines()
        .zip(body.lines())
        .filter_map(|(before, after)| (before != after).then_some(after))
        .collect();
    let count = clear.lines().count();
    body.lines().count() == count
        && changed.len() == 3
        && changed.iter().all(|line| line.contains("ENC[AES256_GCM,"))
}

fn value(secret: &Secret, key: &str) -> Option<String> {
    let bytes = secret.data.as_ref()?.get(key)?;
    String::from_utf8(bytes.0.clone()).ok()
}

/// Cuts long lines, such as ciphertexts.
fn shortened(text: &str) -> String {
    let cut = |line: &str| match line.char_indices().nth(72) {
        Some((end, _)) => format!("{}...\n", &line[..end]),
        None => format!("{line}\n"),
    };
    text.lines().map(cut).collect()
}

/// Quotes an argument as a shell needs it.
fn quoted(argument: &str) -> String {
    let plain = argument
        .chars()
        .all(|letter| letter.is_ascii_alphanumeric() || "-_=/.,:".contains(letter));
    if plain {
        argument.to_owned()
    } else {
        format!("'{argument}'")
    }
}
