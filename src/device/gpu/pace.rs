//! How much work one submission may take.

use super::geometry::SUBMISSION_WORK;
use std::time::{Duration, Instant};

/// What one submission should take at most: a display GPU's driver resets it after about two seconds.
const SUBMISSION_TIME: Duration = Duration::from_millis(500);

/// Measures how fast the adapter works, from the first submission until all are done.
///
/// The rate is never too high, as the host's own time is in it, and what the kernels are is left out: a kernel that is
/// four times slower than the average so far is still in time.
pub(super) struct Pace {
    limit: u64,
    /// When the adapter began, and what it was given since.
    busy: Option<(Instant, u64)>,
    measures: bool,
}

impl Pace {
    /// A limit that stays.
    pub fn fixed(limit: u64) -> Self {
        Self { limit, busy: None, measures: false }
    }

    /// The work of one submission at most.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Takes down that work is being submitted.
    pub fn submitted(&mut self, work: u64) {
        self.busy.get_or_insert_with(|| (Instant::now(), 0)).1 += work;
    }

    /// Before the host waits for all submissions: what it waits for.
    pub fn wait(&mut self) -> Option<(Instant, u64)> {
        self.busy.take()
    }

    /// After it has waited.
    pub fn waited(&mut self, (start, work): (Instant, u64)) {
        self.measured(start.elapsed(), work);
    }

    fn measured(&mut self, time: Duration, work: u64) {
        // Less work says more about how a submission starts than about how fast it runs.
        if self.measures && work >= SUBMISSION_WORK {
            let rate = work as f64 / time.as_secs_f64().max(1e-6);
            self.limit = ((rate * SUBMISSION_TIME.as_secs_f64()) as u64).max(SUBMISSION_WORK);
        }
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self { measures: true, ..Self::fixed(SUBMISSION_WORK) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fast_adapter_gets_longer_submissions_and_a_slow_one_the_shortest() {
        let mut pace = Pace::default();
        assert_eq!(pace.limit(), SUBMISSION_WORK);
        pace.measured(Duration::from_millis(100), 100_000_000_000);
        assert_eq!(pace.limit(), 500_000_000_000);
        // Too little to tell.
        pace.measured(Duration::from_secs(1), SUBMISSION_WORK - 1);
        assert_eq!(pace.limit(), 500_000_000_000);
        pace.measured(Duration::from_secs(10), SUBMISSION_WORK);
        assert_eq!(pace.limit(), SUBMISSION_WORK);
        let mut fixed = Pace::fixed(1000);
        fixed.measured(Duration::from_millis(100), 100_000_000_000);
        assert_eq!(fixed.limit(), 1000);
    }
}
