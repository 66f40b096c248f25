//! Text that is searched for as it stands.

/// The text as a part of a `like` pattern.
pub(super) fn literally(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_searched_for_is_taken_literally() {
        assert_eq!(literally(r"100%_\"), r"100\%\_\\");
    }
}
