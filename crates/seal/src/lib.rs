//! Sealed Secrets: hybrid encryption, scopes, certificates
