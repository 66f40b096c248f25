//! What must survive a loss of Redis: a line's epoch, and the highest number that may have been
//! given out. Admissions are in [`crate::admissions`].

use contract::ShowId;

use crate::{Pool, StoreError, StoreResult};

/// A line, as Postgres remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineMark {
    /// Counts the losses of Redis, from 1.
    pub epoch: u32,
    /// No number above this was ever given out.
    pub high_water: u64,
    /// The stretch of new places.
    pub stretch: Stretch,
}

/// A part of the line whose places are ordered in one way. When the way changes, the next stretch
/// begins, behind all places of this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// The rule by which its places are ordered.
    pub rule: Rule,
    /// Its ranks are larger than this; those of the stretches before are not.
    pub base: u64,
}

/// How new places are ordered. The rule with the higher version applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    pub version: u64,
    /// Whether places are drawn by lot; otherwise they are in order of joining.
    pub drawn: bool,
}

/// Lots, and thus ranks, in a stretch that is drawn by lot.
pub const LOTS: u64 = 1 << 26;

/// Numbers that were reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReservedNumbers {
    pub epoch: u32,
    /// The last of these numbers.
    pub up_to: u64,
    /// The stretch in which the numbers are used.
    pub stretch: Stretch,
}

/// The line's mark, if the line was ever opened.
pub async fn find(pool: &Pool, show: ShowId) -> StoreResult<Option<LineMark>> {
    let row = sqlx::query_as!(
        Row,
        "select epoch, high_water, rule, drawn, rank_base from lines where show_id = $1",
        show.0
    )
    .fetch_optional(pool)
    .await?;
    row.map(Row::mark).transpose()
}

/// The line's mark; a line that was never opened starts with epoch 1 and no number reserved.
pub async fn find_or_open(pool: &Pool, show: ShowId) -> StoreResult<LineMark> {
    let row = sqlx::query_as!(
        Row,
        r#"with new as (
               insert into lines (show_id) values ($1) on conflict do nothing
               returning epoch, high_water, rule, drawn, rank_base)
           select epoch as "epoch!", high_water as "high_water!", rule as "rule!",
               drawn as "drawn!", rank_base as "rank_base!"
           from new
           union all
           select epoch, high_water, rule, drawn, rank_base from lines where show_id = $1"#,
        show.0
    )
    .fetch_optional(pool)
    .await?;
    match row {
        Some(row) => row.mark(),
        // Another node opened the line at this moment.
        None => Ok(LineMark { epoch: 1, high_water: 0, stretch: FIRST }),
    }
}

/// Reserves the next `count` numbers of this epoch for places under this rule; `None` if the line
/// has a newer epoch. If a newer rule orders places in another way, a new stretch begins, behind
/// every number or lot of the present one.
pub async fn reserve_numbers(
    pool: &Pool,
    show: ShowId,
    epoch: u32,
    count: u32,
    rule: Rule,
) -> StoreResult<Option<ReservedNumbers>> {
    let row = sqlx::query_as!(
        Row,
        "update lines set
             rank_base = case
                 when $4 <= rule or drawn = $5 then rank_base
                 when drawn then rank_base + $6
                 else rank_base + high_water + 1 end,
             drawn = case when $4 <= rule then drawn else $5 end,
             rule = greatest(rule, $4),
             high_water = high_water + $3
         where show_id = $1 and epoch = $2
         returning epoch, high_water, rule, drawn, rank_base",
        show.0,
        epoch.cast_signed(),
        i64::from(count),
        rule.version.cast_signed(),
        rule.drawn,
        LOTS.cast_signed(),
    )
    .fetch_optional(pool)
    .await?;
    let mark = row.map(Row::mark).transpose()?;
    let numbers =
        |mark: LineMark| ReservedNumbers { epoch, up_to: mark.high_water, stretch: mark.stretch };
    Ok(mark.map(numbers))
}

/// Begins the epoch after `epoch`; `None` if another node did. Its numbers start above all that may
/// have been given out, so that no number is used twice.
pub async fn begin_epoch_after(
    pool: &Pool,
    show: ShowId,
    epoch: u32,
) -> StoreResult<Option<LineMark>> {
    let row = sqlx::query_as!(
        Row,
        "update lines set epoch = epoch + 1 where show_id = $1 and epoch = $2
         returning epoch, high_water, rule, drawn, rank_base",
        show.0,
        epoch.cast_signed(),
    )
    .fetch_optional(pool)
    .await?;
    row.map(Row::mark).transpose()
}

/// The first stretch of every line.
const FIRST: Stretch = Stretch { rule: Rule { version: 0, drawn: false }, base: 1 << 20 };

struct Row {
    epoch: i32,
    high_water: i64,
    rule: i64,
    drawn: bool,
    rank_base: i64,
}

impl Row {
    fn mark(self) -> StoreResult<LineMark> {
        let epoch = u32::try_from(self.epoch)
            .map_err(|_| StoreError::Unreadable(format!("epoch {} of a line", self.epoch)))?;
        let rule = Rule { version: number(self.rule)?, drawn: self.drawn };
        let stretch = Stretch { rule, base: number(self.rank_base)? };
        Ok(LineMark { epoch, high_water: number(self.high_water)?, stretch })
    }
}

fn number(stored: i64) -> StoreResult<u64> {
    u64::try_from(stored).map_err(|_| StoreError::Unreadable(format!("number {stored} of a line")))
}
