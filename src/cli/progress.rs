//! Progress on standard error: bars with an estimate on a terminal, a line now and then elsewhere.

use eigenscope::experiment::Observer;
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Between two lines where standard error is not a terminal.
const QUIET: Duration = Duration::from_secs(15);

/// Shows tasks as they go.
pub struct Progress {
    terminal: bool,
    bar: ProgressBar,
    task: String,
    total: u64,
    start: Instant,
    spoke: Instant,
    /// Where the task stood when it was first heard of: a resumed one does not begin at zero.
    first: Option<u64>,
}

impl Progress {
    pub fn new() -> Self {
        let now = Instant::now();
        Self {
            terminal: std::io::stderr().is_terminal(),
            bar: ProgressBar::hidden(),
            task: String::new(),
            total: 0,
            start: now,
            spoke: now,
            first: None,
        }
    }

    /// Seconds left, if the rest goes as fast as what was done.
    fn left(&self, done: u64) -> Option<Duration> {
        let first = self.first?;
        let share = (self.total.saturating_sub(done)) as f64 / done.checked_sub(first).filter(|&n| n > 0)? as f64;
        Some(self.start.elapsed().mul_f64(share))
    }
}

impl Observer for Progress {
    fn begin(&mut self, task: &str, total: u64) {
        (self.task, self.total, self.first) = (task.to_string(), total, None);
        (self.start, self.spoke) = (Instant::now(), Instant::now());
        if self.terminal {
            let style =
                ProgressStyle::with_template("{prefix:>10} {bar:30} {pos}/{len}  {msg}  {elapsed} so far, {eta} left")
                    .expect("the template is tested");
            self.bar = ProgressBar::new(total).with_style(style).with_prefix(task.to_string());
            self.bar.enable_steady_tick(Duration::from_millis(250));
        }
    }

    fn advance(&mut self, done: u64, detail: &str) {
        self.first.get_or_insert(done);
        self.bar.set_position(done);
        if !detail.is_empty() {
            self.bar.set_message(detail.to_string());
        }
        if !self.terminal && self.spoke.elapsed() > QUIET {
            self.spoke = Instant::now();
            let left = self.left(done).map_or(String::new(), |d| format!(", about {} left", HumanDuration(d)));
            say(&format!("{}: {done}/{}  {detail}{left}", self.task, self.total));
        }
    }

    fn end(&mut self, outcome: &str) {
        self.bar.finish_and_clear();
        say(&format!("{}: done in {:.1} s; {outcome}", self.task, self.start.elapsed().as_secs_f64()));
    }
}

/// A line to standard error; that nobody reads it stops nothing.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_is_estimated_from_what_this_process_did() {
        let mut progress = Progress::new();
        progress.begin("x", 100);
        assert_eq!(progress.left(40), None);
        progress.advance(40, "resumed here");
        assert_eq!(progress.left(40), None);
        progress.start = Instant::now() - Duration::from_secs(10);
        let left = progress.left(60).unwrap().as_secs_f64();
        assert!((left - 20.0).abs() < 0.5, "{left}");
    }
}
