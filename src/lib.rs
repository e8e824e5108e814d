//! A microscope for the loss surface of a neural network while it trains: exact Hessian-vector products, the most
//! positive and most negative eigenpairs of the Hessian, and the experiments of *Negative eigenvalues of the Hessian in
//! deep neural networks* (Alain, Le Roux, Manzagol 2019), on any GPU or none.
//!
//! Data flows one way:
//!
//! ```text
//! data -> Samples -> Objective -> Linearization at theta -> eigen -> experiment -> run (tables) -> figure
//! ```
//!
//! * [`data`]: MNIST, any set in its IDX format, CIFAR-10; splits and fixed subsets.
//! * [`network`]: the list of conv blocks and dense layers, and the layout of the parameter vector.
//! * [`device`]: the contract of buffers and kernels; [`device::cpu`] and [`device::gpu`] implement it.
//! * [`objective`]: loss, gradient and block Hessian-vector products, written once over that contract.
//! * [`eigen`]: block Lanczos for both ends of the spectrum of any symmetric operator.
//! * [`train`]: RMSProp as the paper ran it, and appendix C's optimiser.
//! * [`experiment`]: what the paper's figures and appendices compute, and how each is drawn and judged.
//! * [`run`]: the run directory: checkpoints, tables, spectra; the only code that writes results.
//! * [`figure`]: tables to SVG and PNG.

pub mod data;
pub mod device;
pub mod eigen;
mod error;
pub mod experiment;
pub mod figure;
pub mod network;
pub mod objective;
mod random;
pub mod run;
pub mod train;

pub use error::{Error, Result};
