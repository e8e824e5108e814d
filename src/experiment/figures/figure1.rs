//! Figure 1: the largest and the most negative eigenvalues along the training.

use super::{Part, number};
use crate::Result;
use crate::experiment::statistics::median;
use crate::experiment::{Configuration, CostRow, EigenvalueRow, LossRow, SpectrumSeconds};
use crate::figure::{End, ReportTable, SpectrumRow, eigenvalues_over_steps};
use crate::run::RunDirectory;

pub(super) fn part(run: &RunDirectory, configuration: &Configuration) -> Result<Part> {
    let eigenvalues: Vec<EigenvalueRow> = run.read_table("eigenvalues")?;
    let losses: Vec<LossRow> = run.read_table_so_far("loss")?;
    let costs: Vec<CostRow> = run.read_table_so_far("cost")?;
    let mut part = Part::new(
        "fig1",
        "Figure 1: eigenvalues along the training",
        "The extreme eigenvalues of the Hessian of the loss on a fixed subset, at checkpoints of one training run. Every \
         pair is certified by a recomputed residual.",
    );
    let rows: Vec<SpectrumRow> =
        eigenvalues.iter().map(|r| SpectrumRow { step: r.step, end: r.end, rank: r.rank, value: r.value }).collect();
    let losses: Vec<(f64, f64)> = losses.iter().map(|row| (row.step as f64, row.loss)).collect();
    let title = "Extreme eigenvalues of the Hessian during training";
    let svg = eigenvalues_over_steps(title, &rows, &losses).to_svg(900, 600)?;
    part.draw("fig1", svg, "Absolute eigenvalues on a logarithmic axis; the training loss is dotted.");

    let outermost = |end: End| -> Vec<(u64, f64)> {
        eigenvalues.iter().filter(|r| r.end == end && r.rank == 1).map(|r| (r.step, r.value)).collect()
    };
    let (top, bottom) = (outermost(End::Largest), outermost(End::Smallest));
    stabilisation(&mut part, configuration, &top);
    let ratios: Vec<f64> = top.iter().zip(&bottom).map(|((_, t), (_, b))| t / b.abs()).collect();
    part.find(
        "The largest positive eigenvalues have a much larger magnitude than the negative ones (section 3).",
        (!ratios.is_empty()).then(|| median(&ratios) > 2.0),
        format!(
            "The median of λ₁ / |λ_d| is {}; λ₁ is the larger one at {} of {} checkpoints.",
            number(median(&ratios)),
            ratios.iter().filter(|r| **r > 1.0).count(),
            ratios.len()
        ),
    );
    let negative = bottom.iter().filter(|(_, value)| *value < 0.0).count();
    part.find(
        "The Hessian has negative eigenvalues throughout the training.",
        (!bottom.is_empty()).then_some(negative == bottom.len()),
        format!("The smallest eigenvalue is negative at {negative} of {} checkpoints.", bottom.len()),
    );
    cost(&mut part, configuration, &costs);
    part.tables.push(ledger(run, &costs, configuration)?);
    let unconverged = eigenvalues.iter().filter(|r| r.status != "converged").count();
    part.tables.push(ReportTable {
        caption: format!(
            "The outermost eigenvalues, and the largest residual of any pair. {unconverged} of {} pairs are not converged.",
            eigenvalues.len()
        ),
        header: ["step", "λ₁", "λ_d", "largest residual"].map(String::from).to_vec(),
        rows: top
            .iter()
            .zip(&bottom)
            .map(|((step, t), (_, b))| {
                let residuals = eigenvalues.iter().filter(|r| r.step == *step).map(|r| r.residual);
                vec![step.to_string(), number(*t), number(*b), number(residuals.fold(0.0, f64::max))]
            })
            .collect(),
    });
    Ok(part)
}

