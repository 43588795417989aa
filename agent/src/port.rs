//! A port of the target.

/// Which port: lists with an element for each of the agent's ports are asked by `place`, people and daemons know `number`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) place: u16,
    /// The agent listens on it.
    pub(crate) number: u16,
}

/// The agent's ports, from their numbers.
pub(crate) fn in_order(numbers: impl IntoIterator<Item = u16>) -> Vec<Port> {
    (0..).zip(numbers).map(|(place, number)| Port { place, number }).collect()
}
