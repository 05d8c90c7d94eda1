//! Keys of Google Cloud KMS and Azure Key Vault on loopback servers, beside the official clients: the
//! real sops and Google's and Azure's own Python libraries (issue 4, "Every key service").

#[path = "../keys_network/work.rs"]
mod work;

mod azure;
mod azure_refused;
mod google;
mod google_refused;
mod same;
mod together;
