//! The whole test suite in one binary: it links once.

mod derivatives;
mod eigen;
mod golden;
mod support;
