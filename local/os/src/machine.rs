//! Names and the terminal's width.

use std::{ffi::OsStr, fs, io};

/// The machine's own name, without the domain; "laptop" if it has none.
pub fn hostname() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    match name.split('.').next() {
        Some(first) if !first.is_empty() && first != "(none)" => first.to_owned(),
        _ => "laptop".to_owned(),
    }
}

/// The user's name: `$USER`, else that of /etc/passwd.
pub fn user_name() -> Option<String> {
    user_name_from(std::env::var_os("USER").as_deref(), crate::peer::own_uid(), || {
        fs::read_to_string("/etc/passwd").unwrap_or_default()
    })
}

fn user_name_from(variable: Option<&OsStr>, uid: u32, passwd: impl FnOnce() -> String) -> Option<String> {
    if let Some(name) = variable.and_then(OsStr::to_str).filter(|name| !name.is_empty()) {
        return Some(name.to_owned());
    }
    passwd().lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

/// The width of stderr in columns, if it is a terminal.
pub fn terminal_width() -> Option<u16> {
    let size = rustix::termios::tcgetwinsize(io::stderr()).ok()?;
    (size.ws_col > 0).then_some(size.ws_col)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_comes_before_the_user_database() {
        let passwd = || "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n".to_owned();
        assert_eq!(user_name_from(Some(OsStr::new("bob")), 1000, passwd), Some("bob".to_owned()));
        assert_eq!(user_name_from(Some(OsStr::new("")), 1000, passwd), Some("alice".to_owned()));
        assert_eq!(user_name_from(None, 0, passwd), Some("root".to_owned()));
        assert_eq!(user_name_from(None, 7, passwd), None);
    }

    #[test]
    fn this_machine_has_a_short_name() {
        let name = hostname();
        assert!(!name.is_empty() && !name.contains('.'), "{name}");
    }
}
