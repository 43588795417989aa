//! Keeps a laptop's answer out of shared caches, which would serve it to other callers. Pure.
//!
//! `Cache-Control` becomes `private` and loses the directives for sharing (`public`, `s-maxage`); the rest stays,
//! because browsers and hops follow `no-cache`, `no-transform` or `max-age` (RFC 9111 section 5.2.2). Fields for shared
//! caches alone override `Cache-Control` there, so they become `no-store`: RFC 9213's `CDN-Cache-Control` and the
//! vendors' equivalents, `Surrogate-Control` (<https://www.w3.org/TR/edge-arch/>), Akamai's `Edge-Control`, nginx's
//! `X-Accel-Expires`.

/// The treatment of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    Stays,
    Goes,
    /// It gets this value.
    Becomes(Vec<u8>),
}

/// The fields of one answer, on their way out of shared caches.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unshared {
    /// The answer itself keeps shared caches from storing it.
    closed: bool,
    /// The answer already says `private`.
    said: bool,
}

/// How a field addresses shared caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaks {
    CacheControl,
    Expires,
    /// Directives for shared caches only.
    Directives,
    /// Seconds for shared caches only.
    Seconds,
}

impl Speaks {
    /// `None` if it does not. The name's case does not matter.
    fn of(name: &str) -> Option<Self> {
        const SUFFIX: &str = "-cache-control";
        let is = |other| name.eq_ignore_ascii_case(other);
        let end = name.len().checked_sub(SUFFIX.len()).and_then(|at| name.get(at..));
        if is("cache-control") {
            Some(Speaks::CacheControl)
        } else if is("expires") {
            Some(Speaks::Expires)
        } else if is("x-accel-expires") {
            Some(Speaks::Seconds)
        } else if is("surrogate-control")
            || is("edge-control")
            || end.is_some_and(|end| end.eq_ignore_ascii_case(SUFFIX))
        {
            Some(Speaks::Directives)
        } else {
            None
        }
    }
}

/// Whether a field with this name controls caches. It has no place among trailers.
pub(crate) fn is_for_caches(name: &str) -> bool {
    Speaks::of(name).is_some()
}

impl Unshared {
    /// For an answer with these values of `Cache-Control`.
    pub(crate) fn new<'a>(cache_control: impl Iterator<Item = &'a [u8]>) -> Self {
        let (mut private, mut no_store, mut must_understand) = (false, false, false);
        for directive in cache_control.filter_map(directives).flatten() {
            // `private="field"` restricts only that field.
            private |= directive.eq_ignore_ascii_case(b"private");
            no_store |= directive.eq_ignore_ascii_case(b"no-store");
            must_understand |= directive.eq_ignore_ascii_case(b"must-understand");
        }
        // A cache that understands may ignore `no-store` (RFC 9111 section 5.2.2.3).
        let closed = private || no_store && !must_understand;
        Self { closed, said: closed }
    }

    /// The treatment of a field. Call it for all fields of the answer, in their order.
    pub(crate) fn fate(&mut self, name: &str, value: &[u8]) -> Fate {
        match Speaks::of(name) {
            None => Fate::Stays,
            Some(Speaks::CacheControl) => self.cache_control(value),
            // For caches that know only this field.
            Some(Speaks::Expires) if self.closed => Fate::Stays,
            Some(Speaks::Expires | Speaks::Seconds) => Fate::Becomes(b"0".to_vec()),
            Some(Speaks::Directives) => Fate::Becomes(surrogate(value)),
        }
    }

    /// Whether a `Cache-Control: private` has to be added.
    pub(crate) fn is_unsaid(&self) -> bool {
        !self.said
    }

    fn cache_control(&mut self, value: &[u8]) -> Fate {
        let say = !std::mem::replace(&mut self.said, true);
        let Some(all) = directives(value) else {
            // Others may read anything in it.
            return Fate::Becomes(b"private".to_vec());
        };
        let kept: Vec<&[u8]> = all.iter().copied().filter(|directive| !shares(directive)).collect();
        if !say && kept.len() == all.len() {
            return Fate::Stays;
        }
        let said = say.then_some(&b"private"[..]);
        let value = said.into_iter().chain(kept).collect::<Vec<_>>().join(&b", "[..]);
        if value.is_empty() { Fate::Goes } else { Fate::Becomes(value) }
    }
}

/// Whether a directive of `Cache-Control` makes shared caches keep the answer.
fn shares(directive: &[u8]) -> bool {
    let name = name_of(directive);
    name.eq_ignore_ascii_case(b"public") || name.eq_ignore_ascii_case(b"s-maxage")
}

/// Directives about other things than keeping stay, such as the processing of ESI.
fn surrogate(value: &[u8]) -> Vec<u8> {
    let processing = |directive: &&[u8]| {
        let name = name_of(directive);
        name.eq_ignore_ascii_case(b"content") || name.eq_ignore_ascii_case(b"dca")
    };
    let all = directives(value).unwrap_or_default();
    let kept = all.into_iter().filter(processing);
    std::iter::once(&b"no-store"[..]).chain(kept).collect::<Vec<_>>().join(&b", "[..])
}

fn name_of(directive: &[u8]) -> &[u8] {
    directive.split(|&byte| byte == b'=').next().unwrap_or_default().trim_ascii()
}

