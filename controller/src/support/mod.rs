//! What both kinds of controller stand on.

pub mod answer;
pub mod api_calls;
pub mod bucket;
pub mod context;
pub mod duration;
pub mod events;
pub mod health;
pub mod http;
pub mod lease;
pub mod managed_fields;
pub mod metrics;
pub mod ownership;
pub mod queue;
pub mod repairs;
pub mod resource_version;
pub mod secret_object;
pub mod secret_watch;
pub mod secret_write;
pub mod shutdown;
pub mod timed;
pub mod view;
