//! Small integers of samples, and what the kernels make of route codes.

use super::layout::Layout;
use super::routes::Routes;
use crate::network::Conv;
use std::ops::Deref;
use std::sync::{Mutex, MutexGuard, OnceLock};

/// The codes of some samples.
pub struct Codes {
    values: Vec<u8>,
    /// A sample's lists each, made when first asked for.
    routes: OnceLock<Box<[Mutex<Routes>]>>,
}

impl Codes {
    /// Bytes a code takes, and what is listed of it.
    pub(in crate::device::cpu) const BYTES: usize = 1 + Routes::BYTES_PER_CODE;

    pub(in crate::device::cpu) fn new(values: Vec<u8>) -> Self {
        Self { values, routes: OnceLock::new() }
    }

    /// The codes, to be written.
    pub(in crate::device::cpu) fn write(&mut self) -> &mut [u8] {
        for routes in self.routes.get_mut().into_iter().flatten() {
            routes.get_mut().expect("no kernel panicked").forget();
        }
        &mut self.values
    }

    /// The live outputs of sample `n` of a layer whose route codes these are. They are listed once, until codes are written.
    pub(super) fn routes(&self, c: &Conv, layout: &Layout, n: usize) -> MutexGuard<'_, Routes> {
        let len = c.output_len();
        let all = self.routes.get_or_init(|| (0..self.values.len() / len).map(|_| Mutex::default()).collect());
        let mut routes = all[n].lock().expect("no kernel panicked");
        routes.list(c, layout, &self.values[n * len..(n + 1) * len]);
        routes
    }
}

impl Deref for Codes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.values
    }
}