/// The directives of a value, trimmed. `None`: a quoted string has no end.
fn directives(value: &[u8]) -> Option<Vec<&[u8]>> {
    let mut found = Vec::new();
    let (mut start, mut quoted, mut escaped) = (0, false, false);
    for (at, &byte) in value.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => {
                found.push(&value[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    found.push(&value[start..]);
    let trimmed = found.into_iter().map(<[u8]>::trim_ascii).filter(|directive| !directive.is_empty());
    (!quoted).then(|| trimmed.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All fields of an answer after the change for shared caches, "name: value" each.
    fn unshared(fields: &[(&str, &str)]) -> Vec<String> {
        let of_cache_control = fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case("cache-control"));
        let mut unshared = Unshared::new(of_cache_control.map(|(_, value)| value.as_bytes()));
        let mut all = Vec::new();
        for (name, value) in fields {
            match unshared.fate(name, value.as_bytes()) {
                Fate::Stays => all.push(format!("{name}: {value}")),
                Fate::Goes => {}
                Fate::Becomes(value) => all.push(format!("{name}: {}", String::from_utf8_lossy(&value))),
            }
        }
        if unshared.is_unsaid() {
            all.push("Cache-Control: private".to_owned());
        }
        all
    }

    #[test]
    fn only_sharing_is_taken_from_cache_control() {
        for (values, expected) in [
            (&[][..], &["private"][..]),
            (&["no-cache, no-transform"], &["private, no-cache, no-transform"]),
            (&["no-cache"], &["private, no-cache"]),
            (&["public, max-age=60"], &["private, max-age=60"]),
            (&["Public"], &["private"]),
            (&["max-age=31536000, immutable"], &["private, max-age=31536000, immutable"]),
            (&["must-revalidate, max-age=0"], &["private, must-revalidate, max-age=0"]),
            (&["max-age=5,S-MaxAge = 600,proxy-revalidate"], &["private, max-age=5, proxy-revalidate"]),
            (&["no-cache", "no-transform"], &["private, no-cache", "no-transform"]),
            (&["public", "s-maxage=1", "max-age=1"], &["private", "max-age=1"]),
            (&["private=\"set-cookie, x\", max-age=1"], &["private, private=\"set-cookie, x\", max-age=1"]),
            (&["x=\"a \\\" public, b\", public"], &["private, x=\"a \\\" public, b\""]),
            (&["x=\"a, public"], &["private"]),
            (&["no-store, must-understand"], &["private, no-store, must-understand"]),
            // These are private already,
            (&["private, max-age=5"], &["private, max-age=5"]),
            (&["No-Store"], &["No-Store"]),
            (&["max-age=1", "private"], &["max-age=1", "private"]),
            // even if they contradict themselves.
            (&["private, s-maxage=9"], &["private"]),
            (&["no-store", "public"], &["no-store"]),
        ] {
            let fields: Vec<_> = values.iter().map(|value| ("Cache-Control", *value)).collect();
            let expected: Vec<_> = expected.iter().map(|value| format!("Cache-Control: {value}")).collect();
            assert_eq!(unshared(&fields), expected, "{values:?}");
        }
    }

    #[test]
    fn fields_for_shared_caches_alone_forbid_it() {
        for (name, value, expected) in [
            ("Surrogate-Control", "max-age=600", "no-store"),
            ("surrogate-control", "max-age=600, content=\"ESI/1.0\"", "no-store, content=\"ESI/1.0\""),
            ("CDN-Cache-Control", "max-age=600", "no-store"),
            ("Cloudflare-CDN-Cache-Control", "public, s-maxage=600", "no-store"),
            ("Vercel-CDN-Cache-Control", "max-age=600", "no-store"),
            ("netlify-cdn-cache-control", "public, durable, max-age=600", "no-store"),
            ("Akamai-Cache-Control", "max-age=600", "no-store"),
            ("X-LiteSpeed-Cache-Control", "public,max-age=120", "no-store"),
            ("Edge-Control", "!no-store, max-age=1d, dca=esi", "no-store, dca=esi"),
            ("X-Accel-Expires", "600", "0"),
            ("Expires", "Thu, 01 Dec 2044 16:00:00 GMT", "0"),
        ] {
            assert_eq!(unshared(&[(name, value)])[0], format!("{name}: {expected}"), "{value}");
        }
        // They matter although `Cache-Control` excludes shared caches, except for `Expires`, which gives way to it.
        let closed = unshared(&[
            ("Cache-Control", "no-store"),
            ("CDN-Cache-Control", "max-age=60"),
            ("Expires", "Thu, 01 Dec 2044 16:00:00 GMT"),
        ]);
        let expected = [
            "Cache-Control: no-store",
            "CDN-Cache-Control: no-store",
            "Expires: Thu, 01 Dec 2044 16:00:00 GMT",
        ];
        assert_eq!(closed, expected);
    }

    #[test]
    fn other_fields_stay() {
        for name in
            ["X-Accel-Buffering", "Cache-Status", "Surrogate-Key", "Access-Control-Max-Age", "Age", "x", ""]
        {
            assert!(!is_for_caches(name), "{name}");
        }
    }
}
