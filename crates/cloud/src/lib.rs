//! Clients and logins that keys and stores share: Vault, AWS
