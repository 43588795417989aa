//! Remarks about programs that are not supervised, or not entirely: one for each program.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use bridge_os::seccomp::{HIGH, Trapped};

/// Each with the name of the program.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Remark {
    #[error("{0} hides its memory, as key agents do: it uses your laptop's network")]
    Hidden(String),
    #[error("{0} is a 32-bit program: it uses your laptop's network")]
    ThirtyTwoBit(String),
    #[error(
        "{0} cannot have file descriptors from {HIGH} on (ulimit -n): its UDP sockets see your laptop as the \
         sender of the cluster's answers"
    )]
    FewDescriptors(String),
}

/// Programs beyond this number are not reported.
const MOST: usize = 64;

pub(crate) struct Remarks {
    tell: Box<dyn Fn(&Remark) + Send + Sync>,
    made: Mutex<HashSet<Remark>>,
}

impl Remarks {
    pub(crate) fn new(tell: impl Fn(&Remark) + Send + Sync + 'static) -> Remarks {
        Remarks { tell: Box::new(tell), made: Mutex::default() }
    }

    pub(crate) fn make(&self, of: fn(String) -> Remark, trapped: &Trapped) {
        // A caller that is gone is of no interest any more.
        if let Some(program) = trapped.program() {
            self.tell_once(of(program));
        }
    }

    fn tell_once(&self, remark: Remark) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if made.len() < MOST && made.insert(remark.clone()) {
            (self.tell)(&remark);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn each_remark_is_made_once_of_each_program() {
        let heard = Arc::<Mutex<Vec<String>>>::default();
        let into = Arc::clone(&heard);
        let remarks = Remarks::new(move |remark| into.lock().unwrap().push(remark.to_string()));
        for program in ["ssh-agent", "gpg-agent", "ssh-agent"] {
            remarks.tell_once(Remark::Hidden(program.to_owned()));
        }
        remarks.tell_once(Remark::ThirtyTwoBit("ssh-agent".to_owned()));
        let heard = heard.lock().unwrap();
        let first_words: Vec<_> = heard.iter().filter_map(|remark| remark.split(' ').next()).collect();
        assert_eq!(first_words, ["ssh-agent", "gpg-agent", "ssh-agent"]);
    }
}
