//! The whole test suite in one binary: it links once.

mod derivatives;
mod golden;
mod support;
