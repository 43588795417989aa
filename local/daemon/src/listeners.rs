//! The local ports on which bridge itself listens for connections into the cluster (`forward`, `proxy`). Requests from
//! the cluster never go there: they would go round in a circle.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::users::UserId;

/// A clone is a handle to the same.
#[derive(Clone, Default)]
pub(crate) struct Listeners(Arc<Mutex<BTreeMap<UserId, Listener>>>);

struct Listener {
    /// For people: "bridge forward".
    what: String,
    ports: Vec<u32>,
}

/// A user's ports, until this is dropped.
pub(crate) struct Listening {
    all: Listeners,
    id: UserId,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.all.lock().remove(&self.id);
    }
}

impl Listeners {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<UserId, Listener>> {
        // Code under this lock only looks up, adds or removes an entry.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the ports that a user listens on.
    pub(crate) fn add(&self, id: UserId, what: String, ports: Vec<u32>) -> Listening {
        self.lock().insert(id, Listener { what, ports });
        Listening { all: self.clone(), id }
    }

    /// The part of bridge that listens on a port, for people.
    pub(crate) fn on(&self, port: u32) -> Option<String> {
        let all = self.lock();
        let listener = all.values().find(|listener| listener.ports.contains(&port))?;
        Some(listener.what.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_a_listener_s_as_long_as_its_user_lives() {
        let listeners = Listeners::default();
        let forward = listeners.add(UserId::new(), "bridge forward".into(), vec![5050, 8080]);
        let proxy = listeners.add(UserId::new(), "bridge proxy".into(), vec![1080]);
        assert_eq!(listeners.on(8080).as_deref(), Some("bridge forward"));
        assert_eq!(listeners.on(1080).as_deref(), Some("bridge proxy"));
        assert_eq!(listeners.on(3000), None);
        drop(forward);
        assert_eq!(listeners.on(8080), None);
        drop(proxy);
    }
}
