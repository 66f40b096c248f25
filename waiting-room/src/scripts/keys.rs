//! The keys of a line in Redis, built in one place.

use contract::ShowId;

/// The keys of one show's line, in the order every script expects.
#[derive(Clone, Debug)]
pub(crate) struct Keys([String; 16]);

impl Keys {
    /// The keys of a show, all under its hash tag.
    pub(crate) fn of(show: ShowId) -> Self {
        let key = |name: &str| format!("line:{{{show}}}:{name}");
        Self([
            key("head"),
            key("bucket"),
            key("line"),
            key("ready"),
            key("seen"),
            key("absent"),
            key("places"),
            key("accounts"),
            key("ended"),
            key("admitting"),
            key("active"),
            key("changes"),
            key("held"),
            key("nodes"),
            key("choosing"),
            key("ended_at"),
        ])
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

    /// Where it is noted that a challenge was used.
    pub(crate) fn solved(&self, id: &str) -> String {
        // Under the same hash tag as the rest.
        format!("{}:solved:{id}", self.head())
    }

    /// All of them.
    pub(crate) fn all(&self) -> &[String] {
        &self.0
    }
}
