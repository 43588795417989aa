//! How long requests wait for a session that is away.

use std::time::Duration;

/// For connections,
pub(super) const SESSION_WITHIN: Duration = Duration::from_secs(10);
/// and for names: resolvers' clients ask again after five seconds.
pub(super) const SESSION_FOR_NAMES_WITHIN: Duration = Duration::from_secs(3);
