//! The requests that `bridge requests --wait` waits for: "to=me,status=2xx,path=/v1/*".

use std::str::FromStr;

use super::Seen;

/// The conditions, all of which hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    to: Option<To>,
    method: Option<String>,
    path: Option<Path>,
    status: Option<Status>,
    reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum To {
    /// This user's laptop.
    Me,
    /// Anyone's.
    Laptop,
    Origin,
    Copy,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Path {
    Whole(String),
    Beginning(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Whole(u32),
    /// 2xx is 2.
    Class(u32),
}

impl Wanted {
    /// `me`: the names of this user's sessions.
    pub(super) fn is(&self, seen: &Seen, me: &[String]) -> bool {
        let to = self.to.is_none_or(|to| match to {
            To::Me => seen.to == "laptop" && seen.user.as_ref().is_some_and(|user| me.contains(user)),
            To::Laptop => seen.to == "laptop",
            To::Origin => seen.to == "origin",
            To::Copy => seen.to == "copy",
        });
        let path = self.path.as_ref().is_none_or(|wanted| {
            seen.path.as_ref().is_some_and(|path| match wanted {
                Path::Whole(whole) => path == whole,
                Path::Beginning(beginning) => path.starts_with(beginning),
            })
        });
        let status = self.status.is_none_or(|wanted| {
            seen.status.is_some_and(|status| match wanted {
                Status::Whole(whole) => status == whole,
                Status::Class(class) => status / 100 == class,
            })
        });
        let method = self.method.is_none() || self.method == seen.method;
        let reason = self.reason.as_ref().is_none_or(|reason| reason == seen.reason);
        to && path && status && method && reason
    }
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut wanted = Self::default();
        for condition in text.split(',').filter(|condition| !condition.is_empty()) {
            let (name, value) =
                condition.split_once('=').ok_or_else(|| format!("{condition:?} has no `=`"))?;
            match name {
                "to" => wanted.to = Some(to(value)?),
                "method" => wanted.method = Some(value.to_ascii_uppercase()),
                "path" => wanted.path = Some(path(value)?),
                "status" => wanted.status = Some(status(value)?),
                "reason" => wanted.reason = Some(value.to_owned()),
                _ => return Err(format!("{name:?} is none of to, method, path, status, reason")),
            }
        }
        Ok(wanted)
    }
}

fn to(value: &str) -> Result<To, String> {
    match value {
        "me" => Ok(To::Me),
        "laptop" => Ok(To::Laptop),
        "origin" => Ok(To::Origin),
        "copy" => Ok(To::Copy),
        _ => Err(format!("{value:?} is none of me, laptop, origin, copy")),
    }
}

fn path(value: &str) -> Result<Path, String> {
    if !value.starts_with('/') {
        return Err(format!("the path {value:?} does not begin with /"));
    }
    Ok(match value.strip_suffix('*') {
        Some(beginning) => Path::Beginning(beginning.to_owned()),
        None => Path::Whole(value.to_owned()),
    })
}

fn status(value: &str) -> Result<Status, String> {
    let wrong = || format!("{value:?} is no status: 200, or 2xx");
    if let Some(class) = value.strip_suffix("xx") {
        return class
            .parse()
            .ok()
            .filter(|class| (1..=5).contains(class))
            .map(Status::Class)
            .ok_or_else(wrong);
    }
    value.parse().ok().filter(|status| (100..=599).contains(status)).map(Status::Whole).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use bridge_proto::v1;

    use super::*;

    fn seen() -> Seen {
        let request = v1::SeenRequest {
            method: "GET".to_owned(),
            path: "/v1/orders".to_owned(),
            protocol: "HTTP/1".to_owned(),
            status: 201,
            to_laptop: true,
            user: "alice".to_owned(),
            reason: v1::Reason::Matched.into(),
            ..v1::SeenRequest::default()
        };
        v1::SeenByAgent { request: Some(request), ..v1::SeenByAgent::default() }.into()
    }

    #[test]
    fn all_conditions_hold() {
        let (seen, me) = (seen(), ["alice".to_owned()]);
        for (text, expected) in [
            ("", true),
            ("to=me", true),
            ("to=laptop", true),
            ("to=origin", false),
            ("status=2xx", true),
            ("status=201", true),
            ("status=200", false),
            ("status=5xx", false),
            ("path=/v1/*", true),
            ("path=/v1/orders", true),
            ("path=/v1", false),
            ("method=get", true),
            ("method=POST", false),
            ("reason=matched", true),
            ("reason=absent", false),
            ("to=me,status=2xx,path=/v1/*", true),
            ("to=me,status=2xx,path=/v2/*", false),
        ] {
            assert_eq!(text.parse::<Wanted>().expect("conditions").is(&seen, &me), expected, "{text}");
        }
        let bob = ["bob".to_owned()];
        assert!(
            !"to=me".parse::<Wanted>().expect("a condition").is(&seen, &bob),
            "alice's laptop is not bob's"
        );
        let unread = Seen::from(v1::SeenByAgent::default());
        assert!(!"status=2xx".parse::<Wanted>().expect("a condition").is(&unread, &me), "it has no status");
    }

    #[test]
    fn other_conditions_are_refused() {
        for (text, expected) in [
            ("to", "\"to\" has no `=`"),
            ("to=bob", "\"bob\" is none of me, laptop, origin, copy"),
            ("host=x", "\"host\" is none of to, method, path, status, reason"),
            ("path=v1", "the path \"v1\" does not begin with /"),
            ("status=6xx", "\"6xx\" is no status: 200, or 2xx"),
            ("status=ok", "\"ok\" is no status: 200, or 2xx"),
        ] {
            assert_eq!(text.parse::<Wanted>(), Err(expected.to_owned()));
        }
    }
}
