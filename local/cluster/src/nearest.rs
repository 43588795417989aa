//! Names similar to a mistyped one.

/// At most three of the names, the nearest first, that are few edits away or contain what was typed.
#[must_use]
pub(crate) fn nearest<'a>(typed: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    const MOST: usize = 3;
    let allowed = (typed.chars().count() / 3).clamp(1, 3);
    let mut near: Vec<(usize, &str)> = names
        .into_iter()
        .filter_map(|name| {
            let edits = distance(typed, name);
            let part = typed.len() >= 3 && name.contains(typed);
            (edits <= allowed || part).then_some((edits, name))
        })
        .collect();
    near.sort_unstable();
    near.dedup();
    near.into_iter().take(MOST).map(|(_, name)| name.to_owned()).collect()
}

/// Optimal string alignment: characters inserted, left out, replaced, or swapped with their neighbour.
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let mut before = vec![0; other.len() + 1];
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for i in 1..=one.len() {
        let mut next = vec![i; other.len() + 1];
        for j in 1..=other.len() {
            let replaced = row[j - 1] + usize::from(one[i - 1] != other[j - 1]);
            next[j] = replaced.min(row[j] + 1).min(next[j - 1] + 1);
            let swapped = i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1];
            if swapped {
                next[j] = next[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut row, next);
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        for (one, other, edits) in [
            ("", "", 0),
            ("a", "", 1),
            ("", "ab", 2),
            ("kitten", "sitting", 3),
            ("orders", "odrers", 1),
            ("ca", "abc", 3),
        ] {
            assert_eq!(distance(one, other), edits, "{one} {other}");
        }
    }

    #[test]
    fn near_names_come_first_and_far_ones_not_at_all() {
        let names = ["orders", "orders-db", "web", "prices"];
        assert_eq!(nearest("ordrs", names), ["orders"]);
        assert_eq!(nearest("order", names), ["orders", "orders-db"]);
        assert_eq!(nearest("wbe", names), ["web"]);
        assert_eq!(nearest("zzz", names), Vec::<String>::new());
    }
}
