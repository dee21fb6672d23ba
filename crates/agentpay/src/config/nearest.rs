//! The known name closest to one that was mistyped.

/// The candidate with the smallest edit distance to `wanted`, if any is close enough to be what was meant.
pub(crate) fn nearest<'a>(wanted: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let (distance, candidate) = candidates
        .map(|candidate| (distance(wanted, candidate), candidate))
        .min_by_key(|(distance, _)| *distance)?;
    // Beyond half of its length a name has little to do with what was typed.
    (distance * 2 <= wanted.chars().count().max(2)).then_some(candidate)
}

/// Levenshtein distance in characters, with one row of the table kept.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, from) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, to) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::{distance, nearest};

    #[test]
    fn distances() {
        for (left, right, expected) in
            [("", "", 0), ("", "abc", 3), ("kitten", "sitting", 3), ("log", "log", 0), ("ab", "ba", 2)]
        {
            assert_eq!(distance(left, right), expected, "{left} {right}");
            assert_eq!(distance(right, left), expected, "{right} {left}");
        }
    }

    #[test]
    fn suggests_only_what_is_close() {
        let known = ["server.listen", "log.segment_bytes", "metrics.listen"];
        assert_eq!(nearest("server.lisen", known.into_iter()), Some("server.listen"));
        assert_eq!(nearest("log.segment_size", known.into_iter()), Some("log.segment_bytes"));
        assert_eq!(nearest("zzz", known.into_iter()), None);
        assert_eq!(nearest("x", std::iter::empty()), None);
    }
}
