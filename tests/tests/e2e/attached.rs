//! The usual beginning and end of a story: alice has connected orders, and others ask for it all the time.

use std::time::Duration;

use bridge_tests::{Laptop, Load, Local, Objects, World};

/// The design's bounds for a laptop that cannot be reached: until the origin answers, and until the laptop does again.
pub(crate) const TO_ORIGIN: Duration = Duration::from_secs(6);
/// The limit of a connect here, for the median of several.
pub(crate) const CONNECTED: Duration = Duration::from_secs(2);
/// The limit of a single one: another story may have the processors at that moment.
pub(crate) const CONNECTED_ONCE: Duration = Duration::from_secs(10);
pub(crate) const ROUTED_AGAIN: Duration = Duration::from_secs(3);

/// What is used goes before what it uses.
pub(crate) struct Attached {
    pub(crate) others: Load,
    pub(crate) orders: Local,
    pub(crate) alice: Laptop,
    pub(crate) world: World,
    before: Objects,
}

impl Attached {
    pub(crate) fn new(name: &str) -> Self {
        let world = World::new(name);
        let alice = world.laptop("alice");
        let orders = alice.runs("orders");
        let before = world.objects();
        let others = world.others();
        let _ = alice.bridge(&["connect", "orders", "--port", &orders.for_port("http")]).succeeds();
        Self { others, orders, alice, world, before }
    }

    /// She disconnects: no request of others has failed, and nothing is left.
    pub(crate) fn ends(self) {
        let _ = self.alice.bridge(&["disconnect", "orders"]).succeeds();
        self.others.goes_on(20);
        self.others.has_lost_nothing();
        self.world.is_given_back(&self.before);
    }
}
