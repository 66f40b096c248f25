//! Reading the answers of the scripts.

use contract::ShowId;

use super::{progress::Progress, spot::Spot};
use crate::LineError;

/// The answer of a script, or that Redis has lost the line.
#[derive(Debug)]
pub(crate) enum ScriptAnswer<T> {
    Known(T),
    LineLost,
}

/// How joins ended, in the order of the joiners.
#[derive(Debug)]
pub(crate) struct Joined {
    /// The change that made the new places, or the line's last change if there is no new one.
    pub(crate) at: Progress,
    /// `None` where numbers must be reserved first.
    pub(crate) places: Vec<Option<(Placed, Spot)>>,
}

/// How an account came to its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placed {
    New,
    /// Put back by its place ticket, because Redis had lost it.
    Back,
    /// The account has the place already, and waits.
    Waiting,
    Admitting,
    Admitted,
}

/// Where a ticket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whereabouts {
    Waiting,
    /// Taken from the line, not in the log yet.
    Admitting,
    Admitted,
    Left,
    Expired,
    Unknown,
}

/// What a visitor who left gave back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GivenBack {
    Place,
    /// The visitor was admitted, or was just being.
    Pass,
    Nothing,
}

/// Where tickets are, in the order of the call, with their records or accounts.
pub(crate) struct Touched {
    pub(crate) at: Progress,
    pub(crate) tickets: Vec<(Whereabouts, String)>,
}

/// What a sweep found.
pub(crate) struct Swept {
    pub(crate) at: Progress,
    pub(crate) admitted: AdmittedSeen,
    pub(crate) absent: u64,
    /// How many are in the line.
    pub(crate) waiting: u64,
    /// Redis did not know this node, so the node holds no visitors there.
    pub(crate) is_new: bool,
    /// A node is gone; its visitors must be made absent.
    pub(crate) node_gone: bool,
    /// The line's keys contradict each other, because some were lost.
    pub(crate) contradicts: bool,
}

/// What a sweep found about admitted visitors.
#[derive(Default)]
pub(crate) struct AdmittedSeen {
    pub(crate) active: u64,
    /// Not all visitors with a valid pass are active again after a loss.
    pub(crate) to_restore: bool,
    /// Places taken from the line by a node that did not finish their admission.
    pub(crate) unsettled: Vec<Spot>,
}

impl Joined {
    /// Reads the answer of a join.
    pub(crate) fn read(show: ShowId, answer: &[String]) -> Result<ScriptAnswer<Self>, LineError> {
        let Some((at, rest)) = known(answer)? else { return Ok(ScriptAnswer::LineLost) };
        let places = rest.chunks_exact(3).map(|place| {
            let how = match place[0].as_str() {
                "FULL" => return Ok(None),
                "NEW" => Placed::New,
                "BACK" => Placed::Back,
                "WAITING" => Placed::Waiting,
                "ADMITTING" => Placed::Admitting,
                "ADMITTED" => Placed::Admitted,
                _ => return Err(unreadable(place)),
            };
            Ok(Some((how, Spot::parse(show, &place[1], &place[2])?)))
        });
        let places = places.collect::<Result<_, LineError>>()?;
        Ok(ScriptAnswer::Known(Self { at, places }))
    }
}

impl GivenBack {
    /// Reads the answer of a leave.
    pub(crate) fn read(answer: &str) -> Result<ScriptAnswer<Self>, LineError> {
        Ok(ScriptAnswer::Known(match answer {
            "FLUSHED" => return Ok(ScriptAnswer::LineLost),
            "PLACE" => Self::Place,
            "PASS" => Self::Pass,
            "NOTHING" => Self::Nothing,
            other => return Err(LineError::Unreadable(other.to_owned())),
        }))
    }
}

impl Touched {
    /// Reads the answer of a touch.
    pub(crate) fn read(answer: &[String]) -> Result<ScriptAnswer<Self>, LineError> {
        let Some((at, rest)) = known(answer)? else { return Ok(ScriptAnswer::LineLost) };
        let tickets =
            rest.chunks_exact(2).map(|pair| Ok((whereabouts(&pair[0])?, pair[1].clone())));
        let tickets = tickets.collect::<Result<_, LineError>>()?;
        Ok(ScriptAnswer::Known(Self { at, tickets }))
    }
}

impl Swept {
    /// Reads the answer of a sweep.
    pub(crate) fn read(show: ShowId, answer: &[String]) -> Result<ScriptAnswer<Self>, LineError> {
        let Some((at, rest)) = known(answer)? else { return Ok(ScriptAnswer::LineLost) };
        let Some((counts, unsettled)) = rest.split_first_chunk::<7>() else {
            return Err(unreadable(answer));
        };
        let [active, absent, waiting, is_new, node_gone, contradicts, to_restore] = counts;
        Ok(ScriptAnswer::Known(Self {
            at,
            admitted: AdmittedSeen {
                active: number(active)?,
                to_restore: to_restore == "1",
                unsettled: spots(show, unsettled)?,
            },
            absent: number(absent)?,
            waiting: number(waiting)?,
            is_new: is_new == "1",
            node_gone: node_gone == "1",
            contradicts: contradicts == "1",
        }))
    }
}

/// Reads the answer of an admission: who was taken from the line.
pub(crate) fn taken(show: ShowId, answer: &[String]) -> Result<ScriptAnswer<Vec<Spot>>, LineError> {
    match answer {
        [flushed, ..] if flushed == "FLUSHED" => Ok(ScriptAnswer::LineLost),
        [ok, _epoch, rest @ ..] if ok == "OK" => Ok(ScriptAnswer::Known(spots(show, rest)?)),
        _ => Err(unreadable(answer)),
    }
}

/// Splits an answer into the line's last change and the rest; `None` for FLUSHED.
fn known(answer: &[String]) -> Result<Option<(Progress, &[String])>, LineError> {
    match answer {
        [flushed, ..] if flushed == "FLUSHED" => Ok(None),
        [ok, epoch, seq, rest @ ..] if ok == "OK" => {
            Ok(Some((Progress { epoch: number(epoch)?, seq: number(seq)? }, rest)))
        }
        _ => Err(unreadable(answer)),
    }
}

fn spots(show: ShowId, pairs: &[String]) -> Result<Vec<Spot>, LineError> {
    pairs.chunks_exact(2).map(|pair| Spot::parse(show, &pair[0], &pair[1])).collect()
}

fn whereabouts(word: &str) -> Result<Whereabouts, LineError> {
    Ok(match word {
        "WAITING" => Whereabouts::Waiting,
        "ADMITTING" => Whereabouts::Admitting,
        "ADMITTED" => Whereabouts::Admitted,
        "LEFT" => Whereabouts::Left,
        "EXPIRED" => Whereabouts::Expired,
        "UNKNOWN" => Whereabouts::Unknown,
        other => return Err(LineError::Unreadable(other.to_owned())),
    })
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, LineError> {
    text.parse().map_err(|_| LineError::Unreadable(format!("`{text}` is not a number")))
}

fn unreadable(answer: &[String]) -> LineError {
    LineError::Unreadable(format!("{answer:?}"))
}
