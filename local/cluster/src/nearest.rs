//! Names similar to a mistyped one.

/// At most three of the names, the nearest first, that are a few edits away or contain the typed text.
#[must_use]
pub(crate) fn nearest<'a>(typed: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    const MOST: usize = 3;
    let allowed = (typed.chars().count() / 3).clamp(1, 3);
    let mut near: Vec<(usize, &str)> = names
        .into_iter()
        .filter_map(|name| {
            // Counts two swapped neighbours as one edit.
            let edits = strsim::osa_distance(typed, name);
            let part = typed.len() >= 3 && name.contains(typed);
            (edits <= allowed || part).then_some((edits, name))
        })
        .collect();
    near.sort_unstable();
    near.dedup();
    near.into_iter().take(MOST).map(|(_, name)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similar_names_come_first_and_others_not_at_all() {
        let names = ["orders", "orders-db", "web", "prices"];
        assert_eq!(nearest("ordrs", names), ["orders"]);
        assert_eq!(nearest("order", names), ["orders", "orders-db"]);
        assert_eq!(nearest("wbe", names), ["web"]);
        assert_eq!(nearest("odrers", names), ["orders"]);
        assert_eq!(nearest("", ["ab"]), Vec::<String>::new());
        assert_eq!(nearest("zzz", names), Vec::<String>::new());
    }
}
