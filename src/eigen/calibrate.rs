//! Which block size pays on an operator, by timing it.

use super::SymmetricOperator;
use crate::Result;
use crate::device::Device;
use std::time::Instant;

/// A block of two needs about a quarter more products than single vectors do, and as many more sweeps over the basis, so two
/// products together must cost less than this many times one.
const PAYS_BELOW: f64 = 1.5;

/// One or two vectors a block, whichever should be faster on this operator.
///
/// Larger blocks need more products in a basis of bounded size, and are not tried. The answer depends on the clock;
/// for the same bits in every run, choose the block yourself.
///
/// # Errors
/// What the operator or the device meets.
pub fn choose_block<D: Device>(operator: &mut impl SymmetricOperator<D>) -> Result<usize> {
    if operator.max_block() < 2 {
        return Ok(1);
    }
    let dimension = operator.dimension();
    let vectors = operator.device().zeros(2 * dimension)?;
    let mut products = operator.device().zeros(2 * dimension)?;
    let mut seconds = |count: usize| -> Result<f64> {
        let mut best = f64::INFINITY;
        // The first of each makes scratch and pipelines.
        for repeat in 0..3 {
            let start = Instant::now();
            operator.apply(count, &vectors, &mut products)?;
            operator.device().read(&products, 0..1)?;
            if repeat > 0 {
                best = best.min(start.elapsed().as_secs_f64());
            }
        }
        Ok(best)
    };
    let (two, one) = (seconds(2)?, seconds(1)?);
    log::debug!("a product of one vector takes {one:.4} s, of two {two:.4} s");
    Ok(if two < PAYS_BELOW * one { 2 } else { 1 })
}
