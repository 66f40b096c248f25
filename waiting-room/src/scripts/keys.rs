//! The keys of a line in Redis, built in one place.

use contract::ShowId;

/// The names of a line's keys, in the order of `KEYS` in every script; `prelude.lua` says what each
/// of them holds.
pub(crate) const NAMES: [&str; 16] = [
    "head",
    "bucket",
    "line",
    "ready",
    "seen",
    "absent",
    "places",
    "accounts",
    "ended",
    "admitting",
    "active",
    "changes",
    "held",
    "nodes",
    "choosing",
    "ended_at",
];

/// The keys of one show's line, in the order every script expects.
#[derive(Clone, Debug)]
pub(crate) struct LineKeys([String; NAMES.len()]);

impl LineKeys {
    /// The keys of a show, all under its hash tag.
    pub(crate) fn of(show: ShowId) -> Self {
        Self(NAMES.map(|name| key(show, name)))
    }

    pub(crate) fn head(&self) -> &str {
        &self.0[0]
    }

    pub(crate) fn line(&self) -> &str {
        &self.0[2]
    }

    pub(crate) fn accounts(&self) -> &str {
        &self.0[7]
    }

    pub(crate) fn ended(&self) -> &str {
        &self.0[8]
    }

    pub(crate) fn admitting(&self) -> &str {
        &self.0[9]
    }

    pub(crate) fn active(&self) -> &str {
        &self.0[10]
    }

    pub(crate) fn changes(&self) -> &str {
        &self.0[11]
    }

    pub(crate) fn held(&self) -> &str {
        &self.0[12]
    }

    pub(crate) fn choosing(&self) -> &str {
        &self.0[14]
    }

    /// The key that marks a challenge as used.
    pub(crate) fn solved(&self, id: &str) -> String {
        // Under the hash tag of the show, as all keys of a line.
        format!("{}:solved:{id}", self.head())
    }

    /// All keys, in the order of [`NAMES`].
    pub(crate) fn all(&self) -> &[String] {
        &self.0
    }
}

pub(crate) fn key(show: ShowId, name: &str) -> String {
    format!("line:{{{show}}}:{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scripts_call_each_key_by_the_same_name() {
        let prelude = include_str!("prelude.lua");
        let told = prelude.lines().filter_map(|line| {
            let (number, rest) = line.strip_prefix("-- ")?.trim_start().split_once(' ')?;
            Some((number.parse::<usize>().ok()?, rest.split_whitespace().next()?))
        });
        let wanted: Vec<_> = (1..).zip(NAMES).collect();
        assert_eq!(told.collect::<Vec<_>>(), wanted);
        let named =
            prelude.lines().filter_map(|line| line.strip_prefix("local ")?.split_once(" = "));
        let named = named.filter(|(_, keys)| keys.starts_with("KEYS["));
        let named = named.flat_map(|(names, keys)| names.split(", ").zip(keys.split(", ")));
        let number = |key: &str| key.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap();
        let named: Vec<(usize, &str)> = named.map(|(name, key)| (number(key), name)).collect();
        assert_eq!(named, wanted);
    }
}
