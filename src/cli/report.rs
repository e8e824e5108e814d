//! `eigenscope report`: figures, findings and the page of a run, from its tables.

use super::Printer;
use clap::Args;
use eigenscope::Result;
use eigenscope::experiment::{CostRow, EigenvalueRow, Finding, report};
use eigenscope::figure::{End, Verdict};
use eigenscope::run::RunDirectory;
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::PathBuf;

#[derive(Args)]
#[command(after_help = "Example:
  eigenscope report runs/quick

Nothing is computed: the tables under DIR/tables, the seconds under DIR/clock and the settings in DIR/run.toml are enough.")]
pub struct Arguments {
    /// Run directory of `eigenscope reproduce`
    #[arg(value_name = "DIR")]
    run: PathBuf,
}

pub fn run(arguments: Arguments, printer: &Printer) -> Result<()> {
    let (run, record) = RunDirectory::existing(&arguments.run)?;
    describe(&run, &report(&run, &record)?, printer)
}

/// Prints what a run found.
pub fn describe(run: &RunDirectory, findings: &[Finding], printer: &Printer) -> Result<()> {
    let eigenvalues: Vec<EigenvalueRow> = run.read_table_so_far("eigenvalues")?;
    let costs: Vec<CostRow> = run.read_table_so_far("cost")?;
    let mut text = String::new();
    if !eigenvalues.is_empty() {
        text.push_str("  step   largest   most negative\n");
    }
    let mut steps: Vec<u64> = eigenvalues.iter().map(|r| r.step).collect();
    steps.dedup();
    for step in steps {
        let outermost = |end: End| {
            let row = eigenvalues.iter().find(|r| r.step == step && r.end == end && r.rank == 1);
            row.map_or("-".to_string(), |r| format!("{:.4}", r.value))
        };
        let _ = writeln!(text, "{step:>6}  {:>8}  {:>14}", outermost(End::Largest), outermost(End::Smallest));
    }
    let mut figure = "";
    for finding in findings {
        if figure != finding.figure {
            figure = &finding.figure;
            let _ = writeln!(text, "\n{figure}");
        }
        let verdict = match finding.verdict {
            Verdict::Holds => "held",
            Verdict::DoesNotHold => "did not hold",
            Verdict::Undecided => "undecided",
        };
        let _ = writeln!(text, "* {}\n  {verdict}: {}", finding.claim, finding.statement);
    }
    let _ = write!(text, "\nreport: {}", run.report().display());
    let hvps: usize = costs.iter().map(|c| c.hvps + c.guard_hvps + c.verification_hvps).sum();
    let found: Vec<Value> = findings.iter().map(|f| serde_json::to_value(f).expect("plain")).collect();
    printer.print(
        &json!({
            "out": run.root().display().to_string(),
            "report": run.report().display().to_string(),
            "hvps": hvps,
            "eigenvalues": eigenvalues,
            "findings": found,
        }),
        &text,
    )
}
