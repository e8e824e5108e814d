//! What adds to the eigensolver's block vectors, in blocks of rows that stay in cache, and what moves or steps whole vectors.

use super::CpuDevice;
use super::arena::{with_arena, zeros};
use super::matrix::{Mat, MatMut};
use super::simd::arch;
use crate::device::{Columns, Combine, RmsPropStep, Scalar, Update};
use pulp::{Simd, WithSimd};
use rayon::prelude::*;

/// Rows a task.
const ROWS: usize = 4096;

/// Scalars that one core moves at a time.
const PIECE: usize = 1 << 16;

type Cpu<T> = CpuDevice<T>;

/// `to = from`, on all cores where it is long: a memory page that is written for the first time takes longer to be had than
/// to be copied to.
pub(super) fn copy<T: Scalar>(from: &[T], to: &mut [T]) {
    if to.len() <= PIECE {
        return to.copy_from_slice(from);
    }
    assert_eq!(from.len(), to.len());
    to.par_chunks_mut(PIECE).zip(from.par_chunks(PIECE)).for_each(|(to, from)| to.copy_from_slice(from));
}

/// Zeros, likewise.
pub(super) fn clear<T: Scalar>(values: &mut [T]) {
    if values.len() <= PIECE {
        return values.fill(T::zero());
    }
    values.par_chunks_mut(PIECE).for_each(|values| values.fill(T::zero()));
}

/// [`RmsPropStep`] on a piece of each vector, which the compiler turns into the widest instructions.
struct RmsProp<'a, T> {
    /// Rate, decay, momentum, epsilon.
    settings: [T; 4],
    theta: &'a mut [T],
    mean_square: &'a mut [T],
    momenta: &'a mut [T],
    gradient: &'a [T],
}

impl<T: Scalar> WithSimd for RmsProp<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let [rate, decay, momentum, epsilon] = self.settings;
        let averages = self.mean_square.iter_mut().zip(self.momenta);
        for ((theta, &g), (ms, mom)) in self.theta.iter_mut().zip(self.gradient).zip(averages) {
            *ms = decay * *ms + (T::one() - decay) * g * g;
            *mom = momentum * *mom + rate * g / (*ms + epsilon).sqrt();
            *theta -= *mom;
        }
    }
}

pub(super) fn rmsprop_step<T: Scalar>(call: RmsPropStep<'_, Cpu<T>>) {
    let settings = [call.rate, call.decay, call.momentum, call.epsilon].map(T::from_f64);
    let (len, arch) = (call.len, arch());
    let averages = (call.mean_square[..len].par_chunks_mut(PIECE), call.momenta[..len].par_chunks_mut(PIECE));
    (call.theta[..len].par_chunks_mut(PIECE), call.gradient[..len].par_chunks(PIECE), averages.0, averages.1)
        .into_par_iter()
        .for_each(|(theta, gradient, mean_square, momenta)| {
            arch.dispatch(RmsProp { settings, theta, mean_square, momenta, gradient });
        });
}

fn view<'a, T: Scalar>(columns: &Columns<'a, Cpu<T>>, first_row: usize, rows: usize) -> Mat<'a, T> {
    let data = if columns.count == 0 { &[] } else { &columns.buffer[columns.offset + first_row..] };
    Mat::strided(data, rows, columns.count, 1, columns.pitch)
}

pub(super) fn update<T: Scalar>(call: Update<'_, Cpu<T>>) {
    let (b, k) = (call.w.count, call.v.count);
    let h: Vec<T> = call.h.iter().map(|&h| T::from_f64(h)).collect();
    let m: Vec<T> = call.m.iter().map(|&m| T::from_f64(m)).collect();
    let w = MatMut::strided(&mut call.w.buffer[call.w.offset..], call.rows, b, 1, call.w.pitch);
    w.row_blocks(ROWS).for_each(|(start, mut w)| {
        let rows = w.row_count();
        w.add_product(-T::one(), view(&call.v, start, rows), Mat::new(&h, k, b));
        with_arena(|arena| {
            let columns = zeros(arena, rows * b);
            w.copy_to(columns);
            w.set_product(Mat::strided(columns, rows, b, 1, rows), Mat::new(&m, b, b));
        });
    });
}

pub(super) fn combine<T: Scalar>(call: Combine<'_, Cpu<T>>) {
    let (k, p) = (call.v.count, call.x.count);
    let s: Vec<T> = call.s.iter().map(|&s| T::from_f64(s)).collect();
    let x = MatMut::strided(&mut call.x.buffer[call.x.offset..], call.rows, p, 1, call.x.pitch);
    x.row_blocks(ROWS).for_each(|(start, mut x)| {
        let rows = x.row_count();
        x.set_product(view(&call.v, start, rows), Mat::new(&s, k, p));
    });
}
