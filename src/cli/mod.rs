//! The command line: one file a subcommand.
//!
//! Results go to standard output, as text or with `--json` as one JSON object; progress and logs go to standard error.
//! Exit codes: 0 done, 1 failed, 2 wrong usage.

mod arguments;
mod bench;
mod devices;
mod hvp;
mod linesearch;
mod progress;
mod report;
mod reproduce;
mod spectrum;
mod track;
mod train;

use clap::{Parser, Subcommand};
use eigenscope::{Error, Result};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A microscope for the loss surface of a neural network while it trains: exact Hessian-vector products and the most
/// positive and most negative eigenpairs of the Hessian, on any GPU or none.
#[derive(Parser)]
#[command(version, propagate_version = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Print one JSON object on standard output, nothing else
    #[arg(long, global = true)]
    json: bool,
    /// CPU threads [default: one a core]
    #[arg(long, global = true, value_name = "N")]
    threads: Option<usize>,
    /// More log lines on standard error (twice for the libraries' too)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

#[derive(Subcommand)]
enum Command {
    /// Reproduce the paper: train, compute, write tables, figures, findings and a report
    Reproduce(reproduce::Arguments),
    /// Train a network and keep checkpoints
    Train(train::Arguments),
    /// Compute the extreme eigenpairs of the Hessian at a checkpoint
    Spectrum(spectrum::Arguments),
    /// Follow the curvature along given vectors through several checkpoints
    Track(track::Arguments),
    /// Search the loss along the eigenvectors of a spectrum
    Linesearch(linesearch::Arguments),
    /// Rebuild figures, findings and report of a run from its tables
    Report(report::Arguments),
    /// Multiply given vectors by the Hessian at a checkpoint
    Hvp(hvp::Arguments),
    /// List the devices, and which one `--device auto` takes
    Devices,
    /// Measure speed
    Bench(bench::Arguments),
}

/// Prints a result: its JSON form with `--json`, its text otherwise.
struct Printer {
    json: bool,
}

impl Printer {
    fn print(&self, json: &serde_json::Value, text: &str) -> Result<()> {
        let mut out = std::io::stdout();
        let printed = if self.json { writeln!(out, "{json}") } else { writeln!(out, "{}", text.trim_end()) }
            .and_then(|()| out.flush());
        match printed {
            // Whoever reads has seen enough.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                Err(Error::file("standard output", format!("cannot be written: {error}")))
            }
            _ => Ok(()),
        }
    }
}

/// Most threads: far more than there are cores take minutes to start.
const MAX_THREADS: usize = 1024;

/// Bytes of a thread's stack, as main threads have on Linux.
const STACK: usize = 8 << 20;

/// Parses the arguments, runs the command and turns its outcome into an exit code.
pub fn main() -> ExitCode {
    // Mesa's device-select layer asks the desktop which GPU it prefers and, where there is no desktop, prints an error of
    // its own. We choose by ourselves.
    // SAFETY: this is the program's first statement; no other thread reads the environment.
    unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    let cli = Cli::parse();
    // The painter warns of dashes of no length, which are nothing to see.
    let level = match cli.verbose {
        0 => "warn,tiny_skia=error,eigenscope=info",
        1 => "warn,tiny_skia=error,eigenscope=debug",
        _ => "debug",
    };
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(level))
        .format_target(false)
        .format_timestamp(None)
        .init();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            progress::say(&format!("error: {error}"));
            ExitCode::from(if matches!(error, Error::Usage(_)) { 2 } else { 1 })
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    if cli.threads.is_some_and(|threads| !(1..=MAX_THREADS).contains(&threads)) {
        return Err(Error::Usage(format!("--threads must be from 1 to {MAX_THREADS}")));
    }
    rayon::ThreadPoolBuilder::new()
        .num_threads(cli.threads.unwrap_or(0))
        .stack_size(STACK)
        .build_global()
        .map_err(|e| Error::Device(format!("cannot start threads: {e}")))?;
    // As one of the pool: any other thread sleeps while a parallel loop runs, thousands of times a second.
    rayon::scope(|_| execute(cli))
}

fn execute(cli: Cli) -> Result<()> {
    let printer = Printer { json: cli.json };
    match cli.command {
        Command::Reproduce(arguments) => reproduce::run(arguments, &printer),
        Command::Train(arguments) => train::run(arguments, &printer),
        Command::Spectrum(arguments) => spectrum::run(arguments, &printer),
        Command::Track(arguments) => track::run(arguments, &printer),
        Command::Linesearch(arguments) => linesearch::run(arguments, &printer),
        Command::Report(arguments) => report::run(arguments, &printer),
        Command::Hvp(arguments) => hvp::run(arguments, &printer),
        Command::Devices => devices::run(&printer),
        Command::Bench(arguments) => bench::run(arguments, &printer),
    }
}

/// Refuses to write over what is read, or two things to one place; each output has the name of its option.
fn keep_apart(inputs: &[&Path], outputs: &[(&str, Option<&Path>)]) -> Result<()> {
    let place = |path: &Path| path.canonicalize().or_else(|_| std::path::absolute(path)).unwrap_or(path.into());
    let mut taken: Vec<PathBuf> = inputs.iter().map(|path| place(path)).collect();
    for (option, path) in outputs.iter().filter_map(|&(option, path)| Some((option, path?))) {
        if taken.contains(&place(path)) {
            let path = path.display();
            return Err(Error::Usage(format!(
                "{option} {path} is read or written by this command already: choose another"
            )));
        }
        taken.push(place(path));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
