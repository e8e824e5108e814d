//! The whole test suite in one binary: it links once.

mod checkpoints;
mod derivatives;
mod eigen;
mod experiments;
mod golden;
mod kernels;
mod lines;
mod operator;
mod program;
mod shaders;
mod support;
mod training;
