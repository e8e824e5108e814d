//! Softmax cross-entropy, its gradient and the gradient's tangent. A few operations a sample: one thread.

use super::CpuDevice;
use crate::device::{LossBackward, LossForward, LossTangentBackward, Scalar};

type Cpu<T> = CpuDevice<T>;

pub(super) fn forward<T: Scalar>(call: LossForward<'_, Cpu<T>>) {
    let classes = call.classes;
    for n in 0..call.samples {
        let z = &call.logits[n * classes..(n + 1) * classes];
        let r = &mut call.r[n * classes..(n + 1) * classes];
        let label = usize::from(call.labels[n]);
        let top = (1..classes).fold(0, |best, j| if z[j] > z[best] { j } else { best });
        for (r, &z_j) in r.iter_mut().zip(z) {
            *r = (z_j - z[top]).exp();
        }
        let others: T = (0..classes).filter(|&j| j != top).map(|j| r[j]).sum();
        call.losses[n] = (z[top] - z[label]) + others.ln_1p();
        let sum = T::one() + others;
        r.iter_mut().for_each(|r| *r /= sum);
        r[label] = -(0..classes).filter(|&j| j != label).map(|j| r[j]).sum::<T>();
    }
}

pub(super) fn backward<T: Scalar>(call: LossBackward<'_, Cpu<T>>) {
    let scale = T::from_f64(call.scale);
    let len = call.samples * call.classes;
    call.dlogits[..len].iter_mut().zip(&call.r[..len]).for_each(|(d, &r)| *d = scale * r);
}

pub(super) fn tangent_backward<T: Scalar>(call: LossTangentBackward<'_, Cpu<T>>) {
    let (samples, classes) = (call.samples, call.classes);
    let scale = T::from_f64(call.scale);
    for (i, td) in call.tdlogits[..call.directions * samples * classes].chunks_exact_mut(classes).enumerate() {
        let n = i % samples;
        let label = usize::from(call.labels[n]);
        let r = &call.r[n * classes..(n + 1) * classes];
        let t = &call.tlogits[i * classes..(i + 1) * classes];
        let others = || (0..classes).filter(|&j| j != label);
        let mean = t[label] + others().map(|j| r[j] * (t[j] - t[label])).sum::<T>();
        others().for_each(|j| td[j] = scale * r[j] * (t[j] - mean));
        td[label] = -others().map(|j| td[j]).sum::<T>();
    }
}
