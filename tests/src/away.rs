//! Parts of the laptop or of the cluster that are away for a while.

use rustix::process::{Signal, kill_process};

use crate::laptop::Laptop;
use crate::place::{DEVELOPER_UID, as_root_of_laptop, context, in_node, kubectl};

const TABLE: &str = "bridge-test-cut";

/// It comes back when this is dropped.
pub struct Away(Box<dyn Fn()>);

impl Away {
    pub fn comes_back(self) {}

    /// A program of the node, which hangs. `None` if we may not enter the node.
    #[must_use]
    pub fn of_node(program: &str) -> Option<Self> {
        let signal = |signal: &str| in_node(&format!("pkill -{signal} -x {program}"));
        let _ = signal("STOP")?.succeeds();
        let program = program.to_owned();
        Some(Self(Box::new(move || {
            let _ = in_node(&format!("pkill -CONT -x {program}"));
        })))
    }

    /// The node, for pods with this label: those that it has are evicted, and no pod starts on it. `None` if the node is
    /// not ours.
    #[must_use]
    pub fn drained(node: &str, label: &str) -> Option<Self> {
        if context().is_some() {
            return None;
        }
        let name = node.to_owned();
        let away = Self(Box::new(move || {
            let _ = kubectl(&["uncordon", &name]);
        }));
        let selector = format!("--pod-selector={label}");
        let _ = kubectl(&["drain", node, &selector, "--delete-emptydir-data", "--timeout=60s"]).succeeds();
        Some(away)
    }

    /// The laptop's daemon, as when the laptop sleeps.
    ///
    /// # Panics
    ///
    /// If there is none.
    #[must_use]
    pub fn daemon_of(laptop: &Laptop) -> Self {
        let pid = laptop.daemon().expect("a daemon");
        kill_process(pid, Signal::STOP).expect("it can be stopped");
        Self(Box::new(move || {
            // It may have ended.
            let _ = kill_process(pid, Signal::CONT);
        }))
    }

    /// The network of all developers' laptops: what they send to the cluster, and what comes back, is lost without an
    /// error. `None` if we may not enter the laptop.
    #[must_use]
    pub fn network() -> Option<Self> {
        let cut = format!(
            "table inet {TABLE} {{
               chain out {{ type filter hook output priority 0; \
                 oifname != lo meta skuid {DEVELOPER_UID} ct mark set 0x6272 drop; }}
               chain in {{ type filter hook input priority 0; iifname != lo ct mark 0x6272 drop; }}
             }}"
        );
        let away = Self(Box::new(|| {
            let _ = as_root_of_laptop(&format!("nft delete table inet {TABLE}"), "");
        }));
        let _ = as_root_of_laptop("nft -f -", &cut)?.succeeds();
        Some(away)
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        (self.0)();
    }
}
