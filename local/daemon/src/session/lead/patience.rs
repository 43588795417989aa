//! Decides when a Service without a ready agent goes back to the origin, and when to the agents again. Pure: time goes
//! in.

use std::time::Duration;

use tokio::time::Instant;

/// Agents that are shutting down still answer those who reach them. With no such agent callers fail already: there is
/// nothing to wait for.
const LEAVING_SERVE_FOR: Duration = Duration::from_secs(3);
/// The time that agents must have been ready the first time; twice as long each further time.
const STEADY_FOR: Duration = Duration::from_secs(1);
const MOST_DOUBLINGS: u32 = 6;
/// After this time without trouble, the next time counts as the first.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

/// The state of a Service and its agents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// It leads to the stand-in.
    pub(super) in_place: bool,
    /// It leads to the origin because no agent was ready.
    pub(super) led_back: bool,
    /// Ready agents that are not stopping.
    pub(super) ready: usize,
    /// Agents that are stopping and still answer.
    pub(super) leaving: usize,
    /// The number of agents there should be.
    pub(super) wanted: usize,
    pub(super) origin_ready: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Nothing,
    /// Look again at this time, if nothing has changed by then.
    Wait(Instant),
    LeadBack,
    SwitchAgain,
}

/// Since when agents have been ready, or none.
#[derive(Debug, Default)]
pub(super) struct Patience {
    none_ready: Option<Instant>,
    enough_ready: Option<Instant>,
    was_led_back: bool,
    /// The number of recent switches back, and the time of the last.
    led_back: u32,
    last: Option<Instant>,
}

impl Patience {
    /// The next step. Call it at each change, and when the time of a wait has come.
    pub(super) fn step(&mut self, seen: Seen, now: Instant) -> Step {
        let since = |begun: &mut Option<Instant>, holds: bool| {
            *begun = holds.then(|| begun.unwrap_or(now));
            *begun
        };
        // The least that a stand-in needs to take a Service over.
        let enough = seen.ready > 0 && 2 * seen.ready >= seen.wanted;
        let none_ready = since(&mut self.none_ready, seen.ready == 0);
        let enough_ready = since(&mut self.enough_ready, enough);
        self.count(seen.led_back, now);

        let (due, step) = match (none_ready, enough_ready) {
            (Some(since), _) if seen.in_place && seen.origin_ready => {
                let patience = if seen.leaving > 0 { LEAVING_SERVE_FOR } else { Duration::ZERO };
                (since + patience, Step::LeadBack)
            }
            (_, Some(since)) if seen.led_back => {
                let doublings = self.led_back.saturating_sub(1).min(MOST_DOUBLINGS);
                (since + STEADY_FOR * 2_u32.pow(doublings), Step::SwitchAgain)
            }
            _ => return Step::Nothing,
        };
        if now >= due { step } else { Step::Wait(due) }
    }

    /// Counts switches back, by any daemon.
    fn count(&mut self, led_back: bool, now: Instant) {
        if led_back && !self.was_led_back {
            let lately = self.last.is_some_and(|last| now.duration_since(last) < FORGOTTEN_AFTER);
            self.led_back = if lately { self.led_back.saturating_add(1) } else { 1 };
            self.last = Some(now);
        }
        self.was_led_back = led_back;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVED: Seen =
        Seen { in_place: true, led_back: false, ready: 2, leaving: 0, wanted: 2, origin_ready: true };
    const DARK: Seen = Seen { ready: 0, ..SERVED };
    const LED_BACK: Seen = Seen { in_place: false, led_back: true, ..SERVED };

    /// The time in ms after which it acts, and the action; `None`: never.
    fn acts(patience: &mut Patience, seen: Seen, begun: Instant) -> Option<(u128, Step)> {
        let mut now = begun;
        loop {
            match patience.step(seen, now) {
                Step::Nothing => return None,
                Step::Wait(due) => now = due,
                step => return Some((now.duration_since(begun).as_millis(), step)),
            }
        }
    }

    fn after(seen: Seen) -> Option<(u128, Step)> {
        let (mut patience, now) = (Patience::default(), Instant::now());
        let _ = patience.step(SERVED, now);
        acts(&mut patience, seen, now)
    }

    #[test]
    fn a_service_without_a_ready_agent_is_led_back_in_bounded_time() {
        for (what, seen, expected) in [
            ("agents are ready", SERVED, None),
            ("one of two is", Seen { ready: 1, ..SERVED }, None),
            ("nobody answers", DARK, Some((0, Step::LeadBack))),
            (
                "agents that are shutting down still answer",
                Seen { leaving: 1, ..DARK },
                Some((3000, Step::LeadBack)),
            ),
            ("nothing is gained by it", Seen { origin_ready: false, ..DARK }, None),
            ("it is led elsewhere already", Seen { in_place: false, ..DARK }, None),
        ] {
            assert_eq!(after(seen), expected, "{what}");
        }
    }

    #[test]
    fn time_already_passed_counts_when_the_last_condition_comes_true() {
        let (mut patience, begun) = (Patience::default(), Instant::now());
        let origin_starts = Seen { origin_ready: false, ..DARK };
        assert_eq!(patience.step(origin_starts, begun), Step::Nothing);
        let later = begun + Duration::from_secs(5);
        assert_eq!(
            patience.step(DARK, later),
            Step::LeadBack,
            "the origin is ready, and no agent was for long"
        );
        let _ = patience.step(SERVED, later);
        let stopping = Seen { leaving: 1, ..DARK };
        let due = later + LEAVING_SERVE_FOR;
        assert_eq!(patience.step(stopping, later), Step::Wait(due), "agents were ready in between");
    }

    #[test]
    fn it_is_switched_again_when_enough_agents_have_been_ready_for_a_while() {
        for (what, seen, expected) in [
            ("all are", LED_BACK, Some((1000, Step::SwitchAgain))),
            ("half of them are", Seen { ready: 1, ..LED_BACK }, Some((1000, Step::SwitchAgain))),
            ("too few for its callers", Seen { ready: 1, wanted: 4, ..LED_BACK }, None),
            ("none is", Seen { ready: 0, ..LED_BACK }, None),
            ("someone changed the selector", Seen { led_back: false, ..LED_BACK }, None),
        ] {
            assert_eq!(after(seen), expected, "{what}");
        }
    }

    #[test]
    fn agents_that_come_and_go_are_waited_for_longer_each_time() {
        let (mut patience, mut now) = (Patience::default(), Instant::now());
        for expected in [1, 2, 4, 8, 16, 32, 64, 64] {
            let _ = patience.step(Seen { ready: 0, ..LED_BACK }, now);
            assert_eq!(acts(&mut patience, LED_BACK, now), Some((expected * 1000, Step::SwitchAgain)));
            now += Duration::from_secs(1);
            let _ = patience.step(DARK, now);
        }
        now += FORGOTTEN_AFTER;
        let _ = patience.step(SERVED, now);
        assert_eq!(acts(&mut patience, LED_BACK, now), Some((1000, Step::SwitchAgain)), "long ago");
    }
}
