//! A whole line in Redis: whether it is there, opening it, giving it up, and recalling ranks after
//! a loss.

use store::line_marks::LineMark;

use super::{
    call::{GIVE_UP, LineStore, OPEN, RECALL, RESTORED, add_stretch, with_keys},
    keys::LineKeys,
};
use crate::LineError;

impl LineStore {
    /// Opens the line under this mark, and holds admission for `hold_ms`.
    pub(crate) async fn open(
        &self,
        keys: &LineKeys,
        mark: LineMark,
        hold_ms: u64,
    ) -> Result<(), LineError> {
        let mut call = with_keys(&OPEN, keys);
        call.arg(mark.epoch).arg(mark.high_water).arg(hold_ms);
        add_stretch(&mut call, mark.stretch);
        self.run::<Vec<String>>("open", &call).await.map(drop)
    }

    /// Whether Redis has the line.
    pub(crate) async fn has(&self, keys: &LineKeys) -> Result<bool, LineError> {
        let fields: (Option<String>, Option<String>) =
            self.query(redis::cmd("HMGET").arg(keys.head()).arg("epoch").arg("counter")).await?;
        Ok(matches!(fields, (Some(_), Some(_))))
    }

    /// The epoch for which the active visitors must be restored after a loss; `None` where they
    /// are.
    pub(crate) async fn to_restore(&self, keys: &LineKeys) -> Result<Option<u32>, LineError> {
        self.query(redis::cmd("HGET").arg(keys.head()).arg("to_restore")).await
    }

    /// Notes that the active visitors are restored for this epoch, so that admission goes on.
    pub(crate) async fn restored(&self, keys: &LineKeys, epoch: u32) -> Result<(), LineError> {
        self.run("restored", with_keys(&RESTORED, keys).arg(epoch)).await
    }

    /// Whether each of these lines has visitors who wait or are being admitted.
    pub(crate) async fn are_peopled(&self, lines: &[LineKeys]) -> Result<Vec<bool>, LineError> {
        let mut pipeline = redis::pipe();
        for keys in lines {
            pipeline.cmd("EXISTS").arg(keys.line()).arg(keys.admitting());
        }
        let mut connection = self.cache.connection()?;
        let there: Vec<u8> = self.cache.observe(pipeline.query_async(&mut connection).await)?;
        Ok(there.into_iter().map(|keys| keys > 0).collect())
    }

    /// Gives up a line of which a part was lost; returns whether no other node had done so.
    pub(crate) async fn give_up(&self, keys: &LineKeys, epoch: u32) -> Result<bool, LineError> {
        self.run("give_up", with_keys(&GIVE_UP, keys).arg(epoch)).await
    }

    /// Tells the other nodes which ranks left shortly before the line was lost.
    pub(crate) async fn recall(
        &self,
        keys: &LineKeys,
        epoch: u32,
        ranks: &[u64],
    ) -> Result<(), LineError> {
        let ranks: Vec<String> = ranks.iter().map(u64::to_string).collect();
        self.run("recall", with_keys(&RECALL, keys).arg(epoch).arg(ranks.join(" "))).await
    }
}
