//! The in-cluster controller
