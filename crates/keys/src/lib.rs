//! What wraps a data key: age
