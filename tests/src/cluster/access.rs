//! Who may do what: kubeconfig files and service accounts.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, RoleRef, Subject};
use kube::api::{Api, ObjectMeta, PostParams};
use kube::config::KubeConfigOptions;
use serde_json::json;

use crate::cluster::Cluster;

/// A kubeconfig file with one user.
#[derive(Debug, Clone)]
pub struct Kubeconfig {
    path: PathBuf,
    url: String,
    authority: String,
}

impl Kubeconfig {
    /// Writes the file for a server, the certificates that vouch for it (PEM) and a user's token.
    pub(super) fn write(path: &Path, url: &str, authority: &str, token: &str) -> Result<Self> {
        use base64::Engine as _;
        let encoded = base64::engine::general_purpose::STANDARD.encode(authority);
        // JSON is YAML.
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{
                "name": "bed",
                "cluster": {"server": url, "certificate-authority-data": encoded},
            }],
            "users": [{"name": "bed", "user": {"token": token}}],
            "contexts": [{
                "name": "bed",
                "context": {"cluster": "bed", "user": "bed", "namespace": "default"},
            }],
            "current-context": "bed",
        });
        std::fs::write(path, serde_json::to_vec_pretty(&config)?)
            .with_context(|| path.display().to_string())?;
        Ok(Self {
            path: path.to_owned(),
            url: url.to_owned(),
            authority: authority.to_owned(),
        })
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The address of the API server.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns a client of this user. It belongs to the async runtime that uses it first.
    pub async fn client(&self) -> Result<kube::Client> {
        let file = kube::config::Kubeconfig::read_from(&self.path)?;
        let config =
            kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
        Ok(kube::Client::try_from(config)?)
    }
}

/// A service account with rights of its own, as a program in the cluster would have it.
#[derive(Debug, Clone)]
pub struct Account {
    /// The name of the user in the audit log, `system:serviceaccount:NAMESPACE:NAME`.
    pub user: String,
    /// The namespace of the account.
    pub namespace: String,
    /// Its access.
    pub kubeconfig: Kubeconfig,
}

impl Cluster {
    /// Makes a service account that may do what `rules` say in every namespace, and nothing else.
    pub async fn account(
        &self,
        namespace: &str,
        name: &str,
        rules: Vec<PolicyRule>,
    ) -> Result<Account> {
        let client = self.client().await?;
        let create = PostParams::default();
        let accounts = Api::<ServiceAccount>::namespaced(client.clone(), namespace);
        accounts
            .create(
                &create,
                &ServiceAccount {
                    metadata: named(name),
                    ..ServiceAccount::default()
                },
            )
            .await?;
        let role = format!("{namespace}:{name}");
        let cluster_role = ClusterRole {
            metadata: named(&role),
            rules: Some(rules),
            ..ClusterRole::default()
        };
        Api::all(client.clone())
            .create(&create, &cluster_role)
            .await?;
        let binding = ClusterRoleBinding {
            metadata: named(&role),
            role_ref: RoleRef {
                api_group: "rbac.authorization.k8s.io".to_owned(),
                kind: "ClusterRole".to_owned(),
                name: role,
            },
            subjects: Some(vec![Subject {
                kind: "ServiceAccount".to_owned(),
                name: name.to_owned(),
                namespace: Some(namespace.to_owned()),
                ..Subject::default()
            }]),
        };
        Api::all(client).create(&create, &binding).await?;
        self.account_named(namespace, name).await
    }

    /// Returns the access of a service account that exists, with the rights that it has.
    pub async fn account_named(&self, namespace: &str, name: &str) -> Result<Account> {
        let accounts = Api::<ServiceAccount>::namespaced(self.client().await?, namespace);
        let request = TokenRequest {
            spec: TokenRequestSpec {
                expiration_seconds: Some(24 * 3600),
                ..TokenRequestSpec::default()
            },
            ..TokenRequest::default()
        };
        let token = accounts
            .create_token_request(name, &PostParams::default(), &request)
            .await?
            .status
            .context("a token was asked for")?
            .token;
        let path = self.folder().join(format!("{namespace}-{name}.kubeconfig"));
        let admin = self.admin();
        Ok(Account {
            user: format!("system:serviceaccount:{namespace}:{name}"),
            namespace: namespace.to_owned(),
            kubeconfig: Kubeconfig::write(&path, &admin.url, &admin.authority, &token)?,
        })
    }
}

fn named(name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        ..ObjectMeta::default()
    }
}