/// Do the largest eigenvalues settle? Compared are the spreads over the first and the second half of the training.
fn stabilisation(part: &mut Part, configuration: &Configuration, top: &[(u64, f64)]) {
    let spread = |late: bool| {
        let values: Vec<f64> =
            top.iter().filter(|(step, _)| (2 * step >= configuration.steps) == late).map(|(_, value)| *value).collect();
        let range = values.iter().fold((f64::INFINITY, 0.0f64), |(l, h), &v| (l.min(v), h.max(v)));
        (values.len(), range.1 / range.0)
    };
    let ((early_count, early), (late_count, late)) = (spread(false), spread(true));
    part.find(
        "The largest positive eigenvalues stabilise after a while.",
        (early_count > 1 && late_count > 1).then_some(late < early && late < 3.0),
        format!(
            "λ₁ varies by a factor of {} over the {early_count} checkpoints of the first half of the training, and by {} over \
             the {late_count} of the second.",
            number(early),
            number(late)
        ),
    );
}

/// Is LA(k) cheaper than SA(k')? Both come from one Krylov space; compared is when each set was complete, if it ever was.
fn cost(part: &mut Part, configuration: &Configuration, costs: &[CostRow]) {
    let (k, l) = (configuration.spectra.largest, configuration.spectra.smallest);
    let total = |hvps: Option<usize>| hvps.map_or(f64::INFINITY, |h| h as f64);
    let cheaper = costs.iter().filter(|c| total(c.largest_hvps) < total(c.smallest_hvps)).count();
    let [largest, smallest]: [Vec<f64>; 2] =
        [costs.iter().map(|c| total(c.largest_hvps)).collect(), costs.iter().map(|c| total(c.smallest_hvps)).collect()];
    part.find(
        "Computing LA(20) is much cheaper than SA(3) (section 3).",
        (!costs.is_empty()).then(|| 1.5 * median(&largest) < median(&smallest)),
        format!(
            "LA({k}) was complete after a median of {} products and SA({l}) after {}: {} and {} a pair. LA({k}) was complete first \
             at {cheaper} of {} checkpoints. Both ends are found in one Krylov space.",
            number(median(&largest)),
            number(median(&smallest)),
            number(median(&largest) / k as f64),
            number(median(&smallest) / l as f64),
            costs.len()
        ),
    );
}

/// What each spectrum cost.
fn ledger(run: &RunDirectory, costs: &[CostRow], configuration: &Configuration) -> Result<ReportTable> {
    let seconds: Vec<SpectrumSeconds> = run.read_clock_so_far("spectra")?;
    let (k, l) = (configuration.spectra.largest, configuration.spectra.smallest);
    let row = |c: &CostRow| {
        let total = c.hvps + c.guard_hvps + c.verification_hvps;
        let seconds = seconds.iter().find(|s| s.step == c.step).map_or(f64::NAN, |s| s.seconds);
        let each = |hvps: Option<usize>, pairs: usize| {
            hvps.map_or(["-".into(), "-".into()], |h| {
                let share = h as f64 / pairs as f64;
                [number(share), number(seconds * share / total as f64)]
            })
        };
        let [la, la_seconds] = each(c.largest_hvps, k);
        let [sa, sa_seconds] = each(c.smallest_hvps, l);
        vec![
            c.step.to_string(),
            c.hvps.to_string(),
            c.guard_hvps.to_string(),
            c.verification_hvps.to_string(),
            number(seconds),
            la,
            la_seconds,
            sa,
            sa_seconds,
            format!("{:.0}", c.basis_bytes as f64 / (k + l) as f64 / 1e6),
        ]
    };
    Ok(ReportTable {
        caption: format!(
            "Cost ledger: Hessian-vector products of the search, of the guard against missed pairs and of the recomputed \
             residuals; seconds of all three; products and seconds per converged pair when LA({k}), respectively SA({l}), was \
             complete; megabytes of the basis per pair."
        ),
        header: ["step", "search", "guard", "residuals", "seconds", "HVPs/LA", "s/LA", "HVPs/SA", "s/SA", "MB"]
            .map(String::from)
            .to_vec(),
        rows: costs.iter().map(row).collect(),
    })
}
