//! The test bed, interop and end-to-end tests
