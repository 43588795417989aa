//! What a command does about its session when the daemon dies that holds it: whether the session is made again, when, and
//! what is said. Pure.

use std::time::Duration;

use bridge_proto::v1;

/// The pause before another attempt; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Who has only used the session lets another command go first that has made it, and gives it back.
const AFTER_YOU: Duration = Duration::from_millis(500);
/// A session that ends sooner has not proved that attempts are worth it at once.
const PROVED: Duration = Duration::from_secs(10);
/// Of why it does not work; each of them is told once.
const MOST_REASONS: usize = 3;

/// A command's session, as it will have to be made again.
#[derive(Debug)]
pub(super) struct Again {
    target: String,
    /// The connect that makes it; `None`: it has ended, and stays so.
    made_by: Option<v1::ConnectRequest>,
    /// This command has made it, and gives it back.
    ours: bool,
    failures: u32,
    reasons: Vec<String>,
}

impl Again {
    pub(super) fn new(target: String, ours: bool) -> Self {
        Self { target, made_by: None, ours, failures: 0, reasons: Vec::new() }
    }

    /// How it is made by now.
    pub(super) fn is_made_by(&mut self, made_by: Option<v1::ConnectRequest>) {
        self.made_by = made_by;
    }

    pub(super) fn made_by(&self) -> Option<&v1::ConnectRequest> {
        self.made_by.as_ref()
    }

    pub(super) fn is_ours(&self) -> bool {
        self.ours
    }

    /// The daemon is gone, and the session had been there for so long. The pause before the first attempt, and what to say;
    /// `None`: it had ended before, so that nobody wants it.
    pub(super) fn daemon_is_gone(&mut self, lasted: Duration) -> Option<(Duration, String)> {
        self.made_by.as_ref()?;
        self.reasons.clear();
        if lasted >= PROVED {
            self.failures = 0;
        }
        let said = format!(
            "the daemon is gone: {} is being connected again; open connections were reset, and new ones wait",
            self.target
        );
        let courtesy = if self.ours { Duration::ZERO } else { AFTER_YOU };
        Some((self.pause().max(courtesy), said))
    }

    /// An attempt failed. The pause before the next, and what to say.
    pub(super) fn failed(&mut self, why: &str) -> (Duration, Option<String>) {
        self.failures = self.failures.saturating_add(1);
        let new = self.reasons.len() < MOST_REASONS && self.reasons.iter().all(|told| told != why);
        if new {
            self.reasons.push(why.to_owned());
        }
        let said = || format!("{} cannot be connected again: {why}; this is tried on and on", self.target);
        (self.pause(), new.then(said))
    }

    /// It is there again: found, because another command has made it, or made by this one.
    pub(super) fn is_there(&mut self, found: bool) -> String {
        let said = match (self.ours, found) {
            (true, true) => ", by another command; it stays connected after this one",
            (false, false) => ", by this command: it is disconnected when this one ends",
            (true, false) | (false, true) => "",
        };
        self.ours = !found;
        self.has_to_prove_itself();
        format!("{} is connected again{said}", self.target)
    }

    /// It has never been away: only the call that followed it has broken.
    pub(super) fn is_still_there(&mut self) -> String {
        self.has_to_prove_itself();
        format!("{} is connected still", self.target)
    }

    fn has_to_prove_itself(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    fn pause(&self) -> Duration {
        let doubled = self.failures.checked_sub(1).map(|times| FIRST_PAUSE * 2_u32.pow(times.min(8)));
        doubled.unwrap_or_default().min(LONGEST_PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn connected(ours: bool) -> Again {
        let mut again = Again::new("orders".to_owned(), ours);
        again.is_made_by(Some(v1::ConnectRequest::default()));
        again
    }

    fn pause(again: &mut Again, lasted: Duration) -> Option<Duration> {
        again.daemon_is_gone(lasted).map(|(pause, _)| pause)
    }

    #[test]
    fn who_has_made_it_makes_it_again_at_once_and_who_has_not_lets_others_go_first() {
        assert_eq!(pause(&mut connected(true), LONG), Some(Duration::ZERO));
        assert_eq!(pause(&mut connected(false), LONG), Some(AFTER_YOU));
    }

    #[test]
    fn what_was_ended_is_not_made_again() {
        let mut again = connected(true);
        again.is_made_by(None);
        assert_eq!(pause(&mut again, LONG), None);
    }

    #[test]
    fn attempts_become_rare_and_each_reason_is_told_once() {
        let mut again = connected(true);
        assert!(again.daemon_is_gone(LONG).is_some());
        let tried: Vec<_> = ["a", "b", "a", "c", "d", "a", "a", "a"].map(|why| again.failed(why)).into();
        let pauses: Vec<u128> = tried.iter().map(|(pause, _)| pause.as_millis()).collect();
        assert_eq!(pauses, [250, 500, 1000, 2000, 4000, 5000, 5000, 5000]);
        let told: Vec<&String> = tried.iter().filter_map(|(_, said)| said.as_ref()).collect();
        assert_eq!(told.len(), 3, "{told:?}");
        assert_eq!(told[0], "orders cannot be connected again: a; this is tried on and on");
        let _ = again.is_there(false);
        assert!(again.daemon_is_gone(LONG).is_some());
        assert_eq!(again.failed("a").1.as_ref(), Some(told[0]), "after another death it is told again");
    }

    #[test]
    fn a_daemon_that_dies_again_and_again_is_started_ever_less_often() {
        let mut again = connected(true);
        let mut pauses = Vec::new();
        for _ in 0..4 {
            pauses.push(pause(&mut again, Duration::from_secs(1)).unwrap().as_millis());
            let _ = again.is_there(false);
        }
        assert_eq!(pauses, [0, 250, 500, 1000]);
        assert_eq!(pause(&mut again, LONG), Some(Duration::ZERO), "it has proved itself");
    }

    #[test]
    fn whoever_makes_it_again_gives_it_back_and_that_is_said() {
        for (was_ours, found, is_ours, said) in [
            (true, false, true, "orders is connected again"),
            (false, true, false, "orders is connected again"),
            (
                false,
                false,
                true,
                "orders is connected again, by this command: it is disconnected when this one ends",
            ),
            (
                true,
                true,
                false,
                "orders is connected again, by another command; it stays connected after this one",
            ),
        ] {
            let mut again = connected(was_ours);
            assert_eq!(again.is_there(found), said);
            assert_eq!(again.is_ours(), is_ours, "{said}");
        }
    }
}
