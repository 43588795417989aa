//! The environment of the target's container: the stand-in has the origin's image, environment and volumes, so it is
//! the environment of this process.

use std::os::unix::ffi::OsStringExt as _;

use bridge_proto::v1::{SurroundingsReply, Variable};

use super::Outbound;

impl Outbound {
    /// Contains the target's secrets: not to be logged.
    pub(crate) fn surroundings(&self) -> SurroundingsReply {
        let ours = |name: &std::ffi::OsStr| self.own_variables.iter().any(|own| name == own.as_str());
        let environment = std::env::vars_os()
            .filter(|(name, _)| !ours(name))
            .map(|(name, value)| Variable { name: name.into_vec(), value: value.into_vec() })
            .collect();
        SurroundingsReply { environment, resolv_conf: self.resolv_conf.clone() }
    }
}
